//! Every living guardian of this process, and which of our other children are nobody's.
//!
//! There is one registry for a process, whatever the number of [`crate::Containment`] values: a process has
//! one list of children, and a child that is not registered here is taken for an orphan of a dead guardian.
//! Whoever starts, reaps or judges a child therefore holds the table's lock.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::event::EventfdFlags;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};
use wrasse_guard::Mark;

use crate::ContainError;
use crate::accounts::Accounts;
use crate::adopter::Adopter;
use crate::guardian::Guardian;
use crate::{mark, process};

static REGISTRY: OnceLock<Arc<Registry>> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

/// The table of children.
#[derive(Debug, Default)]
struct Table {
    guardians: HashMap<u32, Arc<Guardian>>,
    /// Children that are neither guardians nor orphans, with their start times: never signalled, never
    /// waited for.
    bystanders: HashMap<u32, u64>,
}

/// What there is once in a process.
#[derive(Debug)]
pub(crate) struct Registry {
    table: Mutex<Table>,
    pub(crate) adopter: Adopter,
    pub(crate) accounts: Accounts,
    wake: OwnedFd,
    marked: AtomicBool,
    dropped: AtomicU64,
}

impl Registry {
    /// The registry of this process, made with its three threads at the first call.
    pub(crate) fn of_this_process() -> Result<Arc<Self>, ContainError> {
        let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(registry) = REGISTRY.get() {
            return Ok(Arc::clone(registry));
        }
        let setup = |step| move |source| ContainError::Setup { step, source };
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| setup("make an event descriptor")(errno.into()))?;
        let me = std::process::id();
        let registry = Arc::new(Self {
            table: Mutex::new(Table {
                guardians: HashMap::new(),
                // `redis & exec wrasse …` makes the sibling a child of ours: not ours to end.
                bystanders: process::identities(process::children(me)),
            }),
            adopter: Adopter::default(),
            accounts: Accounts::default(),
            wake,
            marked: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        });
        let watched = Arc::clone(&registry);
        let thread =
            |name: &str| std::thread::Builder::new().name(name.to_owned()).stack_size(256 * 1024);
        thread("wrasse-trees")
            .spawn(move || crate::watcher::run(&watched))
            .map_err(setup("start the thread that watches guardians"))?;
        let adopting = Arc::clone(&registry);
        thread("wrasse-adopter")
            .spawn(move || crate::adopter::run(&adopting))
            .map_err(setup("start the thread that adopts orphans"))?;
        let counting = Arc::clone(&registry);
        thread("wrasse-accounts")
            .spawn(move || crate::accounts::run(&counting))
            .map_err(setup("start the thread that counts what trees use"))?;
        Ok(Arc::clone(REGISTRY.get_or_init(|| registry)))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts and registers a guardian as one step, as the adopter sees it.
    pub(crate) fn spawn<E>(
        &self,
        start: impl FnOnce() -> Result<Guardian, E>,
    ) -> Result<Arc<Guardian>, E> {
        let mut table = self.table();
        let guardian = Arc::new(start()?);
        table.guardians.insert(guardian.pid(), Arc::clone(&guardian));
        drop(table);
        self.wake();
        self.accounts.wake();
        Ok(guardian)
    }

    /// Starts a child that is nobody's tree, and remembers it as such.
    pub(crate) fn spawn_bystander(
        &self,
        start: impl FnOnce() -> std::io::Result<std::process::Child>,
    ) -> std::io::Result<std::process::Child> {
        let mut table = self.table();
        let child = start()?;
        if let Some(stat) = process::stat(child.id()) {
            table.bystanders.insert(stat.pid, stat.start_ticks);
        }
        Ok(child)
    }

    /// Every guardian that has not been reaped.
    pub(crate) fn guardians(&self) -> Vec<Arc<Guardian>> {
        self.table().guardians.values().cloned().collect()
    }

    /// The guardian of this number, if it has not been reaped.
    pub(crate) fn guardian(&self, pid: u32) -> Option<Arc<Guardian>> {
        self.table().guardians.get(&pid).cloned()
    }

