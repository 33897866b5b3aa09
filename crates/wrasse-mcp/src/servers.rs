//! The handle of the gateway: every configured server, and what runs of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wrasse_config::{Config, Idle, Server};
use wrasse_contain::Containment;
use wrasse_lease::{Claim, Ended, Key, LeaseOptions, Leases, Retention};
use wrasse_scope::Scope;
use wrasse_store::Store;
use wrasse_types::{GoneReason, Holder, InstanceId, ServerName, SessionKey};

use crate::accounting;
use crate::backend::ServerBackend;
use crate::catalogue::Catalogue;
use crate::fault;
use crate::fingerprint::Fingerprints;
use crate::gates::Gates;
use crate::launch::{Launch, LaunchSpec};
use crate::leases::ServerLeases;
use crate::naming;
use crate::{NotFound, ProbeEnd, ProbeReport, ServerFault};

/// What [`Servers`] is made of.
#[derive(Debug)]
pub struct ServersParts {
    /// The validated configuration.
    pub config: Arc<Config>,
    /// Starts and ends trees.
    pub containment: Containment,
    /// Catalogue, ledger, secrets of fingerprints.
    pub store: Store,
    /// Owns every task of this crate.
    pub scope: Scope,
    /// Our own environment, from which servers get only what they need to run.
    pub env: HashMap<OsString, OsString>,
}

/// Every configured server; a cheap handle.
#[derive(Clone)]
pub struct Servers {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Arc<Config>,
    pub(crate) backend: Arc<ServerBackend>,
    pub(crate) leases: Leases<ServerBackend>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) store: Store,
    pub(crate) scope: Scope,
    /// The first part of each server's tool names.
    pub(crate) prefixes: BTreeMap<ServerName, String>,
    /// Who learns the tools of a fingerprint that has no catalogue yet.
    pub(crate) learning: Gates,
    fingerprints: Fingerprints,
    probes: AtomicU64,
    /// Servers that are down and have been named: one that stays down is named once and not at every run.
    said: Mutex<BTreeSet<ServerName>>,
    /// Held by whoever looks whether there is room for a server.
    pub(crate) room: tokio::sync::Mutex<()>,
}

impl Inner {
    pub(crate) fn said(&self) -> MutexGuard<'_, BTreeSet<ServerName>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Servers").field("count", &self.inner.prefixes.len()).finish_non_exhaustive()
    }
}

impl Servers {
    /// Builds the handle; starts nothing.
    pub fn new(parts: ServersParts) -> Self {
        let ServersParts { config, containment, store, scope, env } = parts;
        let catalogue = Arc::new(Catalogue::new(store.clone()));
        let backend = Arc::new(ServerBackend::new(
            containment,
            &store,
            scope.clone(),
            env,
            Arc::clone(&catalogue),
        ));
        let options = LeaseOptions {
            start_concurrency: config.mcp.start_concurrency,
            ..LeaseOptions::default()
        };
        let leases = Leases::new(Arc::clone(&backend), store.ledger(), scope.clone(), options);
        let prefixes = naming::prefixes(config.mcp.servers.iter().map(|server| &server.name));
        let fingerprints = Fingerprints::new(&store.fingerprint_secret());
        let probes = AtomicU64::new(1);
        let inner = Inner {
            config,
            backend,
            leases,
            catalogue,
            store,
            scope,
            prefixes,
            learning: Gates::default(),
            fingerprints,
            probes,
            said: Mutex::default(),
            room: tokio::sync::Mutex::default(),
        };
        let inner = Arc::new(inner);
        accounting::watch(&inner);
        Self { inner }
    }

    /// The leases of one run, none yet. The owner is the session whose private instances it uses.
    pub fn leases(&self, holder: Holder, owner: SessionKey) -> ServerLeases {
        ServerLeases::new(self.clone(), holder, owner)
    }

    /// The prefix of a server's offered tool names, the separator included: `docs__`.
    pub fn tool_prefix(&self, server: &ServerName) -> Option<String> {
        self.inner.prefixes.get(server).map(|prefix| format!("{prefix}__"))
    }

    /// Stops every instance private to a session and waits until it is gone.
    pub async fn end_session(&self, session: &SessionKey, why: GoneReason) -> Vec<Ended> {
        self.inner.leases.owner_ended(session.as_str(), why).await
    }

    /// Stops everything because the gateway stops; nothing starts after this.
    pub async fn stop_all(&self, deadline: Duration) -> Vec<Ended> {
        self.inner.leases.stop_all(GoneReason::GatewayStopped, deadline).await
    }

    /// Stops every instance of a server, or one by its id (`i-1041`), and waits until it is gone.
    ///
    /// # Errors
    /// When the target is neither a configured server nor a running instance.
    pub async fn stop(&self, target: &str, why: GoneReason) -> Result<Vec<Ended>, NotFound> {
        let missing = || NotFound(target.to_owned());
        if let Some(server) = self.server(target) {
            return Ok(self.inner.leases.stop_server(&server.name, why).await);
        }
        let id = InstanceId::parse(target).map_err(|_| missing())?;
        self.inner.leases.stop_instance(id, why).await.map(|ended| vec![ended]).ok_or_else(missing)
    }

