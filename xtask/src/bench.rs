//! `cargo xtask bench`: measured rows beside their budgets.

use crate::shell::{cargo, run as start};

/// What to measure.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum What {
    /// Trees ended by force, guardians' memory, time added to a spawn.
    Contain,
    /// The gateway at rest.
    Idle,
    /// Shims for other hosts, and servers behind them.
    Wrap,
}

pub(crate) fn run(what: What) -> anyhow::Result<()> {
    // For its benches cargo builds the program itself, optimised, beside them: the one that is measured.
    let (package, bench) = match what {
        What::Contain => ("wrasse-contain", "contain"),
        What::Idle => ("wrasse", "idle"),
        What::Wrap => ("wrasse", "wrap"),
    };
    start(&mut cargo(&["bench", "--locked", "-p", package, "--bench", bench]))
}
