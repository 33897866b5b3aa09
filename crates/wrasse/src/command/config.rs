//! `wrasse config check|print|schema`: needs no gateway.

use std::process::ExitCode;

use serde_json::json;
use wrasse_config::Origin;

use crate::args::{Common, ConfigCommand};
use crate::exit::CommandResult;
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
    let loaded = place::load(common)?;
    let config = &loaded.config;
    let keys = loaded.key_report();
    if common.json {
        output::json(&json!({
            "schema": 1, "ok": true, "files": config.files, "compat": config.compat.name(),
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
