//! What one run holds, and the calls it makes.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;
use wrasse_lease::{AcquireError, Ended, FalseStarts, Lease, Whose};
use wrasse_scope::{TaskKind, clock};
use wrasse_types::{Holder, ServerName, SessionKey};

use crate::backend::ServerBackend;
use crate::connection::{CallFault, CallLimits, ToolEntry};
use crate::install::FIRST_LAUNCH_LIMIT;
use crate::launch::LaunchSpec;
use crate::servers::{HTTP_UNSUPPORTED, Servers};
use crate::{OfferedTool, ServerFault, ToolOutcome, content, fault};

/// How often the silence limit fits into the longest call.
const PROGRESS_FACTOR: u32 = 10;
/// How often the limit of a start fits into the wait for what another run learns.
const LEARNING_FACTOR: u32 = 4;
/// A call that reports progress may take at least this long.
const TOTAL_MIN: Duration = Duration::from_secs(600);

type HeldLease = Arc<Lease<ServerBackend>>;
/// One slot per server, so that side-by-side calls of a run share one lease.
type Slot = Arc<tokio::sync::Mutex<Option<HeldLease>>>;

/// What one run holds. Dropping it releases everything without waiting; [`ServerLeases::release`] waits.
pub struct ServerLeases {
    servers: Servers,
    holder: Holder,
    owner: SessionKey,
    slots: Mutex<BTreeMap<ServerName, Slot>>,
    workspace: Mutex<Option<PathBuf>>,
    named: Mutex<HashSet<ServerName>>,
    /// What was started for this run and came to nothing.
    false_starts: FalseStarts,
}

