//! `sessions_spawn`: checks, caps, and the answer that says what is kept and what is not.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;
use wrasse_config::Agent;
use wrasse_types::{AgentId, SessionKey, SessionKind};

use crate::core::Core;
use crate::frame::neutralised;
use crate::lanes::Lane;
use crate::run::admit::{Admitted, admit, new_run_id};
use crate::run::state::ChildPolicy;
use crate::run::{
    Arrival, Cause, Cleanup, Expects, Limits, LiveRun, Requester, RunRequest, first_line,
};

/// Parameters of channels, which a child's result never goes to.
const FORBIDDEN: [&str; 8] =
    ["target", "transport", "channel", "to", "threadId", "thread_id", "replyTo", "reply_to"];

/// What a model asked for, checked.
#[derive(Debug, Clone, PartialEq)]
struct SpawnParams {
    task: String,
    label: Option<String>,
    agent: Option<AgentId>,
    model: Option<String>,
    /// `Some(None)`: explicitly no limit.
    timeout: Option<Option<Duration>>,
    cleanup: Cleanup,
    expects: Expects,
}

/// Why a spawn is not done, in the form the model reads.
#[derive(Debug, Clone, PartialEq)]
struct Refusal {
    status: &'static str,
    error: String,
}

fn error(text: impl Into<String>) -> Refusal {
    Refusal { status: "error", error: text.into() }
}

fn forbidden(text: impl Into<String>) -> Refusal {
    Refusal { status: "forbidden", error: text.into() }
}

/// Starts a child and answers at once.
pub(crate) async fn sessions_spawn(
    core: &Arc<Core>,
    parent: &Arc<LiveRun>,
    params: &Value,
) -> Value {
    match Box::pin(try_spawn(core, parent, params)).await {
        Ok(answer) => answer,
        Err(Refusal { status, error }) => json!({ "status": status, "error": error }),
    }
}

async fn try_spawn(
    core: &Arc<Core>,
    parent: &Arc<LiveRun>,
    params: &Value,
) -> Result<Value, Refusal> {
    let params = parse(params)?;
    let requester = core.agent(&parent.agent).map_err(|fault| error(fault.message))?;
    // One at a time, so that parallel calls cannot pass the cap together.
    let spawning = core.spawning.lock().await;
    let children = core.registry.spawned_by(&parent.key);
    let active = children.iter().filter(|child| child.outcome().is_none()).count();
    let target = checked_target(requester, parent.depth, active, params.agent.as_ref())?;
    let agent = core.agent(&target).map_err(|fault| error(fault.message))?;
    let key = SessionKey::subagent(&target, &Uuid::new_v4().to_string());
    let id = new_run_id();
    let cleanup = params.cleanup;
    let request = request(parent, requester, agent, params, &key, id.clone());
    match admit(core, request).await {
        Ok(Admitted::New(_) | Admitted::Known(_)) => {}
        Err(fault) => {
            return Err(error(format!("the child could not be started: {}", fault.message)));
        }
    }
    drop(spawning);
    let record = match cleanup {
        Cleanup::Keep => "kept",
        Cleanup::Delete => "deleted after",
    };
    let mut answer = json!({
        "status": "accepted",
        "childSessionKey": key.as_str(),
        "runId": id.as_str(),
        "mode": "run",
        "lifecycle": { "record": record, "servers": "released at run end" },
    });
    if parent.key.kind() != SessionKind::Cron {
        answer["note"] =
            json!("The result comes to you as a message of its own; do not poll for it.");
    }
    Ok(answer)
}

/// Checks the caps in a fixed order and gives the agent that is to run.
fn checked_target(
    requester: &Agent,
    depth: u32,
    active: usize,
    wanted: Option<&AgentId>,
) -> Result<AgentId, Refusal> {
    let limits = &requester.subagents;
    if depth >= limits.max_depth {
        return Err(forbidden(format!(
            "sessions_spawn is not allowed at this depth (current depth: {depth}, max: {})",
            limits.max_depth
        )));
    }
    if active >= limits.max_children {
        return Err(forbidden(format!(
            "sessions_spawn has reached the most active children for this session ({active}/{})",
            limits.max_children
        )));
    }
    let Some(wanted) = wanted else {
        if limits.require_agent_id {
            return Err(forbidden(format!(
                "sessions_spawn needs an agentId here ({})",
                allowed_text(requester)
            )));
        }
        return Ok(requester.id.clone());
    };
    let allowed = *wanted == requester.id
        || limits.allow_agents.iter().any(|a| a == "*" || a.eq_ignore_ascii_case(wanted.as_str()));
    if allowed {
        Ok(wanted.clone())
    } else {
        Err(forbidden(format!(
            "agentId \"{wanted}\" is not allowed for sessions_spawn ({})",
            allowed_text(requester)
        )))
    }
}

