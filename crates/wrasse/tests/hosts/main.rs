//! The hosts suite: real OpenClaw gateways from npm, with their servers as the report has them and wrapped by us.
//!
//! `cargo xtask test --hosts` installs what it needs and runs it; plain `cargo test` leaves it out. Each test starts
//! gateways of its own on loopback, with a scripted model, and ends everything it started.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test stops where it stands, and says what it skips"
)]

mod foreign;
mod killed;
mod model;
mod openclaw;
mod table;
mod wrapped;
