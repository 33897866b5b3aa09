//! The arguments of the commands that deal with other hosts.

use clap::Args;

/// `wrasse reap …`
#[derive(Debug, Clone, Args)]
pub(crate) struct ReapArgs {
    /// Every unleased instance, now
    #[arg(long)]
    pub(crate) idle: bool,
    /// Servers that other hosts left behind
    #[arg(long, conflicts_with = "idle")]
    pub(crate) foreign: bool,
    /// With --foreign: also those whose session is over for good, though their host lives
    #[arg(long, requires = "foreign")]
    pub(crate) finished: bool,
    /// Only these, by the number or id a listing shows
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
}

/// `wrasse import HOST …`
#[derive(Debug, Clone, Args)]
pub(crate) struct ImportArgs {
    /// openclaw, claude-code, claude-desktop, codex, cursor, vscode or gemini
    pub(crate) host: String,
}

/// `wrasse doctor …`
#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorArgs {
    /// Reach for no network
    #[arg(long)]
    pub(crate) offline: bool,
    /// Look at another host's configuration for what makes it leak
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
}
