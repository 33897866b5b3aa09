//! Methods on runs: start one, wait for one, list, show, cancel.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use wrasse_scope::clock;
use wrasse_store::{RunFilter, RunRow};
use wrasse_types::wire::RpcFault;
use wrasse_types::{AgentId, EndReason, JobId, RunId, SessionKey, SessionKind};

use super::params::{self, agent_id, session_key};
use super::views;
use crate::core::Core;
use crate::fault;
use crate::lanes::Lane;
use crate::run::admit::{Admitted, admit};
use crate::run::state::ChildPolicy;
use crate::run::{Arrival, Cause, Cleanup, Limits, LiveRun, RunRequest};
use crate::sessions;

/// The wait of `agent.wait` where none is named.
const WAIT_DEFAULT: Duration = Duration::from_secs(30);
/// The longest wait of one call; callers ask again.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long `runs.cancel` waits until nothing of the run is left.
const CANCEL_WAIT: Duration = Duration::from_secs(10);

/// What becomes of children that outlive the run's last word.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Children {
    Wait,
    Wake,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AgentParams {
    message: String,
    session_key: Option<String>,
    session_id: Option<String>,
    agent_id: Option<String>,
    timeout_ms: Option<u64>,
    run_id: Option<String>,
    label: Option<String>,
    model: Option<String>,
    children: Option<Children>,
}

/// Starts a run.
pub(super) async fn agent(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: AgentParams = params::read(given)?;
    if params.message.trim().is_empty() {
        return Err(fault::invalid("message is empty"));
    }
    let key = target_key(core, &params).await?;
    let found = core.store.session(&key).await.map_err(|error| fault::store(&error))?;
    let reserved = match key.kind() {
        SessionKind::Cron | SessionKind::Subagent => true,
        SessionKind::Main | SessionKind::Other => key.as_str().split(':').nth(2) == Some("acp"),
    };
    if found.is_none() && reserved {
        return Err(fault::refused(
            format!("{key} is in a name space of the gateway's own, and there is no such session"),
            "wrasse sessions list",
        ));
    }
    let agent = core.agent(&key.agent())?;
    let asked = params.timeout_ms.filter(|ms| *ms > 0).map(Duration::from_millis);
    let limit = [asked, agent.run_timeout].into_iter().flatten().min();
    let child_policy = match (params.children, key.kind()) {
        (Some(Children::Wait), _) | (None, SessionKind::Subagent | SessionKind::Cron) => {
            ChildPolicy::Wait
        }
        (Some(Children::Wake), _) | (None, SessionKind::Main | SessionKind::Other) => {
            ChildPolicy::Wake
        }
    };
    let request = RunRequest {
        id: params.run_id.as_deref().map(client_run_id).transpose()?,
        key: key.clone(),
        agent: agent.id.clone(),
        message: Some(params.message),
        inbox: Vec::new(),
        requester: None,
        cause: Cause::Message,
        depth: found.map_or(0, |session| session.depth),
        lane: Lane::Main,
        child_policy,
        cleanup: Cleanup::Keep,
        label: params.label,
        limits: Limits { run: limit, job: None },
        models: params.model.into_iter().collect(),
        arrival: Arrival::Interaction,
    };
    let id = match admit(core, request).await? {
        Admitted::New(run) => run.id.clone(),
        Admitted::Known(id) => id,
    };
    Ok(json!({ "runId": id.as_str(), "status": "accepted", "sessionKey": key.as_str() }))
}

async fn target_key(core: &Core, params: &AgentParams) -> Result<SessionKey, RpcFault> {
    let named = params.agent_id.as_deref().map(|text| agent_id(core, text)).transpose()?;
    let agent: &AgentId = named.as_ref().unwrap_or(&core.config.agents.default);
    let key = match (&params.session_key, &params.session_id) {
        (Some(_), Some(_)) => {
            return Err(fault::invalid(
                "name a session by sessionKey or by sessionId, not by both",
            ));
        }
        (Some(text), None) => {
            SessionKey::parse(text, agent).map_err(|error| fault::invalid(error.to_string()))?
        }
        (None, Some(id)) => sessions::by_session_id(core, id, agent).await?,
        (None, None) => SessionKey::main(agent),
    };
    match named {
        Some(named) if named != key.agent() => Err(fault::invalid(format!(
            "{key} belongs to agent \"{}\", not to \"{named}\"",
            key.agent()
        ))),
        Some(_) | None => Ok(key),
    }
}

fn client_run_id(text: &str) -> Result<RunId, RpcFault> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (4..=128).contains(&text.len()) && text.chars().all(sound) {
        Ok(RunId::new(text))
    } else {
        Err(fault::invalid("runId must be 4 to 128 letters, digits, '-', '_' or '.'"))
    }
}

/// Until when to wait.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Until {
    /// The final text, or the fault, is known.
    #[default]
    Outcome,
    /// Nothing of the run is left either.
    Released,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WaitParams {
    run_id: String,
    timeout_ms: Option<u64>,
    #[serde(default)]
    until: Until,
}

