//! Why a server did not start, in words that name the cause and the cure.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use wrasse_contain::{LeaderExit, SpawnError};
use wrasse_lease::{AcquireError, Retry, StartFault, Whose};
use wrasse_store::StoreError;
use wrasse_types::{ServerName, format_duration};

use crate::ServerFault;
use crate::connection::{HandshakeFault, ListFault};
use crate::launch::Launch;
use crate::wire::BadLines;

/// How many lines of stderr a fault carries.
const STDERR_LINES: usize = 12;
/// How much of them is put into one sentence.
const STDERR_TEXT_MAX: usize = 600;

/// What went wrong, before it is put into words.
#[derive(Debug)]
pub(crate) enum Cause {
    Cancelled,
    Workspace { path: PathBuf, source: std::io::Error },
    Spawn(SpawnError),
    Ledger(StoreError),
    Pipes,
    Exited(LeaderExit),
    TimedOut(Duration),
    Handshake(HandshakeFault),
    List(ListFault),
}

/// What the server itself said, for the words.
pub(crate) struct Evidence<'a> {
    pub(crate) launch: &'a Launch,
    pub(crate) ours: &'a HashMap<OsString, OsString>,
    pub(crate) stderr: Vec<String>,
    pub(crate) bad: BadLines,
}

/// Puts a cause into words.
pub(crate) fn start_fault(cause: &Cause, evidence: &Evidence<'_>) -> StartFault {
    if matches!(cause, Cause::Cancelled) {
        return StartFault::cancelled();
    }
    let (whose, retry) = judge(cause);
    let mut message = sentence(cause, evidence.launch);
    let mut help = cure(cause, evidence.launch);
    if let Some(first) = &evidence.bad.first {
        message.push_str(&format!("; printed text that is not JSON-RPC on stdout: {first:?}"));
    }
    let words = evidence.stderr.iter().map(String::as_str).chain(evidence.bad.first.as_deref());
    let lacks = evidence.launch.environment.lacks(evidence.ours, words);
    if !lacks.is_empty() {
        let (server, names) = (&evidence.launch.server, lacks.join(", "));
        message.push_str(&format!(
            "; it names {names}, which Wrasse has and the server was not given"
        ));
        help =
            Some(format!("add {names} to mcp.inheritEnv, or set it in mcp.servers.{server}.env"));
    }
    let skip = evidence.stderr.len().saturating_sub(STDERR_LINES);
    let stderr_tail = evidence.stderr[skip..].to_vec();
    StartFault { whose, retry, message, stderr_tail, help }
}

fn judge(cause: &Cause) -> (Whose, Retry) {
    match cause {
        Cause::Cancelled => (Whose::Caller, Retry::MayHelp),
        Cause::Ledger(_) | Cause::Pipes => (Whose::Us, Retry::MayHelp),
        Cause::Spawn(error) => match error {
            SpawnError::Guardian { .. } | SpawnError::GuardianLost | SpawnError::Ending => {
                (Whose::Us, Retry::MayHelp)
            }
            SpawnError::Helpless { .. } | SpawnError::Version { .. } => {
                (Whose::Us, Retry::NeedsPerson)
            }
            SpawnError::BadSpec { .. } => (Whose::Server, Retry::NeedsPerson),
            // An attempt costs a look at a few directories, and whoever installs the program should not
            // have to tell us.
            SpawnError::NotFound { .. }
            | SpawnError::NotExecutable { .. }
            | SpawnError::BadCwd { .. }
            | SpawnError::Exec { .. } => (Whose::Server, Retry::MayHelp),
        },
        Cause::Handshake(HandshakeFault::Version(_)) => (Whose::Server, Retry::NeedsPerson),
        Cause::Workspace { .. }
        | Cause::Exited(_)
        | Cause::TimedOut(_)
        | Cause::Handshake(_)
        | Cause::List(_) => (Whose::Server, Retry::MayHelp),
    }
}

fn sentence(cause: &Cause, launch: &Launch) -> String {
    match cause {
        Cause::Cancelled => "the start was cancelled".to_owned(),
        Cause::Workspace { path, source } => {
            format!("its working directory {} cannot be made: {source}", path.display())
        }
        Cause::Spawn(SpawnError::NotFound { command, path }) => {
            let command = command.to_string_lossy();
            format!("command {command:?} not found in PATH ({})", path.to_string_lossy())
        }
        Cause::Spawn(error) => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
        Cause::Ledger(error) => format!("its start could not be recorded: {error}"),
        Cause::Pipes => "its pipes were not handed over".to_owned(),
        Cause::Exited(exit) => format!("{} before it was ready", exit_text(*exit)),
        Cause::TimedOut(limit) => {
            format!("did not answer initialize within {}", limit_text(*limit))
        }
        Cause::Handshake(fault) => format!("handshake failed: {fault}"),
        Cause::List(fault) => match launch.package {
            _ if matches!(fault, ListFault::Closed) => format!("listing its tools failed: {fault}"),
            Some(_) | None => fault.to_string(),
        },
    }
}

