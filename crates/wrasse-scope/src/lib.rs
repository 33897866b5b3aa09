//! Task scopes, closed task kinds, cancellation, deadlines and the clock.
//!
//! Every task of the program is spawned through a [`Scope`], so it has an owner, a name and a policy. Cancelling
//! a scope asks; [`Scope::join`] proves: it returns once every future of the scope and of the scopes below it has
//! been dropped, or names what was left at the deadline. Panics are contained to their task.
//!
//! All deadlines are counted by [`clock`], which goes on while the machine sleeps.
//!
//! Knows nothing of what the tasks do. This is the one place that calls `tokio::spawn`.
#![warn(missing_docs)]

pub mod clock;
mod kind;
mod report;
mod scope;
mod task;

pub use kind::{OnCancel, OnPanic, TaskKind};
pub use report::{JoinReport, TaskView};
pub use scope::Scope;
pub use task::{TaskHandle, TaskLost};