impl std::fmt::Debug for ServerLeases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerLeases")
            .field("holder", &self.holder)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl ServerLeases {
    pub(crate) fn new(servers: Servers, holder: Holder, owner: SessionKey) -> Self {
        Self {
            servers,
            holder,
            owner,
            slots: Mutex::default(),
            workspace: Mutex::default(),
            named: Mutex::default(),
            false_starts: FalseStarts::default(),
        }
    }

    /// Notes the workspace of the offer, in which later calls start servers.
    pub(crate) fn set_workspace(&self, workspace: PathBuf) {
        *self.workspace.lock().unwrap_or_else(PoisonError::into_inner) = Some(workspace);
    }

    /// Whether this is the first time that a server's fault is named to this run.
    pub(crate) fn first_naming(&self, server: &ServerName) -> bool {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).insert(server.clone())
    }

    /// The lease on a server, taken now if the run has none that is alive.
    async fn hold(
        &self,
        launch: &LaunchSpec,
        reason: String,
        token: &CancellationToken,
    ) -> Result<HeldLease, AcquireError> {
        let mut held = self.slot(launch, token).await?;
        if let Some(lease) = held.as_ref().filter(|lease| is_alive(lease)) {
            return Ok(Arc::clone(lease));
        }
        let installs = &self.servers.inner.backend.installs;
        let gate = installs.gate(launch, token).await.map_err(|()| AcquireError::Cancelled)?;
        let lease = self.start(&mut held, launch, reason, token).await;
        drop(gate);
        lease
    }

    /// The tools of a server that has no catalogue yet. Of the runs that ask at once one starts it, and the
    /// others wait for what it learns and start nothing (failure mode D4); when it does not come up for one,
    /// the next tries.
    pub(crate) async fn learn(
        &self,
        launch: &LaunchSpec,
        token: &CancellationToken,
    ) -> Result<Arc<Vec<ToolEntry>>, AcquireError> {
        let inner = &self.servers.inner;
        let mut held = self.slot(launch, token).await?;
        if let Some(lease) = held.as_ref().filter(|lease| is_alive(lease)) {
            return Ok(Arc::clone(&lease.handle().tools.borrow()));
        }
        let waited = inner.learning.wait(&launch.fingerprint, token);
        let learning = match clock::timeout(learning_limit(launch), waited).await {
            Ok(Some(pass)) => Some(pass),
            Ok(None) => return Err(AcquireError::Cancelled),
            // Whoever learns is stuck; that is no reason to wait with it.
            Err(_elapsed) => None,
        };
        if let Some(entry) = inner.catalogue.get(&launch.fingerprint).await {
            return Ok(entry.tools);
        }
        let gate = inner.backend.installs.gate(launch, token).await;
        let gate = gate.map_err(|()| AcquireError::Cancelled)?;
        if gate.waited
            && let Some(entry) = inner.catalogue.get(&launch.fingerprint).await
        {
            return Ok(entry.tools);
        }
        let lease = self.start(&mut held, launch, "to learn its tools".to_owned(), token).await;
        drop((gate, learning));
        Ok(Arc::clone(&lease?.handle().tools.borrow()))
    }

    /// The place of the lease on a server, for as long as it is looked at.
    async fn slot(
        &self,
        launch: &LaunchSpec,
        token: &CancellationToken,
    ) -> Result<OwnedMutexGuard<Option<HeldLease>>, AcquireError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(launch.server.clone()).or_default())
        };
        tokio::select! {
            biased;
            () = token.cancelled() => Err(AcquireError::Cancelled),
            held = slot.lock_owned() => Ok(held),
        }
    }

    async fn start(
        &self,
        held: &mut Option<HeldLease>,
        launch: &LaunchSpec,
        reason: String,
        token: &CancellationToken,
    ) -> Result<HeldLease, AcquireError> {
        drop(held.take());
        let inner = &self.servers.inner;
        self.servers.make_room(launch, &self.owner.to_string()).await?;
        let claim = Servers::claim(launch, &self.owner, &self.holder, reason);
        let lease = inner.leases.acquire_noting(claim, token, &self.false_starts).await?;
        inner.said().remove(&launch.server);
        let lease = Arc::new(lease);
        *held = Some(Arc::clone(&lease));
        Ok(lease)
    }

    /// Calls a tool; every fault becomes an outcome that the model reads. Calls may run side by side. The
    /// server is told about a cancellation only through the token: dropping the future leaves the call running.
    pub async fn call(
        &self,
        tool: &OfferedTool,
        arguments: Value,
        token: &CancellationToken,
    ) -> ToolOutcome {
        let workspace = self.workspace.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let workspace = workspace.unwrap_or_else(|| self.servers.default_workspace());
        let Some(server) = self.servers.server(tool.server.as_str()) else {
            return failed(format!("server \"{}\" is not configured any more", tool.server), None);
        };
        let Some(launch) = self.servers.launch(server, &workspace) else {
            return failed(format!("server \"{}\": {HTTP_UNSUPPORTED}", tool.server), None);
        };
        if !matches!(arguments, Value::Object(_) | Value::Null) {
            return failed("the arguments of a tool are a JSON object".to_owned(), None);
        }
        let mut note = None;
        let first =
            Box::pin(self.attempt(tool, &launch, arguments.clone(), token, &mut note)).await;
        let ended = match first {
            Err(lost) if lost.may_repeat(tool) && !token.is_cancelled() => {
                // Nothing can have happened, or it may happen twice: once more, on a new instance.
                match Box::pin(self.attempt(tool, &launch, arguments, token, &mut note)).await {
                    // That it could not be repeated is not the news.
                    Err(Failure::Acquire(_)) => Err(lost),
                    again => again,
                }
            }
            other => other,
        };
        match ended {
            Ok(result) => {
                let mapped = content::map(&result, tool.server.as_str(), &tool.tool);
                ToolOutcome { text: mapped.text, is_error: mapped.is_error, note }
            }
            Err(failure) => failed(failure.words(tool), note),
        }
    }

    async fn attempt(
        &self,
        tool: &OfferedTool,
        launch: &LaunchSpec,
        arguments: Value,
        token: &CancellationToken,
        note: &mut Option<String>,
    ) -> Result<Value, Failure> {
        let reason = format!("tool call {}", tool.name);
        let lease = self.hold(launch, reason, token).await;
        let lease = lease.map_err(|error| self.not_held(launch, error))?;
        if let Some(restart) = lease.restarted_since() {
            *note = Some(format!(
                "server \"{}\" was restarted at {}; its earlier state is gone",
                tool.server, restart.at
            ));
        }
        let connection = Arc::clone(lease.handle());
        let guard = lease.begin_call();
        let silence = connection.request_timeout;
        let total = silence.saturating_mul(PROGRESS_FACTOR).max(TOTAL_MIN);
        let limits = CallLimits { silence, total };
        let called =
            connection.call(&tool.tool, arguments, limits, token, || guard.progress()).await;
        if let Err(CallFault::TimedOut(_)) = &called {
            let deaf = Arc::clone(&connection);
            let check = async move { deaf.check_hearing().await };
            self.servers.inner.scope.spawn(TaskKind::Wire, check);
        }
        called.map_err(Failure::Call)
    }

    /// Warns of a server that was in the catalogue and does not come up for a call.
    fn not_held(&self, launch: &LaunchSpec, error: AcquireError) -> Failure {
        if error.whose() != Whose::Caller {
            let fault = fault::of_acquire(&launch.server, &error);
            self.servers.say(&fault, "cannot be called");
        }
        Failure::Acquire(error)
    }

    /// Releases everything held now and waits until every instance that ends with this run is gone, those
    /// that never came up for it included. What is called later is started again: a run that waits for others uses this.
    pub async fn release_all(&self) -> Vec<Ended> {
        let slots: Vec<Slot> = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *slots).into_values().collect()
        };
        let releasing = slots.into_iter().map(|slot| async move {
            let lease = slot.lock().await.take()?;
            // A call that is still in flight holds the other half, and releases it when it ends.
            Arc::into_inner(lease)?.release().await
        });
        // Those that were started in vain end on their own, also while the others are waited for.
        let (released, in_vain) = futures::join!(join_all(releasing), self.false_starts.ended());
        in_vain.into_iter().chain(released.into_iter().flatten()).collect()
    }

    /// Releases everything and waits until every instance that ends with this run is gone.
    pub async fn release(self) -> Vec<Ended> {
        self.release_all().await
    }
}

