//! The warden: the guard program above the gateway itself.
//!
//! The process that was launched becomes the warden in place and starts the gateway below itself, so that
//! whoever launched it goes on seeing one process, which ends last and with nothing below it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::FdFlags;
use rustix::process::getppid;
use tokio::io::Interest;
use wrasse_guard::protocol::{
    LAUNCH_DIRECTORY_VARIABLE, WARDEN_NAME, WARDEN_ROLE, WARDEN_VARIABLE,
};

use crate::image::{self, Program};
use crate::{ContainError, Guard, Layers, cgroup, process, readiness, signal};

/// The exit code by which the gateway asks its warden to execute it anew.
pub const EXIT_RESTART: u8 = wrasse_guard::protocol::EXIT_RESTART;

/// How often a warden that cannot be watched is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How to become a warden.
#[derive(Debug, Clone)]
pub struct WardenExec {
    /// Where the guard program is executed from.
    pub guard: Guard,
    /// The state directory: the guard file is kept below it.
    pub state_dir: PathBuf,
    /// The gateway's full argv, its own name first.
    pub args: Vec<OsString>,
    /// The layers that the gateway will use. For cgroup v2 the kernel must find this process elsewhere than in the cgroup
    /// it was launched in, if it is to keep limits.
    pub layers: Layers,
    /// Variables of the gateway besides those that this process has.
    pub env: Vec<(OsString, OsString)>,
}

/// Becomes the warden, which starts our own executable again with `args`. Returns only when that failed.
/// The process must have no thread that matters and no runtime yet. Resets nothing: the warden does.
pub fn exec(how: &WardenExec) -> ContainError {
    let executable = Path::new("/proc/self/exe");
    let path = std::fs::read_link(executable).unwrap_or_else(|_| executable.to_owned());
    // Opened now, so that the gateway can be executed even if the file is replaced or removed meanwhile.
    let fd = std::fs::File::open(executable).map(OwnedFd::from).and_then(|fd| {
        rustix::io::fcntl_setfd(&fd, FdFlags::empty())?;
        Ok(fd)
    });
    let number =
        fd.as_ref().map_or_else(|_| OsString::from("-"), |fd| fd.as_raw_fd().to_string().into());
    if how.layers != Layers::Floor
        && let Err(error) = cgroup::step_aside(&cgroup::CONTROLLERS)
    {
        tracing::debug!(%error, "this cgroup cannot be left to the leaves");
    }
    // Where the gateway will make leaves, if it makes any: the warden removes those that it leaves.
    let leaves = cgroup::base().map_or_else(|_| OsString::from("-"), PathBuf::into_os_string);
    let own = [number, leaves, path.into_os_string()];
    let become_warden = |program: &Program| Err(exec_program(program, &own, how));
    match image::locate(how.guard, &how.state_dir, &mut Vec::new(), become_warden) {
        Err(error) => error,
        Ok(program) => unreachable!("{} was neither executed nor refused", program.word()),
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the crate that executes the guard program")]
fn exec_program(program: &Program, own: &[OsString; 3], how: &WardenExec) -> io::Error {
    let mut command = Command::new(program.path());
    command.arg0(WARDEN_NAME).arg(WARDEN_ROLE).args(own).args(&how.args);
    command.envs(how.env.iter().map(|(name, value)| (name, value)));
    // The warden goes to "/", and the gateway with it, at every restart.
    match std::env::current_dir() {
        Ok(directory) => command.env(LAUNCH_DIRECTORY_VARIABLE, directory),
        Err(_) => command.env_remove(LAUNCH_DIRECTORY_VARIABLE),
    };
    command.exec()
}

/// The directory that the paths in our arguments are relative to: where we were launched, which for a gateway below a
/// warden is not its own.
///
/// # Errors
/// When the directory is gone.
pub fn launch_directory() -> io::Result<PathBuf> {
    if pid().is_none() {
        return std::env::current_dir();
    }
    // A warden from before an upgrade says nothing of it, and stayed there.
    let said = std::env::var_os(LAUNCH_DIRECTORY_VARIABLE);
    said.map_or_else(std::env::current_dir, |said| Ok(said.into()))
}

/// The warden's number, when our parent is one.
pub(crate) fn pid() -> Option<u32> {
    let parent = u32::try_from(getppid()?.as_raw_pid()).ok()?;
    let said = std::env::var_os(WARDEN_VARIABLE)?;
    let said: u32 = std::str::from_utf8(said.as_bytes()).ok()?.parse().ok()?;
    (said == parent).then_some(parent)
}

/// The warden above this gateway, if there is one. `None` also when it died before this was called:
/// [`died_first`] tells the difference.
pub fn link() -> Option<WardenLink> {
    let pid = pid()?;
    let pidfd = signal::hold(getppid()?).ok()?;
    // Looked at again: had it died in between, the number opened might be another process.
    (self::pid() == Some(pid)).then_some(WardenLink { pid, pidfd })
}

/// Whether a warden started this process and died before [`link`] was called. A program below a gateway may have the
/// variable too; only the gateway was made the leader of a session.
pub fn died_first() -> bool {
    // By /proc: `getsid` answers 0 for a session made outside our PID namespace, which rustix takes for impossible.
    let own = process::stat(std::process::id());
    std::env::var_os(WARDEN_VARIABLE).is_some() && own.is_some_and(|own| own.session == own.pid)
}

/// A warden that was alive when it was looked for.
#[derive(Debug)]
pub struct WardenLink {
    pid: u32,
    /// `None` where the kernel refuses them: then its death shows in our parent's number.
    pidfd: Option<OwnedFd>,
}

impl WardenLink {
    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until the warden has died. Cancel-safe.
    pub async fn lost(&self) {
        while !self.is_lost() {
            let watched = match &self.pidfd {
                Some(pidfd) => readiness::ready(pidfd.as_fd(), Interest::READABLE).await.is_ok(),
                None => false,
            };
            if !watched {
                // No pidfd, or a runtime that cannot watch it for lack of memory: look now and then.
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    fn is_lost(&self) -> bool {
        let Some(pidfd) = &self.pidfd else { return pid() != Some(self.pid) };
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}
