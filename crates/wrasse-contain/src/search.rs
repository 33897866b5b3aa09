//! Looks at the process table for what carries our mark.
//!
//! A lineage that forks and exits for ever always has a process alive, so each listing of `/proc` holds one of it; but
//! that one may be gone before its mark was read. Two things follow. Who was not there at the look before is judged
//! first, whatever its number: numbers wrap, so the newest are not always the highest. And a look in which somebody
//! could not be judged proves nothing: it is not [`Clarity::Clear`], and does not count as one that found nobody.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::process::{self, ProcessInfo};
use crate::signal;
use crate::sweep::{Leftover, instance_of};

/// Clear looks of a search, and the pause between two.
const LOOKS: u32 = 10;
const BLINK: Duration = Duration::from_millis(1);
/// A search on a machine where processes come and go faster than they are judged ends all the same: after so much time
/// and so many looks. Both, since where everybody waits for a processor two seconds may be two looks.
const SEARCH_FOR: Duration = Duration::from_secs(2);
const LOOKS_ENOUGH: u32 = 100;
/// No search lasts longer.
const SEARCH_WITHIN: Duration = Duration::from_secs(10);

/// Whether a look judged every process that it listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clarity {
    /// It did.
    Clear,
    /// Somebody was gone before, and may have a successor.
    Unclear,
}

/// What a process is to us.
enum Verdict {
    Ours(Box<Leftover>),
    Stranger {
        start_ticks: u64,
    },
    /// It ended while it was looked at.
    Gone,
    /// It had ended, and may have been anybody.
    Zombie {
        start_ticks: u64,
    },
}

/// Looks again and again for processes of one installation.
pub(crate) struct Looker<'a, Known> {
    installation: u16,
    spared: &'a HashSet<u32>,
    /// The start of the guardian of an instance that may be looked for.
    known: Known,
    /// Who was there at the look before and was not ours, with its start time.
    before: HashMap<u32, u64>,
}

impl<'a, Known: Fn(u64) -> Option<u64>> Looker<'a, Known> {
    pub(crate) fn new(installation: u16, spared: &'a HashSet<u32>, known: Known) -> Self {
        Self { installation, spared, known, before: HashMap::new() }
    }

    /// Looks until enough looks were clear. What was seen does not end it: another instance may be there too.
    pub(crate) fn search(&mut self) -> std::io::Result<Vec<Leftover>> {
        let began = Instant::now();
        let (mut found, mut looks, mut clear) = (Vec::new(), 0, 0);
        loop {
            looks += 1;
            if self.look(|leftover| found.push(leftover))? == Clarity::Clear {
                clear += 1;
            }
            if clear == LOOKS {
                return Ok(found);
            }
            if gives_up(looks, began.elapsed()) {
                tracing::warn!(
                    looks,
                    clear,
                    "processes came and went faster than they could be looked at"
                );
                return Ok(found);
            }
            std::thread::sleep(BLINK);
        }
    }

    /// Looks at every process once.
    pub(crate) fn look(&mut self, mut see: impl FnMut(Leftover)) -> std::io::Result<Clarity> {
        let mut pids = process::all()?;
        pids.retain(|pid| !self.spared.contains(pid) && signal::pid(*pid).is_some());
        newcomers_first(&mut pids, &self.before);
        let mut seen = HashMap::with_capacity(pids.len());
        let mut clarity = Clarity::Clear;
        for pid in pids {
            match self.judge(pid) {
                Verdict::Ours(leftover) => see(*leftover),
                Verdict::Stranger { start_ticks } => drop(seen.insert(pid, start_ticks)),
                Verdict::Gone => clarity = Clarity::Unclear,
                Verdict::Zombie { start_ticks } => {
                    seen.insert(pid, start_ticks);
                    clarity = Clarity::Unclear;
                }
            }
        }
        self.before = seen;
        Ok(clarity)
    }

