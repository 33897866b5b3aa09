//! Claims: registered, granted, refused, submitted anew, withdrawn.

use std::sync::Arc;

use tokio::sync::oneshot;
use wrasse_types::{LeaseId, UnixMillis};

use super::{Answer, Inner, Mail, Pending, Slot, Tenant, Turn};
use crate::backend::Backend;
use crate::breaker::Verdict;
use crate::claim::Claim;
use crate::error::AcquireError;
use crate::false_starts::FalseStarts;
use crate::lease::Lease;
use crate::life::Life;
use crate::shared::refused_by;
use crate::state::{Admission, Event, Refusal, State};

impl<B: Backend> Slot<B> {
    /// Registers a claim; the ticket withdraws it when dropped.
    pub(crate) fn claim(
        self: &Arc<Self>,
        number: u64,
        claim: &Claim<B::Spec>,
        notes: FalseStarts,
    ) -> Ticket<B> {
        let (sender, answer) = oneshot::channel();
        let mut inner = self.lock();
        inner.spec = claim.spec.clone();
        inner.retention = claim.retention;
        inner.next_start = number;
        let tenant = Tenant {
            holder: claim.holder.clone(),
            reason: claim.reason.clone(),
            since: UnixMillis::now(),
        };
        let lease = self.lease_row(&inner, &tenant);
        inner.pending.insert(number, Pending { tenant, lease, notes, answer: sender });
        self.apply(inner, Event::Claimed { admission: Admission::Start });
        Ticket { slot: Arc::clone(self), number, answer }
    }

    /// A claim on an instance that is coming up or is ready is in the ledger from its beginning.
    fn lease_row(&self, inner: &Inner<B>, tenant: &Tenant) -> Option<LeaseId> {
        let instance = inner.instance()?;
        match inner.state {
            State::Starting { .. }
            | State::Handshaking { .. }
            | State::Ready { .. }
            | State::Draining { .. } => {
                Some(self.shared.ledger.lease_began(instance, &tenant.holder, &tenant.reason))
            }
            State::Absent
            | State::Stopping { .. }
            | State::Rundown { .. }
            | State::Gone { .. }
            | State::Backoff { .. }
            | State::Broken { .. } => None,
        }
    }

    /// Takes back a claim that was not answered yet.
    fn withdraw(self: &Arc<Self>, number: u64) {
        let mut inner = self.lock();
        let Some(pending) = inner.pending.remove(&number) else { return };
        if let Some(lease) = pending.lease {
            self.shared.ledger.lease_ended(lease, "its holder ended before it was ready");
        }
        let last = match inner.state {
            State::Starting { claims } | State::Handshaking { claims } => claims == 1,
            State::Absent
            | State::Ready { .. }
            | State::Draining { .. }
            | State::Stopping { .. }
            | State::Rundown { .. }
            | State::Gone { .. }
            | State::Backoff { .. }
            | State::Broken { .. } => false,
        };
        if last {
            note_false_start(inner.life.as_ref(), &pending);
        }
        self.apply(inner, Event::ClaimDropped);
    }

    /// Makes a lease of every claim that waits.
    pub(super) fn grant(self: &Arc<Self>, inner: &mut Inner<B>, mail: &mut Mail<B>) {
        let pending = std::mem::take(&mut inner.pending);
        let Some(life) = &inner.life else { return };
        let (Some(instance), Some(handle)) = (life.instance, &life.handle) else { return };
        for Pending { tenant, lease, notes: _, answer } in pending.into_values() {
            let id = lease.unwrap_or_else(|| {
                self.shared.ledger.lease_began(instance, &tenant.holder, &tenant.reason)
            });
            inner.leases.insert(id, tenant);
            let lease = Lease::new(Arc::clone(self), id, instance, handle.clone(), life);
            mail.0.push((answer, Ok(lease)));
        }
    }

    /// Refuses every claim that waits.
    pub(super) fn refuse(&self, inner: &mut Inner<B>, refusal: &Refusal, mail: &mut Mail<B>) {
        let turn = match refusal {
            Refusal::Stopped { why } => Turn::Refused(AcquireError::Stopped { reason: *why }),
            Refusal::StartFailed | Refusal::BackingOff | Refusal::Broken => {
                inner.refusal.clone().unwrap_or_else(|| {
                    let lost = String::from("the reason of the refusal was lost");
                    Turn::Refused(AcquireError::Internal(lost))
                })
            }
        };
        for pending in std::mem::take(&mut inner.pending).into_values() {
            note_false_start(inner.life.as_ref(), &pending);
            if let Some(lease) = pending.lease {
                self.shared.ledger.lease_ended(lease, "refused: it did not come up");
            }
            mail.0.push((pending.answer, Err(turn.clone())));
        }
    }

    /// Submits every claim that waited for the end of the instance before.
    pub(super) fn resubmit(self: &Arc<Self>, inner: &mut Inner<B>, mail: &mut Mail<B>) {
        // What was before is closed; the next start makes a life of its own.
        inner.life = None;
        for (number, pending) in std::mem::take(&mut inner.pending) {
            if pending.answer.is_closed() {
                continue;
            }
            let verdict = if inner.state.at_rest() {
                self.shared.breakers.admit(&self.key, number)
            } else {
                Verdict::Start
            };
            let admission = match &verdict {
                Verdict::Start => Admission::Start,
                Verdict::Busy => {
                    mail.0.push((pending.answer, Err(Turn::Again)));
                    continue;
                }
                Verdict::Wait { until, tally, last: _ } => {
                    Admission::Wait { until: *until, tally: *tally }
                }
                Verdict::Broken { fault } => Admission::Broken { why: fault.message.clone() },
            };
            if admission != Admission::Start {
                inner.refusal = Some(Turn::Refused(refused_by(&self.key, verdict)));
            }
            inner.next_start = number;
            inner.pending.insert(number, pending);
            self.step(inner, Event::Claimed { admission }, mail);
        }
    }
}

/// Notes the end of what was started for a claim. One that waits for the instance after this has no lease on it.
fn note_false_start<B: Backend>(life: Option<&Life<B::Handle>>, pending: &Pending<B>) {
    let Some(life) = life.filter(|life| life.ready.is_none()) else { return };
    if let (Some(instance), Some(_)) = (life.instance, pending.lease) {
        pending.notes.note(instance, life.ended.subscribe());
    }
}

/// A registered claim. Dropping it withdraws the claim, or the lease if that was granted meanwhile.
pub(crate) struct Ticket<B: Backend> {
    slot: Arc<Slot<B>>,
    number: u64,
    answer: oneshot::Receiver<Answer<B>>,
}

impl<B: Backend> Ticket<B> {
    /// Waits for the answer. Cancel-safe.
    pub(crate) async fn answer(&mut self) -> Answer<B> {
        match (&mut self.answer).await {
            Ok(answer) => answer,
            Err(_unsent) => {
                let lost = String::from("the driver of the instance ended before it");
                Err(Turn::Refused(AcquireError::Internal(lost)))
            }
        }
    }
}

impl<B: Backend> Drop for Ticket<B> {
    fn drop(&mut self) {
        self.slot.withdraw(self.number);
    }
}
