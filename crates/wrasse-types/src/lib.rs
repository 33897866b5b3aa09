//! Ids, sizes, durations, reasons and wire types that every layer shares.
//!
//! Nothing here does IO or knows a runtime. Text forms are the ones users see and the store keeps, so a
//! change to any of them is a change of format.
#![warn(missing_docs)]

mod duration;
mod end;
mod fault;
mod holder;
mod id;
mod key;
mod size;
mod time;
pub mod wire;

pub use duration::{DurationError, format_duration, parse_duration};
pub use end::{EndReason, GoneReason, StopRung};
pub use fault::error_text;
pub use holder::{Holder, HolderKind};
pub use id::{AgentId, IdError, InstanceId, JobId, LeaseId, RunId, ServerName, SessionId};
pub use key::{SessionKey, SessionKind};
pub use size::{ByteSize, SizeError};
pub use time::UnixMillis;
