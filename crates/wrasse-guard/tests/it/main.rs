//! The guard as a program, with real processes, judged by a witness that does not ask it.
#![expect(clippy::unwrap_used, reason = "a broken harness should stop the test where it stands")]
#![expect(clippy::disallowed_methods, reason = "these tests are the gateway")]

mod guardian;
mod harness;
mod library;
mod limits;
mod members;
mod owner;
mod refused;
mod warden;
mod witness;
