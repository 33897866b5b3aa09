//! A tree from its guardian's readiness to its proven end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use wrasse_guard::protocol::{Order, Stage};
use wrasse_types::StopRung;

use crate::guardian::Guardian;
use crate::owed::{ANSWER_WITHIN, KILL_WITHIN};
use crate::pipes::InputEnded;
use crate::registry::Registry;
use crate::view::View;
use crate::{
    Containment, LeaderExit, PipeReceiver, PipeSender, ProcessIdentity, SpawnError, process,
};

/// How long fork and exec may take; on a loaded machine this is long.
const START_WITHIN: Duration = Duration::from_secs(30);
/// How long a tree may take to end once it is told to be killed: a guardian that hangs is noticed and its
/// tree adopted within the first part of it.
const END_WITHIN: Duration =
    Duration::from_secs(KILL_WITHIN.as_secs() + ANSWER_WITHIN.as_secs() + 1);

/// How long the rungs of the stop ladder wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ladder {
    /// After stdin was closed.
    pub eof: Duration,
    /// After SIGTERM to the server's process group.
    pub term: Duration,
}

impl Default for Ladder {
    fn default() -> Self {
        Self { eof: Duration::from_secs(2), term: Duration::from_secs(3) }
    }
}

/// How a tree ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopOutcome {
    /// The rung that ended the leader.
    pub rung: StopRung,
    /// How long it took.
    pub took: Duration,
    /// Processes reaped in all; of a tree whose guardian was lost, those that were seen.
    pub processes: u32,
    /// Processes of the tree that are still there. Somebody goes on ending them.
    pub survivors: u32,
    /// Whether the tree is proven empty: its guardian, or we in its stead, had no child left.
    pub proven_empty: bool,
    /// How the leader ended.
    pub leader: Option<LeaderExit>,
}

/// The hold on a guardian: when it is let go of without an end, the tree is ended.
#[derive(Debug)]
pub(crate) struct Leash {
    guardian: Arc<Guardian>,
    registry: Arc<Registry>,
    ended: bool,
}

impl Leash {
    pub(crate) fn new(guardian: Arc<Guardian>, registry: Arc<Registry>) -> Self {
        Self { guardian, registry, ended: false }
    }

    pub(crate) fn guardian(&self) -> &Guardian {
        &self.guardian
    }

    fn order(&self, order: &Order<'_>) {
        self.guardian.order(order);
        self.registry.wake();
    }

    /// Ends the tree now; returns when it is gone, or when waiting longer makes no sense.
    async fn end_now(&mut self) {
        let mut watch = self.guardian.watch();
        if !watch.borrow().over() {
            self.order(&Order::Kill);
            wait(&mut watch, Instant::now() + END_WITHIN, View::over).await;
        }
        self.ended = true;
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if self.ended || self.guardian.view().over() {
            return;
        }
        // The fire alarm, not the exit: one order that does not wait. The watcher sees to the rest.
        self.order(&Order::Kill);
        self.registry.count_dropped();
        tracing::warn!(
            guardian = self.guardian.pid(),
            server = self.guardian.name,
            "a tree was dropped instead of being stopped: it is being killed"
        );
    }
}

/// Waits until `done`, at most until `deadline`; whether it is done. Cancel-safe.
pub(crate) async fn wait(
    watch: &mut watch::Receiver<View>,
    deadline: Instant,
    done: impl Fn(&View) -> bool,
) -> bool {
    let waited = tokio::time::timeout_at(deadline.into(), watch.wait_for(|view| done(view))).await;
    // The sender lives as long as the guardian, which is held by whoever waits.
    waited.is_ok_and(|changed| changed.is_ok())
}

