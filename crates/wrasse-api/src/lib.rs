//! The HTTP door: one loopback port, a token, health pages, and `POST /rpc/<method>`.
//!
//! Knows no process and no SQL. Every method is the gateway's; this crate only carries it. A call that changes
//! something runs in the gateway's scope, detached from the connection that asked for it: a client that goes
//! away changes nothing about a run.

mod auth;
mod rpc;
mod server;

pub use auth::Token;
pub use server::{ServeError, Served, bind, serve};
