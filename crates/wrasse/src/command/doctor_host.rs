//! `wrasse doctor --host HOST`: what in another host's configuration makes it leak.

use std::process::ExitCode;

use serde_json::json;
use wrasse_hosts::foreign::checkup;
use wrasse_hosts::foreign::openclaw::Weight;
use wrasse_hosts::import::Host;

use crate::args::Common;
use crate::command::foreign;
use crate::exit::{CommandResult, Exit, ExpectedError};
use crate::output;

pub(crate) fn run(common: &Common, name: &str) -> CommandResult {
    let names = || Host::ALL.map(Host::name).join(", ");
    let host = Host::parse(name).ok_or_else(|| {
        ExpectedError::new(Exit::Usage, format!("unknown host {name:?}"))
            .help(format!("wrasse doctor --host HOST   with one of: {}", names()))
    })?;
    let options = foreign::everything();
    let checkup = checkup(host, &options).map_err(|error| {
        ExpectedError::new(Exit::ConfigFault, error.to_string())
            .help(format!("wrasse import {name}   shows which files are looked for"))
    })?;
    let count =
        |weight: Weight| checkup.findings.iter().filter(|finding| finding.weight == weight).count();
    let (faults, warnings) = (count(Weight::Fail), count(Weight::Warn));
    if common.json {
        let findings: Vec<_> = checkup
            .findings
            .iter()
            .map(|finding| json!({ "grade": finding.weight, "subject": finding.subject, "text": finding.text }))
            .collect();
        output::json(&json!({
            "schema": 1, "host": host.name(), "title": checkup.title, "faults": faults, "warnings": warnings,
            "findings": findings,
        }));
    } else {
        output::line(&checkup.title);
        for finding in &checkup.findings {
            let grade = match finding.weight {
                Weight::Ok => "ok",
                Weight::Note => "note",
                Weight::Warn => "warn",
                Weight::Fail => "FAIL",
            };
            output::line(format_args!("{grade:<5} {:<11} {}", finding.subject, finding.text));
        }
        output::line(format_args!("{faults} faults, {warnings} warnings"));
        if faults + warnings > 0 {
            output::line(format_args!(
                "  → wrasse reap --foreign            what it has left behind so far"
            ));
            output::line(format_args!(
                "  → wrasse import {name} --wrap      ends all of it, with any version"
            ));
        }
    }
    Ok(if faults > 0 { Exit::Failed.into() } else { ExitCode::SUCCESS })
}
