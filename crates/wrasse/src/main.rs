//! The `wrasse` program: argv, exit codes, composition, signals.
//!
//! The first thing it does is to look whether it was re-executed as the guard program; everything else comes after.

mod args;
mod client;
mod command;
mod exit;
mod gateway;
mod leftovers;
mod logging;
mod output;
mod place;
mod render;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command, GatewayCommand};
use crate::command::ps::Memory;
use crate::exit::{CommandResult, Exit, ExpectedError};
use crate::render::Detail;

fn main() -> ExitCode {
    // Where `containment.guard` is `self`, this same executable is the guard program: argv says so.
    wrasse_guard::dispatch();
    if let Some(code) = wrasse_wrap::dispatch() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match run(cli) {
        Ok(code) => output::leave(code),
        Err(error) => {
            error.print();
            error.exit.into()
        }
    }
}

/// Prints help on stdout with code 0, a usage fault on stderr with 64.
fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        drop(error.print());
        return Exit::Usage.into();
    }
    output::note(error.print());
    output::leave(ExitCode::SUCCESS)
}

fn run(cli: Cli) -> CommandResult {
    let common = cli.common;
    match cli.command {
        Command::Gateway(GatewayCommand::Run { port, .. }) => gateway::run(&common, port),
        Command::Agent(args) if args.local => gateway::local(&common, &args),
        Command::Config(what) => command::config::run(&common, &what),
        Command::Completions { shell } => command::completions(shell),
        Command::Doctor(args) => match &args.host {
            Some(host) => command::doctor_host::run(&common, host),
            None => command::doctor::run(&common, &args),
        },
        Command::Wrap(args) => command::wrap::run(&common, &args),
        Command::Import(args) => command::import::run(&common, &args),
        Command::Reap(args) if args.foreign => command::foreign::reap(&common, &args),
        Command::Why { what } => command::why::run(&common, &what),
        other => online(async move {
            match other {
                Command::Gateway(what) => command::gateway::run(&common, what).await,
                Command::Status => command::gateway::status(&common).await,
                Command::Agent(args) => command::agent::run(&common, &args).await,
                Command::Sessions(what) => command::sessions::run(&common, what).await,
                Command::Runs(what) => command::runs::run(&common, what).await,
                Command::Cron(what) => command::cron::run(&common, what).await,
                Command::Mcp(what) => command::mcp::run(&common, what).await,
                Command::Ps { tree, pss } => {
                    let tree = if tree { Detail::Tree } else { Detail::Rows };
                    let memory = if pss { Memory::Proportional } else { Memory::Counted };
                    command::ps::run(&common, tree, memory).await
                }
                Command::Reap(args) => command::reap::run(&common, &args).await,
                Command::Models(what) => command::models::run(&common, what).await,
                Command::Config(_)
                | Command::Completions { .. }
                | Command::Doctor(_)
                | Command::Why { .. }
                | Command::Wrap(_)
                | Command::Import(_) => {
                    unreachable!("handled above, without a runtime")
                }
            }
        }),
    }
}

/// Runs a command that asks the gateway, on this one thread.
fn online(work: impl Future<Output = CommandResult>) -> CommandResult {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ExpectedError::new(Exit::Internal, format!("no runtime: {error}")))?
        .block_on(work)
}
