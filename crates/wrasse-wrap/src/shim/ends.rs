//! How a shim ends: what the host still has to get, the ladder, the proof.

use std::time::Duration;

use wrasse_contain::Ladder;
use wrasse_scope::clock;

use super::{Brain, Phase, Shim};

/// How long a closed stdin leaves requests that it came after to reach a server that is being started.
const DRAIN: Duration = Duration::from_secs(10);
/// How long our last words may take to reach the host.
const FLUSH: Duration = Duration::from_secs(2);

impl Shim {
    /// The host has closed our stdin.
    pub(super) fn host_closed(&mut self) {
        self.input = None;
        if self.phase != Phase::Serving {
            return;
        }
        match self.patience() {
            Some(patience) if !self.host.is_gone() => {
                self.phase = Phase::Draining { until: clock::now() + patience };
            }
            Some(_) | None => self.begin_ladder(),
        }
    }

    /// How long the end of the server may wait for what the host still has to get; `None` when that is nothing. A server of
    /// our own goes on answering while its stdin is closed; one that is shared answers nobody who has left.
    fn patience(&self) -> Option<Duration> {
        match &self.brain {
            Brain::Session(session) if session.has_unsent() => Some(DRAIN),
            Brain::Session(session) if self.slot.is_shared() && session.owes_answers() => {
                Some(Ladder::default().eof)
            }
            Brain::Pipe if self.slot.is_starting() => Some(DRAIN),
            Brain::Session(_) | Brain::Pipe => None,
        }
    }

    pub(super) fn begin_ladder(&mut self) {
        self.input = None;
        self.phase = Phase::Ladder;
        if self.host.is_gone() {
            self.phase = Phase::Over;
        }
        self.slot.stop("was ended with its host", Ladder::default());
    }

    pub(super) fn advance_phase(&mut self) {
        if let Phase::Draining { until } = self.phase
            && (self.patience().is_none() || clock::now() >= until)
        {
            self.begin_ladder();
        }
        if self.phase == Phase::Ladder && self.slot.is_empty() {
            self.phase = Phase::Over;
        }
    }

    /// Proves that nothing is left, says the last words, and removes the row.
    pub(super) async fn finish(mut self) {
        self.slot.abandon();
        let left = self.launcher.kill_all().await;
        let flush = async {
            while !self.output.queue.is_empty() && self.output.write_some().await.is_ok() {}
            if let Some(errors) = &mut self.errors {
                while !errors.queue.is_empty() && errors.write_some().await.is_ok() {}
            }
        };
        if !self.host.is_gone() {
            // Nobody reads: then nobody does.
            drop(tokio::time::timeout(FLUSH, flush).await);
            // Begun is half done; what it does not get to is for the next shim.
            if let Some(sweeping) = self.sweeping.take() {
                drop(tokio::time::timeout(FLUSH, sweeping).await);
            }
        }
        // What is not proven empty is for the next sweep, which removes the row.
        if left == 0 {
            self.row.remove();
        }
    }
}
