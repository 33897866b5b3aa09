//! Walks over a process table in which numbers change hands between any two of a walk's looks.

use core::cell::{Cell, RefCell};
use std::{collections::BTreeMap, vec::Vec};

use super::*;
use crate::procfs::Stat;

const INIT: Pid = 1;
const ROOT_PID: Pid = 10;
/// The tree is a chain below the root.
const CHILD: Pid = 11;
const GRANDCHILD: Pid = 12;
const LAST: Pid = 13;
const TREE: [Pid; 3] = [CHILD, GRANDCHILD, LAST];
/// Nobody of the tree, and of the tree nobody.
const STRANGERS: [(Pid, Pid); 2] = [(20, INIT), (21, 20)];
const ROUNDS_MAX: u32 = 12;

/// What pidfds are good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pidfds {
    Work,
    Missing,
    /// They open, and a filter refuses signals through them.
    OpenOnly,
}

#[derive(Debug, Clone, Copy)]
struct Process {
    /// When it started, which no other did: who it is.
    start: u64,
    parent: Pid,
    of_tree: bool,
    ended: bool,
}

/// Whoever has the number ends and is reaped, and the number goes to a stranger with this parent.
#[derive(Debug, Clone, Copy)]
struct HandOver {
    number: Pid,
    to_child_of: Pid,
}

struct World {
    us: Pid,
    pidfds: Pidfds,
    /// Each look and each signal is a step; before this one happens the change.
    changes: Vec<(u32, HandOver)>,
    step: Cell<u32>,
    started: Cell<u64>,
    table: RefCell<BTreeMap<Pid, Process>>,
    strangers_hit: Cell<u32>,
}

impl World {
    fn new(us: Pid, pidfds: Pidfds, changes: &[(u32, HandOver)]) -> Self {
        let world = World {
            us,
            pidfds,
            changes: changes.to_vec(),
            step: Cell::new(0),
            started: Cell::new(0),
            table: RefCell::default(),
            strangers_hit: Cell::new(0),
        };
        for (pid, parent) in [(INIT, 0), (ROOT_PID, INIT)].into_iter().chain(STRANGERS) {
            world.start(pid, parent, false);
        }
        for pid in TREE {
            world.start(pid, pid - 1, true);
        }
        world
    }

    fn start(&self, pid: Pid, parent: Pid, of_tree: bool) {
        self.started.set(self.started.get() + 1);
        let process = Process { start: self.started.get(), parent, of_tree, ended: false };
        self.table.borrow_mut().insert(pid, process);
    }

    fn at(&self, pid: Pid) -> Option<Process> {
        self.table.borrow().get(&pid).copied()
    }

    fn find(&self, is_meant: impl Fn(&Process) -> bool) -> Vec<Pid> {
        let table = self.table.borrow();
        table.iter().filter(|(_, one)| is_meant(one)).map(|(pid, _)| *pid).collect()
    }

    fn step(&self) {
        let step = self.step.get();
        self.step.set(step + 1);
        for (_, change) in self.changes.iter().filter(|(at, _)| *at == step) {
            self.change(*change);
        }
    }

    fn change(&self, HandOver { number, to_child_of }: HandOver) {
        // Only we reap our children, and the children of a process of the tree belong to it.
        let kept = self.at(number).is_some_and(|had| had.parent == self.us);
        let parent = self.at(to_child_of).filter(|parent| !parent.of_tree && !parent.ended);
        if !kept && number != to_child_of && parent.is_some() {
            self.orphan_children_of(number);
            self.start(number, to_child_of, false);
        }
    }

    /// The root is a subreaper; a stranger's children go to init.
    fn orphan_children_of(&self, pid: Pid) {
        for child in self.table.borrow_mut().values_mut().filter(|child| child.parent == pid) {
            child.parent = if child.of_tree { ROOT_PID } else { INIT };
        }
    }

    fn hit(&self, pid: Pid, signal: &Signal) {
        let Some(process) = self.at(pid) else { return };
        if !process.of_tree {
            self.strangers_hit.set(self.strangers_hit.get() + 1);
        }
        if *signal == Signal::KILL {
            self.orphan_children_of(pid);
            self.table.borrow_mut().insert(pid, Process { ended: true, ..process });
        }
    }

    /// The root reaps, as it does between two rounds.
    fn reap(&self) {
        self.table.borrow_mut().retain(|_, process| !process.ended);
    }

    fn is_empty(&self) -> bool {
        self.table.borrow().values().all(|process| !process.of_tree)
    }
}

impl Processes for World {
    type Hold = u64;

