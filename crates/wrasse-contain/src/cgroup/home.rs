//! Where leaves are made, and by which limits the kernel keeps them.
//!
//! cgroup v2 hands a controller down only past a cgroup without processes of its own, the root of the hierarchy aside.
//! Where a supervisor gave us a cgroup (a systemd service with `Delegate=yes`, a container that may write its own), we are
//! in it ourselves. So the process that was launched, before it becomes the warden, steps aside: if it is alone there, it
//! moves itself into `wrasse-self` below, where gateway and guardians are then born, and hands the controllers down. It
//! never moves anybody else. Where others are, all stay, and the tick keeps the limits.
//!
//! The last warden to leave takes the controllers back, returns, and removes `wrasse-self`
//! (`wrasse-guard/src/warden/leaves.rs`). One that was killed leaves it empty, and the next start uses it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use wrasse_guard::protocol::ASIDE;

use crate::{process, warden};

/// How many others are named.
const NAMED_MAX: usize = 3;

/// The directory of our own cgroup.
pub(crate) fn own() -> io::Result<PathBuf> {
    let cgroup = std::fs::read_to_string("/proc/self/cgroup")?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    directory(&cgroup, &mounts)
        .ok_or_else(|| io::Error::other("no cgroup v2 mount shows our cgroup"))
}

fn directory(cgroup: &str, mounts: &str) -> Option<PathBuf> {
    let own = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    if own.contains("/..") || own.ends_with(" (deleted)") {
        return None;
    }
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        if after.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = before.split(' ').skip(3);
        let (root, mount) = (fields.next()?, fields.next()?);
        let below = Path::new(own).strip_prefix(root).ok()?;
        Some(Path::new(mount).join(below))
    })
}

/// The cgroup that leaves are made in: our own, or, when we have stepped aside, the one above it.
pub(crate) fn base() -> io::Result<PathBuf> {
    let own = own()?;
    match own.parent() {
        Some(parent) if is_aside(&own) => Ok(parent.to_owned()),
        Some(_) | None => Ok(own),
    }
}

fn aside() -> &'static OsStr {
    OsStr::from_bytes(ASIDE.to_bytes())
}

fn is_aside(own: &Path) -> bool {
    own.file_name().is_some_and(|name| name == aside())
}

/// A cgroup, as its files tell.
struct Cgroup<'a>(&'a Path);

impl Cgroup<'_> {
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    /// Only the root has no type.
    fn is_root(&self) -> bool {
        !self.0.join("cgroup.type").exists()
    }

    /// One whom our PID namespace has no number for is a 0.
    fn members(&self) -> Vec<u32> {
        self.read("cgroup.procs").lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Of `wanted` those that are in a list of controllers.
    fn listed(&self, name: &str, wanted: &[&str]) -> Vec<String> {
        let list = self.read(name);
        let has = |name: &str| list.split_ascii_whitespace().any(|found| found == name);
        wanted.iter().filter(|name| has(name)).map(|&name| name.to_owned()).collect()
    }

    fn enter(&self) -> io::Result<()> {
        std::fs::write(self.0.join("cgroup.procs"), "0")
    }

    /// Not where there are processes: the kernel refuses it for `memory`, and for `pids`, which can limit threads, it
    /// would make this a threaded cgroup, below which no leaf can be entered any more.
    fn may_hand_down(&self) -> bool {
        self.is_root() || self.members().is_empty()
    }

    fn hand_down(&self, wanted: &[&str]) -> Vec<String> {
        for name in self.listed("cgroup.controllers", wanted) {
            let file = self.0.join("cgroup.subtree_control");
            if let Err(error) = std::fs::write(file, format!("+{name}")) {
                tracing::debug!(%error, name, "a cgroup controller cannot be handed down");
            }
        }
        self.listed("cgroup.subtree_control", wanted)
    }
}

