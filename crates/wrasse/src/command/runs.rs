//! `wrasse runs …`

use serde_json::json;

use crate::args::{Common, RunsCommand};
use crate::command::ask;
use crate::exit::CommandResult;
use crate::output::line;
use crate::render;

pub(crate) async fn run(common: &Common, what: RunsCommand) -> CommandResult {
    match what {
        RunsCommand::List { active, limit } => {
            let params = json!({ "active": active, "limit": limit });
            ask(common, "runs.list", params, render::runs).await
        }
        RunsCommand::Show { id } => {
            ask(common, "runs.show", json!({ "runId": id }), render::fields).await
        }
        RunsCommand::Cancel { id } => {
            ask(common, "runs.cancel", json!({ "runId": id }), |_| {
                line(format_args!("run {id} has ended, with its children and what it held"));
            })
            .await
        }
    }
}
