//! Configuration: text to every fault at once, or one validated value.
//!
//! Everything comes in through [`LoadOptions`] and [`ReadFile`]; nothing here asks the process environment or
//! the current directory. Files are JSON5, read into a tree that knows where each value stands; overlays,
//! includes and `${NAME}` are resolved on that tree; then it is checked by hand, so that one report holds
//! every fault with its line and column.
#![warn(missing_docs)]

mod fault;
mod files;
mod options;
mod validated;

pub use fault::{Fault, Faults};
pub use files::{DiskFiles, MemoryFiles, ReadFile};
pub use options::LoadOptions;
pub use validated::*;

/// A configuration with the tree it was made from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The validated value.
    pub config: Config,
}

/// Whether a printed configuration says where each value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Values only.
    Hide,
    /// Each value with its file and line, or the defaults it is from.
    Show,
}

/// Every key of the files by what it does here.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KeyReport {
    /// Keys that do what they do in OpenClaw, or are Wrasse's own.
    pub implemented: Vec<String>,
    /// Keys known to OpenClaw that change nothing here.
    pub unused: Vec<String>,
    /// Restricting keys that are not implemented, with the tools that are off for it.
    pub denied: Vec<(String, Vec<String>)>,
}

impl Loaded {
    /// What each key does.
    pub fn key_report(&self) -> KeyReport {
        KeyReport { implemented: Vec::new(), unused: Vec::new(), denied: Vec::new() }
    }

    /// The merged effective configuration as JSON, secrets redacted.
    pub fn print(&self, origin: Origin) -> String {
        let _ = origin;
        String::new()
    }
}

/// What a job definition may leave out.
#[derive(Debug, Clone, Default)]
pub struct JobDefaults {
    /// The id when the definition has none; `None` makes a stable one from the name.
    pub id: Option<wrasse_types::JobId>,
    /// What "in 20 minutes" (`at: "20m"`) counts from; `None` refuses such times.
    pub now: Option<wrasse_types::UnixMillis>,
}

/// Reads and checks the configuration.
///
/// # Errors
/// Every fault of every file at once.
pub fn load(options: &LoadOptions, files: &dyn ReadFile) -> Result<Config, Faults> {
    load_with_tree(options, files).map(|loaded| loaded.config)
}

/// Like [`load`], keeping what `config print` and `config check -v` show.
///
/// # Errors
/// Every fault of every file at once.
pub fn load_with_tree(options: &LoadOptions, files: &dyn ReadFile) -> Result<Loaded, Faults> {
    let _ = (options, files);
    Err(Faults::default())
}

/// The files that are looked for, first found wins: `--config`, `$WRASSE_CONFIG`, `<state dir>/wrasse.json5`.
pub fn search(options: &LoadOptions) -> Vec<std::path::PathBuf> {
    let _ = options;
    Vec::new()
}

/// Reads one job as `cron.jobs[]` and `cron.add` spell it.
///
/// # Errors
/// Every fault of the definition.
pub fn job_from_json(job: &serde_json::Value, defaults: &JobDefaults) -> Result<Job, Faults> {
    let _ = (job, defaults);
    Err(Faults::default())
}

/// The JSON schema of what Wrasse accepts.
pub fn schema() -> serde_json::Value {
    serde_json::Value::Null
}
