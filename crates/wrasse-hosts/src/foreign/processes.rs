//! One look at the process table: who there is, what each was started as, and what its stdio are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::time::{ClockId, clock_gettime};
use wrasse_types::UnixMillis;

/// The unit of start times and processor times in `/proc`: `USER_HZ`, 100 wherever Linux runs.
const TICK_MS: u64 = 10;

/// Who a process is, for ever: a number alone is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Identity {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
}

/// What one of the descriptors 0, 1, 2 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stdio {
    /// A pipe, by its inode.
    Pipe(u64),
    /// A socket, by its inode. Node gives its children halves of socket pairs, not pipes.
    Socket(u64),
    /// `/dev/null`.
    Null,
    /// A terminal, a file, anything else.
    Other,
    /// It is closed.
    None,
    /// We may not look.
    Hidden,
}

/// One process.
#[derive(Debug, Clone)]
pub(super) struct Process {
    /// Who it is.
    pub id: Identity,
    /// Its parent's number.
    pub ppid: u32,
    /// Whose it is.
    pub uid: u32,
    /// The kernel's short name of it.
    pub name: String,
    /// Its command line, which a program may have written over.
    pub argv: Vec<String>,
    /// When it started, by the wall clock.
    pub started_at: UnixMillis,
    /// Its controlling terminal, by the number of the device.
    pub terminal: Option<u64>,
    /// It has ended and waits for its parent to notice.
    pub zombie: bool,
    /// It carries a mark of Wrasse, or is Wrasse.
    pub ours: bool,
    /// It lives in another pid or mount namespace than we do, or we cannot see that it does not: what its command line
    /// and its variables name are other files than the ones that we find there.
    pub elsewhere: bool,
    /// It was stopped, and does nothing until it is told to go on.
    pub stopped: bool,
    /// Its descriptors 0, 1 and 2.
    pub stdio: [Stdio; 3],
}

/// Every process we look at, and how they descend from each other.
#[derive(Debug, Clone, Default)]
pub(super) struct Processes {
    by_pid: BTreeMap<u32, Process>,
    children: HashMap<u32, Vec<u32>>,
}

/// Which processes are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Only processes of this user; `None` for every user's.
    pub uid: Option<u32>,
    /// Only processes below this one.
    pub below: Option<u32>,
}

impl Scope {
    /// What the caller may end: the own user's processes; as root everybody's.
    pub fn of_caller() -> Self {
        let uid = rustix::process::geteuid();
        Self { uid: (!uid.is_root()).then_some(uid.as_raw()), below: None }
    }
}

impl Processes {
    /// Reads the process table.
    pub(super) fn look(scope: Scope) -> std::io::Result<Self> {
        let boot = boot_time();
        let here = Namespaces::of("self");
        let mut by_pid = BTreeMap::new();
        for entry in std::fs::read_dir("/proc")? {
            let Ok(entry) = entry else { continue };
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            if let Some(process) = read(pid, boot, &here) {
                by_pid.insert(pid, process);
            }
        }
        let mut all = Self::new(by_pid);
        if let Some(root) = scope.below {
            let keep: BTreeSet<u32> = all.descendants(root).into_iter().collect();
            all.by_pid.retain(|pid, _| keep.contains(pid));
        }
        if let Some(uid) = scope.uid {
            all.by_pid.retain(|_, process| process.uid == uid);
        }
        Ok(Self::new(all.by_pid))
    }

    /// Those processes, and who descends from whom.
    pub(super) fn new(by_pid: BTreeMap<u32, Process>) -> Self {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for process in by_pid.values() {
            children.entry(process.ppid).or_default().push(process.id.pid);
        }
        Self { by_pid, children }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_pid.len()
    }

    /// One process.
    pub(super) fn get(&self, pid: u32) -> Option<&Process> {
        self.by_pid.get(&pid)
    }

