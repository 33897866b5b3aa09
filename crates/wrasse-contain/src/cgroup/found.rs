//! Leaves that dead gateways left.

use std::path::{Path, PathBuf};

use super::{PREFIX, base, kill, remove};
use crate::{mark, process, sweep};

/// A leaf that is there, and whose.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    installation: u16,
    /// `None` for a probe's.
    pub(crate) instance: Option<u64>,
    owner: (u32, u64),
}

impl Found {
    fn parse(path: PathBuf, installation: u16) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
        let mut parts = name.split('-');
        let of = u16::from_str_radix(parts.next()?, 16).ok()?;
        let instance = parts.next()?;
        let instance = if instance == "probe" { None } else { Some(instance.parse().ok()?) };
        let owner = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let _count: u64 = parts.next()?.parse().ok()?;
        (of == installation && parts.next().is_none()).then_some(Self {
            path,
            installation,
            instance,
            owner,
        })
    }

    /// Whether the gateway that made it is gone.
    fn is_left_over(&self) -> bool {
        let (pid, start_ticks) = self.owner;
        process::stat(pid).is_none_or(|stat| stat.start_ticks != start_ticks || stat.zombie)
    }

    /// Everybody whom [`Found::kill`] would kill, those in cgroups below it included. One that our PID namespace has no
    /// number for is a 0.
    pub(crate) fn members(&self) -> Vec<u32> {
        let mut members = Vec::new();
        members_of(&self.path, &mut members);
        members
    }

    /// Whether everything that is known of a member agrees with what the leaf says of it: it is not older than the
    /// instance's guardian, and its marks, if it has any, name no other tree. To be in the leaf is what proves it; a
    /// process that another Wrasse holds, and that somebody moved here, is still that one's.
    pub(crate) fn agrees(&self, pid: u32, guardian_start_ticks: u64) -> bool {
        let Some(stat) = process::stat(pid) else { return pid != 0 };
        let marked = match sweep::instance_of(pid, self.installation) {
            Some((instance, _)) => Some(instance) == self.instance,
            None => mark::of(pid).is_none(),
        };
        // What ends while it is looked at has no environment any more.
        let ended = || process::stat(pid).is_none_or(|now| now.zombie);
        stat.start_ticks >= guardian_start_ticks && (marked || ended())
    }

    pub(crate) fn kill(&self) {
        let _known = kill(&self.path);
    }

    /// Removes it; whether it is gone.
    pub(crate) fn remove(&self) -> bool {
        remove(&self.path).is_ok()
    }
}

fn members_of(cgroup: &Path, members: &mut Vec<u32>) {
    let text = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    members.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in std::fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            members_of(&entry.path(), members);
        }
    }
}

/// The leaves beside us that a gateway of this installation left when it died.
pub(crate) fn left_over(installation: u16) -> Vec<Found> {
    let Ok(entries) = base().and_then(std::fs::read_dir) else { return Vec::new() };
    let found = entries.flatten().filter_map(|entry| Found::parse(entry.path(), installation));
    found.filter(Found::is_left_over).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_says_whose_it_is() {
        let parse = |name: &str| Found::parse(Path::new("/x").join(name), 0x2a);
        let found = parse("wrasse-002a-17-4711-99-3").unwrap();
        assert_eq!((found.instance, found.owner), (Some(17), (4711, 99)));
        assert_eq!(parse("wrasse-002a-probe-4711-99-0").unwrap().instance, None);
        for other in [
            "wrasse-002b-17-4711-99-3",
            "wrasse-002a-17-4711-99",
            "wrasse-002a-17-4711-99-3-4",
            "wrasse-002a-x-4711-99-3",
            "user.slice",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
        let me = process::stat(std::process::id()).unwrap();
        let of = |start_ticks| Found {
            owner: (me.pid, start_ticks),
            ..parse("wrasse-002a-1-1-1-1").unwrap()
        };
        assert!(!of(me.start_ticks).is_left_over());
        assert!(of(me.start_ticks + 1).is_left_over());
    }

    // To be in the leaf proves it: a process can take its marks off, and the leaf not.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a child that is nobody's tree")]
    fn a_member_without_a_mark_agrees_and_an_older_one_does_not() {
        let leaf = Found::parse("/x/wrasse-002a-17-4711-99-3".into(), 0x2a).unwrap();
        let mut child = std::process::Command::new("sleep").arg("300").env_clear().spawn().unwrap();
        let since = process::stat(child.id()).unwrap().start_ticks;
        assert_eq!(mark::of(child.id()), None);
        assert!(leaf.agrees(child.id(), since));
        assert!(!leaf.agrees(child.id(), since + 1));
        assert!(!leaf.agrees(0, since), "of another PID namespace");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(leaf.agrees(child.id(), since), "gone");
    }
}
