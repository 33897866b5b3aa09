//! Processes as `/proc` shows them now. Everything here copes with a process that vanishes between two
//! reads, and with names that hold spaces, parentheses or bytes that are not text.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wrasse_types::UnixMillis;

/// The unit of start times in `/proc`: the kernel's `USER_HZ`, 100 on every architecture it is built for.
const TICKS_PER_SECOND: u64 = 100;

/// What identifies one process for ever: numbers are used again, this triple is not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProcessIdentity {
    /// The process number.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
    /// The boot it belongs to.
    pub boot_id: String,
}

impl ProcessIdentity {
    /// The process that has this number now. `None` when there is none.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = stat(pid)?;
        Some(Self { pid, start_ticks: stat.start_ticks, boot_id: boot_id() })
    }

    /// Whether this very process lives; a zombie does not.
    pub fn is_alive(&self) -> bool {
        self.boot_id == boot_id()
            && stat(self.pid)
                .is_some_and(|stat| stat.start_ticks == self.start_ticks && !stat.zombie)
    }
}

/// Which pid namespace this is: numbers mean something only within one. Empty when the kernel does not say.
pub fn pid_namespace() -> String {
    std::fs::read_link("/proc/self/ns/pid")
        .map(|link| link.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// One process, as `/proc` shows it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessInfo {
    /// The process number.
    pub pid: u32,
    /// Its parent.
    pub ppid: u32,
    /// The kernel's short name of it.
    pub name: String,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
    /// When it started, by the wall clock.
    pub started_at: UnixMillis,
    /// Anonymous and shared memory: what would be free if it ended.
    pub memory_bytes: u64,
    /// It has ended and waits for its parent to notice.
    pub zombie: bool,
}

/// The fields of `/proc/<pid>/stat` that decide anything here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: u32,
    pub(crate) ppid: u32,
    /// Its session; 0 when that was made outside our PID namespace.
    pub(crate) session: u32,
    pub(crate) name: String,
    pub(crate) start_ticks: u64,
    pub(crate) zombie: bool,
    /// Stopped by a signal; not by a tracer.
    pub(crate) stopped: bool,
}

/// Reads one process; `None` when there is none of that number.
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    // The name may hold anything but NUL, so the fields are counted from its last parenthesis.
    let open = bytes.iter().position(|byte| *byte == b'(')?;
    let close = bytes.iter().rposition(|byte| *byte == b')')?;
    let pid = std::str::from_utf8(&bytes[..open]).ok()?.trim().parse().ok()?;
    let name = String::from_utf8_lossy(bytes.get(open + 1..close)?).into_owned();
    let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let ppid = fields.next()?.parse().ok()?;
    // Fields 6, 20 and 22 of the file; the parent is field 4.
    let session = fields.nth(1)?.parse().ok()?;
    let threads = fields.nth(13)?.parse().ok()?;
    let start_ticks = fields.nth(1)?.parse().ok()?;
    let zombie = has_ended(state, threads);
    Some(Stat { pid, ppid, session, name, start_ticks, zombie, stopped: state == "T" })
}

/// Whether a process has ended and only waits to be reaped. One whose first thread ended before the others looks like
/// that, and lives.
fn has_ended(state: &str, threads: u64) -> bool {
    matches!(state, "Z" | "X" | "x") && threads <= 1
}

/// Anonymous and shared memory of one process, 0 when it is gone.
pub(crate) fn memory(pid: u32) -> u64 {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return 0 };
    let kib = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(|rest| rest.trim_start_matches(':').split_ascii_whitespace().next())
            .and_then(|number| number.parse::<u64>().ok())
            .unwrap_or(0)
    };
    (kib("RssAnon") + kib("RssShmem")) * 1024
}

/// Anonymous and shared memory of one process, its share of what others map too; 0 when it is gone.
pub(crate) fn proportional_memory(pid: u32) -> u64 {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
        // Another user's, or not dumpable: the upper bound has to do.
        return memory(pid);
    };
    let kib = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
    };
    match (kib("Pss_Anon:"), kib("Pss_Shmem:")) {
        (Some(anonymous), Some(shared)) => (anonymous + shared) * 1024,
        // A zombie has no maps, and before Linux 5.4 the parts are not told.
        (_, _) => memory(pid),
    }
}

