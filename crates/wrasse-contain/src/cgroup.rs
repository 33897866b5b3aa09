//! A layer above the floor, where it can be had: a cgroup v2 directory (a leaf) for every tree, below our own.
//!
//! It adds three things: a kill that no fork escapes, one more witness that a tree is empty, and limits that the
//! kernel keeps, where it has the controllers. It replaces nothing: every failure here is noted, and the tree is
//! started, held and ended as it would be without.
//!
//! ```text
//! <the cgroup we were started in>/         the gateway, its guardians, the warden
//! ├ wrasse-self/                           these instead, where the kernel shall keep limits: see `home.rs`
//! └ wrasse-<installation>-<instance>-<our pid>-<our start>-<n>/     one tree, without its guardian
//! ```
//!
//! A leaf is removed by its gateway when the guardian has been reaped, by the guardian when the gateway is gone, by the
//! warden when both were, and by the sweep of the next start when all three were. The warden reads the name too:
//! `wrasse-guard/src/warden/leaves.rs`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Excess, Limits, Resource, process};

mod found;
mod home;

pub(crate) use found::left_over;
pub(crate) use home::{base, step_aside};

const PREFIX: &str = "wrasse-";
/// What limits trees, of what the kernel may have.
pub(crate) const CONTROLLERS: [&str; 2] = ["memory", "pids"];
/// The kernel counts threads, of which a runtime such as node has a dozen in each process: this many tasks are allowed
/// for each process. It bounds a fork bomb between two ticks; the tick counts processes.
const TASKS_PER_PROCESS: u32 = 64;

/// Numbers the leaves of this process, which may have several containments.
static LEAVES: AtomicU64 = AtomicU64::new(0);

/// Which layers are used above the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layers {
    /// None.
    #[default]
    Floor,
    /// Those that work here.
    Probe,
    /// cgroup v2; where it does not work, that is noted.
    Cgroup2,
}

/// Makes leaves.
#[derive(Debug)]
pub(crate) struct Leaves {
    parent: PathBuf,
    installation: u16,
    /// Controllers that limit leaves here.
    pub(crate) controllers: Vec<String>,
    /// Why there is none, and what would help.
    pub(crate) uncontrolled: Option<String>,
}

impl Leaves {
    /// Finds out by trying whether leaves can be made and entered here; `enter` puts a process into one.
    pub(crate) fn probe(
        installation: u16,
        enter: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<Self> {
        let parent = base()?;
        let leaves = Self { parent, installation, controllers: Vec::new(), uncontrolled: None };
        let leaf = leaves.make("probe", &Limits::default())?;
        enter(&leaf.path)?;
        leaf.close();
        let (controllers, uncontrolled) = home::hand_down(&leaves.parent, &CONTROLLERS);
        Ok(Self { controllers, uncontrolled, ..leaves })
    }

    /// Makes the leaf of a tree.
    pub(crate) fn make(&self, instance: &str, limits: &Limits) -> io::Result<Leaf> {
        let me = std::process::id();
        let since = process::stat(me).map_or(0, |stat| stat.start_ticks);
        let count = LEAVES.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{:04x}-{instance}-{me}-{since}-{count}", self.installation);
        let path = self.parent.join(name);
        std::fs::create_dir(&path)?;
        let leaf = Leaf { path, memory_max: limits.memory_max };
        let kind = std::fs::read_to_string(leaf.path.join("cgroup.type"))?;
        if kind.trim() != "domain" {
            return Err(io::Error::other(format!("it is of the type {:?}", kind.trim())));
        }
        leaf.limit(limits);
        Ok(leaf)
    }
}

/// One leaf. Removed when it is dropped, unless somebody is in it.
#[derive(Debug)]
pub(crate) struct Leaf {
    path: PathBuf,
    memory_max: Option<u64>,
}

impl Leaf {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the kernel does not keep, for lack of a controller, the tick does.
    fn limit(&self, limits: &Limits) {
        let set = |name: &str, value: String| {
            let path = self.path.join(name);
            if path.exists()
                && let Err(error) = std::fs::write(&path, value)
            {
                tracing::warn!(%error, path = %path.display(), "a limit of a cgroup was refused");
            }
        };
        if let Some(bytes) = limits.memory_max {
            set("memory.max", bytes.to_string());
            set("memory.oom.group", "1".to_owned());
        }
        if let Some(processes) = limits.processes_max {
            set("pids.max", processes.saturating_mul(TASKS_PER_PROCESS).to_string());
        }
    }

