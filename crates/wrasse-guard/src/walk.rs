//! The kill algorithm: ends everything below a process, whatever group, session or parent it moved
//! to, and nothing else.
//!
//! A round walks the tree from its root through the children of *all* threads. Each process is
//! stopped before its children are read, so that it cannot start one unseen; then all are killed,
//! deepest first, since killing the leader of a session wakes its stopped members. The first three
//! rounds make one pass; later ones repeat the stopping passes until two of them find nobody new,
//! because SIGKILL frees a pid that a fork bomb refills at once and SIGSTOP does not.
//!
//! INVARIANT: a signal goes only to a process that was found, through a pidfd opened *before* its
//! parent was read again, to be a child of the root or of a process so proven that still lives.
//! Without pidfds only the root's own children are signalled; their orphans become such.
//!
//! A round proves nothing: only ECHILD does, or, where somebody else reaps, rounds that find
//! nobody. Waiting, reaping and patience are the caller's; nothing here gives up.

mod processes;
#[cfg(test)]
mod tests;

use crate::{
    procfs,
    sys::{self, Errno, Pid, Signal, Table},
};
use processes::{Kernel, Processes};

/// Rounds that make a single pass.
const QUICK_ROUNDS: u32 = 3;
/// Passes in a row that must find nobody new.
const QUIET_PASSES: u32 = 2;
/// The most passes in one round; a bomb without a process limit may not converge, and the caller
/// has other duties.
const PASSES_MAX: u32 = 256;
/// How many processes are visited between two calls of [`Owner::pulse`].
const PULSE_EVERY: usize = 128;
/// Linux numbers processes below 2^22.
const PID_LIMIT: usize = 1 << 22;
/// The entry of a process whose parent is the root.
const ROOT: u32 = u32::MAX;

/// A child of the root, as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child {
    /// Its number.
    pub pid: u32,
    /// When it started, in ticks since boot: together with the number, who it is.
    pub start_ticks: u64,
}

/// Whether a child of the root is to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// End it and everything below it.
    Ours,
    /// Neither signal it nor look below it.
    Spared,
}

/// Who ends the tree.
pub trait Owner {
    /// Decides about a direct child of the root.
    fn claim(&mut self, child: Child) -> Claim;

    /// Called now and then during a long round, to do what must not wait.
    fn pulse(&mut self) {}
}

/// What a round met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Round {
    /// Processes found in the last pass, ended but unreaped ones included.
    pub found: u32,
    /// How many of those have ended and only wait to be reaped.
    pub ended: u32,
    /// Processes that SIGKILL was sent to.
    pub killed: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    pid: Pid,
    /// Index of the parent's entry, or [`ROOT`].
    parent: u32,
    start: u64,
}

/// The ending of one tree; keeps its buffers from round to round.
#[derive(Debug)]
pub struct Ending {
    processes: Kernel,
    walk: Walk,
}

impl Ending {
    /// Prepares to end everything below `root`, which is the calling process itself, or one that
    /// the caller holds (an unreaped child, or a pidfd) as long as rounds are made. `None` when
    /// `/proc` is missing or another namespace's, or the root is pid 1 and not the caller.
    #[must_use]
    pub fn new(root: u32) -> Option<Self> {
        let root = Pid::try_from(root).ok()?;
        if root < 1 || (root == 1 && sys::own_pid() != 1) || !procfs::is_ours() {
            return None;
        }
        Some(Ending { processes: Kernel::detect(), walk: Walk::new(root) })
    }

    /// How many rounds were made.
    #[must_use]
    pub fn rounds(&self) -> u32 {
        self.walk.rounds
    }

    /// Makes one round.
    pub fn round(&mut self, owner: &mut dyn Owner) -> Round {
        self.walk.round(&mut self.processes, owner)
    }
}

#[derive(Debug)]
struct Walk {
    root: Pid,
    rounds: u32,
    entries: Table<Entry>,
    /// One bit per pid met in this round.
    met: Option<Table<u64>>,
}

/// Our grip on a process while it is checked and signalled.
enum Grip<Hold> {
    Pidfd(Hold),
    /// A direct child of ours that nobody reaps meanwhile, by a pidfd where there are any.
    OwnChild(Pid, Option<Hold>),
}

impl<Hold> Grip<Hold> {
    fn signal(&self, processes: &impl Processes<Hold = Hold>, signal: Signal) -> Result<(), Errno> {
        match self {
            Grip::Pidfd(pidfd) => processes.signal(pidfd, signal),
            Grip::OwnChild(_, Some(pidfd)) if processes.signal(pidfd, signal).is_ok() => Ok(()),
            // A filter may know the one call and not the other.
            Grip::OwnChild(pid, _) => processes.signal_child(*pid, signal),
        }
    }
}

impl Walk {
    fn new(root: Pid) -> Self {
        Walk { root, rounds: 0, entries: Table::new(), met: None }
    }

    fn round(&mut self, processes: &mut impl Processes, owner: &mut dyn Owner) -> Round {
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds <= QUICK_ROUNDS {
            let round = self.pass(processes, owner).0;
            return self.kill(processes, owner, round);
        }
        // A fresh bitmap costs only the pages that are touched. Without memory for it, every pass
        // counts as quiet and the rounds go on.
        self.met = Table::zeroed(PID_LIMIT / 64).ok();
        let mut round = Round::default();
        let mut quiet = 0;
        for _ in 0..PASSES_MAX {
            let (seen, new) = self.pass(processes, owner);
            round = seen;
            quiet = if new == 0 { quiet + 1 } else { 0 };
            if quiet == QUIET_PASSES {
                break;
            }
            owner.pulse();
        }
        self.met = None;
        self.kill(processes, owner, round)
    }

