//! `cargo xtask soak`: servers are started and ended a thousand times, and the gateway must hold what it held before.

use crate::shell::{cargo, run as start};

/// What to play.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Cycles of each part, after a warm-up
    #[arg(long, default_value_t = 1000)]
    cycles: u64,
    /// Cycles side by side
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// One part alone: a gateway, or one that is PID 1 of a namespace
    #[arg(long, value_parser = ["gateway", "pid-one"])]
    only: Option<String>,
    /// As an ordinary user without any privilege (when started as root)
    #[arg(long)]
    as_nobody: bool,
    /// Print a JSON line for each part
    #[arg(long)]
    json: bool,
    /// Passed on to wrasse-soak: --servers NAMES plays these fixtures alone, to find what grows
    #[arg(last = true)]
    more: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    start(&mut cargo(&["build", "--locked", "--bins", "-p", "wrasse", "-p", "wrasse-testkit"]))?;
    let mut soak =
        cargo(&["run", "--locked", "-q", "-p", "wrasse-testkit", "--bin", "wrasse-soak", "--"]);
    soak.args(["--cycles", &args.cycles.to_string(), "--jobs", &args.jobs.to_string()]);
    if let Some(only) = &args.only {
        soak.args(["--only", only]);
    }
    if args.as_nobody {
        soak.arg("--as-nobody");
    }
    if args.json {
        soak.arg("--json");
    }
    start(soak.args(&args.more))
}
