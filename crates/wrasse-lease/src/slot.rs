//! The place of one key: the state of its instance, its claims and its leases, under one short lock.
//!
//! Whoever brings an event (a claim, a dropped lease, a call, the driver) steps the state machine at once, under the
//! lock. What can be done without waiting is done there; what cannot becomes an [`Order`] for the driver. So a
//! release is never lost in a queue that is full, a view never waits for a driver that is busy, and the number
//! of orders is bounded by the state machine.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot, watch};
use wrasse_scope::clock;
use wrasse_types::{GoneReason, Holder, LeaseId, UnixMillis};

use crate::backend::Backend;
use crate::claim::{Claim, Key, Retention};
use crate::error::AcquireError;
use crate::false_starts::FalseStarts;
use crate::lease::{CallSink, Lease};
use crate::life::Life;
use crate::shared::Shared;
use crate::state::{Action, Event, Followers, State, step};
use crate::view::{Ended, Restart};

mod claims;
mod close;
mod show;
mod start;

pub(crate) use claims::Ticket;
pub(crate) use start::{Failure, StartEar};

/// The place of one key.
pub(crate) struct Slot<B: Backend> {
    key: Key,
    shared: Arc<Shared<B>>,
    wake: Notify,
    inner: Mutex<Inner<B>>,
}

/// What the lock of a slot guards.
pub(crate) struct Inner<B: Backend> {
    pub(crate) state: State,
    pub(crate) spec: B::Spec,
    /// INVARIANT: `None` exactly at rest.
    pub(crate) life: Option<Life<B::Handle>>,
    retention: Retention,
    /// INVARIANT: as many as the state has claims or waiting.
    pending: BTreeMap<u64, Pending<B>>,
    /// INVARIANT: as many as the state has leases.
    leases: BTreeMap<LeaseId, Tenant>,
    orders: Vec<Order>,
    /// The number a start gets if the next event orders one.
    next_start: u64,
    /// What claims are told if the next event refuses them.
    refusal: Option<Turn>,
}

/// What only the driver can do.
#[derive(Debug)]
pub(crate) enum Order {
    Start,
    CancelStart,
    Stop(GoneReason),
}

/// Why a claim was turned away.
#[derive(Debug, Clone)]
pub(crate) enum Turn {
    Refused(AcquireError),
    /// Somebody else's start decides; ask again when it has.
    Again,
}

type Answer<B> = Result<Lease<B>, Turn>;

/// A claim that waits.
struct Pending<B: Backend> {
    tenant: Tenant,
    lease: Option<LeaseId>,
    /// Where it is noted when the instance ends without having been usable.
    notes: FalseStarts,
    answer: oneshot::Sender<Answer<B>>,
}

/// Who holds something, since when and what for.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    pub(crate) holder: Holder,
    pub(crate) reason: String,
    pub(crate) since: UnixMillis,
}

/// Answers to send once the lock is free: a lease whose claim is gone is dropped, which takes the lock.
pub(crate) struct Mail<B: Backend>(Vec<(oneshot::Sender<Answer<B>>, Answer<B>)>);

impl<B: Backend> Mail<B> {
    fn send(self) {
        for (answer, content) in self.0 {
            // Nobody there: the lease is released by being dropped here.
            drop(answer.send(content));
        }
    }
}

