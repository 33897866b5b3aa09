//! The way in: [`Leases`].

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wrasse_scope::Scope;
use wrasse_store::Ledger;
use wrasse_types::wire::PsEnded;
use wrasse_types::{GoneReason, InstanceId, ServerName};

use crate::backend::Backend;
use crate::claim::Claim;
use crate::error::AcquireError;
use crate::lease::Lease;
use crate::options::LeaseOptions;
use crate::view::{BreakerView, Ended, InstanceView};

/// Every instance of one backend, and the claims on them. Clones are the same.
pub struct Leases<B: Backend> {
    backend: Arc<B>,
}

impl<B: Backend> Clone for Leases<B> {
    fn clone(&self) -> Self {
        Self { backend: Arc::clone(&self.backend) }
    }
}

impl<B: Backend> std::fmt::Debug for Leases<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leases").finish_non_exhaustive()
    }
}

impl<B: Backend> Leases<B> {
    /// Makes the leases of a backend; their tasks live in `scope`.
    pub fn new(backend: Arc<B>, ledger: Ledger, scope: Scope, options: LeaseOptions) -> Self {
        let _ = (ledger, scope, options);
        Self { backend }
    }

    /// Gets a lease: on the instance that lives under the key, or on one that is started for it.
    pub async fn acquire(
        &self,
        claim: Claim<B::Spec>,
        token: &CancellationToken,
    ) -> Result<Lease<B>, AcquireError> {
        let _ = (claim, token);
        unimplemented!()
    }

    /// Ends every instance of an owner, those still starting included, and waits until they are gone.
    pub async fn owner_ended(&self, owner: &str, why: GoneReason) -> Vec<Ended> {
        let _ = (owner, why);
        unimplemented!()
    }

    /// Ends one instance and waits; `None` if there is no such instance.
    pub async fn stop_instance(&self, id: InstanceId, why: GoneReason) -> Option<Ended> {
        let _ = (id, why);
        unimplemented!()
    }

    /// Ends every instance of a server and waits.
    pub async fn stop_server(&self, server: &ServerName, why: GoneReason) -> Vec<Ended> {
        let _ = (server, why);
        unimplemented!()
    }

    /// Ends every instance side by side and waits this long at most.
    pub async fn stop_all(&self, why: GoneReason, deadline: Duration) -> Vec<Ended> {
        let _ = (why, deadline);
        unimplemented!()
    }

    /// Ends every instance that nobody holds, and waits.
    pub async fn idle_now(&self) -> Vec<Ended> {
        unimplemented!()
    }

    /// Every instance as it is now. Never waits for a driver.
    pub fn snapshot(&self) -> Vec<InstanceView> {
        unimplemented!()
    }

    /// Totals of ended trees.
    pub fn ended_totals(&self) -> PsEnded {
        unimplemented!()
    }

    /// The breaker of a server that has failed; `None` if it has not.
    pub fn breaker(&self, server: &ServerName) -> Option<BreakerView> {
        let _ = server;
        unimplemented!()
    }

    /// Forgets the failures of a server, as when an operator restarts it or its definition changes.
    pub fn reset_breaker(&self, server: &ServerName) {
        let _ = server;
        unimplemented!()
    }
}
