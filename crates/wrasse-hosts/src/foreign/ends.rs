//! Who holds the other end of a process's stdio.
//!
//! Of a pipe the kernel says exactly whether the other end is still open anywhere: a second descriptor on it, opened
//! through `/proc`, is told so by `poll`. Of a socket pair it says which socket is at the other end, or that it is
//! gone (`sock_diag`, as `ss -xp` asks it). Who has that end open is read from `/proc/*/fd`; ends that nobody we can
//! see holds may still be held by a process of another user, or be on their way in a message, and count as held.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::processes::{Stdio, inode};
use super::unix_peers;

/// What is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FarEnd {
    /// Nobody has it open, anywhere: the kernel says so.
    Closed,
    /// These have it open. Empty when it is open and we cannot see who has it.
    Held(BTreeSet<u32>),
    /// There is none: not a pipe, not a socket pair, or not ours to see.
    Unknown,
}

/// Who has which pipes and sockets open.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pipe_writers: HashMap<u64, BTreeSet<u32>>,
    pipe_readers: HashMap<u64, BTreeSet<u32>>,
    sockets: HashMap<u64, BTreeSet<u32>>,
    /// Each socket's peer; 0 when it is gone. `None` when the kernel does not say.
    peers: Option<BTreeMap<u32, u32>>,
}

impl Ends {
    /// Looks at every descriptor of every process that we may look at.
    pub(super) fn look() -> Self {
        let mut ends = Self { peers: unix_peers::read().ok(), ..Self::default() };
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        for entry in processes {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            ends.add(pid, &entry.path().join("fd"));
        }
        ends
    }

    fn add(&mut self, pid: u32, folder: &std::path::Path) {
        for fd in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(link) = std::fs::read_link(fd.path()) else { continue };
            match inode(link.as_os_str().as_bytes()) {
                Some(("socket", inode)) => {
                    self.sockets.entry(inode).or_default().insert(pid);
                }
                Some(("pipe", inode)) => {
                    // The mode of the link itself says how the descriptor was opened.
                    let mode = std::fs::symlink_metadata(fd.path()).map_or(0o600, |m| m.mode());
                    if mode & 0o200 != 0 {
                        self.pipe_writers.entry(inode).or_default().insert(pid);
                    }
                    if mode & 0o400 != 0 {
                        self.pipe_readers.entry(inode).or_default().insert(pid);
                    }
                }
                Some(_) | None => {}
            }
        }
    }

    /// Whether the kernel tells about the peers of sockets here.
    pub(super) fn knows_peers(&self) -> bool {
        self.peers.is_some()
    }

    /// Who could write what `pid` reads from its stdin.
    pub(super) fn of_stdin(&self, pid: u32, stdin: Stdio) -> FarEnd {
        match stdin {
            Stdio::Pipe(inode) => match pipe_is_cut(pid, 0) {
                Some(true) => FarEnd::Closed,
                Some(false) => held(&self.pipe_writers, inode),
                None => FarEnd::Unknown,
            },
            Stdio::Socket(inode) => self.of_socket(inode),
            Stdio::Null | Stdio::Other | Stdio::None | Stdio::Hidden => FarEnd::Unknown,
        }
    }

    /// Who could read what `pid` writes to its stdout.
    pub(super) fn of_stdout(&self, pid: u32, stdout: Stdio) -> FarEnd {
        match stdout {
            Stdio::Pipe(inode) => match pipe_is_cut(pid, 1) {
                Some(true) => FarEnd::Closed,
                Some(false) => held(&self.pipe_readers, inode),
                None => FarEnd::Unknown,
            },
            Stdio::Socket(inode) => self.of_socket(inode),
            Stdio::Null | Stdio::Other | Stdio::None | Stdio::Hidden => FarEnd::Unknown,
        }
    }

    fn of_socket(&self, inode: u64) -> FarEnd {
        let peer = u32::try_from(inode).ok().and_then(|inode| self.peers.as_ref()?.get(&inode));
        match peer {
            None => FarEnd::Unknown,
            Some(0) => FarEnd::Closed,
            Some(peer) => held(&self.sockets, u64::from(*peer)),
        }
    }
}

fn held(table: &HashMap<u64, BTreeSet<u32>>, inode: u64) -> FarEnd {
    FarEnd::Held(table.get(&inode).cloned().unwrap_or_default())
}

/// Whether nobody has the other end of a process's pipe open. Opening our own end of it through `/proc` moves no byte
/// and is over at once.
fn pipe_is_cut(pid: u32, fd: u32) -> Option<bool> {
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).ok()?;
    let (read, gone) = if fd == 0 { (true, PollFlags::HUP) } else { (false, PollFlags::ERR) };
    let file = std::fs::OpenOptions::new()
        .read(read)
        .write(!read)
        .custom_flags(nonblocking)
        .open(format!("/proc/{pid}/fd/{fd}"))
        .ok()?;
    let mut fds = [PollFd::new(&file, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec::default())).ok()?;
    Some(fds[0].revents().contains(gone))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "a test that cannot run here says so")]
    fn the_other_end_of_a_socket_pair_is_found_and_its_close_too() {
        let (one, two) = std::os::unix::net::UnixStream::pair().unwrap();
        let me = std::process::id();
        let link = std::fs::read_link(format!("/proc/self/fd/{}", one.as_raw_fd())).unwrap();
        let (_, inode) = inode(link.as_os_str().as_bytes()).unwrap();
        let ends = Ends::look();
        if !ends.knows_peers() {
            eprintln!("SKIPPED the_other_end_of_a_socket_pair: no sock_diag here");
            return;
        }
        assert_eq!(ends.of_socket(inode), FarEnd::Held(BTreeSet::from([me])));
        drop(two);
        assert_eq!(Ends::look().of_socket(inode), FarEnd::Closed);
        assert_eq!(ends.of_socket(1), FarEnd::Unknown);
    }
}
