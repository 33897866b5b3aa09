//! The gateway as a whole: how its parts are put together, and the order in which they end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Mutex, watch};
use wrasse_config::Config;
use wrasse_mcp::{Ended, Servers};
use wrasse_model::Models;
use wrasse_scope::{Scope, TaskKind, clock};
use wrasse_store::{RunEnd, Store, StoreError};
use wrasse_types::wire::RpcFault;
use wrasse_types::{EndReason, UnixMillis};

use crate::core::Core;
use crate::cron::{self, Cron};
use crate::lanes::{Lanes, SessionQueues};
use crate::readiness::{Readiness, StoreProbe};
use crate::rpc::{self, MethodInfo};
use crate::run::{Registry, RunReport};

/// How long runs may take to wind up before the servers are stopped under them.
const WIND_UP_MAX: Duration = Duration::from_secs(2);
/// Kept free at the end of a shutdown to write what the store still holds.
const FLUSH_RESERVE: Duration = Duration::from_millis(500);

/// Where the line of each run that is over goes.
pub type ReportSink = Arc<dyn Fn(&RunReport) + Send + Sync>;

/// What the gateway says of itself in `ps` and `status`.
#[derive(Clone)]
pub struct GatewayIdentity {
    /// The gateway's process id.
    pub pid: u32,
    /// The warden's process id.
    pub warden_pid: Option<u32>,
    /// The version of the program.
    pub version: String,
    /// When it started.
    pub started_at: UnixMillis,
    /// The containment layers in use.
    pub containment: Vec<String>,
    /// Gives the memory of gateway and warden.
    pub own_memory: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl std::fmt::Debug for GatewayIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayIdentity").field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// What a gateway is made of.
pub struct GatewayParts {
    /// The validated configuration.
    pub config: Arc<Config>,
    /// Durable state.
    pub store: Store,
    /// Tool servers.
    pub servers: Servers,
    /// Language models.
    pub models: Models,
    /// Owns every task of the gateway. Must be its own child scope: shutdown joins it.
    pub scope: Scope,
    /// What it says of itself.
    pub identity: GatewayIdentity,
    /// Where the line of each run that is over goes.
    pub report: ReportSink,
}

impl std::fmt::Debug for GatewayParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayParts").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Why a gateway shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownWhy {
    /// `gateway stop`.
    Stop,
    /// `gateway restart`.
    Restart,
    /// SIGTERM, SIGINT or SIGHUP.
    Signal,
    /// The warden is gone.
    WardenLost,
    /// A one-shot `agent --local` is done.
    LocalEnded,
}

