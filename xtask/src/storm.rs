//! `cargo xtask storm`: parts of a busy Wrasse are SIGKILLed at random instants, and nothing may be left.

use std::path::Path;

use anyhow::{Context, bail};

use crate::shell::{cargo, run as start};

/// What to play; the program `wrasse-storm` knows more options, for finding a fault.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Play rounds up to this number; where they are many, they must have met every class, server and stage
    #[arg(long, default_value_t = 1000)]
    rounds: u64,
    /// Begin with this round: goes on where an earlier storm with the same seed stopped
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// With a round's number it determines the round
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Rounds side by side
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// As an ordinary user without any privilege (when started as root)
    #[arg(long)]
    as_nobody: bool,
    /// With the three real servers instead of fixtures
    #[arg(long)]
    real_servers: bool,
    /// Passed on to wrasse-storm: --only CLASS, --servers NAMES, --guard WAY, --layers LIST, --minutes N
    #[arg(last = true)]
    more: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    start(&mut cargo(&["build", "--locked", "--bins", "-p", "wrasse", "-p", "wrasse-testkit"]))?;
    let folder = std::env::current_dir()?.join("target/storm");
    std::fs::create_dir_all(&folder)?;
    let record = folder.join(format!("seed-{}.jsonl", args.seed));
    let mut storm =
        cargo(&["run", "--locked", "-q", "-p", "wrasse-testkit", "--bin", "wrasse-storm", "--"]);
    for (name, value) in [
        ("--rounds", args.rounds.to_string()),
        ("--from", args.from.to_string()),
        ("--seed", args.seed.to_string()),
        ("--jobs", args.jobs.to_string()),
        ("--record", record.display().to_string()),
    ] {
        storm.args([name, &value]);
    }
    if args.real_servers {
        let modules = Path::new("tests/servers/node_modules");
        if !modules.is_dir() {
            bail!("tests/servers is not installed: cargo xtask test does so");
        }
        storm.arg("--real-servers").arg(modules.canonicalize()?);
    }
    if args.as_nobody {
        storm.arg("--as-nobody");
    }
    start(storm.args(&args.more))
        .with_context(|| format!("the rounds are recorded in {}", record.display()))
}