    /// Stops every instance of a server (or the one of the given id), closes its breaker and forgets what it
    /// offered in the default agent's workspace, so that the next use starts it anew.
    ///
    /// # Errors
    /// When the target is neither a configured server nor a running instance.
    pub async fn restart(&self, target: &str) -> Result<Vec<Ended>, NotFound> {
        let ended = self.stop(target, GoneReason::Replaced).await?;
        let mut names: Vec<&ServerName> = ended.iter().map(|ended| &ended.server).collect();
        let named = self.server(target).map(|server| &server.name);
        names.extend(named);
        names.dedup();
        for name in names {
            self.inner.leases.reset_breaker(name);
            if let Some(launch) =
                self.server(name.as_str()).and_then(|server| self.default_launch(server))
            {
                self.inner.catalogue.forget(&launch.fingerprint).await;
            }
        }
        Ok(ended)
    }

    /// Ends every instance that nobody holds.
    pub async fn end_idle(&self) -> Vec<Ended> {
        self.inner.leases.idle_now().await
    }

    /// Starts a server for itself in the default agent's workspace, asks what it offers and ends it again,
    /// whatever happened (failure mode B11). An open breaker does not stop it.
    ///
    /// # Errors
    /// When the server is unknown, cannot be started that way, or does not come up.
    pub async fn probe(
        &self,
        server: &ServerName,
        token: &CancellationToken,
    ) -> Result<ProbeReport, ServerFault> {
        let refuse = |message: &str, help: Option<String>| ServerFault {
            server: server.clone(),
            message: message.to_owned(),
            help,
        };
        let Some(configured) = self.server(server.as_str()) else {
            return Err(refuse("not configured", Some("wrasse mcp list".to_owned())));
        };
        if !configured.enabled {
            let cure = format!("set mcp.servers.{server}.enabled to true");
            return Err(refuse("disabled: it is never started", Some(cure)));
        }
        let Some(launch) = self.default_launch(configured) else {
            return Err(refuse(HTTP_UNSUPPORTED, None));
        };
        self.inner.leases.reset_breaker(server);
        let number = self.inner.probes.fetch_add(1, Ordering::Relaxed);
        let began = wrasse_scope::clock::now();
        let claim = Claim {
            key: Key {
                server: server.clone(),
                owner: format!("probe {number}"),
                fingerprint: launch.fingerprint.clone(),
            },
            spec: Arc::clone(&launch),
            retention: Retention::Run,
            holder: Holder::operator("mcp probe"),
            reason: "mcp probe".to_owned(),
        };
        let gate = self.inner.backend.installs.gate(&launch, token).await;
        let gate = gate.map_err(|()| refuse("the probe was cancelled", None))?;
        let lease = match self.make_room(&launch, &claim.key.owner).await {
            Ok(()) => self.inner.leases.acquire(claim, token).await,
            Err(full) => Err(full),
        };
        drop(gate);
        let lease = lease.map_err(|error| fault::of_acquire(server, &error))?;
        self.inner.said().remove(server);
        let handle = Arc::clone(lease.handle());
        let took = began.elapsed();
        let ended = lease.release().await;
        let tools = handle.tools.borrow().iter().map(|tool| tool.name.clone()).collect();
        let said = &handle.introduction;
        Ok(ProbeReport {
            server: server.clone(),
            launch: launch.shown.clone(),
            protocol: said.protocol.clone(),
            server_info: said.server_info.clone(),
            tools,
            resources: said.has_resources,
            prompts: said.has_prompts,
            list_changed: said.announces_changes,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            ended: ended.and_then(|ended| probe_end(&ended)),
        })
    }

    pub(crate) fn server(&self, name: &str) -> Option<&Server> {
        self.inner.config.mcp.servers.iter().find(|server| server.name.as_str() == name)
    }

    /// A stdio server resolved for a workspace.
    pub(crate) fn launch(&self, server: &Server, workspace: &Path) -> Option<LaunchSpec> {
        let inner = &self.inner;
        let inherit = &inner.config.mcp.inherit_env;
        Launch::resolve(server, workspace, &inner.backend.ours, inherit, &inner.fingerprints)
    }

    pub(crate) fn default_launch(&self, server: &Server) -> Option<LaunchSpec> {
        self.launch(server, &self.default_workspace())
    }

    pub(crate) fn default_workspace(&self) -> PathBuf {
        let agents = &self.inner.config.agents;
        let agent = agents.get(&agents.default).or_else(|| agents.list.first());
        agent.map_or_else(|| PathBuf::from("/"), |agent| agent.workspace.clone())
    }

    /// The claim of a run on a server.
    pub(crate) fn claim(
        launch: &LaunchSpec,
        owner: &SessionKey,
        holder: &Holder,
        reason: String,
    ) -> Claim<LaunchSpec> {
        Claim {
            key: Key {
                server: launch.server.clone(),
                owner: owner.to_string(),
                fingerprint: launch.fingerprint.clone(),
            },
            spec: Arc::clone(launch),
            retention: match launch.lifecycle.idle {
                Idle::Run => Retention::Run,
                Idle::For(duration) => Retention::For(duration),
                Idle::Off => Retention::UntilOwnerEnds,
            },
            holder: holder.clone(),
            reason,
        }
    }
}

/// The fault of a server that is reached over HTTP.
pub(crate) const HTTP_UNSUPPORTED: &str = "streamable HTTP servers are not supported yet";

/// The session that an owner of an instance is; a probe belongs to none.
pub(crate) fn session_of(owner: &str) -> Option<SessionKey> {
    owner.starts_with("agent:").then(|| SessionKey::from_store(owner))
}

fn probe_end(ended: &Ended) -> Option<ProbeEnd> {
    Some(ProbeEnd {
        rung: ended.rung?,
        took_ms: u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX),
        processes: ended.processes,
        survivors: ended.survivors,
        proven_empty: ended.proven_empty,
    })
}
