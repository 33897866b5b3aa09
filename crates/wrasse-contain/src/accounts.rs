//! What every tree uses: one look at the process table a second, while there are trees.
//!
//! All trees are counted together: one reading of `/proc/<pid>/stat` for every process of the machine gives
//! parents, states, CPU time and resident pages; the anonymous and shared part is read again only for those of
//! ours whose resident pages changed. What is over a limit is looked at a second time, by proportional
//! shares, before its tree is ended: a process that forks counts double until it executes something else.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wrasse_guard::protocol::Order;
use wrasse_types::{ByteSize, UnixMillis};

use crate::guardian::Guardian;
use crate::process::{self, Reading};
use crate::registry::Registry;

/// How often everything is counted.
const TICK: Duration = Duration::from_secs(1);
/// How long after the first look the second is taken.
const SECOND_LOOK: Duration = Duration::from_millis(50);
/// How many ticks "lately" is.
const WINDOW: usize = 10;

/// What one tree uses, as it was last counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeAccount {
    /// When it was started.
    pub started_at: UnixMillis,
    /// Living processes, the guardian left out.
    pub processes: u32,
    /// Ended processes that their parents do not reap.
    pub zombies: u32,
    /// How many zombies there were some ten seconds before, or at the first count.
    pub zombies_before: u32,
    /// Anonymous and shared memory, in bytes.
    pub memory_bytes: u64,
    /// CPU time of all its processes, those that ended and were reaped included.
    pub cpu: Duration,
    /// CPU time of the last ten seconds or so, in percent of one processor.
    pub cpu_percent: u32,
    /// How long the percentage was measured over.
    pub measured_over: Duration,
}

/// What a tree may have too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Anonymous and shared memory, in bytes.
    Memory,
    /// Processes.
    Processes,
}

/// A limit that a tree was ended for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// Of what.
    pub resource: Resource,
    /// How much it used.
    pub used: u64,
    /// How much it was allowed.
    pub allowed: u64,
}

impl std::fmt::Display for Excess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { resource, used, allowed } = *self;
        match resource {
            Resource::Memory => {
                write!(f, "used {} of {} allowed", ByteSize(used), ByteSize(allowed))
            }
            Resource::Processes => write!(f, "ran {used} processes of {allowed} allowed"),
        }
    }
}

/// What is remembered of one tree.
#[derive(Debug, Default)]
pub(crate) struct Past {
    samples: VecDeque<Sample>,
    last: Option<TreeAccount>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    cpu: Duration,
    zombies: u32,
}

impl Past {
    pub(crate) fn last(&self) -> Option<TreeAccount> {
        self.last
    }

    fn add(&mut self, sum: &Sum, started_at: UnixMillis, now: Instant) -> TreeAccount {
        let cpu = process::ticks(sum.cpu_ticks);
        // What is reaped by a process that nobody waits for is lost to the sum.
        let cpu = self.last.map_or(cpu, |last| last.cpu.max(cpu));
        self.samples.push_back(Sample { at: now, cpu, zombies: sum.zombies });
        if self.samples.len() > WINDOW + 1 {
            self.samples.pop_front();
        }
        let first = self.samples.front().copied();
        let first = first.unwrap_or(Sample { at: now, cpu, zombies: sum.zombies });
        let over = now.saturating_duration_since(first.at);
        let spent = cpu.saturating_sub(first.cpu).as_millis() * 100;
        let account = TreeAccount {
            started_at,
            processes: sum.processes,
            zombies: sum.zombies,
            zombies_before: first.zombies,
            memory_bytes: sum.memory_bytes,
            cpu,
            cpu_percent: u32::try_from(spent / over.as_millis().max(1)).unwrap_or(u32::MAX),
            measured_over: over,
        };
        self.last = Some(account);
        account
    }
}

/// The figures of one tree at one moment.
#[derive(Debug, Default)]
struct Sum {
    processes: u32,
    zombies: u32,
    memory_bytes: u64,
    cpu_ticks: u64,
}

/// Counts. One for a process.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    known: Mutex<Known>,
    trees: Mutex<bool>,
    some: Condvar,
    on_demand: AtomicBool,
}

/// Memory of processes whose resident pages have not changed since it was read.
type Known = HashMap<u32, Memory>;

#[derive(Debug, Clone, Copy)]
struct Memory {
    start_ticks: u64,
    resident_pages: u64,
    bytes: u64,
}

impl Accounts {
    /// There is a tree to count.
    pub(crate) fn wake(&self) {
        *self.trees.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.some.notify_one();
    }

    /// From now on nothing is counted unless somebody asks.
    pub(crate) fn only_on_demand(&self) {
        self.on_demand.store(true, Ordering::Release);
    }

    fn wait_for_trees(&self) {
        let trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.some.wait_while(trees, |trees| !*trees);
        *waited.unwrap_or_else(PoisonError::into_inner) = false;
    }

    /// Counts these trees now.
    pub(crate) fn count(&self, guardians: &[Arc<Guardian>]) -> Vec<TreeAccount> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let table = Table::new(process::readings());
        let now = Instant::now();
        let mut seen = HashMap::with_capacity(known.len());
        let accounts = guardians.iter().map(|guardian| {
            let sum = table.sum(guardian.pid(), &known, &mut seen);
            let started_at = process::started_at(guardian.identity.start_ticks);
            guardian.past().add(&sum, started_at, now)
        });
        let accounts = accounts.collect();
        *known = seen;
        accounts
    }
}

/// Every process, in the order of their parents, and where each one is.
struct Table {
    by_parent: Vec<Reading>,
    places: HashMap<u32, usize>,
}

impl Table {
    fn new(mut by_parent: Vec<Reading>) -> Self {
        by_parent.sort_unstable_by_key(|process| process.ppid);
        let pids = by_parent.iter().map(|process| process.pid);
        let places = pids.zip(0..).collect();
        Self { by_parent, places }
    }