fn allowed_text(requester: &Agent) -> String {
    if requester.subagents.allow_agents.is_empty() {
        format!("allowed: {}", requester.id)
    } else {
        format!("allowed: {}", requester.subagents.allow_agents.join(", "))
    }
}

fn request(
    parent: &LiveRun,
    requester: &Agent,
    agent: &Agent,
    params: SpawnParams,
    key: &SessionKey,
    id: wrasse_types::RunId,
) -> RunRequest {
    let depth = parent.depth + 1;
    let message = format!(
        "[Subagent Context] You run at depth {depth} of {}. Your last message is reported to the agent that started \
         you by itself; do not poll and do not wait for an answer.\n\n[Subagent Task]: {}",
        agent.subagents.max_depth,
        neutralised(&params.task)
    );
    let models = match params.model {
        Some(model) => vec![model],
        None => agent.subagents.models.clone(),
    };
    let timeout = params.timeout.unwrap_or(requester.subagents.run_timeout.or(agent.run_timeout));
    RunRequest {
        id: Some(id),
        key: key.clone(),
        agent: agent.id.clone(),
        message: Some(message),
        inbox: Vec::new(),
        requester: Some(Requester {
            run: parent.id.clone(),
            root: parent.root.clone(),
            session: parent.key.clone(),
            task: first_line(&params.task),
            expects: params.expects,
        }),
        cause: Cause::Spawn,
        depth,
        lane: Lane::Subagent,
        child_policy: ChildPolicy::Wait,
        cleanup: params.cleanup,
        label: params.label,
        limits: Limits { run: timeout, job: None },
        models,
        arrival: Arrival::Background,
    }
}

fn parse(params: &Value) -> Result<SpawnParams, Refusal> {
    let Some(map) = params.as_object() else {
        return Err(error("the arguments are not an object"));
    };
    if let Some(name) = FORBIDDEN.iter().find(|name| map.contains_key(**name)) {
        return Err(error(format!(
            "sessions_spawn does not take \"{name}\": the result comes back to you, not to a channel"
        )));
    }
    let task = text(map, "task")?
        .filter(|task| !task.trim().is_empty())
        .ok_or_else(|| error("task is missing: say what the agent is to do"))?;
    check_unsupported(map)?;
    let agent = match text(map, "agentId")?.filter(|id| !id.trim().is_empty()) {
        Some(id) => Some(AgentId::parse(id.trim()).map_err(|fault| error(fault.to_string()))?),
        None => None,
    };
    let cleanup = match text(map, "cleanup")?.as_deref() {
        None | Some("keep") => Cleanup::Keep,
        Some("delete") => Cleanup::Delete,
        Some(other) => {
            return Err(error(format!("cleanup is \"keep\" or \"delete\", not {other:?}")));
        }
    };
    let expects = match map.get("expectsCompletionMessage") {
        None | Some(Value::Null | Value::Bool(true)) => Expects::Announcement,
        Some(Value::Bool(false)) => Expects::Nothing,
        Some(_) => return Err(error("expectsCompletionMessage is true or false")),
    };
    let timeout = match map.get("runTimeoutSeconds").or_else(|| map.get("timeoutSeconds")) {
        None | Some(Value::Null) => None,
        Some(value) => Some(seconds(value)?),
    };
    let label = text(map, "label")?.or(text(map, "taskName")?);
    Ok(SpawnParams { task, label, agent, model: text(map, "model")?, timeout, cleanup, expects })
}

/// Refuses what would silently mean something else here.
fn check_unsupported(map: &Map<String, Value>) -> Result<(), Refusal> {
    match text(map, "runtime")?.as_deref() {
        None | Some("subagent") => {}
        Some(other) => {
            return Err(error(format!("runtime {other:?} is not available; use \"subagent\"")));
        }
    }
    if map.get("thread") == Some(&Value::Bool(true)) {
        return Err(error("thread: true needs a channel that has threads, and there is none"));
    }
    match text(map, "mode")?.as_deref() {
        None | Some("run") => {}
        Some("session") => {
            return Err(error(
                "mode \"session\" needs thread: true, and no channel has threads here",
            ));
        }
        Some(other) => return Err(error(format!("mode is \"run\", not {other:?}"))),
    }
    if text(map, "sandbox")?.as_deref() == Some("require") {
        return Err(forbidden("sandbox \"require\" cannot be met: there is no sandbox here"));
    }
    if map.get("attachments").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
        return Err(error("attachments are not available; put the content into the task"));
    }
    if text(map, "context")?.as_deref() == Some("fork") {
        return Err(error("context \"fork\" is not available; put what is needed into the task"));
    }
    Ok(())
}