/// What one look at a process gives for accounting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) pid: u32,
    pub(crate) ppid: u32,
    pub(crate) zombie: bool,
    pub(crate) start_ticks: u64,
    pub(crate) cpu_ticks: u64,
    /// Of the children that it has reaped, and theirs.
    pub(crate) reaped_cpu_ticks: u64,
    pub(crate) resident_pages: u64,
}

/// Every process there is now, as cheaply as can be.
pub(crate) fn readings() -> Vec<Reading> {
    let mut found = Vec::with_capacity(512);
    let mut path = String::with_capacity(32);
    let mut buffer = [0_u8; 1024];
    for pid in all().unwrap_or_default() {
        path.clear();
        if write!(path, "/proc/{pid}/stat").is_err() {
            continue;
        }
        let opened = std::fs::File::open(&path);
        let Ok(len) = opened.and_then(|mut file| file.read(&mut buffer)) else { continue };
        found.extend(parse_reading(pid, &buffer[..len]));
    }
    found
}

fn parse_reading(pid: u32, bytes: &[u8]) -> Option<Reading> {
    let close = bytes.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
    // The state is field 3 of the file, and the first one here.
    let mut fields = rest.split_ascii_whitespace();
    let mut skip_to = |skipped: usize| fields.nth(skipped);
    let state = skip_to(0)?;
    let ppid = skip_to(0)?.parse().ok()?;
    // 14 to 17: own user and system time, then those of reaped children; 20: threads; 22: start; 24: resident.
    let mut number = |skipped: usize| skip_to(skipped)?.parse::<u64>().ok();
    let cpu_ticks = number(9)? + number(0)?;
    let reaped_cpu_ticks = number(0)? + number(0)?;
    let zombie = has_ended(state, number(2)?);
    let start_ticks = number(1)?;
    let resident_pages = number(1)?;
    Some(Reading { pid, ppid, zombie, start_ticks, cpu_ticks, reaped_cpu_ticks, resident_pages })
}

/// Clock ticks as time.
pub(crate) fn ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(1000 / TICKS_PER_SECOND))
}

/// The full record of one process.
pub(crate) fn info(pid: u32) -> Option<ProcessInfo> {
    let stat = stat(pid)?;
    Some(ProcessInfo {
        pid,
        ppid: stat.ppid,
        name: stat.name,
        start_ticks: stat.start_ticks,
        started_at: started_at(stat.start_ticks),
        memory_bytes: memory(pid),
        zombie: stat.zombie,
    })
}

/// When a process of this boot started, by the wall clock.
pub(crate) fn started_at(start_ticks: u64) -> UnixMillis {
    let up = clock_gettime(ClockId::Boottime);
    let up_ms = up.tv_sec * 1000 + up.tv_nsec / 1_000_000;
    let start_ms = i64::try_from(start_ticks * 1000 / TICKS_PER_SECOND).unwrap_or(i64::MAX);
    UnixMillis::new(UnixMillis::now().get() - up_ms + start_ms)
}

/// Every process number there is now.
pub(crate) fn all() -> std::io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        // An entry that cannot be read vanished while the directory was listed.
        let Ok(entry) = entry else { continue };
        if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// The children of every thread of a process. A list read while children end may miss some: whoever needs
/// to be certain reads again, or asks [`children_by_scan`].
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let mut found = Vec::new();
    for thread in threads.flatten() {
        let list: PathBuf = thread.path().join("children");
        match std::fs::read_to_string(&list) {
            Ok(text) => {
                found.extend(text.split_ascii_whitespace().filter_map(|n| n.parse::<u32>().ok()));
            }
            // A kernel without this file, unless it is only that the thread ended.
            Err(_) if thread.path().exists() => return children_by_scan(pid),
            Err(_) => {}
        }
    }
    found
}

