//! The way in: what containment could get here, and the start of trees.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{getpid, set_child_subreaper};
use tokio::net::unix::pipe;
use wrasse_guard::Mark;
use wrasse_guard::protocol::{Degraded, Order, Stage, VERSION};

use crate::cgroup::{Layers, Leaf, Leaves};
use crate::contained::{Leash, wait};
use crate::image::{self, Program};
use crate::pipes::InputEnded;
use crate::registry::Registry;
use crate::report::{ContainReport, Reporter};
use crate::spawn::{self, ServerSpec};
use crate::view::View;
use crate::{
    ContainError, Limits, PipeReceiver, PipeSender, Prepared, ProcessInfo, SpawnError, TreeAccount,
    accounts, floor, lookup, mark, process, signal, warden,
};

/// How long a guardian may take from its start to its readiness; on a loaded machine this is long.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long [`Containment::kill_all`] waits.
const KILL_ALL_WITHIN: Duration = Duration::from_secs(6);

/// The mark this process had before it first put on its own: what an outer gateway gave it.
static INHERITED: OnceLock<Option<Mark>> = OnceLock::new();

/// Where the guard program is executed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Guard {
    /// A file, else a memfd, else ourselves.
    #[default]
    Auto,
    /// A file in the state directory.
    File,
    /// A sealed memfd.
    Memfd,
    /// Our own executable, whose `main` begins with `wrasse_guard::dispatch`.
    Itself,
}

/// How trees are contained.
#[derive(Debug, Clone)]
pub struct ContainOptions {
    /// The state directory: the guard file is kept below it.
    pub state_dir: PathBuf,
    /// Where the guard program is executed from.
    pub guard: Guard,
    /// The number of this installation, part of every mark.
    pub installation: u16,
}

/// A server to start.
#[derive(Debug, Clone)]
pub struct SpawnSpec {
    /// The name that `ps` shows beside the guardian.
    pub name: String,
    /// The number of the instance, part of the mark.
    pub instance: u64,
    /// An absolute path, a path relative to `cwd`, or a name looked up in the `PATH` of `env`.
    pub program: OsString,
    /// Its arguments, without its own name.
    pub args: Vec<OsString>,
    /// The whole environment: nothing is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory.
    pub cwd: PathBuf,
    /// What it may use.
    pub limits: Limits,
}

/// The ability to start contained trees. Clones share everything.
#[derive(Debug, Clone)]
pub struct Containment {
    inner: Arc<Inner>,
}

/// Numbers the containments of this process, of which a gateway has one and a test program many.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
struct Inner {
    number: u64,
    registry: Arc<Registry>,
    options: ContainOptions,
    program: Mutex<Arc<Program>>,
    report: Reporter,
    leaves: Option<Leaves>,
    depth: u8,
    outer_variable: Option<OsString>,
    ending: AtomicBool,
}

impl Containment {
    /// [`Containment::start_with`] the floor alone.
    ///
    /// # Errors
    /// When something without which nothing is contained is refused.
    pub fn start(options: ContainOptions) -> Result<Self, ContainError> {
        Self::start_with(options, Layers::Floor)
    }

