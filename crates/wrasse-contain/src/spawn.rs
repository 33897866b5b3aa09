//! Starts guardians and hands them their specs.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::Interest;
use wrasse_guard::protocol::{
    GUARDIAN_NAME, GUARDIAN_ROLE, Malformed, Order, SPEC_CHUNK_MAX, SPEC_FDS,
};
use wrasse_guard::{Limits, Spec};

use crate::guardian::{Guardian, Sent};
use crate::image::Program;
use crate::registry::Registry;
use crate::{ProcessIdentity, SpawnError, process, readiness};

/// How long a guard program may take to end when it is given nothing to do; on a loaded machine this is long.
const PROBE_WITHIN: Duration = Duration::from_secs(20);
/// How long a guardian may take to read its whole spec.
const SPEC_WITHIN: Duration = Duration::from_secs(10);

/// A guardian's command: nothing of ours is inherited but the control socket as its stdin, and nothing that
/// is secret stands on its command line.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the crate that starts processes; without a pre_exec hook this is posix_spawn"
)]
fn command(program: &Program, name: &str, socket: OwnedFd) -> Command {
    let mut argv0 = OsString::from(format!("{GUARDIAN_NAME} "));
    argv0.push(name.replace(|c: char| c.is_control(), "?"));
    let mut command = Command::new(program.path());
    command
        .arg0(argv0)
        .arg(GUARDIAN_ROLE)
        .env_clear()
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn control_socket() -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = SocketType::SEQPACKET;
    Ok(socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
}

/// Another process may hold a just written file open for writing for as long as its own fork takes.
fn spawn_retrying(command: &mut Command) -> io::Result<Child> {
    let mut attempts = 0;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && attempts < 50 => {
                attempts += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            result => return result,
        }
    }
}

/// Executes a guard program that has nothing to do, to see that it can be executed here.
pub(crate) fn probe(registry: &Registry, program: &Program) -> io::Result<()> {
    match program {
        // What our own executable does without a role is not for a probe to find out.
        Program::Itself => return Ok(()),
        Program::File(_) | Program::Memfd(_) => {}
    }
    let (ours, theirs) = control_socket()?;
    drop(ours);
    let mut command = command(program, "probe", theirs);
    let mut child = registry.spawn_bystander(|| spawn_retrying(&mut command))?;
    let ended = ends_within(&mut child, PROBE_WITHIN)?;
    if !ended {
        child.kill()?;
    }
    child.wait()?;
    if !ended { Err(io::Error::other("it does not end when its owner is gone")) } else { Ok(()) }
}

fn ends_within(child: &mut Child, time: Duration) -> io::Result<bool> {
    let number = crate::signal::pid(child.id()).ok_or(io::ErrorKind::InvalidData)?;
    if let Some(pidfd) = crate::signal::hold(number)? {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        let time = Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: 0 };
        return Ok(rustix::io::retry_on_intr(|| poll(&mut fds, Some(&time)))? > 0);
    }
    let deadline = Instant::now() + time;
    while child.try_wait()?.is_none() {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(true)
}

/// Puts a guard program that has nothing to do into a leaf, to see that it can be entered.
pub(crate) fn try_leaf(registry: &Registry, program: &Program, leaf: &Path) -> io::Result<()> {
    let (ours, theirs) = control_socket()?;
    let mut command = command(program, "probe", theirs);
    let mut child = registry.spawn_bystander(|| spawn_retrying(&mut command))?;
    let entered = std::fs::write(leaf.join("cgroup.procs"), child.id().to_string());
    drop(ours);
    // It ends because its socket did; it has been seen to.
    child.wait()?;
    entered
}

/// Starts a guardian, which then waits for its spec.
pub(crate) fn guardian(
    registry: &Registry,
    program: &Program,
    name: &str,
    owner: u64,
    limits: crate::Limits,
) -> io::Result<std::sync::Arc<Guardian>> {
    registry.spawn(|| {
        let (ours, theirs) = control_socket()?;
        let mut command = command(program, name, theirs);
        let child = spawn_retrying(&mut command)?;
        // Until it is reaped, which only the registry does, its number is its own.
        let pid = child.id();
        let opened = || {
            let number = crate::signal::pid(pid).ok_or(Errno::SRCH)?;
            crate::signal::hold(number)
        };
        match (opened(), process::stat(pid)) {
            (Ok(pidfd), Some(stat)) => {
                let identity = ProcessIdentity {
                    pid,
                    start_ticks: stat.start_ticks,
                    boot_id: process::boot_id(),
                };
                Ok(Guardian::new(name.to_owned(), identity, owner, limits, ours, pidfd))
            }
            // Not registered and its socket closed by us: it ends by itself, and the adopter reaps it.
            (Err(errno), _) => Err(errno.into()),
            (Ok(_), None) => Err(io::Error::other("/proc does not show the guardian")),
        }
    })
}

