//! The loop that fires jobs, and one firing.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use wrasse_config::{JobPayload, JobTarget};
use wrasse_scope::clock;
use wrasse_store::{FiringEnd, Retain};
use wrasse_types::wire::RpcFault;
use wrasse_types::{JobId, RunId, SessionKey, UnixMillis};

use super::armed::{Armed, Meaning, Trigger};
use super::results;
use crate::core::Core;
use crate::fault;
use crate::lanes::Lane;
use crate::run::admit::{admit, new_run_id};
use crate::run::state::ChildPolicy;
use crate::run::{Arrival, Cause, Cleanup, Limits, RunRequest};

/// The longest sleep without asking the wall clock.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// The limit of a job that names none.
const JOB_TIMEOUT: Duration = Duration::from_secs(3600);
/// How often what has outlived its use is forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(300);

/// Why a firing did not start a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FireError {
    /// The job is gone.
    Gone,
    /// Its last run goes on.
    Running(RunId),
    /// This due time has been answered.
    Answered,
    /// Its definition cannot be used, or the run could not be begun.
    Failed(RpcFault),
}

/// Fires jobs until the gateway shuts down.
pub(crate) async fn schedule_jobs(core: Arc<Core>) {
    let token = core.scope.token();
    let mut prune_at = clock::now();
    loop {
        if core.draining().is_some() || token.is_cancelled() {
            return;
        }
        if core.config.cron.enabled {
            let now = UnixMillis::now();
            for (id, at) in core.cron.due(now).0 {
                let fired = Box::pin(fire(&core, &id, at, now, Trigger::Schedule)).await;
                log_unfired(&id, fired.err());
            }
        }
        if prune_at.has_passed() {
            prune(&core).await;
            prune_at = clock::now() + PRUNE_EVERY;
        }
        // Asked only now: the jobs that fired have a next due time too, and it must not be slept through.
        let next = core.cron.next_due().filter(|_| core.config.cron.enabled);
        let wait = next.map_or(SLEEP_MAX, |at| at.since(UnixMillis::now())).min(SLEEP_MAX);
        tokio::select! {
            biased;
            () = token.cancelled() => return,
            () = core.cron.woken() => {}
            () = clock::sleep(wait) => {}
        }
    }
}

fn log_unfired(id: &JobId, error: Option<FireError>) {
    match error {
        None | Some(FireError::Gone) => {}
        Some(FireError::Running(run)) => {
            tracing::info!(job = %id, %run, "a firing is left out: the job's last run goes on");
        }
        Some(FireError::Answered) => tracing::debug!(job = %id, "this due time has been answered"),
        Some(FireError::Failed(fault)) => {
            tracing::error!(job = %id, "the job could not fire: {}", fault.message);
        }
    }
}

/// Fires a job now, whatever its schedule says.
pub(crate) async fn fire_now(core: &Arc<Core>, id: &JobId) -> Result<RunId, FireError> {
    let now = UnixMillis::now();
    Box::pin(fire(core, id, now, now, Trigger::Hand)).await
}

/// One firing: claimed in memory and in the store, then a run.
async fn fire(
    core: &Arc<Core>,
    id: &JobId,
    due: UnixMillis,
    now: UnixMillis,
    trigger: Trigger,
) -> Result<RunId, FireError> {
    if core.draining().is_some() {
        return Err(FireError::Failed(fault::draining()));
    }
    let run = new_run_id();
    let claimed = core.cron.claim(id, &run, now, trigger);
    let job = claimed.ok_or(FireError::Gone)?.map_err(FireError::Running)?;
    // Before the due time is claimed: a gateway that dies in between finds a job that was cut off, not one that ran.
    results::save(core, id).await;
    let claimed = core.store.begin_firing(id, due).await;
    match claimed {
        Ok(true) => {}
        Ok(false) => {
            let change = |job: &mut Armed| job.row.running_run = None;
            core.cron.change(id, change);
            results::save(core, id).await;
            return Err(FireError::Answered);
        }
        Err(error) => {
            let fault = fault::store(&error);
            results::failed_to_fire(core, id, &fault.message).await;
            return Err(FireError::Failed(fault));
        }
    }
    let begun = match request(core, &job, &run, due) {
        Ok(request) => admit(core, request).await.map(drop),
        Err(fault) => Err(fault),
    };
    if let Err(fault) = begun {
        let end = FiringEnd {
            run: None,
            status: "error".to_owned(),
            error: Some(fault.message.clone()),
            summary: None,
            delivered: String::new(),
        };
        if let Err(error) = core.store.end_firing(id, due, end).await {
            tracing::warn!(job = %id, %error, "the firing could not be recorded");
        }
        results::failed_to_fire(core, id, &fault.message).await;
        return Err(FireError::Failed(fault));
    }
    let still_there = core.cron.get(id).is_some_and(|now| now.row.enabled == job.row.enabled);
    if !still_there && let Some(live) = core.registry.get(&run) {
        live.request_end(results::REMOVED);
    }
    if let Err(error) = core.store.set_firing_run(id, due, &run).await {
        tracing::warn!(job = %id, %error, "the run of the firing could not be recorded");
    }
    Ok(run)
}

fn request(core: &Core, job: &Armed, run: &RunId, due: UnixMillis) -> Result<RunRequest, RpcFault> {
    let row = &job.row;
    let meaning = job.meaning.as_ref().map_err(|text| fault::invalid(text.clone()))?;
    let agent = core.agent(&row.agent)?;
    let (key, lane, child_policy) = match meaning.target {
        JobTarget::Main => (SessionKey::main(&row.agent), Lane::Main, ChildPolicy::Wake),
        JobTarget::Isolated => {
            let session = Uuid::new_v4().to_string();
            let key = SessionKey::cron_run(&row.agent, row.id.as_str(), &session);
            (key, Lane::Cron, ChildPolicy::Wait)
        }
    };
    let (message, model) = message_of(job, meaning);
    let timeout = row.timeout_ms.map_or(Some(JOB_TIMEOUT), |ms| {
        // 0 is no limit.
        (ms > 0).then(|| Duration::from_millis(ms))
    });
    let label = match meaning.target {
        JobTarget::Main => None,
        JobTarget::Isolated => Some(format!("Cron: {}", row.name)),
    };
    Ok(RunRequest {
        id: Some(run.clone()),
        key,
        agent: row.agent.clone(),
        message: Some(message),
        inbox: Vec::new(),
        requester: None,
        cause: Cause::Job {
            id: row.id.clone(),
            name: row.name.clone(),
            due,
            delivery: row.delivery.clone(),
        },
        depth: 0,
        lane,
        child_policy,
        cleanup: Cleanup::Keep,
        label,
        limits: Limits { run: agent.run_timeout, job: timeout },
        models: model.into_iter().collect(),
        arrival: Arrival::Background,
    })
}

fn message_of(job: &Armed, meaning: &Meaning) -> (String, Option<String>) {
    match &meaning.payload {
        JobPayload::SystemEvent { text } => (format!("System: {text}"), None),
        JobPayload::AgentTurn { message, model } => {
            (format!("[cron:{} {}] {message}", job.row.id, job.row.name), model.clone())
        }
    }
}

async fn prune(core: &Core) {
    let retain = Retain { cron_sessions: core.config.cron.session_retention, ..Retain::default() };
    match core.store.prune(UnixMillis::now(), &retain).await {
        Ok(pruned) => tracing::debug!(?pruned, "what had outlived its use was forgotten"),
        Err(error) => tracing::warn!(%error, "what has outlived its use could not be forgotten"),
    }
}