    /// Reaps a guardian that has died, and hands its tree to the adopter if it left one.
    pub(crate) fn reap(&self, guardian: &Arc<Guardian>) {
        let mut table = self.table();
        if !reap_child(guardian.pid()) {
            return;
        }
        table.guardians.remove(&guardian.pid());
        drop(table);
        let told_to_go = guardian.told_to_go();
        if !told_to_go || guardian.view().empty.is_some() {
            // Before anybody hears that it is over: the process may end on that word.
            guardian.close_leaf();
        }
        let mut left_a_tree = false;
        guardian.update(|view| {
            left_a_tree = view.guardian_reaped(told_to_go) == crate::view::Standing::Lost;
        });
        if left_a_tree {
            guardian.kill_leaf();
            self.adopter.adopt(Arc::clone(guardian));
        }
    }

    /// Our children that are orphans of dead guardians, out of a list of our children.
    pub(crate) fn orphans(&self, list: impl FnOnce(u32) -> Vec<u32>) -> Vec<process::Stat> {
        let table = self.table();
        let stats = list(std::process::id()).into_iter().filter_map(process::stat);
        stats.filter(|stat| self.judge(&table, stat)).collect()
    }

    /// Whether the child that started then is an orphan.
    pub(crate) fn is_orphan(&self, pid: u32, start_ticks: u64) -> bool {
        let table = self.table();
        process::stat(pid)
            .is_some_and(|stat| stat.start_ticks == start_ticks && self.judge(&table, &stat))
    }

    /// Reaps an orphan if it has ended; whether it was reaped.
    pub(crate) fn reap_orphan(&self, pid: u32) -> bool {
        let table = self.table();
        process::stat(pid).is_some_and(|stat| self.judge(&table, &stat)) && reap_child(pid)
    }

    fn judge(&self, table: &Table, stat: &process::Stat) -> bool {
        stat.ppid == std::process::id()
            && table.is_orphan(stat, self.marked.load(Ordering::Acquire))
    }

    /// Makes the watcher look at its guardians again.
    pub(crate) fn wake(&self) {
        // A full counter means that a wake-up is pending already.
        match rustix::io::write(&self.wake, &1_u64.to_ne_bytes()) {
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(errno) => tracing::error!(%errno, "cannot wake the thread that watches guardians"),
        }
    }

    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Whether the trees we start carry a mark that tells them from what bystanders leave behind.
    pub(crate) fn set_marked(&self, marked: bool) {
        self.marked.store(marked, Ordering::Release);
    }

    /// Counts a tree that was dropped instead of being stopped.
    pub(crate) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Table {
    fn is_orphan(&self, stat: &process::Stat, marked: bool) -> bool {
        if self.guardians.contains_key(&stat.pid) {
            return false;
        }
        if self.bystanders.is_empty() {
            return true;
        }
        // What a bystander leaves behind becomes our child too; it lacks the mark of a lease. (A zombie's
        // limits can still be read.)
        let of_lease = mark::of(stat.pid).is_some_and(|mark| mark.lease() != Mark::GATEWAY_LEASE);
        self.bystanders.get(&stat.pid) != Some(&stat.start_ticks) && (of_lease || !marked)
    }
}

/// Reaps this one child if it has ended. Never asks for "any child".
fn reap_child(pid: u32) -> bool {
    let Some(pid) = crate::signal::pid(pid) else { return false };
    match rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::NOHANG)) {
        Ok(status) => status.is_some(),
        // Somebody made the kernel reap for us: it is gone all the same.
        Err(Errno::CHILD) => !is_there(pid),
        Err(errno) => {
            tracing::error!(%errno, pid = pid.as_raw_pid(), "cannot wait for a child");
            false
        }
    }
}

fn is_there(pid: Pid) -> bool {
    u32::try_from(pid.as_raw_pid()).is_ok_and(|pid| process::stat(pid).is_some())
}
