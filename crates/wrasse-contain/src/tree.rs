//! Ends processes that are not below us: what the sweep finds. (What is below us ends by the kill algorithm of
//! `wrasse_guard::walk`, which this follows.) SIGKILL frees a slot that a fork bomb fills at once and SIGSTOP does
//! not, so everything is stopped first, pass after pass until a pass finds nobody new, and only then
//! killed, the deepest first.
//!
//! Every process is known by number *and* start time. A child counts as part of the tree only when its
//! parent, looked at again after the child, is still the process that was found to be part of it.

use std::collections::HashMap;

use rustix::process::Signal;

use crate::process::{self, Stat};
use crate::search::Clarity;
use crate::signal::{self, Signalled};

/// A process proven to belong to the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
    depth: u32,
}

impl Member {
    /// A process that its caller has proven to be ours to end.
    pub(crate) fn root(stat: &Stat) -> Self {
        Self { pid: stat.pid, start_ticks: stat.start_ticks, depth: 0 }
    }

    pub(crate) fn is(&self, stat: &Stat) -> bool {
        stat.pid == self.pid && stat.start_ticks == self.start_ticks
    }

    /// Sorts parents before their children.
    pub(crate) fn order(&self) -> (u32, u32) {
        (self.depth, self.pid)
    }

    /// The process of this number, if it is a child of this very one. `stat` reads who has a number.
    pub(crate) fn child(&self, pid: u32, stat: impl Fn(u32) -> Option<Stat>) -> Option<Stat> {
        let child = stat(pid).filter(|child| child.ppid == self.pid)?;
        // The parent is read last: were it another process by now, this child would be a stranger's.
        stat(self.pid).is_some_and(|parent| self.is(&parent)).then_some(child)
    }

    pub(crate) fn living(&self) -> bool {
        process::stat(self.pid).is_some_and(|stat| self.is(&stat) && !stat.zombie)
    }
}

/// Passes without anybody new in between. More than the two that a tree at rest needs: a process that forks and exits
/// for ever is met by chance, and each pass is another one. Passes that were not clear count for nothing.
const QUIET_PASSES: u32 = 10;

/// Whether a freeze came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freeze {
    /// Nobody new was found any more.
    Settled,
    /// The passes were used up before.
    Unsettled,
}

/// The members found so far.
#[derive(Debug, Default)]
pub(crate) struct Frozen {
    members: HashMap<u32, Member>,
}

impl Frozen {
    /// Stops the roots and everything below them until [`QUIET_PASSES`] find nobody new. `roots` is asked anew in
    /// every pass, because a process that loses its parent turns up as a new root.
    pub(crate) fn freeze(
        &mut self,
        mut roots: impl FnMut() -> (Vec<Member>, Clarity),
        passes_max: u32,
    ) -> Freeze {
        let mut quiet = 0;
        for _ in 0..passes_max {
            let mut new = 0;
            let (roots, clarity) = roots();
            for root in roots {
                new += self.stop_below(root);
            }
            if new > 0 {
                quiet = 0;
            } else if clarity == Clarity::Clear {
                quiet += 1;
            }
            if quiet == QUIET_PASSES {
                return Freeze::Settled;
            }
        }
        Freeze::Unsettled
    }

    fn stop_below(&mut self, root: Member) -> u32 {
        let mut new = self.stop(root);
        let mut visited = std::collections::HashSet::from([root.pid]);
        let mut next = vec![root];
        while let Some(parent) = next.pop() {
            for pid in process::children(parent.pid) {
                let Some(stat) = parent.child(pid, process::stat) else { continue };
                if !visited.insert(pid) {
                    continue;
                }
                let child = Member { pid, start_ticks: stat.start_ticks, depth: parent.depth + 1 };
                new += self.stop(child);
                next.push(child);
            }
        }
        new
    }

    fn stop(&mut self, member: Member) -> u32 {
        if self
            .members
            .get(&member.pid)
            .is_some_and(|known| known.start_ticks == member.start_ticks)
        {
            return 0;
        }
        match signal::send(member.pid, Signal::STOP, |stat| member.is(stat)) {
            // One that refuses the signal is left, and is counted as such.
            Signalled::Yes | Signalled::Refused => {}
            Signalled::Gone => return 0,
        }
        self.members.insert(member.pid, member);
        1
    }

    /// Kills everybody found, the deepest first.
    pub(crate) fn kill(&self) {
        for member in self.deepest_first() {
            signal::send(member.pid, Signal::KILL, |stat| member.is(stat));
        }
    }

    /// Everybody found, the deepest first.
    pub(crate) fn deepest_first(&self) -> Vec<Member> {
        let mut members: Vec<_> = self.members.values().copied().collect();
        members.sort_by_key(|member| std::cmp::Reverse(member.order()));
        members
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const PARENT: u32 = 30;
    const CHILD: u32 = 31;

    fn stat(pid: u32, ppid: u32, start_ticks: u64) -> Stat {
        let name = "same name".to_owned();
        Stat { pid, ppid, session: 1, name, start_ticks, zombie: false, stopped: false }
    }

    // guarantee G5; failure mode J5: numbers are used again while a tree is looked through
    #[test]
    fn a_child_of_whoever_has_the_number_now_is_a_strangers() {
        let parent = Member::root(&stat(PARENT, 1, 5));
        for until in 0..=2 {
            let step = Cell::new(0);
            // Before this step both end, and both numbers go to strangers, the one the other's parent.
            let table = |pid| {
                let ours = step.replace(step.get() + 1) < until;
                let (child, parent) = if ours { (6, 5) } else { (9, 8) };
                Some(if pid == CHILD {
                    stat(CHILD, PARENT, child)
                } else {
                    stat(PARENT, 1, parent)
                })
            };
            let child = parent.child(CHILD, table).map(|child| child.start_ticks);
            assert_eq!(child, (until == 2).then_some(6), "before step {until}");
        }
    }

    #[test]
    fn nobody_elses_child_is_ours() {
        let parent = Member::root(&stat(PARENT, 1, 5));
        let table = |pid| (pid == CHILD).then(|| stat(CHILD, 7, 6)).or(Some(stat(PARENT, 1, 5)));
        assert_eq!(parent.child(CHILD, table), None);
        assert_eq!(parent.child(CHILD, |pid| (pid == CHILD).then(|| stat(CHILD, PARENT, 6))), None);
        assert_eq!(parent.child(CHILD, |_| None), None);
    }
}
