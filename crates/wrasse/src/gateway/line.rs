//! The line each ended run prints.

use std::io::Write;
use std::sync::Once;

use wrasse_gateway::RunReport;

use crate::gateway::compose::RunLines;

/// Prints the line. A stream that takes no more loses it and nothing else: the run is on record. That is said once.
pub(crate) fn print(report: &RunReport, to: RunLines) {
    static SAID: Once = Once::new();
    let text = format!("{report}\n");
    let written = match to {
        RunLines::Stdout => std::io::stdout().write_all(text.as_bytes()),
        RunLines::Stderr => std::io::stderr().write_all(text.as_bytes()),
    };
    if let Err(error) = written {
        SAID.call_once(|| {
            tracing::warn!(
                "the lines of ended runs cannot be written: {error}; see wrasse runs list"
            );
        });
    }
}
