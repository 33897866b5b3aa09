//! The end of a run: every end goes through [`finish`], whatever brought it about.
//!
//! Order: the outcome is recorded and known to waiters; children are stopped where the end says so; the parent is told;
//! the lane is free; then the servers are released and waited for; then the job's history, the line that says what was
//! released, and at the very last the session is free for the next run.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use wrasse_mcp::{Ended, ServerLeases};
use wrasse_scope::{TaskHandle, clock};
use wrasse_store::RunEnd;
use wrasse_types::{EndReason, GoneReason, UnixMillis};

use super::driver::{Held, WorkEnd};
use super::live::{Cause, Cleanup, LiveRun, Outcome};
use super::registry::Entry;
use super::report::{EndedServer, RunReport};
use super::state::{Cascade, Phase, cascade};
use crate::announce;
use crate::core::Core;
use crate::cron::results;

/// The longest a run waits for its servers to be gone; they go on ending without it.
const RELEASE_MAX: Duration = Duration::from_secs(60);

/// Ends a run.
pub(crate) async fn finish(
    core: &Arc<Core>,
    run: &Arc<LiveRun>,
    held: Held,
    entry: Entry,
    end: WorkEnd,
) {
    let outcome = Arc::new(outcome_of(core, run, end));
    run.set_phase(Phase::Ending);
    let unread = run.close_inbox();
    record(core, run, &outcome).await;
    run.publish(Arc::clone(&outcome));
    match cascade(outcome.reason, run.child_policy) {
        Cascade::Stop => {
            for child in core.registry.children_of(&run.id) {
                child.request_end(EndReason::ParentStopped);
            }
        }
        Cascade::GoOn => Box::pin(announce::wake_for_unread(core, run, unread)).await,
    }
    Box::pin(announce::settle(core, run, &outcome)).await;
    let Held { leases, slot, ticket, releasing, mut ended } = held;
    // A server that is slow to end must not keep other runs from their work.
    drop(slot);
    match clock::timeout(RELEASE_MAX, Box::pin(release(leases, releasing))).await {
        Ok(gone) => ended.extend(gone),
        Err(elapsed) => {
            tracing::error!(run = %run.id, %elapsed, "servers of the run are still ending; `wrasse ps` shows them");
        }
    }
    let ended: Vec<EndedServer> = ended.into_iter().map(ended_server).collect();
    if let Err(error) = core.store.set_run_released(&run.id, &released_json(&ended)).await {
        tracing::warn!(run = %run.id, %error, "what the run released could not be recorded");
    }
    clean_up(core, run).await;
    let retry_at = results::run_over(core, run, &outcome).await;
    (core.report)(&report(run, &outcome, ended, retry_at));
    // The next run on the session may begin, and whoever waits for the very end is told, in this order.
    drop(ticket);
    drop(entry);
}

/// Releases what a run holds, and waits for what it released before.
async fn release(
    leases: Option<ServerLeases>,
    releasing: Option<TaskHandle<Vec<Ended>>>,
) -> Vec<Ended> {
    let now = async {
        match leases {
            Some(leases) => leases.release().await,
            None => Vec::new(),
        }
    };
    let before = async {
        match releasing {
            Some(task) => task.await.unwrap_or_default(),
            None => Vec::new(),
        }
    };
    let (mut ended, more) = tokio::join!(now, before);
    ended.extend(more);
    ended
}

fn outcome_of(core: &Core, run: &LiveRun, end: WorkEnd) -> Outcome {
    let (reason, text, error) = match end {
        WorkEnd::Done(text) => (EndReason::Success, Some(text), None),
        WorkEnd::Failed(reason, error) => (reason, None, Some(error)),
        WorkEnd::Interrupted => {
            // Without a request it is the scope that was cancelled: everything ends.
            let reason = run
                .requested_end()
                .or_else(|| core.draining())
                .unwrap_or(EndReason::GatewayStopped);
            (reason, None, Some(interruption_text(run, reason)))
        }
    };
    let at = UnixMillis::now();
    Outcome {
        reason,
        error,
        at,
        took: at.since(run.admitted_at().unwrap_or(run.accepted_at)),
        tally: run.tally(),
        children: run.spawned(),
        delivery: text.as_ref().and_then(|_| delivery_note(run)),
        text,
    }
}

