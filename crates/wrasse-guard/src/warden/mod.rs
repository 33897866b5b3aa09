//! The warden: the launched pid itself, above the gateway.
//!
//! It starts the gateway in a session of its own, passes signals on, reaps whatever is orphaned to
//! it, and, when the gateway is gone in whatever way, ends everything below before it goes itself
//! with the gateway's exit code. It stays in the caller's session and leaves job control alone, so
//! that a shell sees one ordinary foreground process.
//!
//! Children that it was born with (`redis & exec wrasse …`) are somebody else's: they are reaped,
//! never signalled. What is orphaned to it by *them* carries no lowered RLIMIT_LOCKS, unlike
//! everything below the gateway, and is spared likewise.

mod launch;
mod leaves;
mod siblings;

use launch::Launch;
use siblings::Siblings;

use crate::{
    procfs,
    protocol::EXIT_RESTART,
    sys::{self, Errno, Fd, Pid, Poll, Signal, SignalSet, Table, Waited},
    walk::Ending,
};

/// What is passed on to the gateway.
const FORWARDED: [Signal; 6] =
    [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::USR1, Signal::USR2];
/// Equal signals within this time count as one: a terminal, a supervisor and a script may all
/// send the same one for the same reason.
const SAME_SIGNAL_MS: u64 = 300;
/// When to say that something does not end, and from when a signal makes us leave it behind.
const STUCK_AFTER_MS: u64 = 2_000;
const LEAVE_AFTER_MS: u64 = 5_000;
const PAUSE_MAX_MS: u64 = 250;
/// Rounds in a row that must find nobody, where siblings keep ECHILD away.
const EMPTY_ROUNDS: u32 = 3;
/// A gateway that asks for a restart sooner than this after its start is slowed down.
const RESTART_FLOOR_MS: u64 = 1_000;
const USAGE: i32 = 64;
const INTERNAL: i32 = 70;

/// Becomes a warden.
pub(crate) fn run(argv: Table<usize>, env: Table<usize>) -> ! {
    // What nohup or a shell's background job made us ignore stays ignored, by the gateway too.
    let mut kept = SignalSet::EMPTY;
    let mut caught = SignalSet::EMPTY.with(Signal::CHLD);
    for signal in FORWARDED {
        if sys::is_ignored(signal) {
            kept = kept.with(signal);
        } else {
            caught = caught.with(signal);
        }
    }
    sys::reset_dispositions(kept);
    sys::block_only(caught);
    sys::mend_standard(0);
    sys::set_name(c"wrasse-warden");
    // Neither we nor the gateway hold the caller's workspace or mount. What is relative in the gateway's arguments is
    // told apart: whoever became us left word of where it was launched.
    drop(sys::change_directory(c"/"));
    let Some(launch) = Launch::new(argv, env, kept) else {
        complain(b"usage: wrasse-warden warden FD|- CGROUP|- PATH ARGV0 [ARG...]\n");
        sys::exit(USAGE)
    };
    match Warden::new(caught, launch) {
        Ok(mut warden) => warden.run(),
        Err(_) => {
            complain(b"wrasse-warden: failed to set itself up\n");
            sys::exit(INTERNAL)
        }
    }
}

/// What a gateway's end asks for.
enum After {
    Exit(i32),
    Restart,
}

struct Warden {
    launch: Launch,
    signals: Fd,
    siblings: Siblings,
    /// When each of [`FORWARDED`] was last passed on.
    passed: [Option<u64>; FORWARDED.len()],
    /// A signal that asks us to end came while there was no gateway to tell.
    asked_to_end: Option<Signal>,
}

impl Warden {
    fn new(caught: SignalSet, launch: Launch) -> Result<Self, Errno> {
        let signals = sys::signal_fd(caught)?;
        // Before anything is forked: all of these are the caller's.
        let siblings = Siblings::note()?;
        // PID 1 needs it not, and without it the gateway and the guardians still hold their trees.
        drop(sys::become_subreaper());
        let passed = [None; FORWARDED.len()];
        Ok(Warden { launch, signals, siblings, passed, asked_to_end: None })
    }

    fn run(&mut self) -> ! {
        loop {
            let began = sys::now_ms();
            let Ok(gateway) = self.launch.start(&mut self.siblings) else {
                complain(b"wrasse-warden: failed to fork the gateway\n");
                sys::exit(INTERNAL)
            };
            // Unreaped until it is watched to its end: the number is its own.
            let since = procfs::stat(gateway).map_or(0, |stat| stat.start);
            let status = self.watch(gateway);
            let after = judge(status);
            self.end_all(exit_code(status));
            self.launch.leaves.remove(gateway, since);
            match (after, self.asked_to_end) {
                (After::Exit(code), _) => self.exit(code),
                (After::Restart, Some(signal)) => self.exit(128 + signal.0),
                (After::Restart, None) => {
                    let rest = (began + RESTART_FLOOR_MS).saturating_sub(sys::now_ms());
                    if rest > 0 {
                        sys::poll(&mut [], Some(rest));
                    }
                }
            }
        }
    }

