//! The stdio shim that puts Wrasse between any host and its MCP servers, and its broker.

mod broker;
pub mod catalogue;
pub mod envelope;
mod host;
pub mod identity;
pub mod ledger;
pub mod lines;
pub mod link;
pub mod options;
pub mod place;
mod rewrite;
pub mod server;
pub mod session;
mod shim;
mod slot;
mod small;
mod stdio;
mod tuning;

pub use broker::dispatch;
pub use options::{IDLE_DEFAULT, Manner, Scope, WrapOptions};
pub use shim::{refuse, run};
pub use small::{NAME as SHIM_NAME, become_shim};
