//! The process table, read quickly: what a storm looks at many times a second.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

/// A process for as long as the machine runs: numbers are used again, a number with its start time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub(super) struct Id {
    pub(super) pid: u32,
    pub(super) start: u64,
}

/// One row.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Entry {
    pub(super) id: Id,
    pub(super) ppid: u32,
    pub(super) state: char,
    pub(super) name: String,
    /// What it used of the processors, in ticks of the kernel's clock.
    #[serde(skip)]
    ticks: u64,
}

impl Entry {
    pub(super) fn lives(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }
}

/// Whether a process that blocks every signal has been sent one: it waits there for ever.
pub(super) fn was_signalled(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pending = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    ["SigPnd:", "ShdPnd:"]
        .into_iter()
        .filter_map(pending)
        .any(|set| !set.trim().trim_matches('0').is_empty())
}

/// All rows. It is not read at one instant: whoever asks whether a tree is empty looks twice.
#[derive(Debug)]
pub(super) struct Table(BTreeMap<u32, Entry>);

impl Table {
    pub(super) fn read() -> Self {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self(pids.filter_map(|pid| Some((pid, row(pid)?))).collect())
    }

    pub(super) fn get(&self, pid: u32) -> Option<&Entry> {
        self.0.get(&pid)
    }

    pub(super) fn id(&self, pid: u32) -> Option<Id> {
        self.0.get(&pid).map(|entry| entry.id)
    }

    /// Whether that very process is there and no zombie.
    pub(super) fn lives(&self, id: Id) -> bool {
        self.0.get(&id.pid).is_some_and(|entry| entry.id == id && entry.lives())
    }

    /// Whether that very process is there, if only as a zombie.
    pub(super) fn holds(&self, id: Id) -> bool {
        self.0.get(&id.pid).is_some_and(|entry| entry.id == id)
    }

    pub(super) fn children(&self, pid: u32) -> impl Iterator<Item = &Entry> {
        self.0.values().filter(move |entry| entry.ppid == pid)
    }

    /// Everything that descends from `root`, itself not counted.
    pub(super) fn below(&self, root: u32) -> Vec<&Entry> {
        let mut by_parent: BTreeMap<u32, Vec<&Entry>> = BTreeMap::new();
        for entry in self.0.values() {
            by_parent.entry(entry.ppid).or_default().push(entry);
        }
        let (mut found, mut open, mut seen) = (Vec::new(), vec![root], BTreeSet::new());
        while let Some(pid) = open.pop() {
            if !seen.insert(pid) {
                continue;
            }
            for entry in by_parent.remove(&pid).unwrap_or_default() {
                open.push(entry.id.pid);
                found.push(entry);
            }
        }
        found
    }
}

/// USER_HZ, which is the same on every machine that this is built for.
const TICKS_PER_SECOND: u64 = 100;

/// What processes used of the processors since they were last looked at. What ends meanwhile takes its last use along.
#[derive(Debug, Default)]
pub(super) struct Used(Option<BTreeMap<Id, u64>>);

impl Used {
    pub(super) fn since<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>) -> Duration {
        let now: BTreeMap<Id, u64> = entries.map(|entry| (entry.id, entry.ticks)).collect();
        let before = self.0.get_or_insert_with(|| now.clone());
        let more =
            |(id, ticks): (&Id, &u64)| ticks.saturating_sub(before.get(id).copied().unwrap_or(0));
        let ticks: u64 = now.iter().map(more).sum();
        *before = now;
        Duration::from_millis(1000 * ticks / TICKS_PER_SECOND)
    }
}

fn row(pid: u32) -> Option<Entry> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold blanks and parentheses: it ends at the last ')'.
    let (head, tail) = stat.rsplit_once(')')?;
    let mut fields = tail.split_ascii_whitespace();
    Some(Entry {
        state: fields.next()?.chars().next()?,
        ppid: fields.next()?.parse().ok()?,
        ticks: fields.nth(9)?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?,
        id: Id { pid, start: fields.nth(6)?.parse().ok()? },
        name: head.split_once('(')?.1.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Duration, Table, Used};

    #[test]
    fn finds_itself_as_the_other_reader_does() {
        let own = std::process::id();
        let table = Table::read();
        let (row, other) = (table.get(own).unwrap(), crate::processes::read(own).unwrap());
        assert_eq!((row.id.start, row.ppid, &row.name), (other.start, other.ppid, &other.name));
        assert!(table.lives(row.id) && table.holds(row.id));
        let mut used = Used::default();
        assert_eq!(used.since([row].into_iter()), Duration::ZERO);
        // Until the kernel's clock has ticked: it counts for whoever runs then.
        while used.since([Table::read().get(own).unwrap()].into_iter()).is_zero() {}
        assert!(table.below(row.ppid).iter().any(|entry| entry.id == row.id));
    }
}
