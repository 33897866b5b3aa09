//! What all instances of one [`Leases`](crate::Leases) share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use wrasse_scope::{Scope, TaskKind};
use wrasse_store::Ledger;
use wrasse_types::wire::PsEnded;
use wrasse_types::{StopRung, UnixMillis};

use crate::backend::Backend;
use crate::breaker::Verdict;
use crate::breakers::Breakers;
use crate::claim::{Claim, Key};
use crate::driver::Driver;
use crate::error::AcquireError;
use crate::false_starts::FalseStarts;
use crate::options::LeaseOptions;
use crate::past::Pasts;
use crate::slot::{Slot, Ticket};
use crate::view::Ended;

/// Locks are taken in the order `slots` → a slot → any other; none is held across an await.
pub(crate) struct Shared<B: Backend> {
    pub(crate) backend: Arc<B>,
    pub(crate) ledger: Ledger,
    pub(crate) scope: Scope,
    pub(crate) options: LeaseOptions,
    pub(crate) starts: Semaphore,
    pub(crate) breakers: Breakers,
    pub(crate) pasts: Mutex<Pasts>,
    slots: Mutex<HashMap<Key, Arc<Slot<B>>>>,
    totals: Mutex<PsEnded>,
    closed: AtomicBool,
    numbers: AtomicU64,
}

/// What became of a submitted claim.
pub(crate) enum Submitted<B: Backend> {
    /// It waits, or is granted already; the ticket tells.
    Waiting(Ticket<B>),
    /// Another owner's start of the same server is being tried; ask again when the breakers change.
    ProbeUnderWay,
}

impl<B: Backend> Shared<B> {
    pub(crate) fn new(
        backend: Arc<B>,
        ledger: Ledger,
        scope: Scope,
        options: LeaseOptions,
    ) -> Self {
        Self {
            backend,
            ledger,
            scope,
            options,
            starts: Semaphore::new(options.start_concurrency.max(1)),
            breakers: Breakers::new(options.breaker),
            pasts: Mutex::default(),
            slots: Mutex::default(),
            totals: Mutex::default(),
            closed: AtomicBool::new(false),
            numbers: AtomicU64::new(1),
        }
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// From now on nothing starts.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.breakers.wake_all();
    }

    /// Registers a claim; when this returns it is known to the instance's state, whatever its driver is doing.
    pub(crate) fn submit(
        self: &Arc<Self>,
        claim: &Claim<B::Spec>,
        notes: &FalseStarts,
    ) -> Result<Submitted<B>, Box<AcquireError>> {
        let mut slots = self.lock_slots();
        if self.closed.load(Ordering::Acquire) || self.scope.is_cancelled() {
            return Err(Box::new(AcquireError::ShuttingDown));
        }
        let number = self.next_number();
        let found = slots.get(&claim.key).map(Arc::clone);
        if found.as_ref().is_none_or(|slot| slot.at_rest()) {
            match self.breakers.admit(&claim.key, number) {
                Verdict::Start => {}
                Verdict::Busy => return Ok(Submitted::ProbeUnderWay),
                refused @ (Verdict::Wait { .. } | Verdict::Broken { .. }) => {
                    return Err(Box::new(refused_by(&claim.key, refused)));
                }
            }
        }
        let (slot, is_new) = match found {
            Some(slot) => (slot, false),
            None => {
                let slot = Arc::new(Slot::new(Arc::clone(self), claim));
                slots.insert(claim.key.clone(), Arc::clone(&slot));
                (slot, true)
            }
        };
        // The slots stay locked until the claim is in, so that the driver cannot retire the slot before.
        let ticket = slot.claim(number, claim, notes.clone());
        drop(slots);
        if is_new {
            self.scope.spawn(TaskKind::Instance, Driver::new(slot).run());
        }
        Ok(Submitted::Waiting(ticket))
    }

    /// Takes a slot without an instance out of the map; says whether its driver is done.
    pub(crate) fn retire(&self, slot: &Arc<Slot<B>>) -> bool {
        let mut slots = self.lock_slots();
        if !slot.may_retire() {
            return false;
        }
        Self::remove(&mut slots, slot);
        true
    }

    /// Takes a slot out of the map whose driver ended before its instance; what it held is dropped with it.
    pub(crate) fn abandon(&self, slot: &Arc<Slot<B>>) {
        let mut slots = self.lock_slots();
        Self::remove(&mut slots, slot);
        drop(slots);
        slot.abandon();
    }

    fn remove(slots: &mut HashMap<Key, Arc<Slot<B>>>, slot: &Arc<Slot<B>>) {
        if slots.get(slot.key()).is_some_and(|found| Arc::ptr_eq(found, slot)) {
            slots.remove(slot.key());
        }
    }

    /// Every slot, in the order of their keys.
    pub(crate) fn slots(&self) -> Vec<Arc<Slot<B>>> {
        let mut all: Vec<_> = self.lock_slots().values().map(Arc::clone).collect();
        all.sort_by(|a, b| a.key().cmp(b.key()));
        all
    }

    pub(crate) fn totals(&self) -> PsEnded {
        self.lock_totals().clone()
    }

    /// Counts an ended tree.
    pub(crate) fn count(&self, ended: &Ended) {
        let mut totals = self.lock_totals();
        totals.trees += 1;
        match ended.rung {
            Some(StopRung::AlreadyGone) => totals.already_gone += 1,
            Some(StopRung::Stdin) => totals.stdin += 1,
            Some(StopRung::Term) => totals.term += 1,
            Some(StopRung::Kill) => totals.kill += 1,
            None => {}
        }
        let took_ms = u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX);
        totals.slowest_ms = totals.slowest_ms.max(took_ms);
        totals.proven_empty += u64::from(ended.proven_empty);
    }

    pub(crate) fn lock_pasts(&self) -> MutexGuard<'_, Pasts> {
        self.pasts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_slots(&self) -> MutexGuard<'_, HashMap<Key, Arc<Slot<B>>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_totals(&self) -> MutexGuard<'_, PsEnded> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error of a claim that the breaker refuses.
pub(crate) fn refused_by(key: &Key, verdict: Verdict) -> AcquireError {
    match verdict {
        Verdict::Wait { until, tally, last } => {
            let retry_in = until.remaining();
            AcquireError::BackingOff {
                server: key.server.clone(),
                retry_at: UnixMillis::now().plus(retry_in),
                retry_in,
                failures: tally,
                last,
            }
        }
        Verdict::Broken { fault } => AcquireError::Broken { server: key.server.clone(), fault },
        Verdict::Start | Verdict::Busy => {
            AcquireError::Internal(String::from("the breaker refused nothing"))
        }
    }
}