    fn children(&self, parent: u32) -> impl Iterator<Item = &Reading> {
        let first = self.by_parent.partition_point(|process| process.ppid < parent);
        self.by_parent[first..].iter().take_while(move |process| process.ppid == parent)
    }

    fn sum(&self, guardian: u32, known: &Known, seen: &mut Known) -> Sum {
        let mut sum = Sum::default();
        let own = self.places.get(&guardian).map(|place| self.by_parent[*place]);
        // What it reaped is the tree's; what it did itself is not.
        sum.cpu_ticks = own.map_or(0, |guardian| guardian.reaped_cpu_ticks);
        let mut next = vec![guardian];
        while let Some(parent) = next.pop() {
            for process in self.children(parent) {
                sum.cpu_ticks += process.cpu_ticks + process.reaped_cpu_ticks;
                if process.zombie {
                    sum.zombies += 1;
                } else {
                    sum.processes += 1;
                    let memory = memory(process, known);
                    sum.memory_bytes += memory.bytes;
                    seen.insert(process.pid, memory);
                }
                // A table read while processes move could hold a circle.
                let counted = usize::try_from(sum.processes + sum.zombies);
                if counted.is_ok_and(|counted| counted <= self.by_parent.len()) {
                    next.push(process.pid);
                }
            }
        }
        sum
    }
}

fn memory(process: &Reading, known: &Known) -> Memory {
    let Reading { pid, start_ticks, resident_pages, .. } = *process;
    match known.get(&pid) {
        Some(memory)
            if memory.start_ticks == start_ticks && memory.resident_pages == resident_pages =>
        {
            *memory
        }
        Some(_) | None => Memory { start_ticks, resident_pages, bytes: process::memory(pid) },
    }
}

/// Runs for as long as the process.
pub(crate) fn run(registry: &Registry) {
    loop {
        let mut guardians = registry.guardians();
        if guardians.is_empty() || registry.accounts.on_demand.load(Ordering::Acquire) {
            registry.accounts.wait_for_trees();
            continue;
        }
        guardians.retain(|guardian| guardian.told_to_go());
        let accounts = registry.accounts.count(&guardians);
        for (guardian, account) in guardians.iter().zip(&accounts) {
            enforce(registry, guardian, account);
        }
        std::thread::sleep(TICK);
    }
}

/// Ends a tree that is over one of its limits, and says which.
fn enforce(registry: &Registry, guardian: &Guardian, account: &TreeAccount) {
    let limits = &guardian.limits;
    let allowed = limits.processes_max.map(u64::from);
    let used = u64::from(account.processes);
    let excess = match (allowed, limits.memory_max) {
        (Some(allowed), _) if used > allowed => {
            Some(Excess { resource: Resource::Processes, used, allowed })
        }
        (_, Some(allowed)) if account.memory_bytes > allowed => {
            std::thread::sleep(SECOND_LOOK);
            let used = proportional_memory(guardian.pid());
            (used > allowed).then_some(Excess { resource: Resource::Memory, used, allowed })
        }
        (_, _) => None,
    };
    let Some(excess) = excess else { return };
    if guardian.view().leader_over() {
        return;
    }
    tracing::warn!(server = guardian.name, %excess, "a server is over its limit: its tree is being ended");
    guardian.update(|view| {
        view.excess.get_or_insert(excess);
    });
    guardian.order(&Order::Kill);
    registry.wake();
}

/// Memory of the tree below a guardian, pages that several processes share counted once.
pub(crate) fn proportional_memory(guardian: u32) -> u64 {
    process::descendants(guardian).into_iter().map(process::proportional_memory).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, ppid: u32) -> Reading {
        Reading {
            pid,
            ppid,
            zombie: false,
            start_ticks: 1,
            cpu_ticks: 10,
            reaped_cpu_ticks: 1,
            resident_pages: 5,
        }
    }

    #[test]
    fn a_tree_is_what_is_below_its_guardian() {
        let mut all: Vec<_> = [(2, 1), (10, 2), (11, 10), (12, 11), (20, 2), (21, 20)]
            .map(|(pid, ppid)| process(pid, ppid))
            .into();
        all[3].zombie = true;
        let known =
            (0..40).map(|pid| (pid, Memory { start_ticks: 1, resident_pages: 5, bytes: 100 }));
        let known: Known = known.collect();
        let sum = Table::new(all).sum(10, &known, &mut HashMap::new());
        assert_eq!((sum.processes, sum.zombies, sum.memory_bytes), (1, 1, 100));
        assert_eq!(sum.cpu_ticks, 1 + 11 + 11);
    }

    #[test]
    fn the_past_gives_a_share_of_a_processor() {
        let mut past = Past::default();
        let began = Instant::now();
        let mut last = None;
        for second in 0..30_u32 {
            let sum = Sum { cpu_ticks: u64::from(second) * 50, zombies: second, ..Sum::default() };
            let now = began + Duration::from_secs(u64::from(second));
            last = Some(past.add(&sum, UnixMillis::new(0), now));
        }
        let last = last.unwrap();
        assert_eq!((last.cpu_percent, last.zombies, last.zombies_before), (50, 29, 19));
        assert_eq!(last.measured_over, Duration::from_secs(10));
        assert_eq!(past.last(), Some(last));
    }

    #[test]
    fn an_excess_names_its_figure() {
        let text = |resource, used, allowed| Excess { resource, used, allowed }.to_string();
        assert_eq!(text(Resource::Memory, 612 << 20, 512 << 20), "used 612 MiB of 512 MiB allowed");
        assert_eq!(text(Resource::Processes, 41, 40), "ran 41 processes of 40 allowed");
    }
}