    /// Leaves nothing behind, not even a cgroup.
    fn exit(&self, code: i32) -> ! {
        self.launch.leaves.step_back();
        sys::exit(code)
    }

    /// Passes signals on and reaps until the gateway has ended; returns its status.
    fn watch(&mut self, gateway: Pid) -> i32 {
        loop {
            loop {
                match sys::peek_ended() {
                    Waited::Ended(pid) if pid == gateway => {
                        // Its group, for the last moment that the number is its own.
                        drop(sys::signal_group(gateway, Signal::KILL));
                        return sys::reap(gateway).unwrap_or(INTERNAL << 8);
                    }
                    Waited::Ended(pid) => drop(sys::reap(pid)),
                    Waited::Running => break,
                    // Cannot be while the gateway is unreaped.
                    Waited::NoChild => return INTERNAL << 8,
                }
            }
            sys::poll(&mut [Poll::readable(Some(&self.signals))], None);
            while let Some(signal) = sys::next_signal(&self.signals) {
                if self.is_new(signal) {
                    // Unreaped: the number is its own. It may have ended already.
                    drop(sys::signal_child(gateway, signal));
                }
            }
        }
    }

    /// Whether a signal is one to act on, and not a repetition.
    fn is_new(&mut self, signal: Signal) -> bool {
        let now = sys::now_ms();
        let slot = FORWARDED.iter().position(|forwarded| *forwarded == signal);
        let Some(last) = slot.and_then(|slot| self.passed.get_mut(slot)) else { return false };
        if last.is_some_and(|last| now.saturating_sub(last) < SAME_SIGNAL_MS) {
            return false;
        }
        *last = Some(now);
        true
    }

    /// Ends everything below that came from the gateway.
    fn end_all(&mut self, code: i32) {
        let mut walk = Ending::new(sys::own_pid().unsigned_abs());
        let began = sys::now_ms();
        let mut pause: u64 = 1;
        let mut empty_rounds = 0;
        let mut complained = false;
        loop {
            let (waited, reaped) = reap_all();
            if waited == Waited::NoChild {
                return;
            }
            // Patience only with what does not end.
            pause = if reaped == 0 { (pause * 2).min(PAUSE_MAX_MS) } else { 1 };
            match &mut walk {
                Some(walk) => {
                    let found = walk.round(&mut self.siblings).found;
                    empty_rounds = if found == 0 { empty_rounds + 1 } else { 0 };
                    if empty_rounds == EMPTY_ROUNDS {
                        return;
                    }
                }
                // Without /proc nothing can be told apart, so nothing may be signalled.
                None => return,
            }
            let took = sys::now_ms().saturating_sub(began);
            if took >= STUCK_AFTER_MS && !complained {
                complained = true;
                complain(b"wrasse-warden: some processes do not end; still trying\n");
            }
            sys::poll(&mut [Poll::readable(Some(&self.signals))], Some(pause));
            while let Some(signal) = sys::next_signal(&self.signals) {
                if matches!(signal, Signal::INT | Signal::QUIT | Signal::TERM) {
                    self.asked_to_end = Some(signal);
                    if took >= LEAVE_AFTER_MS {
                        complain(b"wrasse-warden: told to leave them behind\n");
                        sys::exit(code);
                    }
                }
            }
        }
    }
}

/// Reaps whoever has ended; returns what is left and how many those were.
fn reap_all() -> (Waited, u32) {
    let mut reaped: u32 = 0;
    loop {
        match sys::peek_ended() {
            Waited::Ended(pid) if sys::reap(pid).is_some() => reaped = reaped.saturating_add(1),
            other => return (other, reaped),
        }
    }
}

fn judge(status: i32) -> After {
    match exit_code(status) {
        code if status & 0x7f == 0 && code == i32::from(EXIT_RESTART) => After::Restart,
        code => After::Exit(code),
    }
}

/// The code as a shell would tell it.
fn exit_code(status: i32) -> i32 {
    match status & 0x7f {
        0 => (status >> 8) & 0xff,
        signal => 128 + signal,
    }
}

fn complain(text: &[u8]) {
    // There is nowhere else to say it.
    drop(sys::write(2, text));
}
