//! `cargo xtask bench`: measured rows beside their budgets.

use crate::shell::{cargo, run as start};

/// What to measure.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum What {
    /// Trees ended by force, guardians' memory, time added to a spawn.
    Contain,
    /// The gateway at rest.
    Idle,
}

pub(crate) fn run(what: What) -> anyhow::Result<()> {
    match what {
        What::Contain => {
            start(&mut cargo(&["bench", "--locked", "-p", "wrasse-contain", "--bench", "contain"]))
        }
        What::Idle => {
            start(&mut cargo(&["build", "--release", "--locked", "-p", "wrasse"]))?;
            start(&mut cargo(&["bench", "--locked", "-p", "wrasse", "--bench", "idle"]))
        }
    }
}
