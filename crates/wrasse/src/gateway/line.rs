//! The line each ended run prints.

use std::io::Write;

use wrasse_gateway::RunReport;

use crate::gateway::compose::RunLines;

/// Prints the line. A closed stream loses it and nothing else.
pub(crate) fn print(report: &RunReport, to: RunLines) {
    let text = format!("{report}\n");
    match to {
        RunLines::Stdout => drop(std::io::stdout().write_all(text.as_bytes())),
        RunLines::Stderr => drop(std::io::stderr().write_all(text.as_bytes())),
    }
}
