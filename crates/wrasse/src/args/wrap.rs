//! The arguments of `wrasse wrap`.

use clap::Args;

/// `wrasse wrap …`
#[derive(Debug, Clone, Args)]
pub(crate) struct WrapArgs {
    /// The server's command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<std::ffi::OsString>,
}
