//! Where a configuration is looked for, and what it may refer to.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything that loading may look at besides files.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// `--config`.
    pub path: Option<PathBuf>,
    /// The state dir: holds `wrasse.json5`, `.env`, workspaces.
    pub state_dir: PathBuf,
    /// Who chose the state dir.
    pub state_dir_by: StateDirBy,
    /// The process environment.
    pub env: BTreeMap<String, String>,
    /// The current directory: relative `--config`, `.env`.
    pub cwd: PathBuf,
    /// The home directory: `~`.
    pub home: Option<PathBuf>,
    /// How many processors there are; the lane width of 2026.9 depends on it.
    pub cpu_count: usize,
}

/// Who chose the state dir. A choice of the command line or the environment stands against the file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StateDirBy {
    /// Nobody: `stateDir` of the configuration may.
    #[default]
    Default,
    /// `--state-dir` or `$WRASSE_STATE_DIR`.
    Person,
}
