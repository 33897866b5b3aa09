//! `wrasse wrap`: one MCP server for another host.

use crate::args::{Common, WrapArgs};
use crate::exit::{CommandResult, Exit, ExpectedError};

pub(crate) fn run(_common: &Common, args: &WrapArgs) -> CommandResult {
    Err(ExpectedError::new(Exit::Internal, format!("not built yet: {args:?}")))
}
