//! Starting a broker that belongs to no host.
//!
//! The shim starts a process that begins a session of its own, starts the broker and exits. So the broker is not a child
//! of the shim, is in no group of the host, has no terminal, and whoever ends the host's processes by walking down from
//! it does not find the broker. It does not need them: it ends when no shim is attached.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use crate::options::WrapOptions;

/// The version of these arguments, in words that nobody types.
const FORMAT: &str = concat!("wrasse-broker-arguments/", env!("CARGO_PKG_VERSION"), "/1");
/// What a broker writes once somebody serves.
pub(super) const SERVING: &str = "serving";

/// If this process was started to be a broker, or to start one: does that, and says with which code to leave.
/// Call it before anything else.
pub fn dispatch() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != FORMAT {
        return None;
    }
    let (role, key) = (args.next()?, args.next()?.into_string().ok()?);
    let rest: Vec<OsString> = args.collect();
    let options = WrapOptions::from_args(&rest).ok()?;
    let code = match role.to_str()? {
        "start" => start(&key, &options),
        "serve" => super::serve::run(&options, &key),
        _ => return None,
    };
    Some(code)
}

#[expect(
    clippy::disallowed_methods,
    reason = "starts this very program, which contains what it starts and is nobody's to contain"
)]
fn this(role: &str, key: &str, options: &WrapOptions) -> io::Result<Command> {
    let own = std::env::current_exe().ok().filter(|own| own.is_file());
    // An executable that was replaced while we run is still ours here.
    let mut command = Command::new(own.unwrap_or_else(|| "/proc/self/exe".into()));
    command.arg(FORMAT).arg(role).arg(key).args(options.to_args());
    command.stdin(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

/// Begins a session, starts the broker in it, and leaves.
fn start(key: &str, options: &WrapOptions) -> ExitCode {
    // Fails only for the leader of a group, which a child is not unless the shim was told to make it one.
    let _ = rustix::process::setsid();
    let spawned = this("serve", key, options).and_then(|mut command| {
        command.arg0(format!("wrasse-broker {}", options.name)).process_group(0).spawn()
    });
    match spawned {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Starts a broker for a key and waits until it, or another, serves.
///
/// # Errors
/// A sentence.
pub(super) async fn broker(key: &str, cwd: &Path, options: &WrapOptions) -> Result<(), String> {
    let failed = |error: io::Error| format!("no broker can be started: {error}");
    let mut first = this("start", key, options).map_err(failed)?;
    let mut child = first.current_dir(cwd).stdout(Stdio::piped()).spawn().map_err(failed)?;
    // It starts one process and leaves: this takes no longer than starting it did.
    let status = child.wait().map_err(failed)?;
    let stdout = child.stdout.take().map(std::os::fd::OwnedFd::from);
    let Some(stdout) = stdout.filter(|_| status.success()) else {
        return Err(format!("no broker can be started: {status}"));
    };
    let mut said = String::new();
    let mut pipe = pipe::Receiver::from_owned_fd(stdout).map_err(failed)?;
    pipe.read_to_string(&mut said).await.map_err(failed)?;
    match said.trim() {
        SERVING => Ok(()),
        "" => Err("the broker ended before it served".to_owned()),
        fault => Err(fault.to_owned()),
    }
}
