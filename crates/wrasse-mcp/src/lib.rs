//! MCP servers as leased instances: catalogue, wire, launch.
//!
//! A server starts only under a lease of a run, in a contained tree, and its tools are offered from a persisted
//! catalogue, so that most runs start nothing. The SDK speaks the protocol over our own bounded transport and
//! never owns a process.
//!
//! | module | what it does |
//! | --- | --- |
//! | `accounting` | what trees use that somebody should know of |
//! | `servers`, `offer`, `leases`, `report` | the handle of the gateway |
//! | `backend`, `tree`, `minder`, `install`, `gates` | how one instance is started, watched and stopped |
//! | `connection`, `wire`, `stderr` | what is said over its pipes |
//! | `launch`, `environment`, `package`, `package_place`, `fingerprint` | what is started, and what makes it the same server |
//! | `catalogue`, `naming`, `content`, `fault`, `glob` | what models and people read |
//!
//! Knows sessions only as the opaque owner of an instance.
#![warn(missing_docs)]

mod accounting;
mod backend;
mod catalogue;
mod connection;
mod content;
mod environment;
mod fault;
mod fingerprint;
mod gates;
pub mod glob;
mod history;
mod install;
mod launch;
mod leases;
mod minder;
mod naming;
mod offer;
mod package;
mod package_place;
mod report;
mod room;
mod servers;
mod stderr;
mod tree;
mod types;
mod wire;

pub use leases::ServerLeases;
pub use offer::{NameTest, OfferRequest};
pub use servers::{Servers, ServersParts};
pub use types::{
    NotFound, Offer, OfferedTool, ProbeEnd, ProbeReport, ServerFault, ServerStatus, ToolOutcome,
};
pub use wrasse_lease::Ended;