/// How long a run waits for what another learns. That may be behind others that start, and list for as long as it
/// shook hands.
fn learning_limit(launch: &LaunchSpec) -> Duration {
    match &launch.package {
        Some(_) => FIRST_LAUNCH_LIMIT,
        None => launch.connection_timeout.saturating_mul(LEARNING_FACTOR),
    }
}

fn is_alive(lease: &HeldLease) -> bool {
    !lease.lost().is_cancelled() && lease.handle().gone_note().is_none()
}

fn failed(text: String, note: Option<String>) -> ToolOutcome {
    ToolOutcome { text, is_error: true, note }
}

/// Why a call has no result.
enum Failure {
    Acquire(AcquireError),
    Call(CallFault),
}

impl Failure {
    /// Whether a call that failed like this may be made once more (failure mode J9).
    fn may_repeat(&self, tool: &OfferedTool) -> bool {
        match self {
            Self::Call(CallFault::Lost { begun, .. }) => {
                !begun || tool.read_only || tool.idempotent
            }
            Self::Call(CallFault::Cancelled | CallFault::TimedOut(_) | CallFault::Refused(_))
            | Self::Acquire(_) => false,
        }
    }

    fn words(&self, tool: &OfferedTool) -> String {
        let server = &tool.server;
        match self {
            Self::Acquire(AcquireError::Cancelled) | Self::Call(CallFault::Cancelled) => {
                "the call was cancelled".to_owned()
            }
            Self::Acquire(error) => {
                let ServerFault { message, help, .. } = fault::of_acquire(server, error);
                let help = help.map(|help| format!(" ({help})")).unwrap_or_default();
                format!(
                    "server \"{server}\" is not available: {message}{help}; the tool was not called"
                )
            }
            Self::Call(CallFault::TimedOut(waited)) => {
                format!(
                    "server \"{server}\" did not answer within {}; the call was cancelled: outcome unknown",
                    fault::limit_text(*waited)
                )
            }
            Self::Call(CallFault::Refused(reason)) => {
                format!("server \"{server}\" refused the call: {reason}")
            }
            Self::Call(CallFault::Lost { begun: true, note }) => {
                format!("server \"{server}\" {note} while the call ran: outcome unknown")
            }
            Self::Call(CallFault::Lost { begun: false, note }) => {
                format!(
                    "server \"{server}\" {note} before the call was sent: the tool was not called"
                )
            }
        }
    }
}
