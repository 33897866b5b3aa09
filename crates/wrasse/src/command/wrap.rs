//! `wrasse wrap`: one MCP server for another host.
//!
//! The shim lives as long as the host, so it should be small: where `wrasse-shim` lies beside this executable, this
//! process becomes that. It has the same code inside, and is asked for by version; where it is missing or another
//! one, the work is done here.

use std::path::PathBuf;

use wrasse_wrap::{Manner, Scope, WrapOptions};

use crate::args::{Common, Idle, WrapArgs, WrapScope};
use crate::exit::{CommandResult, Exit, ExpectedError};
use crate::place;

pub(crate) fn run(common: &Common, args: &WrapArgs) -> CommandResult {
    let options = options(common, args)?;
    if !args.in_process
        && let Some(shim) = shim()
    {
        // Comes back only if it could not be executed, and then there is this executable.
        drop(wrasse_wrap::become_shim(&shim, &options));
    }
    Ok(wrasse_wrap::run(options))
}

fn options(common: &Common, args: &WrapArgs) -> Result<WrapOptions, ExpectedError> {
    let name = args.name.clone().unwrap_or_else(|| WrapOptions::name_of(&args.command));
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(ExpectedError::new(Exit::Usage, "the server has no name")
            .help("wrasse wrap --name NAME -- CMD …"));
    }
    Ok(WrapOptions {
        name,
        idle: match args.idle {
            Idle::Off => None,
            Idle::For(duration) => Some(duration),
        },
        scope: match args.scope {
            WrapScope::Private => Scope::Private,
            WrapScope::Shared => Scope::Shared,
        },
        manner: if args.transparent { Manner::Transparent } else { Manner::Lazy },
        state_dir: place::wrap_state_dir(common),
        command: args.command.clone(),
    })
}

/// The small executable beside this one.
fn shim() -> Option<PathBuf> {
    let shim = std::env::current_exe().ok()?.with_file_name(wrasse_wrap::SHIM_NAME);
    shim.is_file().then_some(shim)
}
