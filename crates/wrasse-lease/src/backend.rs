//! What is held: the trait behind which trees, connections and handshakes live.
//!
//! The lease crate decides *when* something starts and stops; a [`Backend`] knows *how*.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use wrasse_store::NewInstance;
use wrasse_types::{GoneReason, InstanceId, StopRung};

use crate::claim::Key;

/// Starts what leases hold.
pub trait Backend: Send + Sync + 'static {
    /// What is needed to start an instance: a server's definition with all of its values.
    type Spec: Clone + Send + Sync + 'static;
    /// How an instance is used while it is ready. Clones are the same instance; one that outlives its instance
    /// must fail its calls, not hang.
    type Handle: Clone + Send + Sync + 'static;

    /// The ledger row of an instance about to start. Nothing in it may be secret.
    fn describe(&self, key: &Key, spec: &Self::Spec) -> NewInstance;

    /// Starts one instance and brings it to where it can be used.
    ///
    /// The ledger row exists already. The backend writes `spawning` to it before the server's program runs and
    /// `running` after. Contract:
    /// - when this returns an error, the tree it started is gone (it awaited the end of it);
    /// - when the request's token is cancelled it ends its tree and returns soon;
    /// - when its future is dropped or panics, the tree is killed by the drop of what held it.
    fn start(
        &self,
        request: StartRequest<Self::Spec>,
    ) -> BoxFuture<'_, Result<Running<Self::Handle>, StartFault>>;

    /// How many processes of a tree that a stop could not empty are left now. Asked every second while the
    /// instance is in rundown; nothing new starts under its key until this is 0.
    fn survivors(&self, vitals: Vitals) -> u32 {
        let _ = vitals;
        0
    }
}

/// What a backend is asked to start.
#[derive(Clone)]
pub struct StartRequest<S> {
    /// The number the ledger gave the instance; its processes carry it as their mark.
    pub instance: InstanceId,
    /// The key it will be found under.
    pub key: Key,
    /// What to start.
    pub spec: S,
    /// Where the backend says how far it is.
    pub progress: Progress,
    /// Cancelled when nobody wants the instance any more.
    pub token: CancellationToken,
}

impl<S> fmt::Debug for StartRequest<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The spec may hold secrets.
        f.debug_struct("StartRequest")
            .field("instance", &self.instance)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// The processes of an instance that the table of processes shows first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vitals {
    /// The guardian above the tree.
    pub guardian_pid: u32,
    /// The leader: the process that was asked for.
    pub pid: u32,
}

/// Where a start says how far it is. Cheap to clone, never blocks.
#[derive(Clone)]
pub struct Progress {
    sink: Option<Arc<dyn ProgressSink>>,
}

/// Receives what a start says.
pub(crate) trait ProgressSink: Send + Sync {
    fn spawned(&self, vitals: Vitals);
    fn note(&self, text: &str);
    fn ended(&self, report: StopReport);
}

impl Progress {
    pub(crate) fn new(sink: Arc<dyn ProgressSink>) -> Self {
        Self { sink: Some(sink) }
    }

    /// A progress nobody listens to, for starts outside of leases.
    pub fn ignored() -> Self {
        Self { sink: None }
    }

    /// The processes exist; what follows is the handshake.
    pub fn spawned(&self, vitals: Vitals) {
        if let Some(sink) = &self.sink {
            sink.spawned(vitals);
        }
    }

    /// How the tree of a start that failed was ended. Without it, its end is not counted as proven.
    pub fn ended(&self, report: StopReport) {
        if let Some(sink) = &self.sink {
            sink.ended(report);
        }
    }

    /// Something worth a line in the instance's history.
    pub fn note(&self, text: &str) {
        if let Some(sink) = &self.sink {
            sink.note(text);
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("heard", &self.sink.is_some()).finish()
    }
}

/// An instance that can be used.
pub struct Running<H> {
    /// How leases use it.
    pub handle: H,
    /// Its first processes.
    pub vitals: Vitals,
    /// Resolves when it ends without having been asked: its leader exited, or its wire broke.
    pub exited: BoxFuture<'static, ExitNote>,
    /// Ends its tree. Dropping this without calling it must kill the tree.
    pub stop: Box<dyn StopTree>,
}

impl<H> fmt::Debug for Running<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("vitals", &self.vitals).finish_non_exhaustive()
    }
}

/// Why an instance ended without having been asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitNote {
    /// The reason: `Exited`, `Broken`, `Budget` or `GuardianLost`.
    pub reason: GoneReason,
    /// What a person should know, as "exit code 3" or the last line of its stderr.
    pub text: String,
}

impl ExitNote {
    /// Its leader exited by itself.
    pub fn exited(text: impl Into<String>) -> Self {
        Self { reason: GoneReason::Exited, text: text.into() }
    }
}

/// The right to end one tree. Held by one driver only.
pub trait StopTree: Send {
    /// Ends the tree by the stop ladder and proves it empty. Dropping the future must not leave the tree.
    fn stop(self: Box<Self>, why: GoneReason) -> BoxFuture<'static, StopReport>;
}

/// How the end of a tree went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopReport {
    /// The rung that emptied it.
    pub rung: StopRung,
    /// From the order to the proof.
    pub took: Duration,
    /// Processes reaped in all.
    pub processes: u32,
    /// Processes that could not be ended.
    pub survivors: u32,
    /// Whether the kernel said that nothing is left.
    pub proven_empty: bool,
}

/// Whose fault a failed start is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The one who asked: they cancelled, or asked for something impossible.
    Caller,
    /// The server: its definition or its program.
    Server,
    /// Ours, or the machine's.
    Us,
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same start may succeed later.
    MayHelp,
    /// Somebody has to change something first.
    NeedsPerson,
}

/// Why an instance did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StartFault {
    /// Whose fault it is.
    pub whose: Whose,
    /// Whether trying again can help.
    pub retry: Retry,
    /// One sentence that names the cause.
    pub message: String,
    /// The last lines of its stderr.
    pub stderr_tail: Vec<String>,
    /// A command or a change that would help.
    pub help: Option<String>,
}

impl StartFault {
    /// A fault of ours that a later try may not meet.
    pub(crate) fn ours(message: impl Into<String>) -> Self {
        Self {
            whose: Whose::Us,
            retry: Retry::MayHelp,
            message: message.into(),
            stderr_tail: Vec::new(),
            help: None,
        }
    }

    /// The start was given up because nobody wanted it any more.
    pub fn cancelled() -> Self {
        Self {
            whose: Whose::Caller,
            retry: Retry::MayHelp,
            message: String::from("the start was cancelled"),
            stderr_tail: Vec::new(),
            help: None,
        }
    }
}
