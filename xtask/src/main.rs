//! Checks, tests, storms, benches and builds: `cargo xtask ci|test|storm|soak|layers|bench|dist`.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a development tool that starts cargo and talks to a terminal"
)]

mod bench;
mod ci;
mod deps;
mod dist;
mod layers;
mod shell;
mod sizes;
mod soak;
mod storm;
mod test;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Checks, tests, benches and builds of Wrasse")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Everything a change must pass: fmt, clippy, layers, sizes, docs, licences, tests
    Ci,
    /// Install what the tests need and run all of them
    Test {
        /// Only tests whose name contains this
        filter: Option<String>,
        /// The suite with real OpenClaw gateways instead: 2 GB from npm, half an hour
        #[arg(long)]
        hosts: bool,
    },
    /// Check that arrows between crates point down only
    Layers,
    /// Check file sizes
    Sizes,
    /// Check licences and duplicate versions of dependencies
    Deps,
    /// Print measured rows beside their budgets
    Bench {
        /// contain: trees and guardians; idle: the gateway at rest; wrap: shims for other hosts
        what: bench::What,
    },
    /// SIGKILL parts of a busy Wrasse at random instants, and look for what is left and who was hit
    Storm(storm::Args),
    /// Start and end servers a thousand times, and look whether the gateway holds what it held before
    Soak(soak::Args),
    /// Build the release binary, static where the musl target is installed
    Dist,
}

fn main() -> anyhow::Result<()> {
    std::env::set_current_dir(shell::root())?;
    match Cli::parse().task {
        Task::Ci => ci::run(),
        Task::Test { filter, hosts: true } => test::hosts(filter.as_deref()),
        Task::Test { filter, hosts: false } => test::run(filter.as_deref()),
        Task::Layers => layers::check(),
        Task::Sizes => sizes::check(),
        Task::Deps => deps::check(),
        Task::Bench { what } => bench::run(what),
        Task::Storm(args) => storm::run(&args),
        Task::Soak(args) => soak::run(&args),
        Task::Dist => dist::run(),
    }
}
