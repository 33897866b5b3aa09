//! How a server is started and stopped: the effects behind [`wrasse_lease::Backend`].
//!
//! Whatever goes wrong at whatever await, the tree is ended before an error is returned; a future that is
//! dropped drops what holds the tree, which kills it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;
use wrasse_contain::{Contained, Containment};
use wrasse_lease::{Backend, ExitNote, Key, Running, StartFault, StartRequest, StopReport, Vitals};
use wrasse_scope::{Scope, TaskHandle, TaskKind, clock};
use wrasse_store::{GuardianIdentity, Ledger, NewInstance, Store};
use wrasse_types::StopRung;

use crate::catalogue::Catalogue;
use crate::connection::{Connection, Handle, HandshakeFault, Keeper, Peering, Signals, handshake};
use crate::fault::{Cause, Evidence, start_fault};
use crate::install::{FIRST_LAUNCH_LIMIT, Installs, Turn};
use crate::launch::{Launch, LaunchSpec};
use crate::minder;
use crate::stderr::{StderrTail, drain};
use crate::tree::{LAST_WORDS, Tree, report};
use crate::wire::{WireState, Writer};

/// The end of a start that never had a process of the server's.
const NOTHING_RAN: StopReport = StopReport {
    rung: StopRung::AlreadyGone,
    took: Duration::ZERO,
    processes: 0,
    survivors: 0,
    proven_empty: true,
};

/// Starts servers.
pub(crate) struct ServerBackend {
    pub(crate) containment: Containment,
    pub(crate) ledger: Ledger,
    pub(crate) scope: Scope,
    pub(crate) ours: HashMap<OsString, OsString>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) installs: Installs,
}

/// A server that runs and has said nothing yet.
struct Born {
    contained: Contained,
    vitals: Vitals,
    stderr: StderrTail,
    drained: TaskHandle<()>,
    wire: Arc<WireState>,
    signals: Arc<Signals>,
    writer: Writer,
}

impl ServerBackend {
    pub(crate) fn new(
        containment: Containment,
        store: &Store,
        scope: Scope,
        ours: HashMap<OsString, OsString>,
        catalogue: Arc<Catalogue>,
    ) -> Self {
        let installs = Installs::new(store.clone());
        Self { containment, ledger: store.ledger(), scope, ours, catalogue, installs }
    }

    async fn start_one(
        &self,
        request: StartRequest<LaunchSpec>,
    ) -> Result<Running<Handle>, StartFault> {
        let launch = Arc::clone(&request.spec);
        let turn = self.installs.turn(&launch, request.instance, &request.token).await;
        let turn = turn.map_err(|()| {
            request.progress.ended(NOTHING_RAN);
            StartFault::cancelled()
        })?;
        let (mut born, stdout) = match Box::pin(self.give_birth(&launch, &request)).await {
            Ok(born) => born,
            Err(cause) => {
                request.progress.ended(NOTHING_RAN);
                return Err(self.put_into_words(&cause, &launch, None));
            }
        };
        let stage = Box::pin(self.bring_up(&launch, &request, &mut born, stdout, turn.as_ref()));
        match stage.await {
            Ok((peering, tools)) => {
                if let Some(turn) = &turn {
                    turn.done().await;
                }
                Ok(self.ready(&launch, born, peering, tools))
            }
            Err((cause, keeper)) => {
                if matches!(cause, Cause::TimedOut(_)) {
                    self.installs.timed_out(&launch).await;
                }
                Err(Box::pin(self.give_up(&request, born, cause, keeper)).await)
            }
        }
    }

