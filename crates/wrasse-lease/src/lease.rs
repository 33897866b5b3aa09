//! Leases and the calls made through them.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wrasse_types::{GoneReason, InstanceId, LeaseId};

use crate::backend::Backend;
use crate::life::{Life, Lost, end_of};
use crate::slot::Slot;
use crate::state::Event;
use crate::view::{Ended, Restart};

/// The right to use one instance. It cannot be cloned, and dropping it, in whatever way, releases it.
pub struct Lease<B: Backend> {
    slot: Arc<Slot<B>>,
    /// The start of the instance this is a lease on.
    start: u64,
    id: LeaseId,
    instance: InstanceId,
    handle: B::Handle,
    lost: Arc<Lost>,
    ended: watch::Receiver<Option<Ended>>,
}

impl<B: Backend> Lease<B> {
    pub(crate) fn new(
        slot: Arc<Slot<B>>,
        id: LeaseId,
        instance: InstanceId,
        handle: B::Handle,
        life: &Life<B::Handle>,
    ) -> Self {
        let (lost, ended) = (Arc::clone(&life.lost), life.ended.subscribe());
        Self { slot, start: life.number, id, instance, handle, lost, ended }
    }

    /// How the instance is used.
    pub fn handle(&self) -> &B::Handle {
        &self.handle
    }

    /// The instance.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// The number of the lease in the ledger.
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// Cancelled when the instance is no longer usable: it is being stopped or died. The lease has ended then, and
    /// a new claim gets a new instance.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost.token
    }

    /// Why the instance is no longer usable; `None` while it is.
    pub fn lost_reason(&self) -> Option<GoneReason> {
        self.lost.reason()
    }

    /// Marks a call as in flight until the guard is dropped. The idle clock moves with it, and does not fire before.
    pub fn begin_call(&self) -> CallGuard {
        let sink: Arc<dyn CallSink> = Arc::clone(&self.slot) as Arc<dyn CallSink>;
        Arc::clone(&sink).called(self.start, Event::CallBegan);
        CallGuard { sink, start: self.start }
    }

    /// Says that this instance replaced one with a past: once, to the first of its leases that asks.
    pub fn restarted_since(&self) -> Option<Restart> {
        self.slot.take_restart(self.start)
    }

    /// Releases the lease; if the instance is not kept, or is ending already, waits for its end and says how it went.
    ///
    /// Cancel-safe: a dropped future has released the lease, and the instance ends all the same.
    pub async fn release(self) -> Option<Ended> {
        let (slot, start, ended) = (Arc::clone(&self.slot), self.start, self.ended.clone());
        drop(self);
        if slot.is_usable(start) {
            return None;
        }
        end_of(ended).await
    }
}

impl<B: Backend> Drop for Lease<B> {
    fn drop(&mut self) {
        let how = if std::thread::panicking() { "its holder panicked" } else { "released" };
        self.slot.release(self.id, how);
    }
}

impl<B: Backend> fmt::Debug for Lease<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("id", &self.id)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// Receives what happens to calls, whatever the backend.
pub(crate) trait CallSink: Send + Sync {
    fn called(self: Arc<Self>, start: u64, event: Event);
}

/// A call in flight. Owned: it may move into a task and outlive its lease, which keeps nothing alive.
#[must_use = "the call counts as over when this is dropped"]
pub struct CallGuard {
    sink: Arc<dyn CallSink>,
    start: u64,
}

impl CallGuard {
    /// The call moved: progress or a notification of it arrived. Counts as use.
    pub fn progress(&self) {
        Arc::clone(&self.sink).called(self.start, Event::CallMoved);
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        Arc::clone(&self.sink).called(self.start, Event::CallEnded);
    }
}

impl fmt::Debug for CallGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallGuard").finish_non_exhaustive()
    }
}
