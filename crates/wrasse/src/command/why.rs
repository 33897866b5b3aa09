//! `wrasse why X`: asks the gateway; of a process that it does not know, and without a gateway, looks for itself.

use serde_json::json;

use crate::args::Common;
use crate::command::{ask, foreign, shims};
use crate::exit::CommandResult;
use crate::{online, render};

pub(crate) fn run(common: &Common, what: &str) -> CommandResult {
    let asked = online(ask(common, "why", json!({ "what": what }), render::why));
    let Err(error) = asked else { return asked };
    let Ok(pid) = what.parse::<u32>() else { return Err(error) };
    if let Some(code) = shims::why(common, pid) {
        return Ok(code);
    }
    match foreign::why(common, pid)? {
        Some(code) => Ok(code),
        None => Err(error.help(format!(
            "ps -o ppid,lstart,args -p {pid}   no configuration of a host names it as a server"
        ))),
    }
}