    /// What the kernel ended the tree for, if it did.
    pub(crate) fn excess(&self) -> Option<Excess> {
        let allowed = self.memory_max?;
        let events = std::fs::read_to_string(self.path.join("memory.events")).ok()?;
        let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
        let peak = std::fs::read_to_string(self.path.join("memory.peak")).unwrap_or_default();
        (kills.trim() != "0").then(|| Excess {
            resource: Resource::Memory,
            used: peak.trim().parse().unwrap_or(allowed),
            allowed,
        })
    }

    /// Kills everybody in it.
    pub(crate) fn kill(&self) {
        let _known = kill(&self.path);
    }

    /// Whether nobody is left in it, or nobody in it can be killed by it; kills who is.
    pub(crate) fn is_cleared(&self) -> bool {
        let events = std::fs::read_to_string(self.path.join("cgroup.events")).unwrap_or_default();
        !events.lines().any(|line| line == "populated 1") || !kill(&self.path)
    }

    /// Removes it.
    pub(crate) fn close(self) {
        drop(self);
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        match remove(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "a cgroup cannot be removed");
            }
        }
    }
}

/// Removes a cgroup and those below it, which a gateway among the servers may have made; only empty ones can be.
fn remove(leaf: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(leaf)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    std::fs::remove_dir(leaf)
}

/// Whether the kernel knows how. Not before Linux 5.14: the floor kills.
fn kill(leaf: &Path) -> bool {
    let killed = std::fs::write(leaf.join("cgroup.kill"), "1");
    if let Err(error) = &killed {
        tracing::debug!(%error, path = %leaf.display(), "a cgroup cannot be killed");
    }
    killed.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory as the kernel shows one whose controllers are handed down, or are not.
    fn fake(files: &[(&str, &str)]) -> (tempfile::TempDir, Leaf) {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        let leaf = Leaf { path: dir.path().to_owned(), memory_max: Some(64 << 20) };
        (dir, leaf)
    }

    #[test]
    fn limits_are_the_kernels_where_it_has_the_controllers() {
        let limits =
            Limits { memory_max: Some(64 << 20), processes_max: Some(7), ..Limits::default() };
        let controllers = [("memory.max", "max"), ("memory.oom.group", "0"), ("pids.max", "max")];
        let (dir, leaf) = fake(&controllers);
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        leaf.limit(&Limits::default());
        assert_eq!(controllers.map(|(name, _)| read(name)), ["max", "0", "max"]);
        leaf.limit(&limits);
        assert_eq!(controllers.map(|(name, _)| read(name)), ["67108864", "1", "448"]);
        // Without the controllers there is nothing to write to, and the tick keeps the limits.
        let (dir, leaf) = fake(&[]);
        leaf.limit(&limits);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_the_kernel_killed_for_memory_is_told_with_the_figure() {
        let events = |kills: u32| format!("low 0\nhigh 0\nmax 9\noom 2\noom_kill {kills}\n");
        let (_dir, leaf) = fake(&[("memory.events", &events(0)), ("memory.peak", "67108864\n")]);
        assert_eq!(leaf.excess(), None);
        let (_dir, leaf) = fake(&[("memory.events", &events(3)), ("memory.peak", "67108864\n")]);
        let excess = leaf.excess().unwrap();
        assert_eq!(excess.to_string(), "used 64 MiB of 64 MiB allowed");
        // Before Linux 5.19 nobody knows the peak.
        let (_dir, leaf) = fake(&[("memory.events", &events(1))]);
        assert_eq!(leaf.excess().unwrap().used, 64 << 20);
        let (_dir, leaf) = fake(&[]);
        assert_eq!(leaf.excess(), None);
    }

    // What the kernel says is the proof; where it cannot kill, the floor's alone.
    #[test]
    fn a_leaf_is_cleared_when_nobody_is_in_it() {
        let populated = ("cgroup.events", "populated 1\nfrozen 0\n");
        let (dir, leaf) = fake(&[populated, ("cgroup.kill", "")]);
        assert!(!leaf.is_cleared());
        assert_eq!(std::fs::read_to_string(dir.path().join("cgroup.kill")).unwrap(), "1");
        let (_dir, leaf) =
            fake(&[("cgroup.events", "populated 0\nfrozen 0\n"), ("cgroup.kill", "")]);
        assert!(leaf.is_cleared());
        let (dir, leaf) = fake(&[populated]);
        // A plain file would be made by writing to it.
        std::fs::create_dir(dir.path().join("cgroup.kill")).unwrap();
        assert!(leaf.is_cleared());
    }
}
