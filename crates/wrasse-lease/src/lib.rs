//! Instances, leases, holders, retention and single-flight, generic over what is held.
//!
//! A lease is the only way to use an instance, and it is a value: a run that is over has none.
#![warn(missing_docs)]

mod backend;
mod claim;
mod error;
mod handle;
mod lease;
mod options;
mod view;

pub use backend::{
    Backend, ExitNote, Progress, Retry, Running, StartFault, StartRequest, StopReport, StopTree,
    Vitals, Whose,
};
pub use claim::{Claim, Key, Retention};
pub use error::AcquireError;
pub use handle::Leases;
pub use lease::{CallGuard, Lease};
pub use options::{BreakerOptions, LeaseOptions};
pub use view::{BreakerPosition, BreakerView, Ended, InstanceView, LeaseView, Restart};
