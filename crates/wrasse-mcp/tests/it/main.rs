//! Real servers in real trees over real pipes, with the store on disk.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod calls;
mod ends;
mod harness;
mod lines;
mod offers;
mod starts;
