//! The cgroup v2 directories that a gateway made for its trees and did not live to remove.
//!
//! A gateway removes each with its tree, a guardian when the gateway is gone; when a gateway and guardians died, only
//! the warden is left to do it. It never asks what is in them: a directory that anybody is in cannot be removed.

use core::ffi::CStr;

use crate::{
    procfs::{self, Kind},
    protocol::ASIDE,
    sys::{self, Access, Errno, Fd, Pid},
};

/// What their names begin with.
const PREFIX: &[u8] = b"wrasse-";
/// How deep gateways may be nested below one leaf. Deeper ones stay, and go with the next start.
const DEPTH_MAX: u32 = 8;
/// Room for the names of all controllers that there are, twice over.
const CONTROLLERS: usize = 256;

/// Where they are.
pub(super) struct Leaves {
    /// The gateway's own cgroup; `None` where it has none.
    parent: Option<&'static CStr>,
}

impl Leaves {
    /// `-` says that there are none.
    pub(super) fn below(parent: &'static CStr) -> Self {
        Leaves { parent: (parent != c"-").then_some(parent) }
    }

    /// Removes those of a gateway that is gone, known by its number and when it started.
    pub(super) fn remove(&self, gateway: Pid, start: u64) {
        let opened = self.parent.and_then(|parent| sys::open(parent, Access::Directory).ok());
        let Some(parent) = opened else { return };
        procfs::entries_of(&parent, &mut |name, kind| {
            if kind == Kind::Directory && owner(name.to_bytes()) == Some((gateway, start)) {
                remove(&parent, name, DEPTH_MAX);
            }
        });
    }
}

impl Leaves {
    /// Undoes the stepping aside, once nobody but us is there. What is refused stays as it is, for the next start.
    pub(super) fn step_back(&self) {
        let opened = self.parent.and_then(|parent| sys::open(parent, Access::Directory).ok());
        let Some(home) = opened else { return };
        if is_alone(&home).unwrap_or(false) {
            drop(step_back(&home));
        }
    }
}

/// Whether we are the only one that stands aside.
fn is_alone(home: &Fd) -> Result<bool, Errno> {
    let aside = sys::open_at(home, ASIDE, Access::Directory)?;
    let mut text = [0; 32];
    let len = read(&aside, c"cgroup.procs", &mut text)?;
    let mut digits = [0; 10];
    let own = procfs::decimal(sys::own_pid().unsigned_abs(), &mut digits);
    Ok(text[..len].strip_suffix(b"\n") == Some(own))
}

fn step_back(home: &Fd) -> Result<(), Errno> {
    let mut names = [0; CONTROLLERS];
    let len = read(home, c"cgroup.subtree_control", &mut names)?;
    // There was none when we stepped aside: a cgroup with processes in it has none to hand down.
    for name in names[..len].split(u8::is_ascii_whitespace).filter(|name| !name.is_empty()) {
        let mut order = [b'-'; CONTROLLERS];
        let Some(room) = order.get_mut(1..=name.len()) else { return Err(Errno::INVAL) };
        room.copy_from_slice(name);
        write(home, c"cgroup.subtree_control", &order[..=name.len()])?;
    }
    write(home, c"cgroup.procs", b"0")?;
    sys::remove_directory_at(home, ASIDE)
}

fn read(directory: &Fd, name: &CStr, text: &mut [u8]) -> Result<usize, Errno> {
    sys::read(&sys::open_at(directory, name, Access::Read)?, text)
}

fn write(directory: &Fd, name: &CStr, text: &[u8]) -> Result<(), Errno> {
    let file = sys::open_at(directory, name, Access::Write)?;
    sys::write(file.raw(), text).map(drop)
}

/// Whose leaf it is, by its name: `wrasse-<installation>-<instance>-<pid>-<start>-<number>`.
fn owner(name: &[u8]) -> Option<(Pid, u64)> {
    let mut fields = name.strip_prefix(PREFIX)?.split(|byte| *byte == b'-').skip(2);
    Some((procfs::parse_pid(fields.next()?)?, procfs::parse_number(fields.next()?)?))
}

/// Removes one and what a gateway among the servers made below it.
fn remove(parent: &Fd, name: &CStr, depth: u32) {
    if depth > 0
        && let Ok(directory) = sys::open_at(parent, name, Access::Directory)
    {
        procfs::entries_of(&directory, &mut |below, kind| {
            if kind == Kind::Directory && below != c"." && below != c".." {
                remove(&directory, below, depth - 1);
            }
        });
    }
    // Refused while somebody is in it.
    drop(sys::remove_directory_at(parent, name));
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn a_leaf_names_its_gateway() {
        assert_eq!(owner(b"wrasse-002a-17-4711-99-3"), Some((4711, 99)));
        assert_eq!(owner(b"wrasse-002a-probe-4711-99-0"), Some((4711, 99)));
        for other in
            [&b"user.slice"[..], b"wrasse-", b"wrasse-1-2-3", b"wrasse-1-2-x-4-5", b"a-b-1-2-3-4"]
        {
            assert_eq!(owner(other), None);
        }
    }
}
