//! The arguments of `wrasse wrap`.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

/// `wrasse wrap …`
#[derive(Debug, Clone, Args)]
pub(crate) struct WrapArgs {
    /// What the server is called, in `ps` and in what is said [default: from its command line]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// End the server when it was not called for this long (30s, 5m, …); off: keep it as long as the host
    #[arg(long, value_name = "D|off", default_value = "30s", value_parser = idle)]
    pub(crate) idle: Idle,
    /// Who may use the server: this host alone, or every host that wraps the same one
    #[arg(long, value_enum, default_value_t = WrapScope::Private)]
    pub(crate) scope: WrapScope,
    /// Pass bytes and contain, nothing else: the server runs from start to end
    #[arg(long, conflicts_with_all = ["idle", "scope"])]
    pub(crate) transparent: bool,
    /// Stay one process with all of wrasse in it, instead of becoming wrasse-shim
    #[arg(long, hide = true)]
    pub(crate) in_process: bool,
    /// The server's command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// How long an idle server stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idle {
    /// As long as its host.
    Off,
    /// This long.
    For(std::time::Duration),
}

fn idle(text: &str) -> Result<Idle, String> {
    if text == "off" {
        return Ok(Idle::Off);
    }
    wrasse_types::parse_duration(text).map(Idle::For).map_err(|error| error.to_string())
}

/// Who may use a wrapped server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WrapScope {
    /// This host alone.
    Private,
    /// Every host that wraps the same one.
    Shared,
}