fn cure(cause: &Cause, launch: &Launch) -> Option<String> {
    let server = &launch.server;
    match cause {
        Cause::Spawn(SpawnError::NotFound { command, .. }) => {
            Some(install_help(&command.to_string_lossy()))
        }
        Cause::Spawn(SpawnError::NotExecutable { program } | SpawnError::Exec { program, .. }) => {
            Some(format!("check the file: ls -l {}", program.display()))
        }
        Cause::Spawn(SpawnError::BadCwd { .. }) => Some(format!(
            "make the directory, or change mcp.servers.{server}.cwd ({})",
            launch.origin
        )),
        Cause::TimedOut(_) => Some(format!(
            "raise mcp.servers.{server}.connectionTimeoutMs, or try it: wrasse mcp probe {server}"
        )),
        Cause::Exited(_) | Cause::Handshake(_) | Cause::List(_) => {
            Some(format!("try it by hand: {}", launch.shown))
        }
        Cause::Workspace { path, .. } => Some(format!("make it: mkdir -p {}", path.display())),
        Cause::Spawn(_) | Cause::Cancelled | Cause::Ledger(_) | Cause::Pipes => None,
    }
}

fn install_help(command: &str) -> String {
    let name = command.rsplit('/').next().unwrap_or(command);
    let what = match name {
        "npx" | "npm" | "node" => "install Node.js ≥ 18",
        "pnpm" | "yarn" => "install it with corepack enable",
        "bunx" | "bun" => "install Bun",
        "uvx" | "uv" => "install uv",
        "python" | "python3" | "pipx" => "install Python 3",
        "docker" => "install Docker",
        "deno" => "install Deno",
        _ => "install it",
    };
    format!("{what}, or give an absolute path")
}

/// How a leader ended, as "exited with code 1".
pub(crate) fn exit_text(exit: LeaderExit) -> String {
    match exit {
        LeaderExit::Code(code) => format!("exited with code {code}"),
        LeaderExit::Signal(signal) => match signal_name(signal) {
            Some(name) => format!("was ended by {name}"),
            None => format!("was ended by signal {signal}"),
        },
        LeaderExit::OverLimit(excess) => format!("was ended because it {excess}"),
        LeaderExit::GuardianLost => "was ended because its guardian died".to_owned(),
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return None,
    })
}

/// The fault of a server, for people: the cause with the last words of the server.
pub(crate) fn of_start(server: &ServerName, fault: &StartFault) -> ServerFault {
    ServerFault {
        server: server.clone(),
        message: with_stderr(&fault.message, &fault.stderr_tail),
        help: fault.help.clone(),
    }
}

/// The same for a refused claim.
pub(crate) fn of_acquire(server: &ServerName, error: &AcquireError) -> ServerFault {
    let message = match error {
        AcquireError::StartFailed(fault) => return of_start(server, fault),
        AcquireError::BackingOff { retry_in, last, .. } => with_stderr(
            &format!("{}; next try in {}", last.message, format_duration(rounded(*retry_in))),
            &last.stderr_tail,
        ),
        AcquireError::Broken { fault, .. } => with_stderr(
            &format!(
                "{}; not tried again until its definition changes or it is restarted",
                fault.message
            ),
            &fault.stderr_tail,
        ),
        AcquireError::Cancelled
        | AcquireError::ShuttingDown
        | AcquireError::Stopped { .. }
        | AcquireError::Ledger { .. }
        | AcquireError::Internal(_) => error.to_string(),
    };
    let help = match error {
        AcquireError::Broken { .. } => {
            error.help().or_else(|| Some(format!("wrasse mcp restart {server}")))
        }
        _ => error.help(),
    };
    ServerFault { server: server.clone(), message, help }
}

/// A limit as it was set: half a second more is not rounded away, nor is one made of a wait that took a little longer.
pub(crate) fn limit_text(limit: Duration) -> String {
    let tenths = limit.as_millis() / 100;
    if (10..600).contains(&tenths) && !tenths.is_multiple_of(10) {
        return format!("{}.{}s", tenths / 10, tenths % 10);
    }
    format_duration(limit)
}

/// Whole seconds, at least one: nobody plans by milliseconds.
fn rounded(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs().max(1))
}

fn with_stderr(message: &str, tail: &[String]) -> String {
    if tail.is_empty() {
        return message.to_owned();
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut len = 0;
    for line in tail.iter().rev() {
        len += line.len() + 3;
        if len > STDERR_TEXT_MAX && !kept.is_empty() {
            break;
        }
        kept.push(&line[..line.floor_char_boundary(STDERR_TEXT_MAX)]);
    }
    kept.reverse();
    format!("{message}; its last words: {}", kept.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_said_as_they_were_set() {
        for (ms, want) in [
            (700, "700ms"),
            (1500, "1.5s"),
            (1504, "1.5s"),
            (2000, "2s"),
            (30_000, "30s"),
            (90_500, "1m 30s"),
        ] {
            assert_eq!(limit_text(Duration::from_millis(ms)), want);
        }
    }
}
