//! How records look on the wire.

use serde_json::{Value, json};
use wrasse_mcp::Ended;
use wrasse_store::{FiringRow, JobRow, RunRow, SessionRow, TranscriptEntry};
use wrasse_types::{JobId, RunId, SessionKey, UnixMillis};

use crate::core::Core;
use crate::cron::Armed;
use crate::run::LiveRun;
use crate::run::state::{Phase, Tally};

fn time(at: Option<UnixMillis>) -> Value {
    at.map_or(Value::Null, |at| json!(at.to_string()))
}

/// A session.
pub(super) fn session(core: &Core, row: &SessionRow) -> Value {
    let live = core.registry.on_session(&row.key);
    let runs: Vec<&str> = live.iter().map(|run| run.id.as_str()).collect();
    json!({
        "key": row.key.as_str(),
        "sessionId": row.session_id.as_str(),
        "agentId": row.agent.as_str(),
        "label": row.label,
        "spawnedBy": row.spawned_by.as_ref().map(SessionKey::as_str),
        "depth": row.depth,
        "createdAt": row.created_at.to_string(),
        "updatedAt": row.updated_at.to_string(),
        "lastInteractionAt": row.last_interaction_at.to_string(),
        "resetCount": row.reset_count,
        "status": if runs.is_empty() { "idle" } else { "running" },
        "runs": runs,
    })
}

/// A run.
pub(super) fn run(core: &Core, row: &RunRow) -> Value {
    let live = core.registry.get(&row.id);
    let state = live.as_ref().map_or(row.state.name(), |run| phase_name(run.phase()));
    // The record has the figures of a run that is over.
    let (used, children) = live.as_ref().map_or_else(
        || {
            let (tokens_in, tokens_out) = (row.usage_in, row.usage_out);
            let (turns, calls) = (row.turns, row.calls);
            (Tally { turns, calls, tokens_in, tokens_out, servers_failed: 0 }, row.children)
        },
        |run| (run.tally(), run.spawned()),
    );
    json!({
        "id": row.id.as_str(),
        "sessionKey": row.session_key.as_str(),
        "sessionId": row.session_id.as_str(),
        "agentId": row.agent.as_str(),
        "parent": row.parent.as_ref().map(RunId::as_str),
        "root": row.root.as_str(),
        "cause": row.cause,
        "jobId": row.job.as_ref().map(JobId::as_str),
        "depth": row.depth,
        "label": row.label,
        "state": state,
        "startedAt": row.started_at.to_string(),
        "endedAt": time(row.ended_at),
        "endReason": row.end.map(|end| end.name()),
        "error": row.error,
        "text": row.result,
        "usage": { "input": used.tokens_in, "output": used.tokens_out },
        "calls": used.calls,
        "turns": used.turns,
        "children": children,
        "delivery": row.delivery,
        "cleanup": if row.cleanup_delete { "delete" } else { "keep" },
        "released": row.released,
        "deadline": live.as_deref().and_then(deadline).map(|at| at.to_string()),
    })
}

/// When a run's own limits end it at the latest.
pub(super) fn deadline(run: &LiveRun) -> Option<UnixMillis> {
    let own = run.limits.run.and_then(|limit| run.admitted_at().map(|at| at.plus(limit)));
    let job = run.limits.job.map(|limit| run.accepted_at.plus(limit));
    [own, job].into_iter().flatten().min()
}

/// The word for where a run is.
pub(super) const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Queued => "queued",
        Phase::Running => "running",
        Phase::Waiting => "waiting",
        Phase::Ending => "ending",
    }
}

/// A message of a transcript.
pub(super) fn entry(entry: TranscriptEntry) -> Value {
    json!({
        "seq": entry.seq,
        "at": entry.at.to_string(),
        "runId": entry.run.as_ref().map(RunId::as_str),
        "role": entry.role,
        "body": entry.body,
    })
}

/// A job.
pub(super) fn job(job: &Armed) -> Value {
    let JobRow {
        id,
        name,
        enabled,
        agent,
        schedule,
        target,
        payload,
        delivery,
        timeout_ms,
        delete_after_run,
        origin,
        created_at,
        updated_at,
        next_due_at,
        running_run,
        last_run_at,
        last_status,
        last_error,
        consecutive_errors,
    } = &job.row;
    json!({
        "id": id.as_str(),
        "name": name,
        "enabled": enabled,
        "agentId": agent.as_str(),
        "schedule": schedule,
        "sessionTarget": target,
        "payload": payload,
        "delivery": { "mode": delivery },
        "timeoutMs": timeout_ms,
        "deleteAfterRun": delete_after_run,
        "origin": origin,
        "createdAt": created_at.to_string(),
        "updatedAt": updated_at.to_string(),
        "fault": job.meaning.as_ref().err(),
        "state": {
            "nextRunAt": if *enabled { time(*next_due_at) } else { Value::Null },
            "runningRun": running_run.as_ref().map(RunId::as_str),
            "lastRunAt": time(*last_run_at),
            "lastStatus": last_status,
            "lastError": last_error,
            "consecutiveErrors": consecutive_errors,
        },
    })
}

/// A firing.
pub(super) fn firing(row: &FiringRow) -> Value {
    json!({
        "jobId": row.job.as_str(),
        "dueAt": row.due_at.to_string(),
        "runId": row.run.as_ref().map(RunId::as_str),
        "startedAt": row.started_at.to_string(),
        "endedAt": time(row.ended_at),
        "status": row.status,
        "error": row.error,
        "summary": row.summary,
        "delivered": row.delivered,
    })
}

/// Instances that ended.
pub(super) fn ended(ended: &[Ended]) -> Value {
    let list: Vec<Value> = ended
        .iter()
        .map(|ended| {
            json!({
                "instance": ended.instance.to_string(),
                "server": ended.server.as_str(),
                "pid": ended.pid,
                "reason": ended.reason.name(),
                "rung": ended.rung.map(|rung| rung.name()),
                "tookMs": u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX),
                "processes": ended.processes,
                "survivors": ended.survivors,
                "provenEmpty": ended.proven_empty,
            })
        })
        .collect();
    Value::Array(list)
}
