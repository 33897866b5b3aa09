//! Leases and the calls made through them.

use std::marker::PhantomData;

use tokio_util::sync::CancellationToken;
use wrasse_types::{GoneReason, InstanceId, LeaseId};

use crate::backend::Backend;
use crate::view::{Ended, Restart};

/// The right to use one instance. Dropping it releases it.
pub struct Lease<B: Backend> {
    backend: PhantomData<B>,
}

impl<B: Backend> std::fmt::Debug for Lease<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}

impl<B: Backend> Lease<B> {
    /// How the instance is used.
    pub fn handle(&self) -> &B::Handle {
        unimplemented!()
    }

    /// The instance.
    pub fn instance(&self) -> InstanceId {
        unimplemented!()
    }

    /// The number of the lease in the ledger.
    pub fn id(&self) -> LeaseId {
        unimplemented!()
    }

    /// Cancelled when the instance is no longer usable: it is being stopped or died.
    pub fn lost(&self) -> &CancellationToken {
        unimplemented!()
    }

    /// Why the instance is no longer usable; `None` while it is.
    pub fn lost_reason(&self) -> Option<GoneReason> {
        unimplemented!()
    }

    /// Marks a call as in flight until the guard is dropped.
    pub fn begin_call(&self) -> CallGuard {
        unimplemented!()
    }

    /// Says, once per instance, that it replaced one with a past: the first who asks is told.
    pub fn restarted_since(&self) -> Option<Restart> {
        unimplemented!()
    }

    /// Releases the lease; if its retention says so, waits for the end of the instance and says how it went.
    pub async fn release(self) -> Option<Ended> {
        unimplemented!()
    }
}

/// A call in flight. Owned and `Send`: it may move into a task.
#[derive(Debug)]
pub struct CallGuard {}

impl CallGuard {
    /// The call moved: progress or a notification of it arrived. Counts as use.
    pub fn progress(&self) {
        unimplemented!()
    }
}
