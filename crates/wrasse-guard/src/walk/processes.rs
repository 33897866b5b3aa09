//! All that a walk reads of processes and does to them, so that a test can let anything happen in between.

use crate::{
    procfs::{self, Children, Stat},
    sys::{self, Errno, Fd, Pid, Signal},
};

/// The processes there are.
pub(super) trait Processes {
    /// Stays with one process, whoever has its number afterwards.
    type Hold;

    fn own_pid(&self) -> Pid;

    /// Called before each pass over the tree.
    fn refresh(&mut self);

    /// Calls `found` for every child of every thread of `parent`.
    fn children(&self, parent: Pid, found: &mut dyn FnMut(Pid));

    fn hold(&self, pid: Pid) -> Result<Self::Hold, Errno>;

    /// Who has this number now.
    fn stat(&self, pid: Pid) -> Result<Stat, Errno>;

    /// Whether it is a child of the calling process, for whoever cannot read that.
    fn is_child(&self, pid: Pid) -> bool;

    fn signal(&self, hold: &Self::Hold, signal: Signal) -> Result<(), Errno>;

    /// Signals by number: only a child of our own that nobody reaps meanwhile.
    fn signal_child(&self, pid: Pid, signal: Signal) -> Result<(), Errno>;
}

/// The kernel's.
#[derive(Debug)]
pub(super) struct Kernel(Children);

impl Kernel {
    pub(super) fn detect() -> Self {
        Kernel(Children::detect())
    }
}

impl Processes for Kernel {
    type Hold = Fd;

    fn own_pid(&self) -> Pid {
        sys::own_pid()
    }

    fn refresh(&mut self) {
        self.0.refresh();
    }

    fn children(&self, parent: Pid, found: &mut dyn FnMut(Pid)) {
        self.0.each(parent, found);
    }

    fn hold(&self, pid: Pid) -> Result<Fd, Errno> {
        sys::pidfd_open(pid)
    }

    fn stat(&self, pid: Pid) -> Result<Stat, Errno> {
        procfs::stat(pid)
    }

    fn is_child(&self, pid: Pid) -> bool {
        sys::is_child(pid)
    }

    fn signal(&self, hold: &Fd, signal: Signal) -> Result<(), Errno> {
        sys::pidfd_signal(hold, signal)
    }

    fn signal_child(&self, pid: Pid, signal: Signal) -> Result<(), Errno> {
        sys::signal_child(pid, signal)
    }
}
