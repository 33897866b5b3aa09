//! `wrasse config check|print|schema`: needs no gateway.

use std::process::ExitCode;

use serde_json::{Value, json};
use wrasse_config::{Fault, Faults, Origin};

use crate::args::{Common, ConfigCommand};
use crate::exit::{CommandResult, Exit};
use crate::output;
use crate::place;

pub(crate) fn run(common: &Common, what: &ConfigCommand) -> CommandResult {
    match what {
        ConfigCommand::Check => check(common),
        ConfigCommand::Print { origin } => {
            let origin = if *origin && !common.json { Origin::Show } else { Origin::Hide };
            output::line(place::load(common)?.print(origin).trim_end());
            Ok(ExitCode::SUCCESS)
        }
        ConfigCommand::Schema => {
            output::json(&wrasse_config::schema());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check(common: &Common) -> CommandResult {
    if common.json
        && let Err(faults) = place::try_load(common)?
    {
        output::json(&json!({ "schema": 1, "ok": false, "faults": faults_json(&faults) }));
        return Ok(Exit::ConfigFault.into());
    }
    let loaded = place::load(common)?;
    let config = &loaded.config;
    let keys = loaded.key_report();
    if common.json {
        output::json(&json!({
            "schema": 1, "ok": true, "faults": [], "files": config.files, "compat": config.compat.name(),
            "warnings": config.warnings, "keys": keys,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    for file in &config.files {
        output::line(format_args!("ok    {}", file.display()));
    }
    output::line(format_args!("ok    defaults of OpenClaw {}", config.compat.name()));
    for warning in &config.warnings {
        output::line(format_args!("warn  {warning}"));
    }
    for (key, tools) in &keys.denied {
        output::line(format_args!(
            "warn  {key} restricts and is not implemented: {} off (acknowledge with unsafeIgnore)",
            tools.join(", ")
        ));
    }
    if !keys.unused.is_empty() {
        output::line(format_args!(
            "note  {} keys belong to features Wrasse lacks and change nothing here{}",
            keys.unused.len(),
            if common.verbose > 0 { ":" } else { " (config check -v lists them)" }
        ));
        for key in keys.unused.iter().filter(|_| common.verbose > 0) {
            output::line(format_args!("      {key}"));
        }
    }
    let counts = (config.agents.list.len(), config.mcp.servers.len(), config.cron.jobs.len());
    output::line(format_args!(
        "ok    {} agents, {} servers, {} jobs",
        counts.0, counts.1, counts.2
    ));
    Ok(ExitCode::SUCCESS)
}

/// Fields that say nothing of a fault are `null`.
fn faults_json(faults: &Faults) -> Vec<Value> {
    let said = |number: u32| (number > 0).then_some(number);
    let text = |text: String| (!text.is_empty()).then_some(text);
    let fault = |fault: &Fault| {
        json!({
            "file": text(fault.file.display().to_string()), "line": said(fault.line),
            "column": said(fault.column), "path": text(fault.path.clone()),
            "message": fault.message, "suggestion": fault.suggestion,
        })
    };
    faults.0.iter().map(fault).collect()
}
