//! `wrasse models …`

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::args::{Common, ModelsCommand};
use crate::client::Client;
use crate::command::{ask, show, text};
use crate::exit::{CommandResult, Exit};
use crate::output::line;
use crate::render;

pub(crate) async fn run(common: &Common, what: ModelsCommand) -> CommandResult {
    match what {
        ModelsCommand::List => ask(common, "models.list", json!({}), render::models).await,
        ModelsCommand::Test { reference } => {
            let answer = Client::find(common)?
                .call_within(
                    "models.test",
                    json!({ "reference": reference }),
                    Duration::from_secs(300),
                )
                .await?;
            show(common, &answer, |answer| {
                let verdict = if answer["ok"] == true { "ok" } else { "FAIL" };
                let said = answer.get("error").or(answer.get("text")).unwrap_or(&Value::Null);
                line(format_args!("{verdict}  {reference}  {}", text(said)));
            });
            Ok(if answer["ok"] == true { ExitCode::SUCCESS } else { Exit::Failed.into() })
        }
    }
}
