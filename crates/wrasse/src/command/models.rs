//! `wrasse models …`

use std::time::Duration;

use serde_json::json;

use crate::args::{Common, ModelsCommand};
use crate::client::Client;
use crate::command::{ask, show};
use crate::exit::CommandResult;
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
            show(common, &answer, |answer| line(format_args!("ok: {answer}")));
            Ok(std::process::ExitCode::SUCCESS)
        }
    }
}