impl<B: Backend> Slot<B> {
    pub(crate) fn new(shared: Arc<Shared<B>>, claim: &Claim<B::Spec>) -> Self {
        let inner = Inner {
            state: State::Absent,
            spec: claim.spec.clone(),
            life: None,
            retention: claim.retention,
            pending: BTreeMap::new(),
            leases: BTreeMap::new(),
            orders: Vec::new(),
            next_start: 0,
            refusal: None,
        };
        Self { key: claim.key.clone(), shared, wake: Notify::new(), inner: Mutex::new(inner) }
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<B>> {
        &self.shared
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner<B>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn at_rest(&self) -> bool {
        self.lock().state.at_rest()
    }

    /// Whether nothing lives here, nobody waits and nothing is left to do.
    pub(crate) fn may_retire(&self) -> bool {
        let inner = self.lock();
        inner.state.at_rest() && inner.orders.is_empty() && inner.pending.is_empty()
    }

    /// Resolves when there may be orders or another deadline. Cancel-safe; no wake is lost.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut self.lock().orders)
    }

    /// Ends a lease.
    pub(crate) fn release(self: &Arc<Self>, lease: LeaseId, how: &str) {
        let mut inner = self.lock();
        if inner.leases.remove(&lease).is_none() {
            // It was ended when its instance was.
            return;
        }
        self.shared.ledger.lease_ended(lease, how);
        self.apply(inner, Event::LeaseEnded);
    }

    /// Whether the instance of this start is usable.
    pub(crate) fn is_usable(&self, start: u64) -> bool {
        let inner = self.lock();
        inner.life.as_ref().is_some_and(|life| life.number == start)
            && inner.state.usage().is_some()
    }

    /// That this instance replaced one with a past, if nobody was told yet.
    pub(crate) fn take_restart(&self, start: u64) -> Option<Restart> {
        let mut inner = self.lock();
        inner.life.as_mut().filter(|life| life.number == start)?.take_restart()
    }

    /// Tells the instance to stop; returns what becomes its end, unless there is none.
    pub(crate) fn ask_stop(
        self: &Arc<Self>,
        why: GoneReason,
        followers: Followers,
        which: impl Fn(&Inner<B>) -> bool,
    ) -> Option<watch::Receiver<Option<Ended>>> {
        let inner = self.lock();
        let ended = inner.life.as_ref()?.ended.subscribe();
        if !which(&inner) {
            return None;
        }
        self.apply(inner, Event::StopAsked { why, followers });
        Some(ended)
    }

    /// Steps the state machine and does what can be done at once.
    pub(crate) fn apply(self: &Arc<Self>, mut inner: MutexGuard<'_, Inner<B>>, event: Event) {
        let mut mail = Mail(Vec::new());
        let deadline = inner.state.deadline();
        self.step(&mut inner, event, &mut mail);
        let wake =
            !inner.orders.is_empty() || inner.state.at_rest() || inner.state.deadline() != deadline;
        drop(inner);
        mail.send();
        if wake {
            self.wake.notify_one();
        }
    }

    fn step(self: &Arc<Self>, inner: &mut Inner<B>, event: Event, mail: &mut Mail<B>) {
        let state = std::mem::replace(&mut inner.state, State::Absent);
        let (next, actions) = step(state, event, clock::now(), inner.retention);
        inner.state = next;
        for action in actions {
            self.act(inner, action, mail);
        }
        inner.refusal = None;
        if inner.state.at_rest() {
            inner.life = None;
        }
    }

    fn act(self: &Arc<Self>, inner: &mut Inner<B>, action: Action, mail: &mut Mail<B>) {
        match action {
            Action::Start => {
                inner.life = Some(Life::new(inner.next_start));
                inner.orders.push(Order::Start);
            }
            Action::CancelStart => {
                inner.orders.push(Order::CancelStart);
                self.note_stop(inner);
            }
            Action::Stop { why } => {
                inner.orders.push(Order::Stop(why));
                self.note_stop(inner);
                if let Some(life) = &inner.life {
                    life.lost.tell(why);
                }
            }
            Action::Grant => self.grant(inner, mail),
            Action::Refuse { refusal } => self.refuse(inner, &refusal, mail),
            Action::Revoke { why } => {
                for lease in std::mem::take(&mut inner.leases).into_keys() {
                    self.shared
                        .ledger
                        .lease_ended(lease, &format!("instance gone: {}", why.name()));
                }
            }
            Action::Close { why } => self.close(inner, why),
            Action::Resubmit => self.resubmit(inner, mail),
        }
    }
}

impl<B: Backend> CallSink for Slot<B> {
    /// Ignored if the instance of that start is not usable any more.
    fn called(self: Arc<Self>, start: u64, event: Event) {
        let mut inner = self.lock();
        if inner.state.usage().is_none() {
            return;
        }
        let Some(life) = inner.life.as_mut().filter(|life| life.number == start) else { return };
        life.last_call_at = Some(UnixMillis::now());
        if event == Event::CallEnded {
            life.calls += 1;
        }
        self.apply(inner, event);
    }
}

impl<B: Backend> fmt::Debug for Slot<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("key", &self.key).finish_non_exhaustive()
    }
}
