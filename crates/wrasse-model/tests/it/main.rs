//! Turns against real HTTP servers on loopback, and scripts in real files.
#![expect(clippy::unwrap_used, reason = "test code")]

mod chain;
mod faults;
mod openai;
mod scripted;
mod support;
