//! The task of a run: queue, work, limits, and the one way out.
//!
//! The work is a future that this task owns and polls. It ends by itself, or because an end was asked for: then it has a
//! moment to wind up (cancelled calls tell their servers, messages in hand are written) before it is dropped. A panic
//! in it is caught here. In every case [`finish`] follows with what the run held.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use wrasse_mcp::{Ended, ServerLeases};
use wrasse_scope::{TaskHandle, clock};
use wrasse_store::{NewSession, StoreError};
use wrasse_types::EndReason;

use super::finish::finish;
use super::live::LiveRun;
use super::registry::Entry;
use super::turns;
use crate::core::Core;
use crate::lanes::{LaneSlot, Ticket};

/// How long a run that was asked to end may take to wind up before it is dropped.
const WIND_UP: Duration = Duration::from_secs(1);
/// The longest a run waits for its session and its lane.
const QUEUE_MAX: Duration = Duration::from_secs(6 * 3600);

/// Whether a session goes on or begins anew with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// It goes on.
    GoOn,
    /// It was reset: what was kept for it ends first.
    Anew,
}

/// A run that was accepted.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) run: Arc<LiveRun>,
    pub(crate) ticket: Ticket,
    pub(crate) entry: Entry,
    pub(crate) message: Option<String>,
    pub(crate) models: Vec<String>,
    pub(crate) session: NewSession,
    pub(crate) beginning: Beginning,
}

/// Everything a run holds. Dropping it releases everything.
pub(crate) struct Held {
    pub(crate) leases: Option<ServerLeases>,
    pub(crate) slot: Option<LaneSlot>,
    pub(crate) ticket: Ticket,
    /// What the run gave up before it waited; ends on, whatever becomes of the run meanwhile.
    pub(crate) releasing: Option<TaskHandle<Vec<Ended>>>,
    /// What has ended already, while the run waited.
    pub(crate) ended: Vec<Ended>,
}

/// How the work of a run came to its end.
#[derive(Debug)]
pub(crate) enum WorkEnd {
    /// The final text.
    Done(String),
    /// A failure of its own.
    Failed(EndReason, String),
    /// An end was asked for.
    Interrupted,
}

/// Why the work stopped short.
#[derive(Debug)]
pub(crate) enum WorkError {
    /// An end was asked for.
    Interrupted,
    /// A failure of its own.
    Failed(EndReason, String),
}

impl From<StoreError> for WorkError {
    fn from(error: StoreError) -> Self {
        let source =
            std::error::Error::source(&error).map(|s| format!(": {s}")).unwrap_or_default();
        Self::Failed(EndReason::Internal, format!("the store failed: {error}{source}"))
    }
}

/// Waits for a future, or for an end that is asked for.
pub(crate) async fn unless_ended<F: Future>(
    token: &CancellationToken,
    future: F,
) -> Result<F::Output, WorkError> {
    tokio::select! {
        biased;
        () = token.cancelled() => Err(WorkError::Interrupted),
        output = future => Ok(output),
    }
}

/// Takes a run from acceptance to its very end.
pub(crate) async fn supervise(core: Arc<Core>, task: Task) {
    let Task { run, ticket, entry, message, models, session, beginning } = task;
    let mut held = Held { leases: None, slot: None, ticket, releasing: None, ended: Vec::new() };
    let plan = turns::Plan { message, models, session, beginning };
    let end = {
        let work = AssertUnwindSafe(turns::work(&core, &run, &mut held, plan)).catch_unwind();
        let mut work = pin!(Box::pin(work));
        tokio::select! {
            biased;
            done = &mut work => match done {
                Ok(end) => end,
                Err(panic) => WorkEnd::Failed(EndReason::Internal, panic_text(&*panic)),
            },
            () = wind_up_over(&run) => WorkEnd::Interrupted,
            () = watch_limits(&run) => WorkEnd::Interrupted,
        }
    };
    Box::pin(finish(&core, &run, held, entry, end)).await;
}

async fn wind_up_over(run: &LiveRun) {
    run.token.cancelled().await;
    clock::sleep(WIND_UP).await;
}

/// Asks the run to end when a limit passes; never returns.
async fn watch_limits(run: &LiveRun) {
    let job = async {
        let Some(limit) = run.limits.job else { return };
        clock::sleep(limit).await;
        run.request_end(EndReason::CronTimeout);
    };
    let own = async {
        if clock::timeout(QUEUE_MAX, run.admitted()).await.is_err() {
            run.request_end(EndReason::RunTimeout);
            return;
        }
        let Some(limit) = run.limits.run else { return };
        clock::sleep(limit).await;
        run.request_end(EndReason::RunTimeout);
    };
    tokio::join!(job, own);
    std::future::pending::<()>().await;
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    tracing::error!("a run panicked: {text}");
    format!("a fault of this program: {text}")
}
