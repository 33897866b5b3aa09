//! The store on real files, real SQLite and real processes.
#![expect(clippy::unwrap_used, reason = "a test helper that fails should fail the test")]

mod child;
mod crash;
mod disk_full;
mod jobs;
mod ledger;
mod ledger_faults;
mod lock;
mod open;
mod prune;
mod runs;
mod sessions;
mod state_dir;
mod support;
