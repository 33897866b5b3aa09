//! What of the floor there is here, found out by trying.

use crate::{
    procfs,
    sys::{self, Signal},
};

/// The kernel lists the children of a process; without it every look reads the whole process table.
#[must_use]
pub fn lists_children() -> bool {
    procfs::lists_children()
}

/// `/proc` is mounted and shows our PID namespace; without it nothing can be told from anything.
#[must_use]
pub fn proc_is_ours() -> bool {
    procfs::is_ours()
}

/// Processes can be held and signalled through pidfds.
#[must_use]
pub fn pidfds() -> bool {
    // Of ourselves, who cannot be mistaken. Signal 0 is none.
    sys::pidfd_of(sys::own_pid()).is_ok_and(|own| sys::pidfd_signal(&own, Signal(0)).is_ok())
}

/// Descriptors are closed by one call; without it one by one.
#[must_use]
pub fn close_range() -> bool {
    sys::closes_ranges()
}
