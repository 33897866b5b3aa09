//! `wrasse import`: another host's server entries through Wrasse, and back.

use crate::args::{Common, ImportArgs};
use crate::exit::{CommandResult, Exit, ExpectedError};

pub(crate) fn run(_common: &Common, args: &ImportArgs) -> CommandResult {
    Err(ExpectedError::new(Exit::Internal, format!("not built yet: {args:?}")))
}
