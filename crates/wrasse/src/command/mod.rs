//! The commands that ask a running gateway, and those that need none.

pub(crate) mod agent;
pub(crate) mod config;
pub(crate) mod cron;
pub(crate) mod doctor;
pub(crate) mod doctor_host;
pub(crate) mod foreign;
pub(crate) mod gateway;
pub(crate) mod import;
pub(crate) mod leftovers;
pub(crate) mod mcp;
pub(crate) mod models;
pub(crate) mod ps;
pub(crate) mod reap;
pub(crate) mod runs;
pub(crate) mod sessions;
pub(crate) mod shims;
pub(crate) mod why;
pub(crate) mod wrap;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::CommandFactory;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;

use crate::args::{Cli, Common};
use crate::client::Client;
use crate::exit::{CommandResult, Exit, ExpectedError};
use crate::output;

/// Prints a completion script.
pub(crate) fn completions(shell: clap_complete::Shell) -> CommandResult {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "wrasse", &mut script);
    output::line(String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}

/// Calls one method and prints its answer: as JSON if asked, else through `render`.
pub(crate) async fn ask(
    common: &Common,
    method: &str,
    params: Value,
    render: impl FnOnce(&Value),
) -> CommandResult {
    let answer = Client::find(common)?.call(method, params).await?;
    show(common, &answer, render);
    Ok(ExitCode::SUCCESS)
}

/// Prints an answer: as JSON if asked, else through `render`.
pub(crate) fn show(common: &Common, answer: &Value, render: impl FnOnce(&Value)) {
    if common.json {
        output::json(answer);
    } else {
        render(answer);
    }
}

/// A text field for a table; `-` when there is none.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The items of a list field.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn look_until_gone(pid: Pid, limit: Duration) -> Result<(), ExpectedError> {
    const LOOK_EVERY: Duration = Duration::from_millis(20);
    let end = Instant::now() + limit;
    while rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH) {
        if Instant::now() >= end {
            return Err(still_there(pid, limit));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn still_there(pid: Pid, limit: Duration) -> ExpectedError {
    let text = format!("process {pid} still runs after {} s", limit.as_secs());
    ExpectedError::new(Exit::TimedOut, text).help("wrasse ps   shows what it waits for")
}

/// Waits until a process has exited, through its pidfd. Blocks this thread: a command does nothing else meanwhile.
pub(crate) fn wait_gone(pid: u32, limit: Duration) -> Result<(), ExpectedError> {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let failed = |error: rustix::io::Errno| {
        ExpectedError::new(Exit::Failed, format!("cannot watch process {pid}: {error}"))
    };
    let fd = match pidfd_open(raw, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        // None to be had: look now and then.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
            return look_until_gone(raw, limit);
        }
        Err(error) => return Err(failed(error)),
    };
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap_or_default();
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(still_there(raw, limit)),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed(error)),
        }
    }
}