    fn judge(&self, pid: u32) -> Verdict {
        let Some(stat) = process::stat(pid) else { return Verdict::Gone };
        let start_ticks = stat.start_ticks;
        if stat.zombie {
            // Of one that had ended before, the successors were there to be seen.
            let known = self.before.get(&pid) == Some(&start_ticks);
            return if known {
                Verdict::Stranger { start_ticks }
            } else {
                Verdict::Zombie { start_ticks }
            };
        }
        if let Some(leftover) = self.prove(pid) {
            return Verdict::Ours(Box::new(leftover));
        }
        // What cannot be read of one that ends looks like what a stranger lacks.
        match process::stat(pid) {
            Some(now) if now.start_ticks == start_ticks && !now.zombie => {
                Verdict::Stranger { start_ticks }
            }
            Some(_) | None => Verdict::Gone,
        }
    }

    fn prove(&self, pid: u32) -> Option<Leftover> {
        let (instance, marked_by) = instance_of(pid, self.installation)?;
        let guardian_start_ticks = (self.known)(instance)?;
        let process: ProcessInfo = process::info(pid)?;
        let proven = !process.zombie
            && process.start_ticks >= guardian_start_ticks
            && process::same_pid_namespace(pid);
        proven.then(|| Leftover {
            after_guardian: process::ticks(process.start_ticks - guardian_start_ticks),
            process,
            instance,
            marked_by,
            installation: self.installation,
            guardian_start_ticks,
        })
    }
}

/// Whether a search that was not clear often enough ends after so many looks and so much time.
fn gives_up(looks: u32, lasted: Duration) -> bool {
    lasted >= SEARCH_WITHIN || (lasted >= SEARCH_FOR && looks >= LOOKS_ENOUGH)
}

/// Puts those first that may be gone in a moment: who was not there before, and of these the highest numbers, which are
/// mostly the newest.
fn newcomers_first(pids: &mut [u32], before: &HashMap<u32, u64>) {
    pids.sort_unstable_by_key(|pid| (before.contains_key(pid), std::cmp::Reverse(*pid)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_that_hardly_had_a_turn_goes_on() {
        let (short, enough) = (SEARCH_FOR / 2, LOOKS_ENOUGH);
        assert!(!gives_up(2, SEARCH_FOR), "two looks in its whole time");
        assert!(!gives_up(enough, short) && !gives_up(enough - 1, SEARCH_FOR));
        assert!(gives_up(enough, SEARCH_FOR) && gives_up(1, SEARCH_WITHIN));
    }

    // Numbers have wrapped: the newest are the lowest.
    #[test]
    fn newcomers_are_judged_first_whatever_their_number() {
        let before = HashMap::from([(900, 1), (901, 1), (32_700, 2)]);
        let mut pids = [900, 901, 32_700, 12, 310];
        newcomers_first(&mut pids, &before);
        assert_eq!(pids, [310, 12, 32_700, 901, 900]);
        newcomers_first(&mut pids, &HashMap::new());
        assert_eq!(pids, [32_700, 901, 900, 310, 12]);
    }

    // It ended before it was judged, and only a later look knows that it has no successor.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a child that nobody waits for yet")]
    fn a_look_at_a_new_zombie_is_not_clear() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        while !process::stat(pid).is_some_and(|stat| stat.zombie) {
            std::thread::yield_now();
        }
        // Others come and go as they like: spared are all but this one.
        let spared = process::all().unwrap().into_iter().filter(|one| *one != pid).collect();
        let mut looker = Looker::new(1, &spared, |_| None);
        assert!(matches!(looker.judge(pid), Verdict::Zombie { .. }));
        assert_eq!(looker.look(|_| ()).unwrap(), Clarity::Unclear);
        assert!(matches!(looker.judge(pid), Verdict::Stranger { .. }));
        child.wait().unwrap();
        assert!(matches!(looker.judge(pid), Verdict::Gone));
    }
}
