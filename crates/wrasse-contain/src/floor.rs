//! What the floor needs of the kernel, tried rather than asked about, and what stands in for what is missing.

use std::os::unix::fs::MetadataExt as _;

use crate::image::Program;
use crate::{Guard, process};

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
/// `program` is the first that was seen to run, of those that `guard` allows.
pub(crate) fn probe(guard: Guard, program: &Program, marked: bool) -> Vec<Prerequisite> {
    let of = |name, works, without| Prerequisite { name, works, without };
    let mut found = vec![
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
    ];
    // Where another source is asked for nothing is executed from there, and nothing is put there to try it.
    if matches!(guard, Guard::Auto | Guard::File) {
        found.push(of(
            "executable state dir",
            matches!(program, Program::File(_)),
            "the guard program runs from memory, else from our own executable; nothing is lost",
        ));
    }
    found
}

/// Whether `/proc` shows processes that may not be traced.
fn shows_everybody() -> bool {
    let own = rustix::process::geteuid();
    // There always is a process 1, and whoever is not told of others cannot read it. Root may trace anybody.
    let first = process::stat(1).and_then(|_| std::fs::metadata("/proc/1").ok());
    match first.map(|found| found.uid()) {
        None => false,
        Some(owner) if own.is_root() || owner != own.as_raw() => true,
        // Ours, which is shown in any case, and nobody else may be there: all that is left is to ask.
        Some(_) => !hides(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()),
    }
}

/// Whether `/proc` is mounted so that it hides processes, by the list of mounts.
fn hides(mounts: &str) -> bool {
    // The last one on a place is the one that is seen. Behind the dash: file system, source, options.
    let place = |line: &&str| line.split(' ').nth(4) == Some("/proc");
    let options = mounts.lines().rfind(place).and_then(|line| line.split_once(" - "));
    let options = options.and_then(|(_, behind)| behind.split(' ').nth(2)).unwrap_or_default();
    let hidden = options.split(',').find_map(|option| option.strip_prefix("hidepid="));
    hidden.is_some_and(|how| !matches!(how, "0" | "off"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_state_dir_is_executable_where_the_guard_ran_from_it() {
        let works = |guard, program: &Program| {
            let found = probe(guard, program, true);
            let line = found.into_iter().find(|found| found.name == "executable state dir");
            line.map(|line| line.works)
        };
        assert_eq!(works(Guard::Auto, &Program::File(PathBuf::new())), Some(true));
        assert_eq!(works(Guard::Auto, &Program::Itself), Some(false));
        assert_eq!(works(Guard::Itself, &Program::Itself), None, "it was not tried");
    }

    #[test]
    fn a_list_of_mounts_says_what_proc_hides() {
        let mount = |place: &str, options: &str| {
            format!("36 35 0:5 / {place} rw,nosuid shared:7 - proc proc {options}\n")
        };
        for hiding in ["rw,hidepid=invisible", "rw,gid=4,hidepid=2", "rw,hidepid=1"] {
            assert!(hides(&mount("/proc", hiding)), "{hiding}");
        }
        for showing in ["rw", "rw,hidepid=off", "rw,hidepid=0", ""] {
            assert!(!hides(&mount("/proc", showing)), "{showing}");
        }
        assert!(!hides(&mount("/mnt/proc", "rw,hidepid=2")));
        assert!(!hides(&(mount("/proc", "rw,hidepid=2") + &mount("/proc", "rw"))));
        assert!(!hides(""));
    }
}
