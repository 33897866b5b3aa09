//! `wrasse mcp …`

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::args::{Common, McpCommand};
use crate::client::Client;
use crate::command::{ask, items, show};
use crate::exit::{CommandResult, Exit};
use crate::output::line;
use crate::render;

/// A probe may have to install a package first.
const PROBE_LIMIT: Duration = Duration::from_secs(900);

pub(crate) async fn run(common: &Common, what: McpCommand) -> CommandResult {
    match what {
        McpCommand::List => ask(common, "mcp.list", json!({}), render::servers).await,
        McpCommand::Show { name } => {
            ask(common, "mcp.show", json!({ "name": name }), render::fields).await
        }
        McpCommand::Status => ask(common, "mcp.status", json!({}), render::servers).await,
        McpCommand::Tools { name } => {
            ask(common, "mcp.tools", json!({ "name": name }), render::tools).await
        }
        McpCommand::Probe { name } => probe(common, name).await,
        McpCommand::Stop { target } => {
            ask(common, "mcp.stop", json!({ "target": target }), render::ended).await
        }
        McpCommand::Restart { target } => {
            ask(common, "mcp.restart", json!({ "target": target }), |answer| {
                render::ended(answer);
                line("the next call starts it anew");
            })
            .await
        }
    }
}

async fn probe(common: &Common, name: Option<String>) -> CommandResult {
    let answer = Client::find(common)?
        .call_within("mcp.probe", json!({ "name": name }), PROBE_LIMIT)
        .await?;
    show(common, &answer, render::probe);
    let failed = items(&answer["servers"]).iter().any(|server| server["ok"] == false);
    Ok(if failed { Exit::Failed.into() } else { ExitCode::SUCCESS })
}