    /// Every process, by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.by_pid.values()
    }

    /// Everything below a process, itself excluded.
    pub(super) fn descendants(&self, pid: u32) -> Vec<u32> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::from([pid]);
        let mut next = vec![pid];
        while let Some(parent) = next.pop() {
            for child in self.children.get(&parent).into_iter().flatten() {
                if seen.insert(*child) {
                    found.push(*child);
                    next.push(*child);
                }
            }
        }
        found
    }

    /// The chain of parents, nearest first, as far as we look.
    pub(super) fn ancestors(&self, pid: u32) -> Vec<u32> {
        let mut chain = Vec::new();
        let mut at = pid;
        while let Some(process) = self.by_pid.get(&at) {
            if process.ppid == 0 || chain.contains(&process.ppid) {
                break;
            }
            chain.push(process.ppid);
            at = process.ppid;
        }
        chain
    }
}

/// Whether a process is still the one meant, and has not ended.
pub(super) fn is_alive(id: Identity) -> bool {
    stat(id.pid).is_some_and(|stat| stat.start_ticks == id.start_ticks && !stat.zombie)
}

/// The variables a process was started with, where we may read them.
pub(super) fn environment(pid: u32) -> Option<BTreeMap<String, String>> {
    let bytes = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let pairs = bytes.split(|byte| *byte == 0).filter_map(|entry| {
        let text = String::from_utf8_lossy(entry);
        text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
    });
    Some(pairs.collect())
}

/// The program file a process executes.
pub(super) fn executable(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// Where a process works.
pub(super) fn working_dir(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// Anonymous and shared memory: what would be free if it ended.
pub(super) fn memory(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
    };
    (kib("RssAnon:").unwrap_or(0) + kib("RssShmem:").unwrap_or(0)) * 1024
}

/// What a process has used and moved so far. Two equal readings say that it did nothing in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Activity {
    pub(super) cpu_ticks: u64,
    /// Read and written, of whatever kind.
    pub(super) bytes: u64,
}

/// What a process has used and moved so far; `None` when we may not see it, or it is gone.
pub(super) fn activity(pid: u32) -> Option<Activity> {
    let cpu_ticks = stat(pid)?.cpu_ticks;
    let text = std::fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let field = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().parse::<u64>().ok()
    };
    Some(Activity { cpu_ticks, bytes: field("rchar:")? + field("wchar:")? })
}

struct Stat {
    name: String,
    ppid: u32,
    terminal: Option<u64>,
    zombie: bool,
    stopped: bool,
    cpu_ticks: u64,
    start_ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let bytes = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, so the fields are counted from its last parenthesis.
    let open = bytes.iter().position(|byte| *byte == b'(')?;
    let close = bytes.iter().rposition(|byte| *byte == b')')?;
    let name = String::from_utf8_lossy(bytes.get(open + 1..close)?).into_owned();
    let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The state is field 3 of the file and the first one here.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        name,
        ppid: fields.get(1)?.parse().ok()?,
        terminal: number(7).filter(|device| *device != 0),
        zombie: matches!(*fields.first()?, "Z" | "X" | "x"),
        stopped: *fields.first()? == "T",
        cpu_ticks: number(14)? + number(15)?,
        start_ticks: number(22)?,
    })
}

/// When this boot began, by the wall clock, in milliseconds: the least of a few readings, since who waits for a processor
/// between the two clocks reads a boot that was later.
fn boot_time() -> i64 {
    let read = || {
        let up = clock_gettime(ClockId::Boottime);
        UnixMillis::now().get() - up.tv_sec * 1000 - up.tv_nsec / 1_000_000
    };
    read().min(read()).min(read())
}

fn read(pid: u32, boot: i64, here: &Namespaces) -> Option<Process> {
    use std::os::unix::fs::MetadataExt as _;
    let stat = stat(pid)?;
    let uid = std::fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let argv = arguments(&cmdline);
    let started = i64::try_from(stat.start_ticks * TICK_MS).unwrap_or(i64::MAX);
    let ours = wrasse_contain::outside::is_marked(pid) || is_wrasse(&argv);
    Some(Process {
        id: Identity { pid, start_ticks: stat.start_ticks },
        ppid: stat.ppid,
        uid,
        name: stat.name,
        argv,
        started_at: UnixMillis::new(boot + started),
        terminal: stat.terminal,
        zombie: stat.zombie,
        ours,
        elsewhere: !here.are_known() || Namespaces::of(&pid.to_string()) != *here,
        stopped: stat.stopped,
        stdio: [0, 1, 2].map(|fd| stdio(pid, fd)),
    })
}

