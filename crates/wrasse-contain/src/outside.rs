//! Ends processes that somebody else started: what other hosts left behind.
//!
//! The caller proves *which* processes; this module sees to it that nobody else is hit: a process is known by number and
//! start time, every signal goes through a pidfd opened before the process was looked at again, and neither we, nor
//! what is above or below us, nor anything that carries a mark of Wrasse is ever signalled. Everything is stopped
//! before anything is told to end, so that nothing can be started meanwhile, and the caller is asked once more when
//! nothing can change any longer.
//!
//! Closing stdin, the first rung of our own ladder, is not ours to do here: the pipe is the host's.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::search::Clarity;
use crate::signal;
use crate::sweep::spared;
use crate::tree::{Frozen, Member};
use crate::{mark, process};

/// Passes of one freeze.
const PASSES_MAX: u32 = 64;
/// Rounds of stopping and killing after SIGTERM; each waits up to [`ROUND`].
const ROUNDS_MAX: u32 = 10;
const ROUND: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(5);

/// A process that is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot: together with the number, who it is.
    pub start_ticks: u64,
}

/// What the caller says when everything is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is still as it was: end them.
    End,
    /// Something has changed: let them go on.
    Spare,
}

/// What became of the targets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    /// Processes that were stopped to be ended, those found below the targets included.
    pub found: u32,
    /// Of these, how many ended on SIGTERM.
    pub on_term: u32,
    /// Of these, how many had to be killed.
    pub killed: u32,
    /// Of these, how many are still there.
    pub survivors: u32,
    /// They were let go on, since the caller said so.
    pub spared: bool,
}

/// Whether a process carries a mark of any Wrasse: it belongs to a tree that a guardian holds.
#[must_use]
pub fn is_marked(pid: u32) -> bool {
    mark::of(pid).is_some()
}

/// Ends the targets and what is below them: stops all, asks `confirm`, sends SIGTERM, waits up to `grace`, kills what
/// is left. Blocks the calling thread until they are gone, or ten rounds of killing were in vain.
///
/// `confirm` is told everything that was stopped and would end. Should it panic, all goes on.
pub fn end(
    targets: &[Target],
    grace: Duration,
    confirm: impl FnOnce(&[Target]) -> Verdict,
) -> Ended {
    let spared = spared();
    let roots = || {
        let living = targets.iter().filter_map(|t| member(*t, &spared));
        (living.collect(), Clarity::Clear)
    };
    let mut frozen = Resumed(Frozen::default());
    frozen.0.freeze(roots, PASSES_MAX);
    let mut members: HashMap<u32, Member> = HashMap::new();
    admit(&mut members, &frozen.0, &spared);
    let stopped: Vec<Target> = members.values().filter(|member| member.living()).map(of).collect();
    if confirm(&stopped) == Verdict::Spare {
        return Ended { spared: true, ..Ended::default() };
    }
    for member in deepest_first(&members) {
        signal::send(member.pid, Signal::TERM, |stat| member.is(stat));
        signal::send(member.pid, Signal::CONT, |stat| member.is(stat));
    }
    let deadline = Instant::now() + grace;
    while members.values().any(Member::living) && Instant::now() < deadline {
        follow(&mut members, &spared);
        std::thread::sleep(PAUSE);
    }
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let left = members.values().filter(|member| member.living()).count();
    let on_term = members.len() - left;
    kill(&mut members, &spared);
    let survivors = members.values().filter(|member| member.living()).count();
    Ended {
        found: count(members.len()),
        on_term: count(on_term),
        killed: count(members.len() - on_term - survivors),
        survivors: count(survivors),
        spared: false,
    }
}

fn member(target: Target, spared: &HashSet<u32>) -> Option<Member> {
    let stat = process::stat(target.pid)?;
    let right = stat.start_ticks == target.start_ticks
        && !stat.zombie
        && !spared.contains(&target.pid)
        && !is_marked(target.pid);
    right.then(|| Member::root(&stat))
}

