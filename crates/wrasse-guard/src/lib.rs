//! The guard program (warden and guardian), its walk-and-kill library and its protocol.
//!
//! The same modules are compiled twice: here, as a library of the gateway, and by `build.rs` as the
//! small static program of `image.rs`. They use no allocator, no libc and no other crate.
//!
//! A guardian is told over a socket what to start, and tells what became of it ([`protocol`]):
//!
//! ```text
//! Waiting ── Go ─→ Starting ── exec ─→ Running ─┐
//!    │                └─ no exec ─→ Failed ─────┼─ reaped ─→ Gone
//!    └─ Kill, closed socket, gateway dead ──────┼──────────→ exit
//!                     (any of these: the tree is being ended, until ECHILD, then exit)
//! ```
//!
//! A warden starts the gateway, passes signals on, reaps, and holds what is below it together:
//!
//! ```text
//! fork ─→ Watching ── the gateway ends ─→ Ending ── ECHILD ─→ exits with the gateway's code
//!   ↑                                        │
//!   └──────── ECHILD, and its code was EXIT_RESTART
//! ```
//!
//! What ends a tree is [`walk`]: each round finds everything below a process, stops it and kills it, the deepest first,
//! until its caller has no child left. A signal goes only to a process that was proven to be below after a pidfd was
//! opened. What this does not hold is listed in the README: SIGKILL of the guardian itself, other daemons' processes,
//! uninterruptible sleep, a fork bomb without any limit.
#![no_std]
#![warn(missing_docs)]
#![expect(unsafe_code, reason = "system calls, and memory that the kernel maps")]

#[cfg(test)]
extern crate std;

#[cfg(guard)]
mod dispatch;
#[cfg(guard)]
mod guardian;
pub mod mark;
#[cfg(guard)]
pub mod probe;
#[cfg(guard)]
mod procfs;
pub mod protocol;
pub mod spec;
#[cfg(guard)]
mod sys;
#[cfg(guard)]
pub mod walk;
#[cfg(guard)]
mod warden;

#[cfg(guard)]
pub use dispatch::{Role, role};
pub use mark::Mark;
pub use spec::{Limits, Spec, SpecView};

/// The guard program for this target, an ELF file; empty where it cannot be built.
pub static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guard"));

/// Becomes the guard and does not return, when this process was executed as one: when its first
/// two arguments name a [`Role`].
///
/// Call it before anything else in `main`: the process must have one thread. It is how a gateway
/// serves as its own guard where nothing else may be executed.
#[cfg(guard)]
pub fn dispatch() {
    // Not from `std`, which this crate does without; nor from the C library, which need not tell.
    let Ok(arguments) = dispatch::words(c"/proc/self/cmdline") else { return };
    let mut words = arguments.as_slice().split(|byte| *byte == 0);
    let (Some(argv0), Some(argv1)) = (words.next(), words.next()) else { return };
    let Some(role) = role(argv0, argv1) else { return };
    let environment = dispatch::words(c"/proc/self/environ");
    let played = environment.and_then(|environment| -> Result<core::convert::Infallible, _> {
        let argv = dispatch::addresses(&arguments)?;
        let env = dispatch::addresses(&environment)?;
        // Neither table of words is dropped, since this does not return.
        dispatch::play(role, argv, env)
    });
    match played {
        Ok(never) => match never {},
        Err(_) => sys::exit(70),
    }
}

/// Does nothing where the guard cannot run.
#[cfg(not(guard))]
pub fn dispatch() {}

/// Lets nothing that this process executes inherit a descriptor from 3 on, whoever leaked it to us. A descriptor that
/// is meant for somebody must be given to him anew.
#[cfg(guard)]
pub fn pass_on_no_descriptors() {
    sys::others(sys::Others::CloseOnExec);
}

/// Does nothing where the guard cannot run.
#[cfg(not(guard))]
pub fn pass_on_no_descriptors() {}