/// Where the numbers and the paths of a process mean what they mean to us.
#[derive(Debug, PartialEq, Eq)]
struct Namespaces([Option<PathBuf>; 2]);

impl Namespaces {
    fn of(pid: &str) -> Self {
        Self(["pid", "mnt"].map(|kind| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()))
    }

    fn are_known(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }
}

/// The command line as words. A program that wrote a title over it leaves one text, padded with zeroes.
fn arguments(cmdline: &[u8]) -> Vec<String> {
    let end = cmdline.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if end == 0 {
        return Vec::new();
    }
    cmdline[..end]
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// Whether a command line is Wrasse's own: the program, its shim, the warden or a guardian.
fn is_wrasse(argv: &[String]) -> bool {
    let Some(first) = argv.first() else { return false };
    let name = first.rsplit('/').next().unwrap_or(first);
    let word = name.split(' ').next().unwrap_or(name);
    matches!(word, "wrasse" | "wrasse-wrap" | "wrasse-shim" | "wrasse-warden" | "wrasse-guardian")
}

fn stdio(pid: u32, fd: u32) -> Stdio {
    let link = match std::fs::read_link(format!("/proc/{pid}/fd/{fd}")) {
        Ok(link) => link,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Stdio::None,
        Err(_) => return Stdio::Hidden,
    };
    let text = link.as_os_str().as_bytes();
    if text == b"/dev/null" {
        return Stdio::Null;
    }
    match inode(text) {
        Some(("pipe", inode)) => Stdio::Pipe(inode),
        Some(("socket", inode)) => Stdio::Socket(inode),
        Some(_) | None => Stdio::Other,
    }
}

/// The kind and inode of what a descriptor links to: `pipe:[7]`.
pub(super) fn inode(link: &[u8]) -> Option<(&str, u64)> {
    let (kind, rest) = std::str::from_utf8(link).ok()?.split_once(":[")?;
    Some((kind, rest.strip_suffix(']')?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_ourselves() {
        let all = Processes::look(Scope { uid: None, below: None }).unwrap();
        let me = all.get(std::process::id()).unwrap();
        assert!(is_alive(me.id) && !me.zombie && !me.argv.is_empty());
        assert!(!me.elsewhere && !me.stopped, "we are where we are");
        assert!(memory(me.id.pid) > 0 && activity(me.id.pid).is_some());
        let age = UnixMillis::now().get() - me.started_at.get();
        assert!((-1000..3_600_000).contains(&age), "{age}");
        assert!(!is_alive(Identity { start_ticks: me.id.start_ticks + 1, ..me.id }));
        assert!(all.ancestors(me.id.pid).contains(&me.ppid));
        assert!(all.descendants(me.ppid).contains(&me.id.pid));
        assert!(environment(me.id.pid).unwrap().contains_key("PATH"));
    }

    #[test]
    fn a_title_is_one_word_without_its_padding() {
        assert_eq!(arguments(b"npm exec pkg /data\0\0\0\0"), ["npm exec pkg /data"]);
        assert_eq!(arguments(b"node\0a b\0"), ["node", "a b"]);
        assert!(arguments(b"").is_empty() && arguments(b"\0\0").is_empty());
        assert_eq!(inode(b"socket:[123]"), Some(("socket", 123)));
        assert_eq!(inode(b"/dev/null"), None);
        assert!(is_wrasse(&["/usr/bin/wrasse".to_owned(), "wrap".to_owned()]));
        assert!(!is_wrasse(&["/x/wrasse-fixture".to_owned()]));
    }
}
