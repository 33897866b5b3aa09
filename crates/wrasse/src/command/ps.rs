//! `wrasse ps`

use std::process::ExitCode;

use serde_json::json;
use wrasse_types::wire::PsReport;

use crate::args::Common;
use crate::client::Client;
use crate::exit::{CommandResult, Exit, ExpectedError};
use crate::output;
use crate::render;

/// How memory is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// As the gateway counts it every second.
    Counted,
    /// Shared pages once, too.
    Proportional,
}

pub(crate) async fn run(common: &Common, detail: render::Detail, memory: Memory) -> CommandResult {
    let params = match memory {
        Memory::Counted => json!({}),
        Memory::Proportional => json!({ "pss": true }),
    };
    let answer = Client::find(common)?.call("ps", params).await?;
    if common.json {
        output::json(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let report: PsReport = serde_json::from_value(answer).map_err(|error| {
        ExpectedError::new(Exit::Internal, format!("the report cannot be read: {error}"))
    })?;
    render::ps(&report, detail);
    // Other programs' records are read with a runtime of their own, which cannot be started inside this one.
    if let Ok(Some(text)) = std::thread::spawn(super::foreign::footer).join() {
        output::line(text);
    }
    Ok(ExitCode::SUCCESS)
}