/// Waits for a run.
pub(super) async fn wait(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: WaitParams = params::read(given)?;
    let id = RunId::new(params.run_id);
    let limit = match params.timeout_ms {
        None => WAIT_DEFAULT,
        // As everywhere, 0 is no limit.
        Some(0) => WAIT_MAX,
        Some(ms) => Duration::from_millis(ms).min(WAIT_MAX),
    };
    if let Some(run) = core.registry.get_or_unrecorded(&id) {
        let waited = match params.until {
            Until::Outcome => clock::timeout(limit, async { drop(run.finished().await) }).await,
            Until::Released => clock::timeout(limit, run.over()).await,
        };
        if waited.is_err() {
            return Ok(json!({
                "runId": id.as_str(),
                "status": "timeout",
                "state": views::phase_name(run.phase()),
                "sessionKey": run.key.as_str(),
                "endReason": null,
                "text": null,
                "error": null,
            }));
        }
        if let Some(outcome) = run.outcome() {
            return Ok(json!({
                "runId": id.as_str(),
                "status": wait_status(Some(outcome.reason)),
                "state": "ended",
                "endReason": outcome.reason.name(),
                "text": outcome.text,
                "error": outcome.error,
                "sessionKey": run.key.as_str(),
                "sessionId": run.session_id.as_str(),
                "agentId": run.agent.as_str(),
                "startedAt": run.accepted_at.to_string(),
                "endedAt": outcome.at.to_string(),
                "usage": { "input": outcome.tally.tokens_in, "output": outcome.tally.tokens_out },
                "calls": outcome.tally.calls,
                "turns": outcome.tally.turns,
                "children": outcome.children,
                "delivery": outcome.delivery,
            }));
        }
    }
    let row = stored(core, &id).await?;
    Ok(json!({
        "runId": id.as_str(),
        "status": wait_status(row.end),
        "state": row.state.name(),
        "endReason": row.end.map(|end| end.name()),
        "text": row.result,
        "error": row.error,
        "sessionKey": row.session_key.as_str(),
        "sessionId": row.session_id.as_str(),
        "agentId": row.agent.as_str(),
        "startedAt": row.started_at.to_string(),
        "endedAt": row.ended_at.map(|at| at.to_string()),
        "usage": { "input": row.usage_in, "output": row.usage_out },
        "calls": row.calls,
        "turns": row.turns,
        "children": row.children,
        "delivery": row.delivery,
        "released": row.released,
    }))
}

fn wait_status(end: Option<EndReason>) -> &'static str {
    if end.is_some_and(EndReason::is_success) { "ok" } else { "error" }
}

async fn stored(core: &Core, id: &RunId) -> Result<RunRow, RpcFault> {
    let found = core.store.run(id).await.map_err(|error| fault::store(&error))?;
    found.ok_or_else(|| fault::not_found(format!("there is no run {id}"), "wrasse runs list"))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RunsParams {
    #[serde(alias = "key")]
    session_key: Option<String>,
    parent: Option<String>,
    root: Option<String>,
    job_id: Option<String>,
    #[serde(default)]
    active: bool,
    limit: Option<u32>,
}

/// Lists runs, newest first.
pub(super) async fn runs_list(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: RunsParams = params::read(given)?;
    let filter = RunFilter {
        session: params.session_key.as_deref().map(|key| session_key(core, key)).transpose()?,
        parent: params.parent.map(RunId::new),
        root: params.root.map(RunId::new),
        job: params.job_id.map(JobId::new),
        active: params.active,
        limit: Some(params.limit.unwrap_or(50)),
    };
    let rows = core.store.runs(filter).await.map_err(|error| fault::store(&error))?;
    let runs: Vec<Value> = rows.iter().map(|row| views::run(core, row)).collect();
    Ok(json!({ "schema": wrasse_types::wire::SCHEMA, "runs": runs }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OneRun {
    #[serde(alias = "id")]
    run_id: String,
}

/// One run and its children.
pub(super) async fn runs_show(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: OneRun = params::read(given)?;
    let id = RunId::new(params.run_id);
    let row = stored(core, &id).await?;
    let filter = RunFilter { parent: Some(id), ..RunFilter::default() };
    let children = core.store.runs(filter).await.map_err(|error| fault::store(&error))?;
    let children: Vec<Value> = children.iter().map(|row| views::run(core, row)).collect();
    Ok(json!({ "run": views::run(core, &row), "children": children }))
}

/// Who cancels.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CancelReason {
    /// A person.
    #[default]
    Cancelled,
    /// The command that waited for the run, which was interrupted.
    ClientInterrupted,
    /// The command that waited for the run, which would wait no longer.
    ClientTimeout,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CancelParams {
    #[serde(alias = "id")]
    run_id: String,
    #[serde(default)]
    reason: CancelReason,
}

/// Ends a run and everything it spawned; answers when nothing of it is left, or after a while.
pub(super) async fn runs_cancel(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: CancelParams = params::read(given)?;
    let id = RunId::new(params.run_id);
    let Some(run) = core.registry.get(&id) else {
        let row = stored(core, &id).await?;
        return Ok(json!({
            "runId": id.as_str(),
            "cancelled": false,
            "endReason": row.end.map(|end| end.name()),
        }));
    };
    let reason = match params.reason {
        CancelReason::Cancelled => EndReason::Cancelled,
        CancelReason::ClientInterrupted => EndReason::ClientInterrupted,
        CancelReason::ClientTimeout => EndReason::RunTimeout,
    };
    let first = run.request_end(reason);
    let over = clock::timeout(CANCEL_WAIT, tree_over(core, &run)).await.is_ok();
    Ok(json!({
        "runId": id.as_str(),
        "cancelled": first && run.outcome().is_some_and(|outcome| outcome.reason == reason),
        "endReason": run.outcome().map(|outcome| outcome.reason.name()),
        "over": over,
    }))
}

async fn tree_over(core: &Core, run: &LiveRun) {
    let children = core.registry.children_of(&run.id);
    run.over().await;
    for child in children {
        child.over().await;
    }
}
