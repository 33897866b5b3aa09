//! The end of one server: stdin, the ladder, the proof.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;
use wrasse_contain::{Contained, Ladder, StopOutcome};
use wrasse_lease::{ExitNote, StopReport, StopTree};
use wrasse_scope::{TaskHandle, clock};
use wrasse_types::GoneReason;

use crate::connection::Keeper;

/// How long we wait for a status or a last line that must come.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(500);

/// The right to end one server. Dropping it kills the tree.
pub(crate) struct Tree {
    pub(crate) contained: Contained,
    pub(crate) keeper: Keeper,
    pub(crate) ladder: Ladder,
    pub(crate) drained: TaskHandle<()>,
    pub(crate) gone: Arc<watch::Sender<Option<ExitNote>>>,
}

impl Tree {
    async fn end(self, why: GoneReason) -> StopReport {
        // Whoever still calls is told first, and why; a reason that came from the server itself stays.
        self.gone.send_if_modified(|note| {
            let ours = note.is_none();
            note.get_or_insert_with(|| ExitNote { reason: why, text: stop_text(why).to_owned() });
            ours
        });
        // The ladder's first rung is a closed stdin, and the writer is ours.
        self.keeper.close_stdin().await;
        let outcome = self.contained.stop(self.ladder).await;
        self.keeper.finish().await;
        if clock::timeout(LAST_WORDS, self.drained).await.is_err() {
            tracing::debug!("stderr of an ended server is still held open");
        }
        report(&outcome)
    }
}

/// A stop as the leases count it.
pub(crate) fn report(outcome: &StopOutcome) -> StopReport {
    StopReport {
        rung: outcome.rung,
        took: outcome.took,
        processes: outcome.processes,
        survivors: outcome.survivors,
        proven_empty: outcome.proven_empty,
    }
}

impl StopTree for Tree {
    fn stop(self: Box<Self>, why: GoneReason) -> BoxFuture<'static, StopReport> {
        Box::pin(self.end(why))
    }
}

/// Why a call on a server that we stop fails.
fn stop_text(why: GoneReason) -> &'static str {
    match why {
        GoneReason::Released => "was released",
        GoneReason::Idle => "was stopped for being idle",
        GoneReason::SessionEnded => "was stopped because its session ended",
        GoneReason::StoppedByOperator => "was stopped by operator",
        GoneReason::Replaced => "was stopped to be replaced",
        GoneReason::StartFailed => "did not start",
        GoneReason::Exited => "exited",
        GoneReason::Broken => "was stopped because it broke the protocol",
        GoneReason::GuardianLost => "was ended because its guardian died",
        GoneReason::Budget => "was stopped by a budget",
        GoneReason::GatewayStopped => "was stopped because the gateway stops",
        GoneReason::Swept => "was ended by the sweep at start",
    }
}
