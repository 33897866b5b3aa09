//! `wrasse ps`

use std::process::ExitCode;

use serde_json::json;
use wrasse_types::wire::PsReport;
use wrasse_wrap::ledger::ShimRow;

use super::shims;
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
    let shims = shims::live(common);
    let asked = match Client::find(common) {
        Ok(client) => client.call("ps", params).await,
        Err(error) => Err(error),
    };
    let mut answer = match asked {
        Ok(answer) => answer,
        Err(error) if error.exit == Exit::Unreachable && !shims.is_empty() => {
            return Ok(without_gateway(common, &shims, &error));
        }
        Err(error) => return Err(error),
    };
    if common.json {
        answer["shims"] = shims::report(&shims);
        output::json(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let report: PsReport = serde_json::from_value(answer).map_err(|error| {
        ExpectedError::new(Exit::Internal, format!("the report cannot be read: {error}"))
    })?;
    render::ps(&report, detail);
    if !shims.is_empty() {
        output::line("");
        shims::show(&shims);
    }
    // Other programs' records are read with a runtime of their own, which cannot be started inside this one.
    if let Ok(Some(text)) = std::thread::spawn(super::foreign::footer).join() {
        output::line(text);
    }
    Ok(ExitCode::SUCCESS)
}

/// Who only wraps has no gateway, and servers all the same.
fn without_gateway(common: &Common, shims: &[ShimRow], error: &ExpectedError) -> ExitCode {
    if common.json {
        let shims = shims::report(shims);
        output::json(
            &json!({ "schema": 1, "gateway": null, "instances": [], "leftovers": [], "shims": shims }),
        );
    } else {
        output::line(error);
        shims::show(shims);
    }
    ExitCode::SUCCESS
}
