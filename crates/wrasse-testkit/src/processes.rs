//! The process table as an independent witness sees it: read from `/proc`, with none of the code under test.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Parent.
    pub ppid: u32,
    /// Start time in clock ticks since boot; with the pid it identifies the process.
    pub start: u64,
    /// State letter.
    pub state: char,
    /// Name as the kernel has it.
    pub name: String,
    /// Command line, joined with blanks.
    pub cmdline: String,
    /// Resident bytes that are anonymous or shared memory.
    pub memory: u64,
    /// Open file descriptors, when readable.
    pub fds: Option<usize>,
    /// Threads.
    pub threads: u32,
}

/// Reads one process; `None` when it is gone.
pub fn read(pid: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold blanks and parentheses: it ends at the last ')'.
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    Some(Process {
        pid,
        ppid: fields.get(1)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
        state: fields.first()?.chars().next()?,
        threads: fields.get(17)?.parse().ok()?,
        name,
        cmdline: String::from_utf8_lossy(&cmdline).replace('\0', " ").trim_end().to_owned(),
        memory: memory(pid),
        fds: std::fs::read_dir(format!("/proc/{pid}/fd")).ok().map(Iterator::count),
    })
}

fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok())
            .unwrap_or(0)
    };
    (field("RssAnon:") + field("RssShmem:")) * 1024
}

/// Every process there is.
pub fn all() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .collect()
}

/// Every process that descends from `root`, itself not counted.
pub fn descendants(root: u32) -> Vec<Process> {
    let mut children: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
    for process in all() {
        children.entry(process.ppid).or_default().push(process);
    }
    let (mut found, mut open, mut seen) = (Vec::new(), vec![root], BTreeSet::new());
    while let Some(pid) = open.pop() {
        if !seen.insert(pid) {
            continue;
        }
        for process in children.remove(&pid).unwrap_or_default() {
            open.push(process.pid);
            found.push(process);
        }
    }
    found
}