/// The children of a process, found by asking every process for its parent.
pub(crate) fn children_by_scan(pid: u32) -> Vec<u32> {
    let pids = all().unwrap_or_default();
    pids.into_iter().filter(|child| stat(*child).is_some_and(|stat| stat.ppid == pid)).collect()
}

/// The processes below one now, itself left out.
pub fn processes_below(pid: u32) -> Vec<ProcessInfo> {
    descendants(pid).into_iter().filter_map(info).collect()
}

/// Everything below a process, itself excluded, parents before their children.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let mut seen = HashSet::from([pid]);
    let mut order = Vec::new();
    let mut next = vec![pid];
    while let Some(parent) = next.pop() {
        for child in children(parent) {
            if seen.insert(child) {
                order.push(child);
                next.push(child);
            }
        }
    }
    order
}

/// The chain of parents of a process, nearest first.
pub(crate) fn ancestors(pid: u32) -> Vec<u32> {
    let mut chain = Vec::new();
    let mut at = pid;
    while let Some(stat) = stat(at) {
        if stat.ppid == 0 || chain.contains(&stat.ppid) {
            break;
        }
        chain.push(stat.ppid);
        at = stat.ppid;
    }
    chain
}

/// Start times of many processes at once, for those that still exist.
pub(crate) fn identities(pids: impl IntoIterator<Item = u32>) -> HashMap<u32, u64> {
    pids.into_iter().filter_map(|pid| Some((pid, stat(pid)?.start_ticks))).collect()
}

/// Which boot this is. Empty when the kernel does not say, which then matches only itself.
pub(crate) fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// Whether a process lives in our pid namespace, and not in one nested in it.
pub(crate) fn same_pid_namespace(pid: u32) -> bool {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    match text.lines().find_map(|line| line.strip_prefix("NSpid:")) {
        Some(numbers) => numbers.split_ascii_whitespace().count() == 1,
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_that_hold_anything() {
        let line =
            b"42 (a) R (b c)) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 200\n";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.pid, stat.ppid, stat.start_ticks), (42, 7, 98765));
        assert_eq!(stat.name, "a) R (b c)");
        assert!(!stat.zombie && !stat.stopped);
        let stopped = parse_stat(b"9 (x) T 1 9 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0").unwrap();
        assert!(stopped.stopped && !stopped.zombie);
        let zombie = parse_stat(b"9 (\xff) Z 1 9 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0").unwrap();
        assert!(zombie.zombie);
        let threaded = parse_stat(b"9 (x) Z 1 9 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 2 0 5 0 0").unwrap();
        assert!(!threaded.zombie, "only its first thread has ended");
        for bad in [&b""[..], b"1", b"1 (", b"1 (x", b"1 (x)", b")(", b"1 (x) S 1", b"x (y) S 1 1"]
        {
            assert_eq!(parse_stat(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_accounting_line_is_read() {
        let line =
            b"42 (a) b) Z 7 42 42 0 -1 4194560 1 2 3 4 50 6 70 8 20 0 1 0 98765 1000 200 9 9";
        let want = Reading {
            pid: 42,
            ppid: 7,
            zombie: true,
            start_ticks: 98765,
            cpu_ticks: 56,
            reaped_cpu_ticks: 78,
            resident_pages: 200,
        };
        assert_eq!(parse_reading(42, line), Some(want));
        assert_eq!(parse_reading(42, b"42 (a) S 1 2"), None);
        let me = std::process::id();
        assert!(readings().iter().any(|process| process.pid == me && process.resident_pages > 0));
        assert!(proportional_memory(me) > 4096);
    }

    #[test]
    fn knows_ourselves() {
        let me = std::process::id();
        let info = info(me).unwrap();
        assert_eq!(info.pid, me);
        assert!(info.memory_bytes > 4096);
        assert!(!info.zombie);
        let age = UnixMillis::now().get() - info.started_at.get();
        assert!((-1000..600_000).contains(&age), "{age}");
        assert!(all().unwrap().contains(&me));
        assert!(ancestors(me).contains(&info.ppid));
        assert!(same_pid_namespace(me));
        assert!(!boot_id().is_empty());
    }
}