/// Leaves the cgroup that we were started in to the leaves, if we are alone in it and that gains one of the controllers.
/// For a process that starts the others: who is in `wrasse-self` by birth need not move.
///
/// # Errors
/// What the kernel refused. We are where we were then.
pub(crate) fn step_aside(wanted: &[&str]) -> io::Result<()> {
    let own = own()?;
    let (home, aside) = (Cgroup(&own), own.join(aside()));
    let gains = !home.listed("cgroup.controllers", wanted).is_empty();
    let alone = || home.members() == [std::process::id()];
    if is_aside(&own) || home.is_root() || !gains || !alone() {
        return Ok(());
    }
    match std::fs::create_dir(&aside) {
        Ok(()) => {}
        // A start that was killed left it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let entered = Cgroup(&aside).enter();
    if entered.is_ok() && home.may_hand_down() && !home.hand_down(wanted).is_empty() {
        return Ok(());
    }
    // Somebody came meanwhile, or the kernel refuses: as if nothing had been tried.
    let back = home.enter();
    let removed = std::fs::remove_dir(&aside);
    entered.and(back).and(removed)
}

/// Hands down what may be, and says which controllers the leaves have, or else why they have none.
pub(super) fn hand_down(home: &Path, wanted: &[&str]) -> (Vec<String>, Option<String>) {
    let cgroup = Cgroup(home);
    let handed = if cgroup.may_hand_down() {
        cgroup.hand_down(wanted)
    } else {
        cgroup.listed("cgroup.subtree_control", wanted)
    };
    let why = handed.is_empty().then(|| why_not(&cgroup, wanted));
    (handed, why)
}

fn why_not(cgroup: &Cgroup<'_>, wanted: &[&str]) -> String {
    let (path, list) = (cgroup.0.display(), wanted.join(" or "));
    if cgroup.listed("cgroup.controllers", wanted).is_empty() {
        return format!("no {list} controller is handed down to {path}");
    }
    let me = std::process::id();
    let ours = [Some(me), warden::pid()];
    let mut others = cgroup.members();
    others.retain(|pid| !ours.contains(&Some(*pid)) && !process::ancestors(*pid).contains(&me));
    if others.is_empty() && warden::pid().is_none() {
        return format!("a gateway that is started alone in {path} gets them");
    }
    if others.is_empty() {
        return format!("the kernel refused to hand {list} down from {path}");
    }
    let name = |pid: &u32| {
        let name = process::info(*pid).map_or_else(|| "not visible".to_owned(), |info| info.name);
        format!("{pid} {name}")
    };
    let named: Vec<String> = others.iter().take(NAMED_MAX).map(name).collect();
    let more = if others.len() > named.len() { ", …" } else { "" };
    format!(
        "others are in {path} ({}{more}), past whom cgroup v2 hands no controller down; start the gateway alone in a \
         cgroup of its own, such as a systemd service with Delegate=yes",
        named.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_cgroup_is_found_below_its_mount() {
        let hybrid = "24 1 0:21 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      33 24 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let bound = "33 24 0:30 /docker/x /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n";
        for (cgroup, mounts, want) in [
            ("1:cpu:/\n0::/\n", hybrid, Some("/sys/fs/cgroup/unified/")),
            ("0::/a.slice/b.service\n", hybrid, Some("/sys/fs/cgroup/unified/a.slice/b.service")),
            ("0::/docker/x\n", bound, Some("/sys/fs/cgroup/")),
            ("0::/elsewhere\n", bound, None),
            ("0::/../b\n", hybrid, None),
            ("1:cpu:/\n", hybrid, None),
            ("0::/\n", "24 1 0:21 / /sys rw - sysfs sysfs rw\n", None),
        ] {
            assert_eq!(directory(cgroup, mounts), want.map(PathBuf::from), "{cgroup}");
        }
    }

    /// Names the directory in which this program, executed again, plays the process that was launched.
    const HOME: &str = "WRASSE_TEST_CGROUP";
    const CONTROLLER: &str = "WRASSE_TEST_CONTROLLER";

    /// A cgroup below the root of a real hierarchy, with a controller that only processes have, not threads.
    struct Delegated {
        home: PathBuf,
        controller: &'static str,
        /// Where the controller was handed down for this test alone.
        root: Option<PathBuf>,
    }

    impl Delegated {
        fn new() -> io::Result<Self> {
            let mounts = std::fs::read_to_string("/proc/self/mounts")?;
            let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
            let root = mount.and_then(|line| line.split(' ').nth(1));
            let root = PathBuf::from(root.ok_or_else(|| io::Error::other("no cgroup v2 mount"))?);
            let offered = Cgroup(&root).listed("cgroup.controllers", &["memory", "hugetlb"]);
            let controller =
                ["memory", "hugetlb"].into_iter().find(|&one| offered.iter().any(|has| has == one));
            let controller =
                controller.ok_or_else(|| io::Error::other("neither memory nor hugetlb"))?;
            let there = !Cgroup(&root).listed("cgroup.subtree_control", &[controller]).is_empty();
            std::fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"))?;
            let home = root.join(format!("wrasse-test-{}", std::process::id()));
            std::fs::create_dir(&home)?;
            Ok(Self { home, controller, root: (!there).then_some(root) })
        }

        /// Has a process enter it and play the part of the one that is launched; whether that went as it should.
        #[expect(clippy::disallowed_methods, reason = "this program again, which is nobody's tree")]
        fn launch(&self) -> bool {
            let mut again = std::process::Command::new(std::env::current_exe().unwrap());
            again.args(["--exact", "cgroup::home::tests::who_is_alone_steps_aside"]);
            again.env(HOME, &self.home).env(CONTROLLER, self.controller).status().unwrap().success()
        }

        fn controls(&self) -> Vec<String> {
            Cgroup(&self.home).listed("cgroup.subtree_control", &[self.controller])
        }
    }

    impl Drop for Delegated {
        fn drop(&mut self) {
            for dir in [self.home.join(aside()), self.home.clone()] {
                drop(std::fs::remove_dir(dir));
            }
            if let Some(root) = &self.root {
                let taken = std::fs::write(
                    root.join("cgroup.subtree_control"),
                    format!("-{}", self.controller),
                );
                assert!(taken.is_ok() || std::thread::panicking(), "{taken:?}");
            }
        }
    }

    /// The process that was launched, in a cgroup where it is alone, or with somebody who sleeps.
    fn launched(home: &Path, controller: &str) {
        let cgroup = Cgroup(home);
        let alone = cgroup.members().is_empty();
        cgroup.enter().unwrap();
        assert_eq!(own().unwrap(), home);
        // What the kernel refuses while there are processes is not even tried.
        let (none, why) = hand_down(home, &[controller]);
        let why = why.unwrap();
        let says =
            if alone { "a gateway that is started alone in " } else { " sleep), past whom " };
        assert!(none.is_empty() && why.contains(says), "{why}");
        let order = format!("+{controller}");
        assert!(std::fs::write(home.join("cgroup.subtree_control"), order).is_err());
        step_aside(&[controller]).unwrap();
        if !alone {
            assert_eq!(own().unwrap(), home);
            return;
        }
        assert_eq!((own().unwrap(), base().unwrap()), (home.join(aside()), home.to_owned()));
        assert_eq!(hand_down(home, &[controller]), (vec![controller.to_owned()], None));
        // Who is born there, as the gateway is, stays.
        step_aside(&[controller]).unwrap();
        assert_eq!(own().unwrap(), home.join(aside()));
    }

    // guarantee G5: nobody but ourselves is moved
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a stranger")]
    #[expect(clippy::print_stderr, reason = "a test that cannot be made here says so by name")]
    fn who_is_alone_steps_aside() {
        if let (Some(home), Ok(controller)) = (std::env::var_os(HOME), std::env::var(CONTROLLER)) {
            return launched(Path::new(&home), &controller);
        }
        let delegated = match Delegated::new() {
            Ok(delegated) => delegated,
            Err(error) => return eprintln!("SKIPPED who_is_alone_steps_aside: {error}"),
        };
        let (home, aside) = (Cgroup(&delegated.home), delegated.home.join(aside()));
        let mut stranger = std::process::Command::new("sleep").arg("300").spawn().unwrap();
        std::fs::write(delegated.home.join("cgroup.procs"), stranger.id().to_string()).unwrap();
        assert!(delegated.launch());
        assert_eq!(home.members(), [stranger.id()]);
        assert!(delegated.controls().is_empty() && !aside.exists());
        stranger.kill().unwrap();
        stranger.wait().unwrap();

        assert!(delegated.launch());
        assert_eq!(delegated.controls(), [delegated.controller]);
        // Nobody was there to step back, as if it had been killed: the next start uses what it left.
        let back = format!("-{}", delegated.controller);
        std::fs::write(delegated.home.join("cgroup.subtree_control"), back).unwrap();
        assert!(aside.exists() && delegated.launch());
        assert_eq!(delegated.controls(), [delegated.controller]);
    }
}