/// Takes over what was stopped. What must not be touched goes on at once: something of ours below a target.
fn admit(members: &mut HashMap<u32, Member>, frozen: &Frozen, spared: &HashSet<u32>) {
    for member in frozen.deepest_first() {
        if spared.contains(&member.pid) || is_marked(member.pid) {
            signal::send(member.pid, Signal::CONT, |stat| member.is(stat));
        } else {
            members.insert(member.pid, member);
        }
    }
}

/// Adds what the living members have started since: it would outlive them.
fn follow(members: &mut HashMap<u32, Member>, spared: &HashSet<u32>) {
    let known: Vec<Member> = members.values().copied().filter(Member::living).collect();
    for parent in known {
        for pid in process::children(parent.pid) {
            let Some(stat) = parent.child(pid, process::stat) else { continue };
            let below = !stat.zombie && parent.living();
            if below && !spared.contains(&pid) && !is_marked(pid) {
                members.entry(pid).or_insert_with(|| Member::root(&stat));
            }
        }
    }
}

fn kill(members: &mut HashMap<u32, Member>, spared: &HashSet<u32>) {
    for _ in 0..ROUNDS_MAX {
        let living: Vec<Member> = members.values().copied().filter(Member::living).collect();
        if living.is_empty() {
            return;
        }
        let mut frozen = Frozen::default();
        let roots = || (living.iter().copied().filter(Member::living).collect(), Clarity::Clear);
        frozen.freeze(roots, PASSES_MAX);
        admit(members, &frozen, spared);
        for member in deepest_first(members) {
            signal::send(member.pid, Signal::KILL, |stat| member.is(stat));
        }
        let round_over = Instant::now() + ROUND;
        while members.values().any(Member::living) && Instant::now() < round_over {
            std::thread::sleep(PAUSE);
        }
    }
}

fn of(member: &Member) -> Target {
    Target { pid: member.pid, start_ticks: member.start_ticks }
}

/// What was stopped, and goes on when this is dropped: if it was spared, or has survived everything.
struct Resumed(Frozen);

impl Drop for Resumed {
    fn drop(&mut self) {
        for member in self.0.deepest_first() {
            signal::send(member.pid, Signal::CONT, |stat| member.is(stat));
        }
    }
}

/// While it lives, Ctrl-C, Ctrl-Z and their like do not end or stop us; what came meanwhile takes effect when it is
/// dropped. Signals that somebody already handles or ignores are left to that.
#[derive(Debug)]
pub struct Uninterrupted {
    put_off: Vec<Signal>,
}

impl Uninterrupted {
    /// Begins to put signals off. Where that is not possible they take effect at once, as ever.
    #[must_use]
    pub fn begin() -> Self {
        let signals = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::TSTP];
        Self { put_off: signals.into_iter().filter(|one| signal::put_off(*one)).collect() }
    }
}

impl Drop for Uninterrupted {
    fn drop(&mut self) {
        for one in &self.put_off {
            signal::take_up(*one);
        }
    }
}

/// Children before their parents, so that no parent sees a child end and starts another.
fn deepest_first(members: &HashMap<u32, Member>) -> Vec<Member> {
    let mut ordered: Vec<Member> = members.values().copied().collect();
    ordered.sort_by_key(|member| std::cmp::Reverse(member.order()));
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a process to stop, behind our back")]
    fn what_was_stopped_goes_on_when_the_look_panics() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let state = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
            stat.rsplit(')').next().unwrap().trim_start().chars().next().unwrap()
        };
        let until = |stopped: bool| {
            let deadline = Instant::now() + Duration::from_secs(20);
            while (state() == 'T') != stopped {
                assert!(Instant::now() < deadline, "{}", state());
                std::thread::sleep(PAUSE);
            }
        };
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut frozen = Resumed(Frozen::default());
            let stat = process::stat(child.id()).unwrap();
            frozen.0.freeze(|| (vec![Member::root(&stat)], Clarity::Clear), PASSES_MAX);
            until(true);
            panic!("the look");
        }));
        assert!(panicked.is_err());
        until(false);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
