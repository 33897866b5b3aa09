//! The way in: [`Leases`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wrasse_scope::Scope;
use wrasse_scope::clock;
use wrasse_store::Ledger;
use wrasse_types::wire::PsEnded;
use wrasse_types::{GoneReason, InstanceId, ServerName};

use crate::backend::Backend;
use crate::claim::Claim;
use crate::error::AcquireError;
use crate::false_starts::FalseStarts;
use crate::lease::Lease;
use crate::life::end_of;
use crate::options::LeaseOptions;
use crate::shared::{Shared, Submitted};
use crate::slot::{Slot, Turn};
use crate::state::{Followers, State};
use crate::view::{BreakerView, Ended, InstanceView};

type End = watch::Receiver<Option<Ended>>;

/// Every instance of one backend, and the claims on them. A cheap handle: clones are the same.
///
/// A stop takes effect before its method first waits; dropping the method's future only stops the waiting.
pub struct Leases<B: Backend> {
    shared: Arc<Shared<B>>,
}

impl<B: Backend> Clone for Leases<B> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<B: Backend> fmt::Debug for Leases<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").finish_non_exhaustive()
    }
}

impl<B: Backend> Leases<B> {
    /// Makes the leases of a backend; the drivers of their instances live in `scope`. When that is cancelled, every
    /// instance stops.
    pub fn new(backend: Arc<B>, ledger: Ledger, scope: Scope, options: LeaseOptions) -> Self {
        Self { shared: Arc::new(Shared::new(backend, ledger, scope, options)) }
    }

    /// Gets a lease: on the instance that lives under the key, or on one that is started for it.
    ///
    /// Claims on one key share one start. A claim that finds an instance stopping waits until that is gone, and gets
    /// the next. Cancel-safe: a dropped future drops its claim, and a start nobody waits for is ended.
    ///
    /// # Errors
    /// When the instance does not come up or may not be started; see [`AcquireError`].
    pub async fn acquire(
        &self,
        claim: Claim<B::Spec>,
        token: &CancellationToken,
    ) -> Result<Lease<B>, AcquireError> {
        self.acquire_noting(claim, token, &FalseStarts::default()).await
    }

    /// The same, noting instances that were started for this claim and ended without having been usable.
    ///
    /// # Errors
    /// As [`Leases::acquire`].
    pub async fn acquire_noting(
        &self,
        claim: Claim<B::Spec>,
        token: &CancellationToken,
        notes: &FalseStarts,
    ) -> Result<Lease<B>, AcquireError> {
        let mut changes = self.shared.breakers.changes();
        let ending = self.shared.scope.token();
        loop {
            if token.is_cancelled() {
                return Err(AcquireError::Cancelled);
            }
            // Seen before the breaker is asked, so that no change after its answer is missed.
            changes.mark_unchanged();
            if let Submitted::Waiting(mut ticket) =
                self.shared.submit(&claim, notes).map_err(|error| *error)?
            {
                let answer = tokio::select! {
                    biased;
                    answer = ticket.answer() => answer,
                    () = token.cancelled() => return Err(AcquireError::Cancelled),
                };
                match answer {
                    Ok(lease) => return Ok(lease),
                    Err(Turn::Refused(error)) => return Err(error),
                    Err(Turn::Again) => {}
                }
            }
            // Another owner's start of this server is the probe: its outcome decides for this claim, too.
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return Err(AcquireError::ShuttingDown);
                    }
                }
                () = token.cancelled() => return Err(AcquireError::Cancelled),
                () = ending.cancelled() => return Err(AcquireError::ShuttingDown),
            }
        }
    }

    /// Ends every instance of an owner, those still starting included, and waits until they are gone.
    pub async fn owner_ended(&self, owner: &str, why: GoneReason) -> Vec<Ended> {
        let ends = self.ask_stop(why, Followers::Refuse, |slot| slot.key().owner == owner);
        let ended = all_ends(ends).await;
        self.shared.lock_pasts().forget(owner);
        ended
    }

    /// Ends one instance and waits; `None` if there is no such instance. Claims that come meanwhile get a new one.
    pub async fn stop_instance(&self, id: InstanceId, why: GoneReason) -> Option<Ended> {
        let is_it = |slot: &Arc<Slot<B>>| {
            slot.ask_stop(why, Followers::Keep, |inner| inner.instance() == Some(id))
        };
        let end = self.shared.slots().iter().find_map(is_it)?;
        end_of(end).await
    }

    /// Ends every instance of a server and waits.
    pub async fn stop_server(&self, server: &ServerName, why: GoneReason) -> Vec<Ended> {
        let ends = self.ask_stop(why, Followers::Refuse, |slot| slot.key().server == *server);
        all_ends(ends).await
    }

    /// Ends every instance side by side and waits this long at most; answers with those that were gone by then.
    /// With [`GoneReason::GatewayStopped`] nothing starts any more.
    pub async fn stop_all(&self, why: GoneReason, deadline: Duration) -> Vec<Ended> {
        if why == GoneReason::GatewayStopped {
            self.shared.close();
        }
        let until = clock::now() + deadline;
        let mut ended = Vec::new();
        for end in self.ask_stop(why, Followers::Refuse, |_| true) {
            if let Ok(Some(one)) = clock::timeout_at(until, end_of(end)).await {
                ended.push(one);
            }
        }
        ended
    }

    /// Ends every instance that nobody holds and no call is in flight on, and waits.
    pub async fn idle_now(&self) -> Vec<Ended> {
        let idle = |state: &State| match state {
            State::Draining { usage, .. } => usage.calls == 0,
            State::Absent
            | State::Starting { .. }
            | State::Handshaking { .. }
            | State::Ready { .. }
            | State::Stopping { .. }
            | State::Rundown { .. }
            | State::Gone { .. }
            | State::Backoff { .. }
            | State::Broken { .. } => false,
        };
        let ask = |slot: &Arc<Slot<B>>| {
            slot.ask_stop(GoneReason::Idle, Followers::Keep, |inner| idle(&inner.state))
        };
        let ends = self.shared.slots().iter().filter_map(ask).collect();
        all_ends(ends).await
    }

    /// Every instance as it is now, in the order of their numbers. Never waits for a driver.
    pub fn snapshot(&self) -> Vec<InstanceView> {
        let mut views: Vec<_> = self.shared.slots().iter().filter_map(|slot| slot.view()).collect();
        views.sort_by_key(|view| view.id);
        views
    }

    /// Totals of ended trees.
    pub fn ended_totals(&self) -> PsEnded {
        self.shared.totals()
    }

    /// The breaker of a server that has failed; `None` if it has not.
    pub fn breaker(&self, server: &ServerName) -> Option<BreakerView> {
        self.shared.breakers.view(server)
    }

    /// Forgets the failures of a server, as when an operator restarts it or its definition changes.
    pub fn reset_breaker(&self, server: &ServerName) {
        self.shared.breakers.reset(server);
    }

    /// Tells every instance that passes to stop, all before any is waited for.
    fn ask_stop(
        &self,
        why: GoneReason,
        followers: Followers,
        which: impl Fn(&Slot<B>) -> bool,
    ) -> Vec<End> {
        let slots = self.shared.slots();
        let chosen = slots.iter().filter(|slot| which(slot));
        chosen.filter_map(|slot| slot.ask_stop(why, followers, |_| true)).collect()
    }
}

/// They end side by side; only the waiting is one after the other.
async fn all_ends(ends: Vec<End>) -> Vec<Ended> {
    let mut ended = Vec::new();
    for end in ends {
        ended.extend(end_of(end).await);
    }
    ended
}
