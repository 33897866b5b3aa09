//! Misbehaving servers, the oracle program and the station that end-to-end tests run in.
//!
//! Development only: nothing that ships depends on this crate.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "test code: a broken harness should stop the test where it stands"
)]

mod chance;
pub mod fixture;
pub mod foreign_host;
pub mod hosted;
pub mod leaves;
pub mod namespace;
pub mod nobody;
pub mod oracle;
pub mod processes;
pub mod pulse;
pub mod rpc;
pub mod signals;
pub mod soak;
pub mod station;
pub mod storm;
