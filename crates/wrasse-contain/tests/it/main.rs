//! Real guardians, real servers, real signals.
//!
//! All tests of this program share one containment, as a process has one list of children. What needs a
//! process of its own runs in a copy of this program, see [`scenario`].

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cgroup;
mod faults;
mod floor;
mod held;
mod hygiene;
mod lifecycle;
mod limits;
mod scenario;
mod sources;
mod support;
mod sweep;
mod warden;
