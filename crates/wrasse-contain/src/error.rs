//! What can go wrong when a tree is started.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// Why containment could not be set up in this process.
#[derive(Debug, thiserror::Error)]
pub enum ContainError {
    /// There is no running tokio runtime to hand streams out in.
    #[error("containment must be started inside a tokio runtime with io and time enabled")]
    NoRuntime,
    /// The kernel refused a step without which nothing is contained.
    #[error("failed to {step}")]
    Setup {
        /// The step, as a verb phrase.
        step: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Daemons of servers would escape: nothing is started without this.
    #[error(
        "refused to be a subreaper ({source}), without which daemons of servers escape; let the sandbox around us allow \
         prctl(PR_SET_CHILD_SUBREAPER), then look with `wrasse doctor`"
    )]
    NoSubreaper {
        /// The kernel's answer.
        source: io::Error,
    },
    /// Without the process table nothing can be told from anything.
    #[error(
        "/proc is not mounted, or shows another PID namespace; mount it (`mount -t proc proc /proc`), then look with \
         `wrasse doctor`"
    )]
    NoProc,
    /// The guard program cannot be executed from where the configuration says.
    #[error(
        "no guard program can be executed ({tried}); allow one of these, or let `containment.guard: \"auto\"` try all \
         three, then look with `wrasse doctor`"
    )]
    NoGuard {
        /// Each source that was tried, and why it did not do.
        tried: String,
    },
}

/// Why a tree could not be started. Nothing is left running when this is returned.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The command is nowhere on the `PATH` of the environment it is given.
    #[error("command not found: {} (PATH searched: {})", .command.display(), .path.display())]
    NotFound {
        /// The command as configured.
        command: OsString,
        /// The `PATH` that was searched.
        path: OsString,
    },
    /// The file is there and is not a program that may be executed.
    #[error("cannot execute {}: it is not an executable file", .program.display())]
    NotExecutable {
        /// The file.
        program: PathBuf,
    },
    /// The working directory cannot be entered.
    #[error("cannot enter the working directory {}", .cwd.display())]
    BadCwd {
        /// The directory.
        cwd: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel refused to execute the program.
    #[error("cannot execute {}", .program.display())]
    Exec {
        /// The program.
        program: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A name, argument or variable holds a NUL byte, or the whole is too large to be executed.
    #[error("cannot execute {}: {why}", .program.display())]
    BadSpec {
        /// The program.
        program: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The guardian could not be started, or failed at its own work.
    #[error("failed to {step}")]
    Guardian {
        /// The step, as a verb phrase.
        step: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The guardian could not be sure to end what it starts, so it started nothing.
    #[error(
        "no tree can be held here: {}; allow PR_SET_CHILD_SUBREAPER and mount /proc of this PID namespace, then \
         try again (`wrasse doctor` shows both)",
        helpless(.source)
    )]
    Helpless {
        /// The kernel's answer.
        source: io::Error,
    },
    /// Gateway and guard program are of different versions: one of them was replaced while the other runs.
    #[error(
        "the guard program speaks version {theirs} of the protocol and this gateway version {ours}: one of them was \
         replaced while the other runs; `wrasse gateway restart` puts both from one build"
    )]
    Version {
        /// The gateway's.
        ours: u8,
        /// The guard program's, or that it is older than guards that say it.
        theirs: String,
    },
    /// The guardian ended, or stayed silent, before the server ran.
    #[error("the guardian was lost before the server ran")]
    GuardianLost,
    /// The gateway is ending every tree; nothing new starts.
    #[error("containment is ending every tree")]
    Ending,
}

impl SpawnError {
    /// Whether the same request can work later without anybody changing anything.
    pub const fn retry_may_help(&self) -> bool {
        match self {
            Self::NotFound { .. }
            | Self::NotExecutable { .. }
            | Self::BadCwd { .. }
            | Self::Exec { .. }
            | Self::BadSpec { .. }
            | Self::Helpless { .. }
            | Self::Version { .. }
            | Self::Ending => false,
            Self::Guardian { .. } | Self::GuardianLost => true,
        }
    }
}

/// What a guardian's answer means: it has no words.
fn helpless(source: &io::Error) -> &'static str {
    match source.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::SRCH) => "/proc is missing, or shows another PID namespace",
        _ => "a guardian was refused to be a subreaper, and a daemon would escape it",
    }
}