    fn own_pid(&self) -> Pid {
        self.us
    }

    fn refresh(&mut self) {}

    fn children(&self, parent: Pid, found: &mut dyn FnMut(Pid)) {
        self.step();
        self.find(|one| one.parent == parent).into_iter().for_each(found);
    }

    fn hold(&self, pid: Pid) -> Result<u64, Errno> {
        self.step();
        match self.pidfds {
            Pidfds::Missing => Err(Errno(38)),
            Pidfds::Work | Pidfds::OpenOnly => {
                self.at(pid).map(|process| process.start).ok_or(Errno::SRCH)
            }
        }
    }

    fn stat(&self, pid: Pid) -> Result<Stat, Errno> {
        self.step();
        let process = self.at(pid).ok_or(Errno::NOENT)?;
        let state = if process.ended { b'Z' } else { b'S' };
        Ok(Stat { parent: process.parent, state, threads: 1, start: process.start })
    }

    fn is_child(&self, pid: Pid) -> bool {
        self.step();
        self.at(pid).is_some_and(|process| process.parent == self.us)
    }

    fn signal(&self, hold: &u64, signal: Signal) -> Result<(), Errno> {
        self.step();
        if self.pidfds == Pidfds::OpenOnly {
            return Err(Errno(1));
        }
        let held = self.find(|one| one.start == *hold);
        held.first().map(|pid| self.hit(*pid, &signal)).ok_or(Errno::SRCH)
    }

    fn signal_child(&self, pid: Pid, signal: Signal) -> Result<(), Errno> {
        self.step();
        self.hit(pid, &signal);
        self.at(pid).map(drop).ok_or(Errno::SRCH)
    }
}

/// Who knows its children by when they started, as the gateway does: any other is its own affair.
struct Knows(Vec<u64>);

impl Owner for Knows {
    fn claim(&mut self, child: Child) -> Claim {
        if self.0.contains(&child.start_ticks) { Claim::Ours } else { Claim::Spared }
    }
}

/// Ends the tree in a world with these changes, and returns how many steps that took.
fn end(us: Pid, pidfds: Pidfds, changes: &[(u32, HandOver)]) -> u32 {
    let mut world = World::new(us, pidfds, changes);
    let mut owner = Knows(TREE.iter().filter_map(|pid| Some(world.at(*pid)?.start)).collect());
    let mut walk = Walk::new(ROOT_PID);
    for _ in 0..ROUNDS_MAX {
        walk.round(&mut world, &mut owner);
        assert_eq!(world.strangers_hit.get(), 0, "{us} {pidfds:?} {changes:?}");
        world.reap();
        if world.is_empty() {
            return world.step.get();
        }
    }
    panic!("the tree has not ended: {us} {pidfds:?} {changes:?}");
}

/// The root itself ends its tree, or somebody who holds the root does; the latter needs pidfds.
const WAYS: [(Pid, Pidfds); 4] = [
    (ROOT_PID, Pidfds::Work),
    (ROOT_PID, Pidfds::Missing),
    (ROOT_PID, Pidfds::OpenOnly),
    (99, Pidfds::Work),
];

/// A number of the tree goes to a child of init, of the root (a guardian that is started meanwhile), or of whoever
/// has the number of its former parent.
fn changes() -> Vec<HandOver> {
    let of = |number| [INIT, ROOT_PID, number - 1].map(|parent| (number, parent));
    let all = TREE.into_iter().flat_map(of).filter(|(number, _)| *number != CHILD);
    let child = [INIT, ROOT_PID].map(|parent| (CHILD, parent));
    all.chain(child).map(|(number, to_child_of)| HandOver { number, to_child_of }).collect()
}

// guarantee G5; failure mode J5: a number is used again between a look and a signal
#[test]
fn a_number_that_changes_hands_at_any_step_costs_no_stranger_a_signal() {
    for (us, pidfds) in WAYS {
        let steps = end(us, pidfds, &[]);
        assert!(steps > 20, "{us} {pidfds:?}: {steps}");
        for first in 0..steps {
            for change in changes() {
                end(us, pidfds, &[(first, change)]);
            }
        }
    }
}

#[test]
fn two_numbers_that_change_hands_cost_no_stranger_a_signal() {
    for (us, pidfds) in WAYS {
        let steps = end(us, pidfds, &[]);
        for (first, second) in
            (0..steps).flat_map(|first| (first..steps).map(move |at| (first, at)))
        {
            for change in changes() {
                for later in changes() {
                    end(us, pidfds, &[(first, change), (second, later)]);
                }
            }
        }
    }
}
