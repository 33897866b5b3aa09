//! What the floor needs of the kernel, tried rather than asked about, and what stands in for what is missing.

use std::path::Path;

use rustix::fs::StatVfsMountFlags;

/// One thing that the floor uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prerequisite {
    /// What it is.
    pub name: &'static str,
    /// Whether it works here.
    pub works: bool,
    /// What is done without it, and what that costs.
    pub without: &'static str,
}

/// Tries everything that [`crate::Containment::start`] can do without. What it cannot do without makes it fail.
pub(crate) fn probe(state_dir: &Path, marked: bool) -> Vec<Prerequisite> {
    let of = |name, works, without| Prerequisite { name, works, without };
    vec![
        of(
            "lists of children",
            wrasse_guard::probe::lists_children(),
            "each look at a tree reads the whole process table; nothing is lost",
        ),
        of(
            "pidfd",
            wrasse_guard::probe::pidfds(),
            "guardian and gateway know of each other's death by their socket and their parent; only direct children are \
             signalled, so a tree ends one generation at a time; what three deaths at once leave is listed and not ended",
        ),
        of(
            "resource limit mark",
            marked,
            "the environment is the only mark: what clears its own, and loses gateway, guardian and warden at once, is \
             not found by the next start",
        ),
        of("close_range", wrasse_guard::probe::close_range(), "descriptors are closed one by one"),
        of(
            "visible processes",
            shows_everybody(),
            "/proc hides what may not be traced (hidepid): such a member is still ended by its guardian, and neither \
             shown nor counted",
        ),
        of(
            "executable state dir",
            executes(state_dir),
            "the guard program runs from memory, else from our own executable; nothing is lost",
        ),
    ]
}

/// Whether `/proc` shows processes that are not ours.
fn shows_everybody() -> bool {
    // There always is a process 1, and it is hidden from whoever is not told of others.
    Path::new("/proc/1/stat").exists()
}

fn executes(state_dir: &Path) -> bool {
    let flags = rustix::fs::statvfs(state_dir).map(|found| found.f_flag);
    flags.is_ok_and(|flags| !flags.contains(StatVfsMountFlags::NOEXEC))
}
