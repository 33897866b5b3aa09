//! `wrasse ps`

use std::process::ExitCode;

use serde_json::json;
use wrasse_types::wire::PsReport;

use crate::args::Common;
use crate::client::Client;
use crate::exit::{CommandResult, Exit, ExpectedError};
use crate::output;
use crate::render;

pub(crate) async fn run(common: &Common, tree: bool) -> CommandResult {
    let answer = Client::find(common)?.call("ps", json!({})).await?;
    if common.json {
        output::json(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let report: PsReport = serde_json::from_value(answer).map_err(|error| {
        ExpectedError::new(Exit::Internal, format!("the report cannot be read: {error}"))
    })?;
    let detail = if tree { render::Detail::Tree } else { render::Detail::Rows };
    render::ps(&report, detail);
    Ok(ExitCode::SUCCESS)
}
