//! `wrasse reap`: what our own dead gateways left, and `--idle`. `--foreign` needs no runtime and is `foreign`'s.

use std::process::ExitCode;

use serde_json::json;

use crate::args::{Common, ReapArgs};
use crate::client::Client;
use crate::command::{ask, items, leftovers, text};
use crate::exit::{CommandResult, Exit, ExpectedError};
use crate::output::{json as print_json, line};
use crate::render;

pub(crate) async fn run(common: &Common, args: &ReapArgs) -> CommandResult {
    if !args.idle {
        return leftovers::run(common, args).await;
    }
    if !args.ids.is_empty() {
        return Err(ExpectedError::new(
            Exit::Usage,
            "--idle is for all that nobody holds; it takes no ID",
        )
        .help("wrasse mcp stop ID   ends one"));
    }
    idle(common).await
}

async fn idle(common: &Common) -> CommandResult {
    if common.yes {
        return ask(common, "reap", json!({ "idle": true }), render::ended).await;
    }
    let report = Client::find(common)?.call("ps", json!({})).await?;
    let unleased: Vec<_> = items(&report["instances"])
        .iter()
        .filter(|instance| items(&instance["leases"]).is_empty())
        .collect();
    if common.json {
        print_json(&json!({ "schema": 1, "would_end": unleased }));
    } else {
        for instance in &unleased {
            line(format_args!(
                "{}  {}  pid {}  {}",
                text(&instance["id"]),
                text(&instance["server"]),
                text(&instance["pid"]),
                text(&instance["ends"]["because"])
            ));
        }
        line(format_args!("{} would end; nothing was changed", unleased.len()));
        if !unleased.is_empty() {
            line("  → wrasse reap --idle --yes");
        }
    }
    Ok(if unleased.is_empty() { ExitCode::SUCCESS } else { Exit::FoundSomething.into() })
}