fn text(map: &Map<String, Value>, name: &str) -> Result<Option<String>, Refusal> {
    match map.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(error(format!("{name} must be a text"))),
    }
}

/// Whole seconds; 0 is no limit.
fn seconds(value: &Value) -> Result<Option<Duration>, Refusal> {
    let fail = || error("runTimeoutSeconds must be a number of seconds, 0 or more");
    let seconds = value.as_f64().filter(|s| s.is_finite() && *s >= 0.0).ok_or_else(fail)?;
    let limit = Duration::try_from_secs_f64(seconds.floor()).map_err(|_| fail())?;
    Ok((!limit.is_zero()).then_some(limit))
}

#[cfg(test)]
mod tests {
    use wrasse_config::{RunBudget, Subagents, ToolPolicy};

    use super::*;

    fn agent(allow: &[&str], require: bool) -> Agent {
        Agent {
            id: AgentId::new("hub"),
            name: None,
            workspace: "/tmp".into(),
            models: Vec::new(),
            system_prompt: None,
            run_timeout: None,
            model_idle_timeout: None,
            tools: ToolPolicy::default(),
            subagents: Subagents {
                max_depth: 2,
                max_children: 3,
                run_timeout: None,
                allow_agents: allow.iter().map(|a| String::from(*a)).collect(),
                require_agent_id: require,
                models: Vec::new(),
            },
            budget: RunBudget { turns: 1, calls: 1, tokens: None },
        }
    }

    #[test]
    fn caps_are_refused_with_their_numbers() {
        let target = |agent: &Agent, depth, active, wanted: Option<&str>| {
            checked_target(agent, depth, active, wanted.map(AgentId::new).as_ref())
        };
        let own = agent(&[], false);
        assert_eq!(target(&own, 0, 0, None), Ok(AgentId::new("hub")));
        assert_eq!(target(&own, 1, 2, Some("hub")), Ok(AgentId::new("hub")));
        for (depth, active, wanted, parts) in [
            (2, 0, None, ["current depth: 2", "max: 2"]),
            (0, 3, None, ["3/3", "active children"]),
            (0, 0, Some("leaf"), ["\"leaf\"", "allowed: hub"]),
        ] {
            let refusal = target(&own, depth, active, wanted).unwrap_err();
            assert_eq!(refusal.status, "forbidden");
            assert!(parts.iter().all(|part| refusal.error.contains(part)), "{}", refusal.error);
        }
        assert_eq!(target(&agent(&["*"], false), 0, 0, Some("leaf")), Ok(AgentId::new("leaf")));
        assert_eq!(target(&agent(&["Leaf"], true), 0, 0, Some("leaf")), Ok(AgentId::new("leaf")));
        assert!(
            target(&agent(&["leaf"], true), 0, 0, None)
                .unwrap_err()
                .error
                .contains("needs an agentId")
        );
    }

    #[test]
    fn arguments() {
        let good = parse(&json!({ "task": "x", "runTimeoutSeconds": 2.9, "cleanup": "delete", "agentId": "Leaf" })).unwrap();
        assert_eq!(good.timeout, Some(Some(Duration::from_secs(2))));
        assert_eq!(good.cleanup, Cleanup::Delete);
        assert_eq!(good.agent, Some(AgentId::new("leaf")));
        assert_eq!(
            parse(&json!({ "task": "x", "timeoutSeconds": 0 })).unwrap().timeout,
            Some(None)
        );
        for bad in [
            json!([]),
            json!({}),
            json!({ "task": " " }),
            json!({ "task": "x", "channel": "telegram" }),
            json!({ "task": "x", "mode": "session" }),
            json!({ "task": "x", "thread": true }),
            json!({ "task": "x", "runtime": "acp" }),
            json!({ "task": "x", "agentId": "a b" }),
            json!({ "task": "x", "runTimeoutSeconds": -1 }),
            json!({ "task": "x", "cleanup": "maybe" }),
        ] {
            assert_eq!(parse(&bad).unwrap_err().status, "error", "{bad}");
        }
        assert_eq!(
            parse(&json!({ "task": "x", "sandbox": "require" })).unwrap_err().status,
            "forbidden"
        );
    }
}
