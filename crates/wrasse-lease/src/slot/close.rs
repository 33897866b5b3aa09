//! The slot's side of an end: exits, reports, the one record of each end.

use std::sync::Arc;
use std::time::Duration;

use wrasse_store::InstanceEnd;
use wrasse_types::{GoneReason, InstanceId, UnixMillis};

use super::{Inner, Slot};
use crate::backend::{Backend, ExitNote, Retry, StartFault, StopReport, Whose};
use crate::claim::Key;
use crate::life::Life;
use crate::past::Past;
use crate::state::{Event, State};
use crate::view::Ended;

impl<B: Backend> Slot<B> {
    /// The instance ended without having been asked.
    pub(crate) fn exited(self: &Arc<Self>, note: ExitNote) {
        let mut inner = self.lock();
        if let Some(life) = inner.life.as_mut() {
            if let Some(instance) = life.instance {
                self.shared.ledger.event(instance, &format!("ended by itself: {}", note.text));
            }
            life.detail = note.text;
        }
        self.apply(inner, Event::Exited { why: note.reason });
    }

    /// The stop ladder is done.
    pub(crate) fn stop_done(self: &Arc<Self>, report: StopReport) {
        let mut inner = self.lock();
        if let Some(life) = inner.life.as_mut() {
            life.report = Some(report);
        }
        self.apply(inner, Event::StopDone { survivors: report.survivors });
    }

    /// What the ladder left was counted again.
    pub(crate) fn recounted(self: &Arc<Self>, survivors: u32) {
        let inner = self.lock();
        if survivors == 0
            && let Some(instance) = inner.instance()
        {
            self.shared.ledger.event(instance, "the last survivor ended");
        }
        self.apply(inner, Event::Recounted { survivors });
    }

    /// Writes into the history that a stop was ordered.
    pub(super) fn note_stop(&self, inner: &Inner<B>) {
        let why = match &inner.state {
            State::Stopping { why, .. } | State::Rundown { why, .. } => why,
            State::Absent
            | State::Starting { .. }
            | State::Handshaking { .. }
            | State::Ready { .. }
            | State::Draining { .. }
            | State::Gone { .. }
            | State::Backoff { .. }
            | State::Broken { .. } => return,
        };
        if let Some(instance) = inner.instance() {
            self.shared.ledger.event(instance, &format!("stop: {}", why.name()));
        }
    }

    /// Records the end, in the ledger, the totals and the breaker, and tells everybody who waits for it.
    pub(super) fn close(&self, inner: &mut Inner<B>, why: GoneReason) {
        let Some(life) = inner.life.as_mut() else { return };
        // Without a row nothing was ever started; those who wait learn it when the life is dropped.
        let Some(instance) = life.instance else { return };
        let ended = end_record(&self.key, instance, why, life);
        self.shared.ledger.ended(
            instance,
            InstanceEnd {
                reason: why,
                detail: life.detail.clone(),
                rung: ended.rung,
                took_ms: u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX),
                processes: ended.processes,
                survivors: ended.survivors,
                proven_empty: ended.proven_empty,
            },
        );
        if life.vitals.is_some() {
            self.shared.count(&ended);
        }
        if ended.survivors > 0 {
            tracing::error!(%instance, survivors = ended.survivors, "a tree could not be ended");
        }
        self.remember(why, instance, life);
        self.judge(why, life);
        life.ended.send_replace(Some(ended));
    }

    /// Keeps for the next instance that this one had a past.
    fn remember(&self, why: GoneReason, instance: InstanceId, life: &mut Life<B::Handle>) {
        let past = if life.last_call_at.is_some() {
            Some(Past { why, ended_at: UnixMillis::now(), instance })
        } else {
            // It was never used, so what was to be told of the one before it still is.
            life.before.take()
        };
        if why != GoneReason::SessionEnded
            && let Some(past) = past
        {
            self.shared.lock_pasts().remember(&self.key, past);
        }
    }

    /// Tells the breaker what the life of an instance that came up says about its server.
    fn judge(&self, why: GoneReason, life: &Life<B::Handle>) {
        let Some(lived) = life.ready_for() else { return };
        let settled = lived >= self.shared.options.breaker.settle;
        match why {
            GoneReason::Exited | GoneReason::Broken if !settled => {
                let ms = lived.as_millis();
                let fault = StartFault {
                    whose: Whose::Server,
                    retry: Retry::MayHelp,
                    message: format!("ended {ms} ms after it was ready: {}", life.detail),
                    stderr_tail: Vec::new(),
                    help: None,
                };
                self.shared.breakers.failed(&self.key, life.number, &fault);
            }
            GoneReason::Exited | GoneReason::Broken => self.shared.breakers.settled(&self.key),
            GoneReason::Released
            | GoneReason::Idle
            | GoneReason::SessionEnded
            | GoneReason::StoppedByOperator
            | GoneReason::Replaced
            | GoneReason::StartFailed
            | GoneReason::GuardianLost
            | GoneReason::Budget
            | GoneReason::GatewayStopped
            | GoneReason::Swept => {
                if settled || life.calls > 0 {
                    self.shared.breakers.settled(&self.key);
                }
            }
        }
    }

    /// The driver ended before its instance: everything here is dropped with it.
    pub(crate) fn abandon(&self) {
        let mut inner = self.lock();
        if let Some(life) = inner.life.as_mut() {
            self.shared.breakers.abandoned(&self.key, life.number);
            life.lost.tell(GoneReason::GatewayStopped);
            life.detail = String::from("its driver ended before it");
        }
        for lease in std::mem::take(&mut inner.leases).into_keys() {
            self.shared.ledger.lease_ended(lease, "its driver ended");
        }
        let pending = std::mem::take(&mut inner.pending);
        inner.orders.clear();
        let already_closed = inner.life.as_ref().is_some_and(|life| life.ended.borrow().is_some());
        if !already_closed {
            self.close(&mut inner, GoneReason::GatewayStopped);
        }
        inner.state = State::Gone { why: GoneReason::GatewayStopped };
        inner.life = None;
        drop(inner);
        // The senders go unsent: whoever waits is told that the driver ended.
        drop(pending);
    }
}

fn end_record<H>(key: &Key, instance: InstanceId, why: GoneReason, life: &Life<H>) -> Ended {
    let report = life.report;
    Ended {
        instance,
        server: key.server.clone(),
        pid: life.vitals.map(|vitals| vitals.pid),
        reason: why,
        rung: report.map(|report| report.rung),
        took: report.map_or(Duration::ZERO, |report| report.took),
        processes: report.map_or(0, |report| report.processes),
        survivors: report.map_or(0, |report| report.survivors),
        // What was never spawned is empty; of what was, only a report can say so.
        proven_empty: report.map_or(life.vitals.is_none(), |report| report.proven_empty),
    }
}