    /// Everything up to a running process. Nothing is left behind by an error.
    async fn give_birth(
        &self,
        launch: &Launch,
        request: &StartRequest<LaunchSpec>,
    ) -> Result<(Born, wrasse_contain::PipeReceiver), Cause> {
        if launch.in_workspace {
            tokio::fs::create_dir_all(&launch.cwd)
                .await
                .map_err(|source| Cause::Workspace { path: launch.cwd.clone(), source })?;
        }
        // Short, and never cut off by a cancel: half a guardian could not be proven gone.
        let spec = launch.spawn_spec(request.instance);
        let prepared = self.containment.prepare(spec).await.map_err(Cause::Spawn)?;
        let guardian = prepared.guardian();
        let identity = GuardianIdentity {
            pid: guardian.pid,
            start_ticks: guardian.start_ticks,
            boot_id: guardian.boot_id,
        };
        // The record comes first: what is not in the ledger is not started.
        if let Err(error) = self.ledger.spawning(request.instance, identity).await {
            prepared.abandon().await;
            return Err(Cause::Ledger(error));
        }
        if request.token.is_cancelled() {
            prepared.abandon().await;
            return Err(Cause::Cancelled);
        }
        let mut contained = prepared.go().await.map_err(Cause::Spawn)?;
        let vitals = Vitals { guardian_pid: guardian.pid, pid: contained.pid() };
        self.note_running(request, vitals);
        let pipes = (contained.take_stdin(), contained.take_stdout(), contained.take_stderr());
        let (Some(stdin), Some(stdout), Some(from)) = pipes else {
            // Our own containment gave no pipes: a fault of ours, with nobody to talk to.
            contained.kill().await;
            return Err(Cause::Pipes);
        };
        let stderr = StderrTail::default();
        let draining = drain(launch.server.to_string(), from, stderr.clone());
        let drained = self.scope.spawn_value(TaskKind::StderrDrain, draining);
        let born = Born {
            contained,
            vitals,
            stderr,
            drained,
            wire: Arc::default(),
            signals: Arc::default(),
            writer: Writer::new(stdin),
        };
        Ok((born, stdout))
    }

    fn note_running(&self, request: &StartRequest<LaunchSpec>, vitals: Vitals) {
        let leader = self.containment.processes(vitals.guardian_pid);
        let leader = leader.into_iter().find(|process| process.pid == vitals.pid);
        let start_ticks = leader.map_or(0, |process| process.start_ticks);
        self.ledger.running(request.instance, vitals.pid, start_ticks);
        request.progress.spawned(vitals);
    }

    /// Handshake and tool list, under one limit, ended at once by a cancel or the leader's exit.
    async fn bring_up(
        &self,
        launch: &Launch,
        request: &StartRequest<LaunchSpec>,
        born: &mut Born,
        stdout: wrasse_contain::PipeReceiver,
        turn: Option<&Turn<'_>>,
    ) -> Result<(Peering, Arc<Vec<crate::connection::ToolEntry>>), (Cause, Option<Keeper>)> {
        let limit = if turn.is_some() { FIRST_LAUNCH_LIMIT } else { launch.connection_timeout };
        let began = clock::now();
        let exit = born.contained.exited();
        let meet = handshake(
            launch.server.as_str(),
            stdout,
            born.writer.clone(),
            Arc::clone(&born.wire),
            Arc::clone(&born.signals),
        );
        let say = async {
            match turn {
                Some(turn) => turn.say(&launch.server, &born.stderr, &request.progress).await,
                None => std::future::pending().await,
            }
        };
        let mut meet = std::pin::pin!(clock::timeout(limit, meet));
        let met = tokio::select! {
            biased;
            () = request.token.cancelled() => return Err((Cause::Cancelled, None)),
            met = &mut meet => met,
            exit = exit.wait() => {
                // What it printed before is still in its pipe, and the handshake reads that to the end.
                drop(clock::timeout(LAST_WORDS, meet).await);
                return Err((Cause::Exited(exit), None));
            }
            () = say => return Err((Cause::TimedOut(limit), None)),
        };
        let peering = match met {
            Ok(Ok(peering)) => peering,
            Ok(Err(fault)) => return Err((Cause::Handshake(fault), None)),
            Err(_elapsed) => return Err((Cause::TimedOut(limit), None)),
        };
        let left = launch.connection_timeout.saturating_sub(began.elapsed());
        let left = if turn.is_some() { launch.connection_timeout } else { left };
        let listed = tokio::select! {
            biased;
            () = request.token.cancelled() => return Err((Cause::Cancelled, Some(peering.keeper))),
            listed = peering.list_tools(left.max(Duration::from_secs(1))) => listed,
            exit = exit.wait() => return Err((Cause::Exited(exit), Some(peering.keeper))),
        };
        match listed {
            Ok(tools) => {
                let tools = Arc::new(tools);
                let (introduction, fingerprint) = (&peering.introduction, &launch.fingerprint);
                self.catalogue
                    .put(&launch.server, fingerprint, introduction, Arc::clone(&tools))
                    .await;
                Ok((peering, tools))
            }
            Err(fault) => Err((Cause::List(fault), Some(peering.keeper))),
        }
    }

