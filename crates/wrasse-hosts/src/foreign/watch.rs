//! Whether processes do nothing, by what they have used and moved between two looks.

use std::collections::BTreeMap;
use std::time::Duration;

use super::processes::{Activity, Identity, activity, is_alive};
use super::report::{Class, Report};

/// Watches what would be *finished*. Whatever moves a byte is not. What only used the processor is watched again: a
/// process that has been idle for a while tidies its memory once.
pub(super) fn watch(report: &mut Report, time: Duration) {
    let mut watched: Vec<usize> =
        (0..report.sets.len()).filter(|at| report.sets[*at].class == Class::Finished).collect();
    if watched.is_empty() {
        return;
    }
    for last in [false, false, true] {
        let processes = |at: &usize| report.sets[*at].processes().collect::<Vec<_>>();
        let before = activities(watched.iter().flat_map(processes));
        std::thread::sleep(time);
        let after = activities(watched.iter().flat_map(processes));
        watched.retain(|at| {
            let set = &mut report.sets[*at];
            let doubt = set.processes().find_map(|process| doubt(process, &before, &after));
            match doubt {
                None => false,
                Some(Doubt::Again(_)) if !last => true,
                Some(Doubt::Again(text) | Doubt::Certain(text)) => {
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

/// What speaks against a process being idle.
enum Doubt {
    /// It may have been a moment's work.
    Again(String),
    Certain(String),
}

type Activities = BTreeMap<Identity, Option<Activity>>;

fn doubt(process: Identity, before: &Activities, after: &Activities) -> Option<Doubt> {
    let pid = process.pid;
    let reading = |of: &Activities| of.get(&process).copied().flatten();
    match (reading(before), reading(after)) {
        _ if !is_alive(process) => {
            Some(Doubt::Certain(format!("pid {pid} ended while it was watched")))
        }
        (Some(before), Some(after)) if before == after => None,
        (Some(before), Some(after)) if before.bytes == after.bytes => {
            Some(Doubt::Again(format!("pid {pid} worked while it was watched")))
        }
        (Some(_), Some(_)) => {
            Some(Doubt::Certain(format!("pid {pid} moved bytes while it was watched")))
        }
        (_, _) => Some(Doubt::Certain(format!("whether pid {pid} is idle cannot be seen"))),
    }
}

fn activities(processes: impl Iterator<Item = Identity>) -> Activities {
    processes.map(|process| (process, activity(process.pid))).collect()
}
