//! Configuration: text to every fault at once, or one validated value.
//!
//! Everything comes in through [`LoadOptions`] and [`ReadFile`]; nothing here asks the process environment or
//! the current directory. Files are JSON5, read into a tree that knows where each value stands (`text`);
//! overlays, includes, variables are resolved on that tree (`load`); each key is looked up in a table that says
//! what it is to Wrasse (`known`); defaults are filled in and the sections read, by hand (`section`). So one
//! report holds every fault with its line and column.
//!
//! What it deliberately does not do: write files, watch them, resolve secrets of programs, know a runtime.
#![warn(missing_docs)]

mod fault;
mod files;
mod known;
mod load;
mod loaded;
mod options;
mod print;
mod schema;
mod section;
mod text;
mod validated;
mod variables;

pub use fault::{Fault, Faults};
pub use files::{DiskFiles, MemoryFiles, ReadFile};
pub use known::closest;
pub use load::search;
pub use loaded::{KeyReport, Loaded, Origin, load, load_with_tree};
pub use options::{LoadOptions, StateDirBy};
pub use print::shown_arguments;
pub use schema::schema;
pub use section::{JobDefaults, job_from_json};
pub use text::{Spanned, SpannedMember, SpannedValue, parse_spanned};
pub use validated::*;
pub use variables::{InheritEnv, glob_matches};