/// The server's stdio: our ends for the async side, its ends for the guardian.
#[derive(Debug)]
pub(crate) struct Stdio3 {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) theirs: [OwnedFd; SPEC_FDS],
}

/// Makes three pipes, none of them inheritable. Our ends do not block; the server's do, as servers expect.
pub(crate) fn stdio() -> io::Result<Stdio3> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC);
    let ((stdin_theirs, stdin), (stdout, stdout_theirs), (stderr, stderr_theirs)) =
        (pipe()?, pipe()?, pipe()?);
    for ours in [&stdin, &stdout, &stderr] {
        rustix::io::ioctl_fionbio(ours, true)?;
    }
    Ok(Stdio3 { stdin, stdout, stderr, theirs: [stdin_theirs, stdout_theirs, stderr_theirs] })
}

/// What a guardian is told to start.
#[derive(Debug)]
pub(crate) struct ServerSpec<'a> {
    pub(crate) name: &'a str,
    pub(crate) mark: u64,
    pub(crate) cwd: &'a Path,
    pub(crate) program: &'a Path,
    pub(crate) argv0: &'a OsStr,
    pub(crate) args: &'a [OsString],
    pub(crate) env: &'a [(OsString, OsString)],
    pub(crate) limits: Limits,
    pub(crate) leaf: Option<&'a Path>,
}

impl ServerSpec<'_> {
    /// The body that goes over the socket.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, SpawnError> {
        let bad = |why: &str| SpawnError::BadSpec { program: self.program.into(), why: why.into() };
        let mut env = Vec::with_capacity(self.env.len());
        for (name, value) in self.env {
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                let name = name.to_string_lossy();
                return Err(bad(&format!("{name:?} is not a name of an environment variable")));
            }
            let mut entry = name.clone();
            entry.push("=");
            entry.push(value);
            env.push(entry);
        }
        let argv: Vec<&[u8]> = std::iter::once(self.argv0)
            .chain(self.args.iter().map(OsString::as_os_str))
            .map(OsStr::as_bytes)
            .collect();
        let env: Vec<&[u8]> = env.iter().map(|entry| entry.as_bytes()).collect();
        let spec = Spec {
            gateway_pid: std::process::id(),
            mark: self.mark,
            name: self.name.as_bytes(),
            cwd: self.cwd.as_os_str().as_bytes(),
            program: self.program.as_os_str().as_bytes(),
            leaf: self.leaf.map_or(b"".as_slice(), |leaf| leaf.as_os_str().as_bytes()),
            limits: self.limits,
            argv: &argv,
            env: &env,
        };
        let mut body = Vec::with_capacity(spec.encoded_len());
        match spec.encode(&mut |piece| body.extend_from_slice(piece)) {
            Ok(()) => Ok(body),
            Err(Malformed::Nul) => Err(bad("an argument or a variable holds a NUL byte")),
            Err(
                Malformed::OutOfRange | Malformed::Short | Malformed::Unknown | Malformed::Version,
            ) => Err(bad("its arguments and environment together are larger than 1 MiB")),
        }
    }
}

/// Sends the whole spec, the server's descriptors with its first part.
pub(crate) async fn send_spec(
    guardian: &Guardian,
    body: &[u8],
    fds: &[OwnedFd; SPEC_FDS],
) -> Result<(), SpawnError> {
    let failed = |source| SpawnError::Guardian { step: "send a guardian its spec", source };
    let length = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let [stdin, stdout, stderr] = fds;
    let mut fds = Some([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]);
    for (index, bytes) in body.chunks(SPEC_CHUNK_MAX).enumerate() {
        let order = Order::Spec {
            flags: 0,
            total: length(body.len()),
            offset: length(index * SPEC_CHUNK_MAX),
            bytes,
        };
        let fds = fds.take();
        loop {
            match guardian.send_spec(&order, fds) {
                Sent::Yes => break,
                Sent::HungUp => return Err(SpawnError::GuardianLost),
                Sent::Later => {
                    let writable = readiness::ready(guardian.socket(), Interest::WRITABLE);
                    match tokio::time::timeout(SPEC_WITHIN, writable).await {
                        Ok(ready) => ready.map_err(failed)?,
                        Err(_) => return Err(SpawnError::GuardianLost),
                    }
                }
            }
        }
    }
    Ok(())
}