fn interruption_text(run: &LiveRun, reason: EndReason) -> String {
    let limit = match reason {
        EndReason::RunTimeout if run.admitted_at().is_none() => {
            return format!("waited too long for its session or for the {} lane", run.lane.name());
        }
        EndReason::RunTimeout => run.limits.run,
        EndReason::CronTimeout => run.limits.job,
        EndReason::Success
        | EndReason::ModelError
        | EndReason::FallbacksExhausted
        | EndReason::ToolError
        | EndReason::JobRemoved
        | EndReason::BudgetExhausted
        | EndReason::Stopped
        | EndReason::Cancelled
        | EndReason::ClientInterrupted
        | EndReason::SessionReset
        | EndReason::SessionLazyReset
        | EndReason::SessionDeleted
        | EndReason::ParentStopped
        | EndReason::LocalEnded
        | EndReason::GatewayStopped
        | EndReason::GatewayRestarted
        | EndReason::GatewayLost
        | EndReason::WardenLost
        | EndReason::Internal => None,
    };
    match limit {
        Some(limit) => format!("{} ({})", reason.text(), wrasse_types::format_duration(limit)),
        None => reason.text().to_owned(),
    }
}

/// What is said of a result that was to be delivered.
fn delivery_note(run: &LiveRun) -> Option<String> {
    match &run.cause {
        Cause::Job { delivery, .. } if delivery != "none" && !delivery.is_empty() => Some(format!(
            "result NOT delivered: no route for \"{delivery}\" (wrasse why {})",
            run.id
        )),
        Cause::Job { .. } | Cause::Message | Cause::Spawn | Cause::ChildResult => None,
    }
}

/// Records the end of a run. One that the store does not take (a full disk) is remembered, and recorded with the next end
/// that it does take. The run ends all the same: ending a tree never needs the store.
async fn record(core: &Core, run: &Arc<LiveRun>, outcome: &Outcome) {
    if let Err(error) = core.store.end_run(&run.id, run_end(outcome)).await {
        tracing::error!(run = %run.id, %error, "the end of the run could not be recorded");
        core.registry.remember_unrecorded(run);
        return;
    }
    for late in core.registry.take_unrecorded() {
        let Some(outcome) = late.outcome() else { continue };
        match core.store.end_run(&late.id, run_end(&outcome)).await {
            Ok(_) => tracing::info!(run = %late.id, "the end of the run is recorded at last"),
            Err(_) => core.registry.remember_unrecorded(&late),
        }
    }
}

fn run_end(outcome: &Outcome) -> RunEnd {
    RunEnd {
        at: outcome.at,
        reason: outcome.reason,
        error: outcome.error.clone(),
        result: outcome.text.clone(),
        usage_in: outcome.tally.tokens_in,
        usage_out: outcome.tally.tokens_out,
        calls: outcome.tally.calls,
        turns: outcome.tally.turns,
        children: outcome.children,
        delivery: outcome.delivery.clone(),
    }
}

/// Deletes the session of a child that was asked for with `cleanup: "delete"`.
async fn clean_up(core: &Core, run: &LiveRun) {
    match run.cleanup {
        Cleanup::Keep => {}
        Cleanup::Delete => {
            Box::pin(core.servers.end_session(&run.key, GoneReason::SessionEnded)).await;
            if let Err(error) = core.store.delete_session(&run.key).await {
                tracing::warn!(session = %run.key, %error, "the session could not be deleted");
            }
        }
    }
}

fn ended_server(ended: Ended) -> EndedServer {
    EndedServer {
        server: ended.server.to_string(),
        instance: ended.instance.to_string(),
        pid: ended.pid,
        reason: ended.reason,
        rung: ended.rung,
        took: ended.took,
        processes: ended.processes,
        survivors: ended.survivors,
    }
}

fn released_json(ended: &[EndedServer]) -> Value {
    let list: Vec<Value> = ended
        .iter()
        .map(|ended| {
            json!({
                "server": ended.server,
                "instance": ended.instance,
                "pid": ended.pid,
                "reason": ended.reason.name(),
                "rung": ended.rung.map(|rung| rung.name()),
                "tookMs": u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX),
                "processes": ended.processes,
                "survivors": ended.survivors,
            })
        })
        .collect();
    Value::Array(list)
}

fn report(
    run: &LiveRun,
    outcome: &Outcome,
    ended: Vec<EndedServer>,
    retry_at: Option<UnixMillis>,
) -> RunReport {
    RunReport {
        at: outcome.at,
        run: run.id.clone(),
        session_key: run.key.clone(),
        agent: run.agent.clone(),
        end: outcome.reason,
        cause: run.cause.text(),
        parent: run.requester.as_ref().map(|requester| requester.run.clone()),
        job: run.cause.job().cloned(),
        duration: outcome.took,
        calls: outcome.tally.calls,
        turns: outcome.tally.turns,
        servers_failed: outcome.tally.servers_failed,
        children: outcome.children,
        tokens: (outcome.tally.tokens_in, outcome.tally.tokens_out),
        left: ended.iter().map(|ended| ended.survivors).sum(),
        processes: ended.iter().map(|ended| ended.processes).sum(),
        ended,
        error: outcome.error.clone(),
        delivery: outcome.delivery.clone(),
        retry_at,
    }
}