/// A guardian that is ready and waits for "go". The server is not started.
#[derive(Debug)]
#[must_use = "a prepared tree that is dropped is killed"]
pub struct Prepared {
    pub(crate) containment: Containment,
    pub(crate) leash: Leash,
    pub(crate) program: PathBuf,
    pub(crate) cwd: PathBuf,
    pub(crate) stdin: PipeSender,
    pub(crate) stdout: PipeReceiver,
    pub(crate) stderr: PipeReceiver,
    pub(crate) input_ended: InputEnded,
}

impl Prepared {
    /// The guardian, for the ledger to remember before "go".
    pub fn guardian(&self) -> ProcessIdentity {
        self.leash.guardian().identity.clone()
    }

    /// Starts the server. Cancel-safe: if the future is dropped, the tree is killed.
    ///
    /// # Errors
    /// When the server cannot be executed. Nothing is left running then.
    pub async fn go(mut self) -> Result<Contained, SpawnError> {
        let mut watch = self.leash.guardian().watch();
        self.leash.order(&Order::Go);
        let answered =
            |view: &View| view.started.is_some() || view.failed.is_some() || view.guardian_gone();
        wait(&mut watch, Instant::now() + START_WITHIN, answered).await;
        let view = self.leash.guardian().view();
        if !view.refused.is_none() {
            self.containment.note_refused(&self.leash.guardian().name, view.refused);
        }
        if let Some(pid) = view.started {
            return Ok(Contained {
                leash: self.leash,
                pid,
                stdin: Some(self.stdin),
                stdout: Some(self.stdout),
                stderr: Some(self.stderr),
                input_ended: self.input_ended,
            });
        }
        self.leash.end_now().await;
        Err(match view.failed {
            Some((stage, errno)) => self.fault(stage, io::Error::from_raw_os_error(errno)),
            None => SpawnError::GuardianLost,
        })
    }

    fn fault(self, stage: Stage, source: io::Error) -> SpawnError {
        let guardian = |step, source| SpawnError::Guardian { step, source };
        match stage {
            Stage::Exec if source.kind() == io::ErrorKind::NotFound && self.program.exists() => {
                let source = io::Error::new(
                    io::ErrorKind::NotFound,
                    "the interpreter or loader that it names is not there",
                );
                SpawnError::Exec { program: self.program, source }
            }
            Stage::Exec => SpawnError::Exec { program: self.program, source },
            Stage::Chdir => SpawnError::BadCwd { cwd: self.cwd, source },
            Stage::Spec => guardian("make the guardian understand its spec", source),
            Stage::Fork => guardian("fork the server", source),
            Stage::Fds => guardian("give the server its stdio", source),
            Stage::Limits => guardian("set the server's limits", source),
            Stage::Hold => SpawnError::Helpless { source },
        }
    }

    /// Ends the guardian without having started the server.
    pub async fn abandon(mut self) {
        self.leash.end_now().await;
    }
}

/// A running tree. It is owned by one task, and is stopped, not dropped.
#[derive(Debug)]
#[must_use = "a contained tree that is dropped is killed"]
pub struct Contained {
    leash: Leash,
    pid: u32,
    stdin: Option<PipeSender>,
    stdout: Option<PipeReceiver>,
    stderr: Option<PipeReceiver>,
    input_ended: InputEnded,
}

impl Contained {
    /// The server itself, the leader of the tree.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its guardian.
    pub fn guardian(&self) -> ProcessIdentity {
        self.leash.guardian().identity.clone()
    }

    /// The write end of the server's stdin, once. Who takes it drops it before [`Contained::stop`], so that
    /// the server sees the end of its input.
    pub fn take_stdin(&mut self) -> Option<PipeSender> {
        self.stdin.take()
    }

    /// The read end of the server's stdout, once.
    pub fn take_stdout(&mut self) -> Option<PipeReceiver> {
        self.stdout.take()
    }

    /// The read end of the server's stderr, once.
    pub fn take_stderr(&mut self) -> Option<PipeReceiver> {
        self.stderr.take()
    }

    /// Tells of the leader's exit, as its guardian reaped it: a grandchild that holds a pipe open does not
    /// delay it.
    pub fn exited(&self) -> ExitWatch {
        ExitWatch { watch: self.leash.guardian().watch() }
    }

