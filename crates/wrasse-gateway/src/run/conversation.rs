//! The messages of a run: read from the session's transcript, and appended to it as they happen.

use std::collections::HashMap;

use wrasse_model::Message;
use wrasse_store::{Store, StoreError};
use wrasse_types::{RunId, SessionId, SessionKey};

/// The most messages of the past that a model reads.
const HISTORY_MAX: u32 = 400;
/// What a model reads about a call whose result was never written down.
const OUTCOME_UNKNOWN: &str = "outcome unknown: the run was interrupted while this call was in flight, so its effect may or \
     may not have happened. It was not repeated. Check before you do it again.";

/// The messages of a run.
#[derive(Debug)]
pub(crate) struct Conversation {
    store: Store,
    key: SessionKey,
    session_id: SessionId,
    run: RunId,
    messages: Vec<Message>,
}

impl Conversation {
    /// Reads what was said before.
    pub(crate) async fn load(
        store: Store,
        key: SessionKey,
        session_id: SessionId,
        run: RunId,
    ) -> Result<Self, StoreError> {
        let entries = store.transcript(&session_id, Some(HISTORY_MAX)).await?;
        let read = |body| match serde_json::from_value::<Message>(body) {
            Ok(message) => Some(message),
            Err(error) => {
                tracing::warn!(%error, session = %key, "a message of the transcript cannot be read; it is left out");
                None
            }
        };
        let messages = repaired(entries.into_iter().filter_map(|entry| read(entry.body)).collect());
        Ok(Self { store, key, session_id, run, messages })
    }

    /// Appends a message; it is committed when this returns.
    pub(crate) async fn append(&mut self, message: Message) -> Result<(), StoreError> {
        let role = match &message {
            Message::User { .. } => "user",
            Message::Assistant { .. } => "assistant",
            Message::ToolResult { .. } => "tool",
        };
        let body = serde_json::to_value(&message).unwrap_or_default();
        self.store.append_entry(&self.key, &self.session_id, Some(&self.run), role, &body).await?;
        self.messages.push(message);
        Ok(())
    }

    /// The messages as a model reads them: each call's result in the order of the calls.
    pub(crate) fn messages(&self) -> Vec<Message> {
        repaired(self.messages.clone())
    }
}

/// Brings a transcript into the form models demand: after each message with calls exactly one result for each call, in
/// the order of the calls; a missing one is reported as unknown, one without its call is left out.
fn repaired(messages: Vec<Message>) -> Vec<Message> {
    let mut out = Vec::with_capacity(messages.len());
    let mut rest = messages.into_iter().peekable();
    while let Some(message) = rest.next() {
        let calls = match &message {
            Message::User { .. } => Vec::new(),
            Message::Assistant { tool_calls, .. } => tool_calls.clone(),
            // Results that belong to a message are taken with it, below.
            Message::ToolResult { .. } => continue,
        };
        out.push(message);
        if calls.is_empty() {
            continue;
        }
        let mut results: HashMap<String, Message> = HashMap::new();
        while let Some(next) = rest.next_if(|next| matches!(next, Message::ToolResult { .. })) {
            if let Message::ToolResult { call_id, .. } = &next {
                results.entry(call_id.clone()).or_insert(next);
            }
        }
        out.extend(calls.into_iter().map(|call| {
            results.remove(&call.id).unwrap_or_else(|| Message::ToolResult {
                call_id: call.id,
                name: call.name,
                text: OUTCOME_UNKNOWN.to_owned(),
                is_error: true,
            })
        }));
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use wrasse_model::ToolCall;

    use super::*;

    fn user(text: &str) -> Message {
        Message::User { text: text.to_owned() }
    }

    fn calls(ids: &[&str]) -> Message {
        let tool_calls = ids.iter().map(|id| ToolCall::new(*id, "t", json!({}))).collect();
        Message::Assistant { text: String::new(), tool_calls }
    }

    fn result(id: &str) -> Message {
        Message::ToolResult {
            call_id: id.to_owned(),
            name: "t".to_owned(),
            text: format!("result of {id}"),
            is_error: false,
        }
    }

    #[test]
    fn a_call_in_flight_at_a_crash_is_reported_as_unknown() {
        let read = repaired(vec![user("go"), calls(&["a", "b"]), result("b"), user("again")]);
        assert_eq!(read.len(), 5);
        assert_eq!(read[2].text(), OUTCOME_UNKNOWN);
        assert_eq!(read[3], result("b"));
        assert_eq!(read[4], user("again"));
    }

    #[test]
    fn results_are_put_in_the_order_of_their_calls_and_strays_left_out() {
        let read = repaired(vec![
            result("old"),
            calls(&["a", "b"]),
            result("b"),
            result("a"),
            result("a"),
        ]);
        assert_eq!(read, vec![calls(&["a", "b"]), result("a"), result("b")]);
    }

    proptest! {
        /// Whatever was cut off, each call has exactly one result right behind it, and repairing twice changes nothing.
        #[test]
        fn every_call_has_one_result(kinds in proptest::collection::vec(0_u8..5, 0..40)) {
            let messages: Vec<Message> = kinds.iter().map(|kind| match kind {
                0 => user("u"),
                1 => calls(&["a"]),
                2 => calls(&["a", "b"]),
                3 => result("a"),
                _ => result("b"),
            }).collect();
            let once = repaired(messages);
            let mut expected: Vec<String> = Vec::new();
            for message in &once {
                match message {
                    Message::ToolResult { call_id, .. } => {
                        prop_assert!(!expected.is_empty());
                        prop_assert_eq!(&expected.remove(0), call_id);
                    }
                    Message::User { .. } => prop_assert!(expected.is_empty()),
                    Message::Assistant { tool_calls, .. } => {
                        prop_assert!(expected.is_empty());
                        expected = tool_calls.iter().map(|call| call.id.clone()).collect();
                    }
                }
            }
            prop_assert!(expected.is_empty());
            prop_assert_eq!(repaired(once.clone()), once);
        }
    }
}
