//! The slot's side of a start: what it hears while one is under way, and how it came out.

use std::sync::Arc;

use wrasse_scope::clock;
use wrasse_types::{InstanceId, UnixMillis};

use super::{Inner, Slot, Turn};
use crate::backend::{Backend, ProgressSink, StartFault, StopReport, Vitals};
use crate::error::AcquireError;
use crate::state::{Admission, Event, State};

/// Why a start came to nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The backend says so.
    Fault(StartFault),
    /// The breaker opened while the start waited for its turn.
    NotAdmitted(Turn),
    /// The row could not be written.
    Ledger(String),
    /// Nobody wants it any more.
    Cancelled,
}

impl<B: Backend> Slot<B> {
    /// The number and the spec of the start that was ordered.
    pub(crate) fn ordered(&self) -> Option<(u64, B::Spec)> {
        let inner = self.lock();
        Some((inner.life.as_ref()?.number, inner.spec.clone()))
    }

    /// The row is committed: from here on everybody who waits has a lease in the ledger.
    pub(crate) fn began(&self, number: u64, instance: InstanceId) {
        let mut inner = self.lock();
        let Some(life) = inner.life.as_mut().filter(|life| life.number == number) else { return };
        life.instance = Some(instance);
        life.before = self.shared.lock_pasts().take(&self.key);
        if !is_coming_up(&inner.state) {
            return;
        }
        let ledger = &self.shared.ledger;
        for pending in inner.pending.values_mut() {
            let (holder, reason) = (&pending.tenant.holder, &pending.tenant.reason);
            ledger.event(instance, &format!("start asked by {holder} for {reason}"));
            pending.lease = Some(ledger.lease_began(instance, holder, reason));
        }
    }

    /// It is usable; if nobody wants it any more, the state machine stops it.
    pub(crate) fn started(self: &Arc<Self>, handle: B::Handle, vitals: Vitals) {
        self.shared.breakers.ready(&self.key);
        let mut inner = self.lock();
        if let Some(life) = inner.life.as_mut() {
            life.handle = Some(handle);
            life.vitals = Some(vitals);
            life.ready = Some((UnixMillis::now(), clock::now()));
            if let Some(instance) = life.instance {
                self.shared.ledger.event(instance, "ready");
            }
        }
        self.apply(inner, Event::Started);
    }

    /// It is not going to be usable, and its tree is gone.
    pub(crate) fn start_failed(self: &Arc<Self>, failure: Failure) {
        let mut inner = self.lock();
        let wanted = is_coming_up(&inner.state);
        let Some(life) = inner.life.as_mut() else { return };
        let (breakers, number) = (&self.shared.breakers, life.number);
        let abandoned = || {
            breakers.abandoned(&self.key, number);
            Admission::Start
        };
        let (next, turn, detail) = match failure {
            Failure::Fault(fault) => {
                let next =
                    if wanted { breakers.failed(&self.key, number, &fault) } else { abandoned() };
                let detail = fault.message.clone();
                (next, Turn::Refused(AcquireError::StartFailed(fault)), detail)
            }
            Failure::NotAdmitted(turn) => {
                (abandoned(), turn, String::from("held back by the breaker"))
            }
            Failure::Ledger(message) => {
                let refused = AcquireError::Ledger { message: message.clone() };
                (abandoned(), Turn::Refused(refused), message)
            }
            Failure::Cancelled => {
                let detail = String::from("the start was cancelled");
                (abandoned(), Turn::Refused(AcquireError::Cancelled), detail)
            }
        };
        life.detail = detail;
        inner.refusal = Some(turn);
        self.apply(inner, Event::StartFailed { next });
    }
}

fn is_coming_up(state: &State) -> bool {
    match state {
        State::Starting { .. } | State::Handshaking { .. } => true,
        State::Absent
        | State::Ready { .. }
        | State::Draining { .. }
        | State::Stopping { .. }
        | State::Rundown { .. }
        | State::Gone { .. }
        | State::Backoff { .. }
        | State::Broken { .. } => false,
    }
}

impl<B: Backend> Inner<B> {
    /// The instance that lives here, if its row exists.
    pub(crate) fn instance(&self) -> Option<InstanceId> {
        self.life.as_ref().and_then(|life| life.instance)
    }
}

/// Hears the progress of one start.
pub(crate) struct StartEar<B: Backend> {
    pub(crate) slot: Arc<Slot<B>>,
    pub(crate) number: u64,
    pub(crate) instance: InstanceId,
}

impl<B: Backend> ProgressSink for StartEar<B> {
    fn spawned(&self, vitals: Vitals) {
        let mut inner = self.slot.lock();
        let Some(life) = inner.life.as_mut().filter(|life| life.number == self.number) else {
            return;
        };
        life.vitals = Some(vitals);
        self.slot.shared.ledger.event(self.instance, &format!("spawned as {}", vitals.pid));
        self.slot.apply(inner, Event::Spawned);
    }

    fn note(&self, text: &str) {
        self.slot.shared.ledger.event(self.instance, text);
    }

    fn ended(&self, report: StopReport) {
        let mut inner = self.slot.lock();
        if let Some(life) = inner.life.as_mut().filter(|life| life.number == self.number) {
            life.report = Some(report);
        }
    }
}
