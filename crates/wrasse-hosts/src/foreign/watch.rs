//! Whether processes do nothing, by what they have used and moved between two looks.

use std::collections::BTreeMap;
use std::time::Duration;

use super::processes::{Activity, Identity, activity, is_alive};
use super::report::{Class, Report, Set};

/// Fewer bytes say no more than that threads of one process woke each other: node's do, now and then, by 1 to 8 bytes
/// each time, through descriptors that the kernel counts like any. No message of the protocol is shorter than this.
const MESSAGE_BYTES: u64 = 32;
/// What an idle node may use while it is watched, in clock ticks (10 ms): its timers, a look at its memory.
const IDLE_TICKS: u64 = 2;

/// How many samples are taken of a set that does not come to rest.
const SAMPLES_MAX: u32 = 3;
/// How many in a row must be quiet of a set that moved a message in an earlier one.
const AFTER_A_MESSAGE: u32 = 2;

/// Watches what would be *finished*, a sample at a time. One whole quiet sample makes a set idle: a process that has had
/// nothing to do for a while tidies its memory once, so work is watched again. After what may have been a message two
/// in a row are asked for: `npx` writes its log seconds after its server is up, and nobody but a host speaks later.
pub(super) fn watch(report: &mut Report, time: Duration) {
    let finished = |at: &usize| report.sets[*at].class == Class::Finished;
    let mut watched: Vec<(usize, Rest)> =
        (0..report.sets.len()).filter(finished).map(|at| (at, Rest::default())).collect();
    if watched.is_empty() {
        return;
    }
    while !watched.is_empty() {
        let processes = |(at, _): &(usize, Rest)| report.sets[*at].processes().collect::<Vec<_>>();
        let before = activities(watched.iter().flat_map(processes));
        std::thread::sleep(time);
        let after = activities(watched.iter().flat_map(processes));
        watched.retain_mut(|(at, rest)| {
            let set = &mut report.sets[*at];
            let doubt = set.processes().filter_map(|process| doubt(process, &before, &after)).max();
            match rest.after(doubt.as_ref().map(|(doubt, _)| *doubt)) {
                Course::Again => return true,
                Course::Idle => set.last_seen = activities_of(set, &after),
                Course::Busy => {
                    let text = doubt.map_or_else(
                        || "it moved a message while it was watched".to_owned(),
                        |(_, text)| text,
                    );
                    set.class = Class::Unknown;
                    set.why = format!("its session is over by the records, but {text}");
                }
            }
            false
        });
    }
    report.watched = Some(time);
}

/// How a set that is watched has come to rest so far.
#[derive(Debug, Clone, Copy, Default)]
struct Rest {
    samples: u32,
    quiet: u32,
    spoke: bool,
}

/// What comes of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    Idle,
    Again,
    Busy,
}

impl Rest {
    /// Counts a sample and what spoke against its being quiet.
    fn after(&mut self, doubt: Option<Doubt>) -> Course {
        self.samples += 1;
        self.quiet = if doubt.is_none() { self.quiet + 1 } else { 0 };
        self.spoke |= doubt == Some(Doubt::Message);
        let needed = if self.spoke { AFTER_A_MESSAGE } else { 1 };
        if doubt == Some(Doubt::Certain) {
            Course::Busy
        } else if self.quiet >= needed {
            Course::Idle
        } else if self.samples + (needed - self.quiet) <= SAMPLES_MAX {
            Course::Again
        } else {
            Course::Busy
        }
    }
}

/// Whether a set, all of it stopped by now, has moved as much as a message since it was watched. Of what was never
/// watched there is nothing to compare.
pub(super) fn has_moved(set: &Set) -> bool {
    let moved = |process: Identity, before: Option<Activity>| {
        let now = activity(process.pid);
        match (before, now) {
            (Some(before), Some(now)) => {
                now.bytes.saturating_sub(before.bytes) >= MESSAGE_BYTES && is_alive(process)
            }
            (_, _) => is_alive(process),
        }
    };
    set.last_seen.iter().any(|(process, before)| moved(*process, *before))
}

/// What processes have used and moved so far; `None` where that cannot be seen.
pub(super) type Activities = BTreeMap<Identity, Option<Activity>>;

/// What speaks against a process being idle, the heaviest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    /// It may have been a moment's work.
    Work,
    /// It may have spoken to its host.
    Message,
    Certain,
}