impl ShutdownWhy {
    /// The reason that runs in progress end with.
    pub const fn end_reason(self) -> EndReason {
        match self {
            Self::Stop | Self::Signal => EndReason::GatewayStopped,
            Self::Restart => EndReason::GatewayRestarted,
            Self::WardenLost => EndReason::WardenLost,
            Self::LocalEnded => EndReason::LocalEnded,
        }
    }
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What a gateway before this one left could not be put in order.
    #[error("the records of the last gateway could not be put in order")]
    Recover(#[source] StoreError),
    /// The jobs could not be read or written.
    #[error("the scheduled jobs could not be loaded")]
    Jobs(#[source] StoreError),
}

/// What a shutdown came to.
#[derive(Debug, Clone, Default)]
pub struct ShutdownReport {
    /// Instances that were stopped after the runs had released theirs.
    pub ended: Vec<Ended>,
    /// Runs that were ended.
    pub runs: usize,
    /// Runs that had not ended at the deadline.
    pub runs_left: usize,
}

/// A gateway. A cheap handle.
#[derive(Debug, Clone)]
pub struct Gateway {
    core: Arc<Core>,
}

impl Gateway {
    /// Puts the records of a gateway that died in order and loads the jobs. None fires before
    /// [`serve_jobs`](Self::serve_jobs): a program that only has one thing to do, or that cannot serve, fires none.
    ///
    /// # Errors
    /// The store failed.
    pub async fn start(parts: GatewayParts) -> Result<Gateway, StartError> {
        recover(&parts.store).await.map_err(StartError::Recover)?;
        let agents = &parts.config.agents;
        let lanes = Lanes::new(
            agents.max_concurrent,
            agents.subagents_max_concurrent,
            parts.config.cron.max_concurrent_runs,
        );
        let core = Arc::new(Core {
            lanes,
            queues: SessionQueues::default(),
            registry: Arc::new(Registry::default()),
            cron: Cron::default(),
            admission: Mutex::new(()),
            spawning: Mutex::new(()),
            draining: watch::Sender::new(None),
            asked: watch::Sender::new(None),
            store_probe: StoreProbe::default(),
            config: parts.config,
            store: parts.store,
            servers: parts.servers,
            models: parts.models,
            scope: parts.scope,
            identity: parts.identity,
            report: parts.report,
        });
        cron::load(&core).await.map_err(StartError::Jobs)?;
        Ok(Gateway { core })
    }

    /// Fires the jobs from now on; asking again changes nothing.
    pub fn serve_jobs(&self) {
        if self.core.cron.begin_serving() {
            let own = Arc::clone(&self.core);
            self.core
                .scope
                .spawn(TaskKind::Scheduler, async move { cron::schedule_jobs(own).await });
        }
    }

    /// Answers a method.
    ///
    /// # Errors
    /// A refusal with its cause and a command that would help.
    pub async fn rpc(&self, method: &str, params: Value) -> Result<Value, RpcFault> {
        Box::pin(rpc::call(&self.core, method, params)).await
    }

    /// Every method.
    pub fn methods() -> &'static [MethodInfo] {
        rpc::METHODS
    }

    /// Whether the gateway takes work. Bounded by a few seconds whatever the disk does.
    pub async fn readiness(&self) -> Readiness {
        self.core.readiness().await
    }

    /// Tells when a method asks the program to shut down.
    pub fn shutdown_asked(&self) -> watch::Receiver<Option<ShutdownWhy>> {
        self.core.asked.subscribe()
    }

    /// Ends everything in order under one deadline: refuse what is new, end the runs, let them release what they hold,
    /// stop every server, write what the store still holds.
    pub async fn shutdown(&self, why: ShutdownWhy, deadline: Duration) -> ShutdownReport {
        let core = &self.core;
        let until = clock::now() + deadline.saturating_sub(FLUSH_RESERVE);
        let reason = why.end_reason();
        core.draining.send_if_modified(|draining| {
            let first = draining.is_none();
            draining.get_or_insert(reason);
            first
        });
        core.cron.wake();
        // Whoever was being accepted has been entered or refused once this is passed.
        if clock::timeout(WIND_UP_MAX, async { drop(core.admission.lock().await) }).await.is_err() {
            tracing::warn!("a run is still being accepted; it ends as soon as it is");
        }
        let runs = core.registry.all();
        tracing::info!(runs = runs.len(), reason = reason.text(), "shutting down");
        for run in &runs {
            run.request_end(reason);
        }
        let outcomes = futures::future::join_all(runs.iter().map(|run| run.finished()));
        let wound_up = clock::timeout(WIND_UP_MAX.min(until.remaining()), outcomes).await;
        if wound_up.is_err() {
            tracing::warn!(
                "some runs did not wind up in time; their servers are stopped under them"
            );
        }
        let over = futures::future::join_all(runs.iter().map(|run| run.over()));
        let stop = Box::pin(core.servers.stop_all(until.remaining()));
        let (over, ended) = tokio::join!(clock::timeout(until.remaining(), over), stop);
        if over.is_err() {
            tracing::warn!(
                runs = core.registry.len(),
                "some runs have not released everything in time"
            );
        }
        if clock::timeout(FLUSH_RESERVE, core.store.ledger().flush()).await.is_err() {
            tracing::warn!("the ledger could not be written in time");
        }
        core.scope.cancel();
        ShutdownReport { ended, runs: runs.len(), runs_left: core.registry.len() }
    }
}

/// Ends in the records what ended with a gateway that died.
async fn recover(store: &Store) -> Result<(), StoreError> {
    let now = UnixMillis::now();
    let open = store.open_runs().await?;
    if !open.is_empty() {
        tracing::warn!(
            runs = open.len(),
            "the last gateway died with runs in progress; they are ended as lost"
        );
    }
    for run in open {
        let end = RunEnd {
            at: now,
            reason: EndReason::GatewayLost,
            error: Some(EndReason::GatewayLost.text().to_owned()),
            result: run.result,
            usage_in: run.usage_in,
            usage_out: run.usage_out,
            calls: run.calls,
            turns: run.turns,
            children: run.children,
            delivery: None,
        };
        store.end_run(&run.id, end).await?;
    }
    store.close_lost_firings(now).await?;
    store.ledger().close_lost(now).await?;
    Ok(())
}
