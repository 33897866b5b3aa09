//! Durable state: sessions, transcripts, runs, jobs, firings, ledger, catalogue.
//!
//! Owns the state directory ([`StateDir`]: its lock, installation number, token and endpoint files) and the SQLite
//! database in it ([`Store`]). All SQL of the program is here. It knows no domain rules: it keeps what it is given.
//!
//! INVARIANT: ending a tree never needs this crate. Whatever the [`Ledger`] is told about an end is written behind
//! the caller's back; only the two rows that must exist before a process does ([`Ledger::begin_instance`] and
//! [`Ledger::spawning`]) are waited for.
#![warn(missing_docs)]

mod catalogue;
mod error;
mod file_system;
mod firings;
mod installation;
mod jobs;
mod ledger;
mod lock;
mod meta;
mod open;
mod prune;
mod rows;
mod runs;
mod schema;
mod sessions;
mod state_dir;
mod store;
mod token;
mod transaction;
mod transcripts;

pub use catalogue::CatalogueRow;
pub use error::{OpenError, StoreError};
pub use firings::{FiringEnd, FiringRow};
pub use jobs::{JobRow, JobState};
pub use ledger::{
    FlushOutcome, GuardianIdentity, InstanceEnd, InstanceEvent, InstanceRow, LeaseRow, Ledger,
    LostRecords, NewInstance,
};
pub use lock::{LockError, LockHolder, StateLock};
pub use open::{Durability, Role};
pub use prune::{Pruned, Retain};
pub use runs::{NewRun, RunEnd, RunFilter, RunRow, RunState};
pub use sessions::{NewSession, SessionFilter, SessionRow, Touch};
pub use state_dir::{Endpoint, StateDir, StateDirError, own_pid_namespace};
pub use store::Store;
pub use transcripts::TranscriptEntry;
