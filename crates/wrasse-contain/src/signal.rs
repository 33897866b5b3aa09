//! Signals to processes that are not guardians: always through a pidfd, and only after a look at the process
//! between opening and signalling. And the disposition of the one signal that we depend on.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::process::{self, Stat};

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signalled {
    /// It was delivered.
    Yes,
    /// The process is gone, or its number is somebody else's now.
    Gone,
    /// We may not signal it.
    Refused,
}

/// A number that may be signalled: never 0, 1 or a negative one.
pub(crate) fn pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().filter(|pid| *pid > 1).and_then(Pid::from_raw)
}

/// A hold on a process; `None` where there are no pidfds: an old kernel, or a filter that does not know them.
pub(crate) fn hold(process: Pid) -> Result<Option<OwnedFd>, Errno> {
    match pidfd_open(process, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Signals a process if `proven` still says that it is the one meant.
pub(crate) fn send(target: u32, signal: Signal, proven: impl FnOnce(&Stat) -> bool) -> Signalled {
    let Some(number) = pid(target) else { return Signalled::Refused };
    if target == std::process::id() {
        return Signalled::Refused;
    }
    let pidfd = match pidfd_open(number, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Signalled::Gone,
        Err(errno) => {
            tracing::warn!(pid = target, %errno, "cannot open a process to signal it");
            return Signalled::Refused;
        }
    };
    // The pidfd holds one process for ever; what /proc says now is about that one, or about a later
    // process of the same number, in which case the signal through the pidfd reaches nobody.
    if !process::stat(target).is_some_and(|stat| proven(&stat)) {
        return Signalled::Gone;
    }
    match pidfd_send_signal(&pidfd, signal) {
        Ok(()) => Signalled::Yes,
        Err(Errno::SRCH) => Signalled::Gone,
        Err(errno) => {
            tracing::warn!(pid = target, %errno, "not permitted to signal a process");
            Signalled::Refused
        }
    }
}

/// A SIGCHLD that our parent left ignored would have the kernel reap our children: their status lost and
/// their numbers free at once.
#[expect(unsafe_code, reason = "no safe interface sets a signal's disposition")]
pub(crate) fn reset_sigchld() -> std::io::Result<()> {
    const SIGCHLD: i32 = Signal::CHILD.as_raw();
    const DEFAULT: usize = 0;
    const FAILED: usize = usize::MAX;
    unsafe extern "C" {
        #[link_name = "signal"]
        fn dispose(number: i32, handler: usize) -> usize;
    }
    // Where nobody can say, it is reset.
    if !is_ignored(SIGCHLD).unwrap_or(true) {
        return Ok(());
    }
    // SAFETY: `signal` is the C library's, which every program that uses std is linked with; the default
    // disposition runs no code of ours, and an ignored one had nobody who relies on it.
    let before = unsafe { dispose(SIGCHLD, DEFAULT) };
    if before == FAILED { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether we were left to ignore a signal, by `nohup` or a shell that started us in the background, and still do.
/// `None` where `/proc` cannot say.
pub fn is_ignored(signal: i32) -> Option<bool> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let mask = text.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    let bit = u32::try_from(signal.checked_sub(1)?).ok()?;
    Some(mask & 1_u64.checked_shl(bit)? != 0)
}
