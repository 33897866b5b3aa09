//! Rewriting the server entries of other hosts, so that each goes through `wrasse wrap`, and putting them back byte
//! for byte.
//!
//! [`find`] reads what a host would read: its usual files, or one that was named. [`Found::wrap`], [`restore`] and
//! [`entries_only`] decide what the files would become, a [`Plan`], and write nothing; [`Plan::write`] writes it.
//! Between the two stands whoever asks, so nothing is written that could not be shown.
//!
//! A file is text, not a value: of an entry only `command` and `args` change, and of `args` only its beginning, where
//! what Wrasse needs is put before what stood there. Comments, order, indentation, line ends, byte order mark, mode,
//! owner and symbolic links stay. After each change the text is read again and its meaning compared; a difference
//! beside the intended one is a refusal.
//!
//! Before a file is replaced its bytes lie in the state dir ([`Records`]); undoing writes them back where the file is
//! still as we left it, and refuses where it is not.
//!
//! What it deliberately does not do: start anything, know MCP, print. Values of variables and secrets pass through
//! here and are never in an error.

mod edit;
mod entry;
mod error;
mod file;
mod found;
mod host;
mod include;
mod plan;
mod record;
#[cfg(test)]
mod tests;
mod tree;
mod undo;

pub use entry::{CommandLine, Entry, Kind};
pub use error::ImportError;
pub use found::{Found, Where, find};
pub use host::{Host, Surroundings};
pub use plan::{EntryChange, FileChange, Passed, Plan, Shim};
pub use record::Records;
pub use undo::{entries_only, restore};