fn doubt(process: Identity, before: &Activities, after: &Activities) -> Option<(Doubt, String)> {
    if !is_alive(process) {
        let text = format!("pid {} ended while it was watched", process.pid);
        return Some((Doubt::Certain, text));
    }
    let reading = |of: &Activities| of.get(&process).copied().flatten();
    between(process.pid, reading(before), reading(after))
}

/// What two readings of one process say.
fn between(pid: u32, before: Option<Activity>, after: Option<Activity>) -> Option<(Doubt, String)> {
    let (Some(before), Some(after)) = (before, after) else {
        return Some((Doubt::Certain, format!("whether pid {pid} is idle cannot be seen")));
    };
    let bytes = after.bytes.saturating_sub(before.bytes);
    let ticks = after.cpu_ticks.saturating_sub(before.cpu_ticks);
    if bytes >= MESSAGE_BYTES {
        let text = format!("pid {pid} moved bytes, {bytes}, while it was watched");
        Some((Doubt::Message, text))
    } else if ticks > IDLE_TICKS {
        Some((Doubt::Work, format!("pid {pid} worked while it was watched")))
    } else {
        None
    }
}

fn activities(processes: impl Iterator<Item = Identity>) -> Activities {
    processes.map(|process| (process, activity(process.pid))).collect()
}

fn activities_of(set: &Set, of: &Activities) -> Activities {
    set.processes().map(|process| (process, of.get(&process).copied().flatten())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_and_work_are_told_from_the_noise_of_idle_threads() {
        let at = |cpu_ticks, bytes| Some(Activity { cpu_ticks, bytes });
        for (before, after, expected) in [
            (at(1, 100), at(1, 100), None),
            (at(1, 100), at(3, 131), None),
            (at(1, 100), at(4, 100), Some(Doubt::Work)),
            (at(1, 100), at(9, 132), Some(Doubt::Message)),
            (at(1, 100), None, Some(Doubt::Certain)),
            (None, at(1, 100), Some(Doubt::Certain)),
        ] {
            let found = between(7, before, after).map(|(doubt, _)| doubt);
            assert_eq!(found, expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn a_whole_sample_must_be_quiet_and_two_after_a_message() {
        let (quiet, work) = (None, Some(Doubt::Work));
        let (message, certain) = (Some(Doubt::Message), Some(Doubt::Certain));
        for (samples, expected) in [
            (&[quiet][..], Course::Idle),
            (&[work, quiet], Course::Idle),
            (&[work, work, quiet], Course::Idle),
            (&[work, work, work], Course::Busy),
            (&[message, quiet, quiet], Course::Idle),
            (&[message, quiet, work], Course::Busy),
            (&[message, work], Course::Busy),
            (&[message, message], Course::Busy),
            (&[work, message], Course::Busy),
            (&[certain], Course::Busy),
            (&[work, certain], Course::Busy),
        ] {
            let mut rest = Rest::default();
            let (last, earlier) = samples.split_last().unwrap();
            assert!(earlier.iter().all(|one| rest.after(*one) == Course::Again), "{samples:?}");
            assert_eq!(rest.after(*last), expected, "{samples:?}");
        }
    }

    #[test]
    fn what_moved_a_message_since_it_was_watched_has_moved() {
        let id = super::super::processes::Processes::look(super::super::processes::Scope {
            uid: None,
            below: None,
        })
        .unwrap()
        .get(std::process::id())
        .unwrap()
        .id;
        let set = |last_seen: Activities| Set {
            number: 1,
            class: Class::Finished,
            why: String::new(),
            host: None,
            owner: None,
            trees: Vec::new(),
            last_seen,
        };
        let mut seen = activity(id.pid).unwrap();
        assert!(!has_moved(&set(Activities::new())));
        seen.bytes += 1 << 40;
        assert!(!has_moved(&set([(id, Some(seen))].into())));
        seen.bytes = 0;
        assert!(has_moved(&set([(id, Some(seen))].into())));
        assert!(has_moved(&set([(id, None)].into())), "what cannot be seen may have");
        let gone = Identity { start_ticks: id.start_ticks + 1, ..id };
        assert!(!has_moved(&set([(gone, Some(seen))].into())), "and is no danger to it");
    }
}
