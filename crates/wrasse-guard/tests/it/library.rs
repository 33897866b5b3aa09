//! The walk-and-kill library, used as the gateway uses it: from a process with many threads.

use std::process::{Child, Command, Stdio};

use wrasse_guard::walk::{Child as Found, Claim, Ending, Owner};

use crate::witness::{eventually, lives};

struct Sparing(Option<u32>);

impl Owner for Sparing {
    fn claim(&mut self, child: Found) -> Claim {
        if self.0 == Some(child.pid) { Claim::Spared } else { Claim::Ours }
    }
}

fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn shell(script: &str) -> Child {
    Command::new("sh").args(["-c", script]).stdin(Stdio::null()).spawn().unwrap()
}

#[test]
fn everything_below_a_root_ends_and_the_spared_lives() {
    // The subreaper is not us, so the daemon moves to init; what stays below the root counts.
    let mut root = shell("sleep 1000 & sh -c 'sleep 1000; :' & sleep 1000 & read line; wait; :");
    let below = eventually("all are there", || {
        let below = children(root.id());
        (below.len() == 3 && !children(below[1]).is_empty()).then_some(below)
    });
    let grandchild = children(below[1])[0];
    let mut owner = Sparing(Some(below[0]));
    let mut ending = Ending::new(root.id()).unwrap();
    eventually("the tree is empty", || (ending.round(&mut owner).found == 0).then_some(()));
    assert!(ending.rounds() > 0);
    for pid in [below[1], below[2], grandchild] {
        eventually("it is gone", || (!lives(pid)).then_some(()));
    }
    assert!(lives(below[0]) && lives(root.id()));
    let mut all = Sparing(None);
    eventually("the tree is empty", || (ending.round(&mut all).found == 0).then_some(()));
    assert_eq!(root.wait().unwrap().code(), Some(0));
}

#[test]
fn nobody_is_the_root_of_the_system() {
    assert!(Ending::new(0).is_none());
    assert!(Ending::new(u32::MAX).is_none());
    if std::process::id() != 1 {
        assert!(Ending::new(1).is_none());
    }
}

#[test]
fn a_child_of_a_thread_is_found() {
    let (there, is_there) = std::sync::mpsc::channel();
    // Dropped at the end: the children of a thread that ends are passed on, and are in no list for a moment.
    let (_stay, over) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let root = shell("sleep 1000 & wait");
        let below = eventually("it is there", || children(root.id()).first().copied());
        there.send((root, below)).unwrap();
        over.recv().unwrap_err();
    });
    let (mut root, below) = is_there.recv().unwrap();
    // Our own children: everything but this one is another test's.
    struct Only(u32);
    impl Owner for Only {
        fn claim(&mut self, child: Found) -> Claim {
            if child.pid == self.0 { Claim::Ours } else { Claim::Spared }
        }
    }
    let round = Ending::new(std::process::id()).unwrap().round(&mut Only(root.id()));
    assert_eq!((round.found, round.killed), (2, 2));
    assert!(!root.wait().unwrap().success());
    eventually("it is gone", || (!lives(below)).then_some(()));
}
