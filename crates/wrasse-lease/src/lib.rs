//! Instances, leases, holders, retention and single-flight, generic over what is held.
//!
//! A lease is the only way to use an instance, and it is a value: a run that is over has none. There is no clean-up
//! call to forget; the last lease that goes takes the instance with it, unless retention was asked to keep it.
//!
//! By role: `state` decides (pure), `slot` keeps the state of one key and does what needs no waiting, `driver`
//! performs the rest, [`Leases`] is the way in, `breaker` holds back servers that fail to start.
//!
//! INVARIANT: at most one tree of a key lives at a time; a start is ordered only when nothing does.
//! INVARIANT: ending never waits for the store; starting does.
//!
//! Knows neither MCP nor sessions: an owner is an opaque word, a tree is whatever a [`Backend`] starts.
#![warn(missing_docs)]

mod backend;
mod breaker;
mod breakers;
mod claim;
mod driver;
mod error;
mod false_starts;
mod handle;
mod lease;
mod life;
mod options;
mod past;
mod shared;
mod slot;
pub mod state;
mod view;

pub use backend::{
    Backend, ExitNote, Progress, Retry, Running, StartFault, StartRequest, StopReport, StopTree,
    Vitals, Whose,
};
pub use claim::{Claim, Key, Retention};
pub use error::AcquireError;
pub use false_starts::FalseStarts;
pub use handle::Leases;
pub use lease::{CallGuard, Lease};
pub use options::{BreakerOptions, LeaseOptions};
pub use view::{BreakerPosition, BreakerView, Ended, InstanceView, LeaseView, Restart};
