//! `wrasse reap --idle`

use std::process::ExitCode;

use serde_json::json;

use crate::args::{Common, ReapArgs};
use crate::client::Client;
use crate::command::{ask, items, text};
use crate::exit::{CommandResult, Exit, ExpectedError};
use crate::output::{json as print_json, line};
use crate::render;

pub(crate) async fn run(common: &Common, args: &ReapArgs) -> CommandResult {
    if !args.idle {
        return Err(ExpectedError::new(Exit::Usage, "say what to reap")
            .help("wrasse reap --idle         lists the servers nobody holds")
            .help("wrasse reap --idle --yes   ends them"));
    }
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
