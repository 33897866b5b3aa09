//! Signal numbers, sets, dispositions.

use super::{Errno, Fd, answer, call, number, signed, small};

/// A signal. The numbers below are the same on every architecture we build for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signal(pub(crate) i32);

impl Signal {
    pub(crate) const HUP: Signal = Signal(1);
    pub(crate) const INT: Signal = Signal(2);
    pub(crate) const QUIT: Signal = Signal(3);
    pub(crate) const KILL: Signal = Signal(9);
    pub(crate) const USR1: Signal = Signal(10);
    pub(crate) const USR2: Signal = Signal(12);
    pub(crate) const TERM: Signal = Signal(15);
    pub(crate) const CHLD: Signal = Signal(17);
    pub(crate) const CONT: Signal = Signal(18);
    pub(crate) const STOP: Signal = Signal(19);
}

const LAST: i32 = 64;
const SIG_DFL: u64 = 0;
const SIG_IGN: u64 = 1;
const SA_NOCLDSTOP: u64 = 1;
const SIG_SETMASK: usize = 2;
const SFD_FLAGS: usize = 0o2_004_000;
const SET_BYTES: usize = 8;

/// A set of signals, as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SignalSet(u64);

impl SignalSet {
    pub(crate) const EMPTY: SignalSet = SignalSet(0);
    pub(crate) const ALL: SignalSet = SignalSet(u64::MAX);

    pub(crate) fn with(self, signal: Signal) -> Self {
        SignalSet(self.0 | Self::bit(signal))
    }

    pub(crate) fn has(self, signal: Signal) -> bool {
        self.0 & Self::bit(signal) != 0
    }

    fn bit(signal: Signal) -> u64 {
        1 << (signal.0 - 1)
    }
}

#[repr(C)]
struct Action {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

/// The disposition of `signal` is "ignore".
pub(crate) fn is_ignored(signal: Signal) -> bool {
    let mut action = Action { handler: SIG_DFL, flags: 0, restorer: 0, mask: 0 };
    let arguments = [
        signed(signal.0),
        0,
        core::ptr::from_mut(&mut action).expose_provenance(),
        SET_BYTES,
        0,
        0,
    ];
    // SAFETY: the kernel writes one sigaction.
    let asked = answer(unsafe { call(number::RT_SIGACTION, arguments) });
    asked.is_ok() && action.handler == SIG_IGN
}

/// Gives every signal but those in `keep` its default disposition, whatever was inherited: with
/// SIGCHLD ignored, children vanish without a status. Stopped children are not announced.
pub(crate) fn reset_dispositions(keep: SignalSet) {
    for signal in (1..=LAST).map(Signal) {
        if signal == Signal::KILL || signal == Signal::STOP || keep.has(signal) {
            continue;
        }
        let flags = if signal == Signal::CHLD { SA_NOCLDSTOP } else { 0 };
        let action = Action { handler: SIG_DFL, flags, restorer: 0, mask: 0 };
        let arguments = [
            signed(signal.0),
            core::ptr::from_ref(&action).expose_provenance(),
            0,
            SET_BYTES,
            0,
            0,
        ];
        // SAFETY: the kernel reads one sigaction; the default disposition runs none of our code.
        // It is refused for no signal that exists, and for the others there is nothing to do.
        unsafe { call(number::RT_SIGACTION, arguments) };
    }
}

/// Blocks exactly `set`.
pub(crate) fn block_only(set: SignalSet) {
    let arguments =
        [SIG_SETMASK, core::ptr::from_ref(&set.0).expose_provenance(), 0, SET_BYTES, 0, 0];
    // SAFETY: the kernel reads eight bytes; it cannot refuse a well-formed set.
    unsafe { call(number::RT_SIGPROCMASK, arguments) };
}

/// A descriptor from which the blocked signals of `set` are read, without waiting.
pub(crate) fn signal_fd(set: SignalSet) -> Result<Fd, Errno> {
    let arguments =
        [usize::MAX, core::ptr::from_ref(&set.0).expose_provenance(), SET_BYTES, SFD_FLAGS, 0, 0];
    // SAFETY: the kernel reads eight bytes.
    answer(unsafe { call(number::SIGNALFD4, arguments) }).map(|raw| Fd::own(small(raw)))
}

/// The next signal that waits in `signals`.
pub(crate) fn next_signal(signals: &Fd) -> Option<Signal> {
    let mut record = [0_u8; 128];
    let len = super::read(signals, &mut record).ok()?;
    if len != record.len() {
        return None;
    }
    let [a, b, c, d, ..] = record;
    Some(Signal(i32::from_le_bytes([a, b, c, d])))
}
