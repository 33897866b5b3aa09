//! How a run begins: checked, recorded, queued, and given a task of its own.

use std::sync::Arc;

use chrono::Local;
use futures::future::BoxFuture;
use uuid::Uuid;
use wrasse_scope::TaskKind;
use wrasse_store::{NewRun, NewSession, RunState, SessionRow, Touch};
use wrasse_types::wire::RpcFault;
use wrasse_types::{AgentId, EndReason, RunId, SessionKey, SessionKind, UnixMillis};

use super::driver::{self, Beginning, Task};
use super::live::{Cause, Cleanup, Limits, LiveRun, LiveRunParts, Requester};
use super::state::ChildPolicy;
use crate::core::Core;
use crate::fault;
use crate::lanes::Lane;
use crate::sessions::freshness::{Freshness, freshness};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A person, or a program on behalf of one: a stale session begins anew, and its clock moves.
    Interaction,
    /// The gateway itself: a job, a parent, a child.
    Background,
}

/// A run to be begun.
#[derive(Debug)]
pub(crate) struct RunRequest {
    /// An id that the asker made; the same id again is the same run.
    pub(crate) id: Option<RunId>,
    pub(crate) key: SessionKey,
    pub(crate) agent: AgentId,
    /// What is said to the agent; absent where the inbox says it.
    pub(crate) message: Option<String>,
    pub(crate) inbox: Vec<String>,
    pub(crate) requester: Option<Requester>,
    pub(crate) cause: Cause,
    pub(crate) depth: u32,
    pub(crate) lane: Lane,
    pub(crate) child_policy: ChildPolicy,
    pub(crate) cleanup: Cleanup,
    pub(crate) label: Option<String>,
    pub(crate) limits: Limits,
    /// Replaces the agent's models; empty does not.
    pub(crate) models: Vec<String>,
    pub(crate) arrival: Arrival,
}

/// What became of a request.
#[derive(Debug, Clone)]
pub(crate) enum Admitted {
    /// A run has begun.
    New(Arc<LiveRun>),
    /// The id is known: nothing was begun.
    Known(RunId),
}

/// Makes an id for a run.
pub(crate) fn new_run_id() -> RunId {
    let hex = Uuid::new_v4().simple().to_string();
    RunId::new(format!("r-{}", &hex[..12]))
}

/// Begins a run. Cancel-safe: the work is done by a task, so a caller that goes away leaves no run half begun.
///
/// Boxed, since a run can begin a run: the type would contain itself.
pub(crate) fn admit(
    core: &Arc<Core>,
    request: RunRequest,
) -> BoxFuture<'static, Result<Admitted, RpcFault>> {
    let core = Arc::clone(core);
    Box::pin(async move {
        let own = Arc::clone(&core);
        let task = core
            .scope
            .spawn_value(TaskKind::RequestHandler, async move { admit_now(&own, request).await });
        task.await.unwrap_or_else(|lost| {
            Err(fault::fault("internal", format!("the run could not be begun: {lost}"), None))
        })
    })
}

