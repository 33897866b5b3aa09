//! Signals to processes that are not guardians: always through a pidfd, and only after a look at the process
//! between opening and signalling. And the disposition of the one signal that we depend on.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// What a signal needs of the process table, so that a test can let a number change hands in between.
trait Processes {
    /// Stays with one process, whoever has its number afterwards.
    type Hold;

    fn hold(&self, number: Pid) -> Result<Self::Hold, Errno>;

    /// Who has this number now.
    fn stat(&self, pid: u32) -> Option<Stat>;

    fn signal(&self, hold: &Self::Hold, signal: Signal) -> Result<(), Errno>;
}

struct Kernel;

impl Processes for Kernel {
    type Hold = OwnedFd;

    fn hold(&self, number: Pid) -> Result<OwnedFd, Errno> {
        pidfd_open(number, PidfdFlags::empty())
    }

    fn stat(&self, pid: u32) -> Option<Stat> {
        process::stat(pid)
    }

    fn signal(&self, hold: &OwnedFd, signal: Signal) -> Result<(), Errno> {
        pidfd_send_signal(hold, signal)
    }
}

/// Signals a process if `proven` still says that it is the one meant.
pub(crate) fn send(target: u32, signal: Signal, proven: impl FnOnce(&Stat) -> bool) -> Signalled {
    send_among(&Kernel, target, signal, proven)
}

fn send_among(
    processes: &impl Processes,
    target: u32,
    signal: Signal,
    proven: impl FnOnce(&Stat) -> bool,
) -> Signalled {
    let Some(number) = pid(target) else { return Signalled::Refused };
    if target == std::process::id() {
        return Signalled::Refused;
    }
    let hold = match processes.hold(number) {
        Ok(hold) => hold,
        Err(Errno::SRCH) => return Signalled::Gone,
        Err(errno) => {
            tracing::warn!(pid = target, %errno, "cannot open a process to signal it");
            return Signalled::Refused;
        }
    };
    // The pidfd holds one process for ever; what /proc says now is about that one, or about a later
    // process of the same number, in which case the signal through the pidfd reaches nobody.
    if !processes.stat(target).is_some_and(|stat| proven(&stat)) {
        return Signalled::Gone;
    }
    match processes.signal(&hold, signal) {
        Ok(()) => Signalled::Yes,
        Err(Errno::SRCH) => Signalled::Gone,
        Err(errno) => {
            tracing::warn!(pid = target, %errno, "not permitted to signal a process");
            Signalled::Refused
        }
    }
}

const DEFAULT: usize = 0;
const FAILED: usize = usize::MAX;

/// Sets what a signal does, and says what it did.
///
/// # Safety
/// `handler` is [`DEFAULT`], or a function that lives as long as the program and does only what may be done while any
/// other code is interrupted.
#[expect(unsafe_code, reason = "no safe interface sets a signal's disposition")]
unsafe fn dispose(number: i32, handler: usize) -> usize {
    unsafe extern "C" {
        fn signal(number: i32, handler: usize) -> usize;
    }
    // SAFETY: `signal` is the C library's, which every program that uses std is linked with; the handler is what the
    // caller says.
    unsafe { signal(number, handler) }
}

/// Which signals came while they were put off, one bit each.
static CAME: AtomicU64 = AtomicU64::new(0);

extern "C" fn came(number: i32) {
    CAME.fetch_or(bit(number), Ordering::Relaxed);
}

fn bit(number: i32) -> u64 {
    u32::try_from(number - 1).ok().and_then(|shift| 1_u64.checked_shl(shift)).unwrap_or(0)
}

/// Lets a signal that would end or stop us wait until [`take_up`]. False where it is ignored or handled already, or
/// nobody can say.
#[expect(unsafe_code, reason = "no safe interface sets a signal's disposition")]
pub(crate) fn put_off(signal: Signal) -> bool {
    let number = signal.as_raw();
    if is_ignored(number) != Some(false) || is_in_mask("SigCgt:", number) != Some(false) {
        return false;
    }
    // SAFETY: the handler is a function that lives as long as the program, and only changes an atomic.
    unsafe { dispose(number, came as extern "C" fn(i32) as usize) != FAILED }
}

/// Gives a signal its usual effect again, and has it if it came meanwhile.
#[expect(unsafe_code, reason = "no safe interface sets a signal's disposition")]
pub(crate) fn take_up(signal: Signal) {
    let number = signal.as_raw();
    // SAFETY: the default disposition runs no code of ours.
    unsafe { dispose(number, DEFAULT) };
    if CAME.fetch_and(!bit(number), Ordering::Relaxed) & bit(number) != 0 {
        let sent = rustix::process::kill_process(rustix::process::getpid(), signal);
        if let Err(errno) = sent {
            tracing::warn!(%errno, "cannot take up a signal that was put off");
        }
    }
}