    /// Makes this process one that contains: a subreaper with its own mark, a guard program that was seen
    /// to run, the layers that work here, and threads that watch, adopt and count. Call it inside a tokio runtime, before anything else
    /// starts a process.
    ///
    /// # Errors
    /// When something without which nothing is contained is refused.
    pub fn start_with(options: ContainOptions, layers: Layers) -> Result<Self, ContainError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(ContainError::NoRuntime);
        }
        let mut notes = Vec::new();
        let inherited = *INHERITED.get_or_init(mark::inherited);
        signal::reset_sigchld()
            .map_err(|source| ContainError::Setup { step: "reset SIGCHLD", source })?;
        let registry = Registry::of_this_process()?;
        set_child_subreaper(Some(getpid()))
            .map_err(|errno| ContainError::NoSubreaper { source: errno.into() })?;
        let depth = mark::depth_below(inherited);
        let own = Mark::new(depth, options.installation, Mark::GATEWAY_LEASE);
        let marked = match own.map(mark::carry) {
            Some(Ok(())) => true,
            Some(Err(error)) => {
                tracing::debug!(%error, "the resource limit mark is refused");
                false
            }
            None => false,
        };
        registry.set_marked(marked);
        if !wrasse_guard::probe::proc_is_ours() {
            return Err(ContainError::NoProc);
        }
        let probe = |program: &Program| spawn::probe(&registry, program);
        let mut refused = Vec::new();
        let program = image::locate(options.guard, &options.state_dir, &mut refused, probe)?;
        let floor = floor::probe(options.guard, &program, marked);
        for missing in floor.iter().filter(|found| !found.works) {
            notes.push(format!("no {}: {}", missing.name, missing.without));
        }
        notes.append(&mut refused);
        let enter = |leaf: &std::path::Path| spawn::try_leaf(&registry, &program, leaf);
        let leaves = match layers {
            Layers::Floor => None,
            Layers::Probe => Leaves::probe(options.installation, enter).ok(),
            Layers::Cgroup2 => Leaves::probe(options.installation, enter)
                .inspect_err(|error| notes.push(format!("no cgroup2 layer: {error}")))
                .ok(),
        };
        let above = leaves.iter().map(|_| "cgroup2".to_owned());
        let report = ContainReport {
            guard: program.word().to_owned(),
            rlimit_mark: marked,
            subreaper: true,
            floor,
            layers: std::iter::once("floor".to_owned()).chain(above).collect(),
            controllers: leaves
                .as_ref()
                .map(|leaves| leaves.controllers.clone())
                .unwrap_or_default(),
            uncontrolled: leaves.as_ref().and_then(|leaves| leaves.uncontrolled.clone()),
            notes,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                number: NUMBERS.fetch_add(1, Ordering::Relaxed),
                registry,
                options,
                program: Mutex::new(Arc::new(program)),
                report: Reporter::new(report),
                leaves,
                depth,
                outer_variable: std::env::var_os(mark::VARIABLE),
                ending: AtomicBool::new(false),
            }),
        })
    }

    /// What containment could get here.
    pub fn report(&self) -> ContainReport {
        self.inner.report.get()
    }

    /// How many trees of this process were dropped instead of being stopped.
    pub fn dropped_trees(&self) -> u64 {
        self.inner.registry.dropped()
    }

    /// Starts a guardian for a server and returns when it is ready; the server itself is started by
    /// [`Prepared::go`]. Cancel-safe: if the future is dropped, the guardian ends.
    ///
    /// # Errors
    /// When the server cannot be found or the guardian cannot be started. Nothing is left running then.
    pub async fn prepare(&self, spec: SpawnSpec) -> Result<Prepared, SpawnError> {
        if self.inner.ending.load(Ordering::Acquire) {
            return Err(SpawnError::Ending);
        }
        let SpawnSpec { name, instance, program, args, mut env, cwd, limits } = spec;
        check_cwd(&cwd)?;
        let path = lookup::program(&program, &env, &cwd)?;
        let entry = mark::entry(self.inner.options.installation, instance);
        mark::append(&mut env, self.inner.outer_variable.as_deref(), &entry);
        let mark = Mark::new(self.inner.depth, self.inner.options.installation, instance);
        let leaf = self.leaf(&name, instance, &limits);
        let body = ServerSpec {
            name: &name,
            mark: mark.map_or(0, Mark::to_u64),
            cwd: &cwd,
            program: &path,
            argv0: &program,
            args: &args,
            env: &env,
            limits: limits.imposed(),
            leaf: leaf.as_ref().map(Leaf::path),
        }
        .encode()?;
        let failed = |step| move |source| SpawnError::Guardian { step, source };
        let stdio = spawn::stdio().map_err(failed("make the server's pipes"))?;
        let stream = failed("watch the server's pipes");
        let stdin = pipe::Sender::from_owned_fd(stdio.stdin).map_err(&stream)?;
        let stdout = PipeReceiver::from_owned_fd(stdio.stdout).map_err(&stream)?;
        let stderr = PipeReceiver::from_owned_fd(stdio.stderr).map_err(&stream)?;

        let guardian = self.spawn_guardian(&name, limits).map_err(failed("start a guardian"))?;
        guardian.keep(leaf);
        let input_ended = InputEnded::default();
        let stdin = PipeSender::new(stdin, guardian.watch(), input_ended.clone());
        let leash = Leash::new(guardian, Arc::clone(&self.inner.registry));
        let containment = self.clone();
        let prepared =
            Prepared { containment, leash, program: path, cwd, stdin, stdout, stderr, input_ended };
        let ready = async {
            spawn::send_spec(prepared.leash.guardian(), &body, &stdio.theirs).await?;
            // From here on the only copies of the server's ends are the guardian's.
            drop(stdio.theirs);
            self.wait_ready(&prepared).await
        };
        match ready.await {
            Ok(()) => Ok(prepared),
            Err(error) => {
                prepared.abandon().await;
                Err(error)
            }
        }
    }

    /// A leaf for a tree, where there are any.
    fn leaf(&self, name: &str, instance: u64, limits: &Limits) -> Option<Leaf> {
        let made = self.inner.leaves.as_ref()?.make(&instance.to_string(), limits);
        if let Err(error) = &made {
            self.inner.report.note(format!("{name}: no cgroup of its own: {error}"));
        }
        made.ok()
    }

    async fn wait_ready(&self, prepared: &Prepared) -> Result<(), SpawnError> {
        let guardian = prepared.leash.guardian();
        let mut watch = guardian.watch();
        let answered =
            |view: &View| view.ready.is_some() || view.failed.is_some() || view.guardian_gone();
        wait(&mut watch, Instant::now() + READY_WITHIN, answered).await;
        let view = guardian.view();
        match (view.ready, view.failed) {
            (Some(degraded), None) => {
                self.note_refused(&guardian.name, degraded);
                Ok(())
            }
            (_, Some((Stage::Spec, errno))) if errno == Errno::PROTO.raw_os_error() => {
                // Guards before version 3 do not say theirs, and a spec of ours is never malformed.
                let theirs = view.unlike.map_or_else(|| "2 or older".to_owned(), |v| v.to_string());
                Err(SpawnError::Version { ours: VERSION, theirs })
            }
            (_, Some((Stage::Hold, errno))) => {
                Err(SpawnError::Helpless { source: io::Error::from_raw_os_error(errno) })
            }
            (_, Some((stage, errno))) => {
                let source = io::Error::from_raw_os_error(errno);
                tracing::error!(?stage, %source, "a guardian could not set itself up");
                Err(SpawnError::Guardian { step: "set a guardian up", source })
            }
            (None, None) => Err(SpawnError::GuardianLost),
        }
    }

    /// Adds what was refused to the report.
    pub(crate) fn note_refused(&self, server: &str, what: Degraded) {
        self.inner.report.note_refused(server, what);
    }

    fn spawn_guardian(
        &self,
        name: &str,
        limits: Limits,
    ) -> io::Result<Arc<crate::guardian::Guardian>> {
        let program = self.program();
        let owner = self.inner.number;
        let error = match spawn::guardian(&self.inner.registry, &program, name, owner, limits) {
            Ok(guardian) => return Ok(guardian),
            Err(error) => error,
        };
        if is_lack(&error) {
            return Err(error);
        }
        // The file may have been removed or changed under us: make it anew, or fall back, and try once more.
        tracing::warn!(%error, source = program.word(), "the guard program cannot be executed");
        let options = &self.inner.options;
        let mut notes = Vec::new();
        let probe = |program: &Program| spawn::probe(&self.inner.registry, program);
        let Ok(program) = image::locate(options.guard, &options.state_dir, &mut notes, probe)
        else {
            return Err(error);
        };
        let program = Arc::new(program);
        self.inner.report.set_guard(program.word());
        for note in notes {
            self.inner.report.note(note);
        }
        *self.inner.program.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&program);
        spawn::guardian(&self.inner.registry, &program, name, owner, limits)
    }

    fn program(&self) -> Arc<Program> {
        Arc::clone(&self.inner.program.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The tree below a guardian now, the guardian itself left out.
    pub fn processes(&self, guardian_pid: u32) -> Vec<ProcessInfo> {
        process::descendants(guardian_pid).into_iter().filter_map(process::info).collect()
    }

    /// What the tree below a guardian uses, as it was last counted: within the last second, once it runs.
    pub fn account(&self, guardian_pid: u32) -> Option<TreeAccount> {
        self.inner.registry.guardian(guardian_pid)?.past().last()
    }

    /// Counts nothing from now on but by [`Containment::count_now`]: for a process whose trees have no limits and whose
    /// figures nobody reads, so that it does not look at every process once a second.
    pub fn count_on_demand(&self) {
        self.inner.registry.accounts.only_on_demand();
    }

    /// Counts every tree of this process now, and does not wait for the next tick.
    pub fn count_now(&self) -> Vec<TreeAccount> {
        self.inner.registry.accounts.count(&self.inner.registry.guardians())
    }

    /// Memory of the tree below a guardian, pages that several processes share counted once. Dearer than
    /// what [`Containment::account`] knows: for somebody who asks.
    pub fn proportional_memory(&self, guardian_pid: u32) -> u64 {
        accounts::proportional_memory(guardian_pid)
    }

    /// Memory of the gateway, its guardians left out, and of its warden.
    pub fn own_memory(&self) -> u64 {
        process::memory(std::process::id()) + warden::pid().map_or(0, process::memory)
    }

    /// Processes that carry our mark and that no living guardian holds. There should be none.
    pub fn leftovers(&self) -> Vec<ProcessInfo> {
        let me = std::process::id();
        let mut held: HashSet<u32> = process::ancestors(me).into_iter().collect();
        held.insert(me);
        for guardian in self.inner.registry.guardians() {
            held.insert(guardian.pid());
            held.extend(process::descendants(guardian.pid()));
        }
        let installation = self.inner.options.installation;
        let ours = |pid: &u32| {
            let lease = mark::of(*pid).filter(|mark| mark.installation() == installation);
            lease.is_some_and(|mark| mark.lease() != Mark::GATEWAY_LEASE)
                || mark::in_environment(*pid, installation).is_some()
        };
        let pids = process::all().unwrap_or_default().into_iter();
        let loose = pids.filter(|pid| !held.contains(pid) && ours(pid)).filter_map(process::info);
        // What was started or registered while we looked is held after all.
        let held_now = |process: &ProcessInfo| {
            let guardians = self.inner.registry.guardians();
            let above = process::ancestors(process.pid);
            guardians.iter().any(|g| g.pid() == process.pid || above.contains(&g.pid()))
        };
        loose.filter(|process| !process.zombie && !held_now(process)).collect()
    }

    /// Refuses every further start and ends every tree that this containment started, now: the last resort. How many
    /// were not proven empty in time; their guardians go on.
    pub async fn kill_all(&self) -> usize {
        self.inner.ending.store(true, Ordering::Release);
        let deadline = Instant::now() + KILL_ALL_WITHIN;
        loop {
            // A start that was under way may have registered one more meanwhile.
            let mut guardians = self.inner.registry.guardians();
            guardians.retain(|guardian| guardian.owner == self.inner.number);
            if guardians.is_empty() || Instant::now() >= deadline {
                let left = guardians.len();
                if left > 0 {
                    tracing::error!(left, "trees have not ended in time; their guardians go on");
                }
                return left;
            }
            for guardian in &guardians {
                guardian.order(&Order::Kill);
            }
            self.inner.registry.wake();
            for guardian in guardians {
                wait(&mut guardian.watch(), deadline, View::over).await;
            }
        }
    }

    /// Starts a process that is nobody's tree, so that it is not taken for an orphan. For tests and probes.
    ///
    /// # Errors
    /// Whatever `start` fails with.
    pub fn spawn_bystander(
        &self,
        start: impl FnOnce() -> io::Result<std::process::Child>,
    ) -> io::Result<std::process::Child> {
        self.inner.registry.spawn_bystander(start)
    }
}

/// Asks for the working directory before a process is spent on it.
fn check_cwd(cwd: &std::path::Path) -> Result<(), SpawnError> {
    let bad = |source| SpawnError::BadCwd { cwd: cwd.to_owned(), source };
    if !cwd.is_absolute() {
        return Err(bad(io::Error::new(io::ErrorKind::InvalidInput, "it is not absolute")));
    }
    let metadata = std::fs::metadata(cwd).map_err(bad)?;
    if !metadata.is_dir() {
        return Err(bad(io::ErrorKind::NotADirectory.into()));
    }
    rustix::fs::access(cwd, rustix::fs::Access::EXEC_OK).map_err(|errno| bad(errno.into()))
}

/// Whether a start failed for want of processes, memory or descriptors, which says nothing about the program.
fn is_lack(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE))
}