async fn admit_now(core: &Arc<Core>, request: RunRequest) -> Result<Admitted, RpcFault> {
    let admission = core.admission.lock().await;
    if core.draining().is_some() || core.scope.is_cancelled() {
        return Err(fault::draining());
    }
    core.agent(&request.agent)?;
    let id = request.id.clone().unwrap_or_else(new_run_id);
    let known = core.registry.get(&id).is_some()
        || (request.id.is_some()
            && core.store.run(&id).await.map_err(|e| fault::store(&e))?.is_some());
    if known {
        return Ok(Admitted::Known(id));
    }
    let ticket = core.queues.enter(&request.key).map_err(|full| {
        fault::fault(
            "busy",
            full.to_string(),
            Some(&format!("wrasse sessions stop {}", request.key)),
        )
    })?;
    let (session, beginning) = prepare_session(core, &request).await?;
    let run = Arc::new(live_run(core, &request, id, &session));
    let row = new_run(&run);
    core.store.insert_run(&row).await.map_err(|e| fault::store(&e))?;
    let parent = run.requester.as_ref().and_then(|requester| core.registry.get(&requester.run));
    let entry = core.registry.enter(&run);
    if let Some(parent) = &parent {
        parent.add_child(&run.id);
    }
    // Whoever ends everything, or the parent, lists runs after noting why: one of the two sees the other.
    if let Some(reason) = core.draining() {
        run.request_end(reason);
    }
    if parent.is_some_and(|parent| parent.requested_end().is_some() || parent.outcome().is_some()) {
        run.request_end(EndReason::ParentStopped);
    }
    drop(admission);
    tracing::debug!(run = %run.id, session = %run.key, cause = %run.cause.text(), "run accepted");
    let task = Task {
        run: Arc::clone(&run),
        ticket,
        entry,
        session: new_session(&request),
        message: request.message,
        models: request.models,
        beginning,
    };
    let own = Arc::clone(core);
    core.scope.spawn(TaskKind::Run, async move { driver::supervise(own, task).await });
    Ok(Admitted::New(run))
}

/// Finds or makes the session; where its own policy says so, begins it anew and ends what goes on there.
async fn prepare_session(
    core: &Core,
    request: &RunRequest,
) -> Result<(SessionRow, Beginning), RpcFault> {
    let failed = |error| fault::store(&error);
    let session = core.store.ensure_session(new_session(request)).await.map_err(failed)?;
    match request.arrival {
        Arrival::Background => return Ok((session, Beginning::GoOn)),
        Arrival::Interaction => {}
    }
    let resets = match request.key.kind() {
        SessionKind::Main | SessionKind::Other => true,
        SessionKind::Cron | SessionKind::Subagent => false,
    };
    let now = UnixMillis::now();
    let stale = resets
        && freshness(&core.config.session, session.last_interaction_at, now, &Local)
            == Freshness::Stale;
    if stale {
        for run in core.registry.on_session(&request.key) {
            run.request_end(EndReason::SessionLazyReset);
        }
        for child in core.registry.spawned_by(&request.key) {
            child.request_end(EndReason::ParentStopped);
        }
        tracing::info!(session = %request.key, "the session had expired and begins anew");
        let fresh = core.store.reset_session(&request.key).await.map_err(failed)?;
        return Ok((fresh, Beginning::Anew));
    }
    core.store.touch_session(&request.key, Touch::Interaction).await.map_err(failed)?;
    Ok((session, Beginning::GoOn))
}

fn new_session(request: &RunRequest) -> NewSession {
    NewSession {
        key: request.key.clone(),
        agent: request.agent.clone(),
        label: request.label.clone(),
        spawned_by: request.requester.as_ref().map(|requester| requester.session.clone()),
        depth: request.depth,
        model: None,
    }
}

fn live_run(core: &Core, request: &RunRequest, id: RunId, session: &SessionRow) -> LiveRun {
    let parts = LiveRunParts {
        id,
        key: request.key.clone(),
        session_id: session.session_id.clone(),
        agent: request.agent.clone(),
        requester: request.requester.clone(),
        cause: request.cause.clone(),
        depth: request.depth,
        lane: request.lane,
        child_policy: request.child_policy,
        cleanup: request.cleanup,
        label: request.label.clone(),
        limits: request.limits,
        inbox: request.inbox.clone(),
    };
    LiveRun::new(parts, core.scope.token().child_token())
}

fn new_run(run: &LiveRun) -> NewRun {
    NewRun {
        id: run.id.clone(),
        session_key: run.key.clone(),
        session_id: run.session_id.clone(),
        agent: run.agent.clone(),
        parent: run.requester.as_ref().map(|requester| requester.run.clone()),
        root: run.root.clone(),
        cause: run.cause.text(),
        job: run.cause.job().cloned(),
        depth: run.depth,
        state: RunState::Queued,
        started_at: run.accepted_at,
        label: run.label.clone(),
        cleanup_delete: run.cleanup == Cleanup::Delete,
    }
}