    /// Walks the tree anew and stops everything in it. Returns how many were not met before.
    fn pass(&mut self, processes: &mut impl Processes, owner: &mut dyn Owner) -> (Round, u32) {
        self.entries.clear();
        processes.refresh();
        let mut tally = Tally::default();
        self.expand(processes, ROOT, owner, &mut tally);
        let mut next = 0;
        while next < self.entries.as_slice().len() {
            let index = u32::try_from(next).unwrap_or(ROOT);
            self.expand(processes, index, owner, &mut tally);
            next += 1;
            if next.is_multiple_of(PULSE_EVERY) {
                owner.pulse();
            }
        }
        (Round { found: tally.found, ended: tally.ended, killed: 0 }, tally.new)
    }

    fn expand(
        &mut self,
        processes: &impl Processes,
        parent: u32,
        owner: &mut dyn Owner,
        tally: &mut Tally,
    ) {
        let Some(pid) = self.pid_of(parent) else { return };
        processes.children(pid, &mut |child| self.visit(processes, child, parent, owner, tally));
    }

    fn visit(
        &mut self,
        processes: &impl Processes,
        pid: Pid,
        parent: u32,
        owner: &mut dyn Owner,
        tally: &mut Tally,
    ) {
        let Some((grip, stat)) = self.grip(processes, pid, parent) else { return };
        if stat.parent == self.root && claim(owner, pid, stat.start) == Claim::Spared {
            return;
        }
        tally.found = tally.found.saturating_add(1);
        if stat.has_ended() {
            tally.ended = tally.ended.saturating_add(1);
        }
        if let Some(grip) = &grip {
            // It may be gone, or another user's: either way it shows in what is left.
            drop(grip.signal(processes, Signal::STOP));
        }
        let parent = if stat.parent == self.root { ROOT } else { parent };
        if self.entries.push(Entry { pid, parent, start: stat.start }).is_err() {
            // No memory to come back to it: out of order rather than not at all.
            if let Some(grip) = &grip {
                drop(grip.signal(processes, Signal::KILL));
            }
        } else if self.meet(pid) {
            tally.new = tally.new.saturating_add(1);
        }
    }

    /// Kills what the last pass found, deepest first.
    fn kill(&self, processes: &impl Processes, owner: &mut dyn Owner, mut round: Round) -> Round {
        let mut index = self.entries.as_slice().len();
        while index > 0 {
            index -= 1;
            if index.is_multiple_of(PULSE_EVERY) {
                owner.pulse();
            }
            let entry = self.entries.as_slice()[index];
            let Some((Some(grip), stat)) = self.grip(processes, entry.pid, entry.parent) else {
                continue;
            };
            if stat.start == entry.start && grip.signal(processes, Signal::KILL).is_ok() {
                round.killed = round.killed.saturating_add(1);
            }
        }
        round
    }

    /// Takes hold of a process and proves that it is below the root: its parent, read after the
    /// pidfd was opened, is the root or the living process of the entry `parent`. Whatever moved
    /// elsewhere meanwhile is met there by the next pass. A proven process without a grip is one
    /// that must not be signalled.
    fn grip<P: Processes>(
        &self,
        processes: &P,
        pid: Pid,
        parent: u32,
    ) -> Option<(Option<Grip<P::Hold>>, procfs::Stat)> {
        if pid <= 1 || pid == self.root {
            return None;
        }
        let opened = processes.hold(pid);
        if matches!(opened, Err(Errno::SRCH)) {
            return None;
        }
        let stat = processes.stat(pid).ok().or_else(|| self.hidden_child(processes, pid))?;
        if stat.parent != self.root && !self.is_living_parent(processes, parent, stat.parent) {
            return None;
        }
        let own_child = stat.parent == self.root && self.root == processes.own_pid();
        let grip = match opened {
            _ if own_child => Some(Grip::OwnChild(pid, opened.ok())),
            Ok(pidfd) => Some(Grip::Pidfd(pidfd)),
            // A refused pidfd_open: descriptors ran out, or there is no such call.
            Err(_) => None,
        };
        Some((grip, stat))
    }

    /// What is known of a child of ours that `/proc` does not show us: mounted with `hidepid` it hides
    /// from the unprivileged whoever may not be traced. The kernel still tells whose child it is.
    fn hidden_child(&self, processes: &impl Processes, pid: Pid) -> Option<procfs::Stat> {
        let ours = self.root == processes.own_pid() && processes.is_child(pid);
        ours.then_some(procfs::Stat { parent: self.root, state: b'?', threads: 1, start: 0 })
    }

    /// Whether the entry is the process `pid`, and still is.
    fn is_living_parent(&self, processes: &impl Processes, entry: u32, pid: Pid) -> bool {
        let Ok(index) = usize::try_from(entry) else { return false };
        self.entries.as_slice().get(index).is_some_and(|entry| {
            entry.pid == pid && processes.stat(pid).is_ok_and(|stat| stat.start == entry.start)
        })
    }

    fn pid_of(&self, entry: u32) -> Option<Pid> {
        if entry == ROOT {
            return Some(self.root);
        }
        self.entries.as_slice().get(usize::try_from(entry).ok()?).map(|entry| entry.pid)
    }

    /// Notes that a process was met; false when it had been before in this round.
    fn meet(&mut self, pid: Pid) -> bool {
        let (Some(met), Ok(pid)) = (self.met.as_mut(), usize::try_from(pid)) else { return false };
        let Some(word) = met.as_mut_slice().get_mut(pid / 64) else { return false };
        let bit = 1 << (pid % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

#[derive(Default)]
struct Tally {
    found: u32,
    ended: u32,
    new: u32,
}

fn claim(owner: &mut dyn Owner, pid: Pid, start_ticks: u64) -> Claim {
    owner.claim(Child { pid: pid.unsigned_abs(), start_ticks })
}
