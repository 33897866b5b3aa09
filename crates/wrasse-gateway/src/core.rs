//! What every part of the gateway shares.

use std::sync::Arc;

use tokio::sync::{Mutex, watch};
use wrasse_config::{Agent, Config};
use wrasse_mcp::Servers;
use wrasse_model::Models;
use wrasse_scope::Scope;
use wrasse_store::Store;
use wrasse_types::wire::RpcFault;
use wrasse_types::{AgentId, EndReason};

use crate::cron::Cron;
use crate::fault;
use crate::gateway::{GatewayIdentity, ReportSink, ShutdownWhy};
use crate::lanes::{Lanes, SessionQueues};
use crate::readiness::StoreProbe;
use crate::run::Registry;

/// What every part of the gateway shares.
pub(crate) struct Core {
    pub(crate) config: Arc<Config>,
    pub(crate) store: Store,
    pub(crate) servers: Servers,
    pub(crate) models: Models,
    pub(crate) scope: Scope,
    pub(crate) identity: GatewayIdentity,
    pub(crate) report: ReportSink,
    pub(crate) lanes: Lanes,
    pub(crate) queues: SessionQueues,
    pub(crate) registry: Arc<Registry>,
    pub(crate) cron: Cron,
    /// Held while a run is accepted, so that judging a session, resetting it and queueing on it are one step.
    pub(crate) admission: Mutex<()>,
    /// Held while a child is spawned, so that counting the children and adding one are one step.
    pub(crate) spawning: Mutex<()>,
    /// Set once: why everything ends, from when on nothing new is taken.
    pub(crate) draining: watch::Sender<Option<EndReason>>,
    /// Set when a method asked the program to shut down.
    pub(crate) asked: watch::Sender<Option<ShutdownWhy>>,
    pub(crate) store_probe: StoreProbe,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("runs", &self.registry.len()).finish_non_exhaustive()
    }
}

impl Core {
    /// Why everything ends, once it does.
    pub(crate) fn draining(&self) -> Option<EndReason> {
        *self.draining.borrow()
    }

    /// Finds an agent, or says which there are.
    pub(crate) fn agent(&self, id: &AgentId) -> Result<&Agent, RpcFault> {
        self.config.agents.get(id).ok_or_else(|| {
            let known: Vec<&str> = self.config.agents.list.iter().map(|a| a.id.as_str()).collect();
            fault::not_found(
                format!("there is no agent \"{id}\"; there are: {}", known.join(", ")),
                "wrasse config print",
            )
        })
    }
}
