//! Runs: one turn of an agent on a session, from acceptance to the last released server.
//!
//! A run is one task. It owns what it holds (its place on the session, its lane slot, its server leases) as one value,
//! so whatever way the task ends, the holdings are dropped. Every end that the task itself survives goes through
//! [`finish::finish`].

pub(crate) mod admit;
mod conversation;
mod driver;
mod finish;
mod live;
#[cfg(test)]
mod panics;
mod registry;
mod report;
pub(crate) mod state;
mod turns;

pub(crate) use admit::{Arrival, RunRequest};
#[cfg(test)]
pub(crate) use live::LiveRunParts;
pub(crate) use live::{Cause, Cleanup, Expects, Limits, LiveRun, Outcome, Requester};
pub(crate) use registry::Registry;
pub(crate) use report::first_line;
pub use report::{EndedServer, RunReport};