/// A SIGCHLD that our parent left ignored would have the kernel reap our children: their status lost and
/// their numbers free at once. Whoever waits for a child calls this first; starting a containment does.
///
/// # Errors
/// When the kernel refuses.
#[expect(unsafe_code, reason = "no safe interface sets a signal's disposition")]
pub fn reset_sigchld() -> std::io::Result<()> {
    const SIGCHLD: i32 = Signal::CHILD.as_raw();
    // Where nobody can say, it is reset.
    if !is_ignored(SIGCHLD).unwrap_or(true) {
        return Ok(());
    }
    // SAFETY: the default disposition runs no code of ours, and an ignored one had nobody who relies on it.
    let before = unsafe { dispose(SIGCHLD, DEFAULT) };
    if before == FAILED { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether we were left to ignore a signal, by `nohup` or a shell that started us in the background, and still do.
/// `None` where `/proc` cannot say.
pub fn is_ignored(signal: i32) -> Option<bool> {
    is_in_mask("SigIgn:", signal)
}

fn is_in_mask(key: &str, signal: i32) -> Option<bool> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let mask = text.lines().find_map(|line| line.strip_prefix(key))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    let bit = u32::try_from(signal.checked_sub(1)?).ok()?;
    Some(mask & 1_u64.checked_shl(bit)? != 0)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const NUMBER: u32 = 40;
    /// When the one that is meant started, and when the stranger did that has its number later.
    const MEANT: u64 = 5;
    const STRANGER: u64 = 9;

    /// One number, which goes to a stranger before this step.
    struct HandedOver {
        before: u32,
        step: Cell<u32>,
        signalled: Cell<Option<u64>>,
    }

    impl HandedOver {
        /// Who has the number now.
        fn step(&self) -> u64 {
            let step = self.step.replace(self.step.get() + 1);
            if step < self.before { MEANT } else { STRANGER }
        }
    }

    impl Processes for HandedOver {
        type Hold = u64;

        fn hold(&self, _number: Pid) -> Result<u64, Errno> {
            Ok(self.step())
        }

        fn stat(&self, pid: u32) -> Option<Stat> {
            let name = "same name".to_owned();
            let start_ticks = self.step();
            Some(Stat {
                pid,
                ppid: 1,
                session: 1,
                name,
                start_ticks,
                zombie: false,
                stopped: false,
            })
        }

        fn signal(&self, hold: &u64, _signal: Signal) -> Result<(), Errno> {
            if *hold != self.step() {
                return Err(Errno::SRCH);
            }
            self.signalled.set(Some(*hold));
            Ok(())
        }
    }

    // guarantee G5; failure mode J5: a number is used again between a look and a signal
    #[test]
    fn a_number_that_changes_hands_at_any_step_costs_no_stranger_a_signal() {
        for before in 0..=3 {
            let (step, signalled) = (Cell::new(0), Cell::new(None));
            let world = HandedOver { before, step, signalled };
            let sent = send_among(&world, NUMBER, Signal::KILL, |stat| stat.start_ticks == MEANT);
            let all_over = before == 3;
            assert_eq!(world.signalled.get(), all_over.then_some(MEANT), "before step {before}");
            let told = if all_over { Signalled::Yes } else { Signalled::Gone };
            assert_eq!(sent, told, "before step {before}");
        }
    }

    #[test]
    fn nobody_is_signalled_by_a_number_that_is_none() {
        let own = std::process::id();
        for number in [0, 1, own, u32::MAX, i32::MAX.cast_unsigned() + 1] {
            let (step, signalled) = (Cell::new(0), Cell::new(None));
            let world = HandedOver { before: u32::MAX, step, signalled };
            let sent = send_among(&world, number, Signal::KILL, |_| true);
            assert_eq!((sent, world.step.get()), (Signalled::Refused, 0), "{number}");
        }
    }

    #[test]
    fn a_signal_that_was_put_off_takes_effect_later() {
        // One that does nothing by default: it must not end the tests.
        let signal = Signal::URG;
        let send = || rustix::process::kill_process(rustix::process::getpid(), signal).unwrap();
        let has_come = || CAME.load(Ordering::Relaxed) & bit(signal.as_raw()) != 0;
        assert!(put_off(signal));
        assert!(!put_off(signal), "it is handled already");
        send();
        while !has_come() {
            std::thread::yield_now();
        }
        take_up(signal);
        assert!(!has_come());
        assert_eq!(is_in_mask("SigCgt:", signal.as_raw()), Some(false));
    }
}
