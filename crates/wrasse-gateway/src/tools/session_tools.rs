//! `sessions_list`, `sessions_history` and `sessions_yield`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use wrasse_model::Message;
use wrasse_store::{SessionFilter, SessionRow, StoreError};
use wrasse_types::{SessionKey, UnixMillis};

use super::{CallResult, Yields};
use crate::core::Core;
use crate::frame::neutralised;
use crate::run::LiveRun;

/// The most characters of one message in a history.
const MESSAGE_MAX: usize = 4000;
/// The most bytes of a whole history.
const HISTORY_MAX: usize = 80 << 10;
/// The most sessions that are looked at.
const SESSIONS_MAX: u32 = 2000;

/// Lists the sessions a run may see.
pub(super) async fn list(core: &Core, run: &LiveRun, arguments: &Value) -> CallResult {
    let rows = match visible_sessions(core, run).await {
        Ok(rows) => rows,
        Err(error) => return CallResult::error(format!("the sessions could not be read: {error}")),
    };
    let limit = number(arguments, "limit").unwrap_or(100).clamp(1, 200);
    let active =
        number(arguments, "activeMinutes").map(|minutes| Duration::from_secs(minutes * 60));
    let now = UnixMillis::now();
    let recent = |row: &&SessionRow| active.is_none_or(|limit| now.since(row.updated_at) <= limit);
    let sessions: Vec<Value> = rows
        .iter()
        .filter(recent)
        .take(usize::try_from(limit).unwrap_or(usize::MAX))
        .map(|row| {
            let live = core.registry.on_session(&row.key);
            json!({
                "key": row.key.as_str(),
                "agentId": row.agent.as_str(),
                "label": row.label,
                "spawnedBy": row.spawned_by.as_ref().map(SessionKey::as_str),
                "updatedAt": row.updated_at.to_string(),
                "status": if live.is_empty() { "idle" } else { "running" },
            })
        })
        .collect();
    CallResult::new(json!({ "count": sessions.len(), "sessions": sessions }).to_string())
}

/// Reads the transcript of a session a run may see.
pub(super) async fn history(core: &Core, run: &LiveRun, arguments: &Value) -> CallResult {
    let Some(wanted) = arguments["sessionKey"].as_str() else {
        return CallResult::error("sessionKey is missing".to_owned());
    };
    let key = match SessionKey::parse(wanted, &run.agent) {
        Ok(key) => key,
        Err(error) => return CallResult::error(error.to_string()),
    };
    let rows = match visible_sessions(core, run).await {
        Ok(rows) => rows,
        Err(error) => return CallResult::error(format!("the sessions could not be read: {error}")),
    };
    let Some(session) = rows.into_iter().find(|row| row.key == key) else {
        return CallResult::status(&json!({
            "status": "forbidden",
            "error": format!("{key} is not a session you may see; sessions_list names those"),
        }));
    };
    let limit = u32::try_from(number(arguments, "limit").unwrap_or(50).clamp(1, 200)).unwrap_or(50);
    let tools = arguments["includeTools"].as_bool().unwrap_or(false);
    let entries = match core.store.transcript(&session.session_id, Some(limit)).await {
        Ok(entries) => entries,
        Err(error) => {
            return CallResult::error(format!("the transcript could not be read: {error}"));
        }
    };
    let messages = entries.into_iter().filter_map(|entry| serde_json::from_value(entry.body).ok());
    let shown: Vec<Value> = messages.filter_map(|message| shown(&message, tools)).collect();
    let (messages, left_out) = capped(shown);
    CallResult::new(
        json!({ "sessionKey": key.as_str(), "messages": messages, "leftOut": left_out })
            .to_string(),
    )
}

/// Ends the turn until children are done.
pub(super) fn yield_turn(run: &Arc<LiveRun>, arguments: &Value) -> CallResult {
    let message =
        arguments["message"].as_str().unwrap_or("waiting for the agents that were started");
    match run.pending() {
        (_, 1..) => CallResult {
            text: json!({ "status": "yielded", "message": message }).to_string(),
            is_error: false,
            yields: Yields::UntilChildren,
        },
        (0, 0) => CallResult::status(&json!({
            "status": "error",
            "error": "there is nothing to wait for: no agent you started is still at work",
        })),
        (1.., 0) => CallResult::new(
            json!({ "status": "already_pending", "message": "results are in; you read them next" })
                .to_string(),
        ),
    }
}