    /// Ends the tree by the ladder: end of input, SIGTERM, SIGKILL. Cancel-safe: if the future is dropped,
    /// the tree is killed.
    pub async fn stop(mut self, ladder: Ladder) -> StopOutcome {
        let began = Instant::now();
        let mut watch = self.leash.guardian().watch();
        let mut rung = self.rung_so_far();
        if !watch.borrow().leader_over() {
            drop(self.stdin.take());
            rung = StopRung::Stdin;
            // The rungs' waits are also when a guardian that does not run is found out.
            self.leash.order(&Order::Ping);
            let eof_over = began + ladder.eof;
            if !wait(&mut watch, eof_over, View::leader_over).await {
                rung = StopRung::Term;
                self.leash.order(&Order::Term);
                if !wait(&mut watch, eof_over + ladder.term, View::leader_over).await {
                    rung = StopRung::Kill;
                }
            }
        }
        self.finish(began, rung).await
    }

    /// Ends the tree at once. Cancel-safe like [`Contained::stop`].
    pub async fn kill(self) -> StopOutcome {
        let began = Instant::now();
        let over = self.leash.guardian().view().leader_over();
        let rung = if over { self.rung_so_far() } else { StopRung::Kill };
        self.finish(began, rung).await
    }

    /// What ended a leader that has ended before anything was done here.
    fn rung_so_far(&self) -> StopRung {
        // Who took stdin drops it before stopping, and a quick server heeds that before we get here.
        let heeded = matches!(self.leash.guardian().view().exited, Some(LeaderExit::Code(_)));
        if heeded && self.input_ended.before_the_server() {
            StopRung::Stdin
        } else {
            StopRung::AlreadyGone
        }
    }

    async fn finish(mut self, began: Instant, rung: StopRung) -> StopOutcome {
        self.leash.end_now().await;
        let view = self.leash.guardian().view();
        let proven_empty = view.over();
        // A guardian that was lost on the way ended nothing by a gentler rung, and a leader that died of SIGKILL while
        // a gentler one waited (a second signal to the gateway kills every tree) did not end by it.
        const SIGKILL: i32 = 9;
        let forced =
            matches!(view.exited, Some(LeaderExit::GuardianLost | LeaderExit::Signal(SIGKILL)));
        let rung = if forced && rung != StopRung::AlreadyGone { StopRung::Kill } else { rung };
        StopOutcome {
            rung,
            took: began.elapsed(),
            processes: view.processes(),
            survivors: if proven_empty { 0 } else { self.survivors(&view) },
            proven_empty,
            leader: view.exited,
        }
    }

    /// An estimate for the outcome; the proof is the guardian's or the adopter's alone.
    fn survivors(&self, view: &View) -> u32 {
        let below = process::descendants(self.leash.guardian().pid());
        let seen = u32::try_from(below.len()).unwrap_or(u32::MAX);
        seen.max(view.stuck.unwrap_or(0)).max(1)
    }
}

/// Tells of a leader's exit. Clones watch the same leader.
#[derive(Debug, Clone)]
pub struct ExitWatch {
    watch: watch::Receiver<View>,
}

impl ExitWatch {
    /// Waits until the leader has ended. Cancel-safe.
    pub async fn wait(&self) -> LeaderExit {
        let mut watch = self.watch.clone();
        // The sender is gone only after the guardian was reaped, and then the last view stands.
        let exited = watch.wait_for(View::leader_over).await.map(|view| view.exited);
        exited.unwrap_or_else(|_| watch.borrow().exited).unwrap_or(LeaderExit::GuardianLost)
    }

    /// How the leader ended, if it has.
    pub fn now(&self) -> Option<LeaderExit> {
        let view = self.watch.borrow();
        view.leader_over().then(|| view.exited.unwrap_or(LeaderExit::GuardianLost))
    }
}
