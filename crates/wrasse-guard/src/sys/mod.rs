//! Raw Linux system calls: only what the guard needs, with safe signatures wherever a call cannot
//! break memory safety.
//!
//! No libc: the guard program has none, and the library shares this code. Errors are errnos. Every
//! descriptor made here is close-on-exec.

mod files;
mod memory;
mod messages;
mod processes;
mod signals;

#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod arch;
#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod arch;

pub(crate) use files::*;
pub(crate) use memory::*;
pub(crate) use messages::*;
pub(crate) use processes::*;
pub(crate) use signals::*;

use arch::{call, number};

/// A process id as the kernel types it.
pub(crate) type Pid = i32;

/// A system call's error. Not `Copy`, so that ignoring one takes a visible `drop`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

impl Errno {
    pub(crate) const NOENT: Errno = Errno(2);
    pub(crate) const SRCH: Errno = Errno(3);
    pub(crate) const CHILD: Errno = Errno(10);
    pub(crate) const AGAIN: Errno = Errno(11);
    pub(crate) const NOMEM: Errno = Errno(12);
    pub(crate) const INTR: Errno = Errno(4);
    pub(crate) const INVAL: Errno = Errno(22);
    pub(crate) const PROTO: Errno = Errno(71);
}

/// Turns the kernel's answer into a result.
fn answer(value: isize) -> Result<usize, Errno> {
    match usize::try_from(value) {
        Ok(value) => Ok(value),
        // The kernel's errnos are 1 to 4095, so the fallback is never taken.
        Err(_) => Err(Errno(i32::try_from(-value).unwrap_or(Errno::INVAL.0))),
    }
}

/// An argument that the kernel reads as a signed number.
fn signed(value: i32) -> usize {
    (value as isize).cast_unsigned()
}

/// A result that is a descriptor or a pid, both of which fit.
fn small(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(-1)
}