/// Those of the run's own agent, for runs that nobody spawned; and in any case its own and those spawned from it.
async fn visible_sessions(core: &Core, run: &LiveRun) -> Result<Vec<SessionRow>, StoreError> {
    let filter = SessionFilter { limit: Some(SESSIONS_MAX), ..SessionFilter::default() };
    let rows = core.store.sessions(filter).await?;
    let parents: HashMap<SessionKey, Option<SessionKey>> =
        rows.iter().map(|row| (row.key.clone(), row.spawned_by.clone())).collect();
    let visible = |row: &SessionRow| {
        (run.depth == 0 && row.agent == run.agent) || descends(&row.key, &run.key, &parents)
    };
    Ok(rows.into_iter().filter(visible).collect())
}

/// Whether a session is another one or was spawned from it, at whatever distance.
fn descends(
    key: &SessionKey,
    from: &SessionKey,
    parents: &HashMap<SessionKey, Option<SessionKey>>,
) -> bool {
    let mut at = Some(key);
    // Bounded, so that a circle in the store cannot hold a run up.
    for _ in 0..64 {
        match at {
            Some(key) if key == from => return true,
            Some(key) => at = parents.get(key).and_then(Option::as_ref),
            None => return false,
        }
    }
    false
}

fn shown(message: &Message, tools: bool) -> Option<Value> {
    let (role, extra) = match message {
        Message::User { .. } => ("user", Value::Null),
        Message::Assistant { tool_calls, .. } if tools && !tool_calls.is_empty() => (
            "assistant",
            json!(tool_calls.iter().map(|call| call.name.as_str()).collect::<Vec<_>>()),
        ),
        Message::Assistant { text, .. } if text.is_empty() => return None,
        Message::Assistant { .. } => ("assistant", Value::Null),
        Message::ToolResult { name, .. } if tools => ("tool", json!(name)),
        Message::ToolResult { .. } => return None,
    };
    // A transcript may hold frames around other children's results: they must not look like one of this run's.
    let text = neutralised(message.text());
    let text = match text.char_indices().nth(MESSAGE_MAX) {
        Some((cut, _)) => format!("{}… [cut]", &text[..cut]),
        None => text,
    };
    let mut shown = json!({ "role": role, "text": text });
    if !extra.is_null() {
        shown["tools"] = extra;
    }
    Some(shown)
}

/// Keeps the newest that fit, and says how many do not.
fn capped(messages: Vec<Value>) -> (Vec<Value>, usize) {
    let mut size = 0;
    let total = messages.len();
    let mut kept: Vec<Value> = messages
        .into_iter()
        .rev()
        .take_while(|message| {
            size += message.to_string().len();
            size <= HISTORY_MAX
        })
        .collect();
    kept.reverse();
    let left_out = total - kept.len();
    (kept, left_out)
}

fn number(arguments: &Value, name: &str) -> Option<u64> {
    arguments[name].as_u64().map(|number| number.min(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_spawned_from_a_session_descends_from_it() {
        let key = |text: &str| SessionKey::from_store(text);
        let parents = HashMap::from([
            (key("c"), Some(key("b"))),
            (key("b"), Some(key("a"))),
            (key("a"), None),
            (key("x"), Some(key("y"))),
            (key("y"), Some(key("x"))),
        ]);
        assert!(descends(&key("c"), &key("a"), &parents));
        assert!(descends(&key("a"), &key("a"), &parents));
        assert!(!descends(&key("a"), &key("c"), &parents));
        assert!(!descends(&key("x"), &key("a"), &parents), "a circle ends");
    }

    #[test]
    fn a_history_is_capped_and_holds_no_frame() {
        let message = |text: String| shown(&Message::User { text }, false).unwrap();
        let framed = message(crate::frame::framed("x"));
        assert!(!framed.to_string().contains("UNTRUSTED_CHILD_RESULT"));
        let long = message("y".repeat(MESSAGE_MAX * 2));
        assert!(long["text"].as_str().unwrap().ends_with("[cut]"));
        let (kept, left_out) = capped(vec![long; 40]);
        assert!(left_out > 0 && kept.len() + left_out == 40);
        let call = Message::ToolResult {
            call_id: "1".into(),
            name: "t".into(),
            text: "secret".into(),
            is_error: false,
        };
        assert!(shown(&call, false).is_none() && shown(&call, true).is_some());
    }
}