    fn ready(
        &self,
        launch: &Launch,
        born: Born,
        peering: Peering,
        tools: Arc<Vec<crate::connection::ToolEntry>>,
    ) -> Running<Handle> {
        let (gone, told) = watch::channel(None);
        let gone = Arc::new(gone);
        let Peering { peer, introduction, keeper } = peering;
        let handle =
            Connection::new(launch, introduction, peer, told.clone(), &born_parts(&born), tools);
        let handle = Arc::new(handle);
        minder::watch(
            &self.scope,
            Arc::clone(&handle),
            born.contained.exited(),
            Arc::clone(&gone),
            Arc::clone(&self.catalogue),
        );
        let exited = exit_of(told);
        let tree = Tree {
            contained: born.contained,
            keeper,
            ladder: launch.ladder(),
            drained: born.drained,
            gone,
        };
        Running { handle, vitals: born.vitals, exited: Box::pin(exited), stop: Box::new(tree) }
    }

    /// Ends the tree of a start that failed, then says why it failed, its last words included.
    async fn give_up(
        &self,
        request: &StartRequest<LaunchSpec>,
        born: Born,
        cause: Cause,
        keeper: Option<Keeper>,
    ) -> StartFault {
        let launch = &request.spec;
        let exit = born.contained.exited();
        let closed = matches!(
            cause,
            Cause::Handshake(HandshakeFault::Closed)
                | Cause::List(crate::connection::ListFault::Closed)
        );
        // A stream that closed is mostly an exit whose status is about to come.
        let cause = match cause {
            closed_cause if closed => match clock::timeout(LAST_WORDS, exit.wait()).await {
                Ok(exit) => Cause::Exited(exit),
                Err(_elapsed) => closed_cause,
            },
            other => other,
        };
        born.writer.close().await;
        let outcome = born.contained.stop(launch.ladder()).await;
        request.progress.ended(report(&outcome));
        if let Some(keeper) = keeper {
            keeper.finish().await;
        }
        if !outcome.proven_empty {
            tracing::error!(server = %launch.server, survivors = outcome.survivors, "a failed start left processes");
        }
        if clock::timeout(LAST_WORDS, born.drained).await.is_err() {
            tracing::debug!(server = %launch.server, "stderr is still held open");
        }
        let said = (born.stderr.last(50), born.wire.bad());
        self.put_into_words(&cause, launch, Some(said))
    }

    fn put_into_words(
        &self,
        cause: &Cause,
        launch: &Launch,
        said: Option<(Vec<String>, crate::wire::BadLines)>,
    ) -> StartFault {
        let (stderr, bad) = said.unwrap_or_default();
        start_fault(cause, &Evidence { launch, ours: &self.ours, stderr, bad })
    }
}

/// The end of an instance that nobody asked for.
async fn exit_of(mut told: watch::Receiver<Option<ExitNote>>) -> ExitNote {
    let known = told.wait_for(Option::is_some).await.ok().and_then(|note| note.clone());
    match known {
        Some(note) => note,
        // Whoever knew is gone without a word: only when everything is being shut down.
        None => std::future::pending().await,
    }
}

/// What a connection takes over from the process.
pub(crate) struct BornParts {
    pub(crate) wire: Arc<WireState>,
    pub(crate) signals: Arc<Signals>,
}

fn born_parts(born: &Born) -> BornParts {
    BornParts { wire: Arc::clone(&born.wire), signals: Arc::clone(&born.signals) }
}

impl Backend for ServerBackend {
    type Spec = LaunchSpec;
    type Handle = Handle;

    fn describe(&self, key: &Key, spec: &LaunchSpec) -> NewInstance {
        NewInstance {
            kind: "server".to_owned(),
            server: key.server.clone(),
            scope: "session".to_owned(),
            session_key: crate::servers::session_of(&key.owner),
            fingerprint: key.fingerprint.clone(),
            command: spec.shown.clone(),
            origin: spec.origin.clone(),
        }
    }

    fn start(
        &self,
        request: StartRequest<LaunchSpec>,
    ) -> BoxFuture<'_, Result<Running<Handle>, StartFault>> {
        Box::pin(self.start_one(request))
    }

    fn survivors(&self, vitals: Vitals) -> u32 {
        u32::try_from(self.containment.processes(vitals.guardian_pid).len()).unwrap_or(u32::MAX)
    }
}
