//! Whether processes do nothing, by what they have used and moved between two looks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::processes::{Activity, Identity, activity, is_alive};
use super::report::{Class, Report, Set};

/// Fewer bytes say no more than that threads of one process woke each other: node's do, now and then, by 1 to 8 bytes
/// each time, through descriptors that the kernel counts like any. No message of the protocol is shorter than this.
const MESSAGE_BYTES: u64 = 32;
/// What an idle node may use while it is watched, in clock ticks (10 ms): its timers, a look at its memory.
const IDLE_TICKS: u64 = 2;

/// How often a set is watched before it is called busy.
const LOOKS: u32 = 3;

/// Watches what would be *finished*. What only used the processor is watched again: a process that has been idle for a
/// while tidies its memory once. What moved as much as a message in the first look may have been
/// started a moment ago (`npx` writes its log seconds after the server is up), so it is watched to the end, and must
/// not do so again. Who is quiet in the last look at it is idle.
pub(super) fn watch(report: &mut Report, time: Duration) {
    let mut watched: Vec<usize> =
        (0..report.sets.len()).filter(|at| report.sets[*at].class == Class::Finished).collect();
    if watched.is_empty() {
        return;
    }
    let mut spoke = BTreeSet::new();
    for look in 1..=LOOKS {
        let last = look == LOOKS;
        let processes = |at: &usize| report.sets[*at].processes().collect::<Vec<_>>();
        let before = activities(watched.iter().flat_map(processes));
        std::thread::sleep(time);
        let after = activities(watched.iter().flat_map(processes));
        watched.retain(|at| {
            let set = &mut report.sets[*at];
            let doubt = set.processes().find_map(|process| doubt(process, &before, &after));
            match doubt {
                None if spoke.contains(at) && !last => true,
                None => {
                    set.last_seen = activities_of(set, &after);
                    false
                }
                Some(Doubt::Again(_)) if !last => true,
                Some(Doubt::Message(_)) if look == 1 => spoke.insert(*at),
                Some(Doubt::Again(text) | Doubt::Message(text) | Doubt::Certain(text)) => {
                    set.class = Class::Unknown;
                    set.why = format!("its session is over by the records, but {text}");
                    false
                }
            }
        });
        if watched.is_empty() {
            break;
        }
    }
    report.watched = Some(time);
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

/// What speaks against a process being idle.
#[derive(Debug, PartialEq, Eq)]
enum Doubt {
    /// It may have been a moment's work.
    Again(String),
    /// It may have spoken to its host.
    Message(String),
    Certain(String),
}

/// What processes have used and moved so far; `None` where that cannot be seen.
pub(super) type Activities = BTreeMap<Identity, Option<Activity>>;

fn doubt(process: Identity, before: &Activities, after: &Activities) -> Option<Doubt> {
    if !is_alive(process) {
        return Some(Doubt::Certain(format!("pid {} ended while it was watched", process.pid)));
    }
    let reading = |of: &Activities| of.get(&process).copied().flatten();
    between(process.pid, reading(before), reading(after))
}

/// What two readings of one process say.
fn between(pid: u32, before: Option<Activity>, after: Option<Activity>) -> Option<Doubt> {
    let (Some(before), Some(after)) = (before, after) else {
        return Some(Doubt::Certain(format!("whether pid {pid} is idle cannot be seen")));
    };
    let bytes = after.bytes.saturating_sub(before.bytes);
    let ticks = after.cpu_ticks.saturating_sub(before.cpu_ticks);
    if bytes >= MESSAGE_BYTES {
        Some(Doubt::Message(format!("pid {pid} moved bytes, {bytes}, while it was watched")))
    } else if ticks > IDLE_TICKS {
        Some(Doubt::Again(format!("pid {pid} worked while it was watched")))
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
        let (again, message, certain) = (Some("again"), Some("message"), Some("certain"));
        for (before, after, expected) in [
            (at(1, 100), at(1, 100), None),
            (at(1, 100), at(3, 131), None),
            (at(1, 100), at(4, 100), again),
            (at(1, 100), at(1, 132), message),
            (at(1, 100), None, certain),
            (None, at(1, 100), certain),
        ] {
            let found = between(7, before, after).map(|doubt| match doubt {
                Doubt::Again(_) => "again",
                Doubt::Message(_) => "message",
                Doubt::Certain(_) => "certain",
            });
            assert_eq!(found, expected, "{before:?} {after:?}");
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
