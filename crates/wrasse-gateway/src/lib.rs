//! Sessions, runs, the agent loop, sub-agents, cron, policy, built-in tools, and the method table.
//!
//! A session is a record and holds no process. A run is one task that owns its leases as a value; when it is over, in
//! whatever way, it has none. Everything that outside callers can do is a method of [`Gateway::rpc`].
//!
//! Knows neither HTTP nor process ids, beyond passing on what the layers below report.
#![warn(missing_docs)]

mod announce;
mod core;
mod cron;
mod fault;
mod frame;
mod gateway;
mod lanes;
mod policy;
mod prompt;
mod readiness;
mod rpc;
mod run;
mod sessions;
mod spawn;
mod tools;

// Tests that need both a whole gateway and a place inside it use the station of the suite outside.
#[cfg(test)]
extern crate self as wrasse_gateway;
#[cfg(test)]
#[path = "../tests/it/station.rs"]
#[expect(dead_code, reason = "the suite outside uses the rest")]
mod station;

pub use gateway::{
    Gateway, GatewayIdentity, GatewayParts, ReportSink, ShutdownReport, ShutdownWhy, StartError,
};
pub use readiness::Readiness;
pub use rpc::{Effect, MethodInfo};
pub use run::{EndedServer, RunReport};
