//! The guard program (warden and guardian), its walk-and-kill library and its protocol.
//!
//! The same modules are compiled twice: here, as a library of the gateway, and by `build.rs` as the
//! small static program of `image.rs`. They use no allocator, no libc and no other crate.
#![no_std]
#![warn(missing_docs)]

#[cfg(test)]
extern crate std;

pub mod mark;
pub mod protocol;
pub mod spec;

pub use mark::Mark;
pub use spec::{Spec, SpecView};

/// The guard program for this target, an ELF file; empty where it cannot be built, which means:
/// execute the gateway's own binary again (see [`dispatch`]).
pub static IMAGE: &[u8] = &[];

/// What a process was executed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Above one tree.
    Guardian,
    /// Above the gateway.
    Warden,
}

/// The role that the first two arguments name, if any.
#[must_use]
pub fn role(argv0: &[u8], argv1: &[u8]) -> Option<Role> {
    if argv0.starts_with(protocol::GUARDIAN_NAME.as_bytes())
        && argv1 == protocol::GUARDIAN_ROLE.as_bytes()
    {
        Some(Role::Guardian)
    } else if argv0.starts_with(protocol::WARDEN_NAME.as_bytes())
        && argv1 == protocol::WARDEN_ROLE.as_bytes()
    {
        Some(Role::Warden)
    } else {
        None
    }
}

/// Becomes the guard, and does not return, when `args` name a role; must run before anything else
/// in a process that has one thread.
pub fn dispatch(args: &[&core::ffi::CStr], env: &[&core::ffi::CStr]) {
    let _ = (args, env);
}
