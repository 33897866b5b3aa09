//! The guard program (warden and guardian), its walk-and-kill library and its protocol.
//!
//! The same modules are compiled twice: here, as a library of the gateway, and by `build.rs` as the
//! small static program of `image.rs`. They use no allocator, no libc and no other crate.
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
pub use spec::{Spec, SpecView};

/// The guard program for this target, an ELF file; empty where it cannot be built.
pub static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guard"));

/// Becomes the guard and does not return, when the first two of `args` name a [`Role`].
///
/// Call it before anything else in `main`: the process must have one thread. It is how a gateway
/// serves as its own guard where nothing else may be executed.
#[cfg(guard)]
pub fn dispatch(args: &[&core::ffi::CStr], env: &[&core::ffi::CStr]) {
    let [argv0, argv1, ..] = args else { return };
    let Some(role) = role(argv0.to_bytes(), argv1.to_bytes()) else { return };
    let addresses = |strings: &[&core::ffi::CStr]| {
        dispatch::table(&mut strings.iter().map(|text| text.as_ptr().expose_provenance()))
    };
    // The strings live as long as the process, since nothing returns to who owns them.
    match (addresses(args), addresses(env)) {
        (Ok(argv), Ok(env)) => dispatch::play(role, argv, env),
        _ => sys::exit(70),
    }
}
