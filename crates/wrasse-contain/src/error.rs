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
    /// The guard program cannot be executed from where the configuration says.
    #[error("no guard program to execute ({tried})")]
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
            | Self::Ending => false,
            Self::Guardian { .. } | Self::GuardianLost => true,
        }
    }
}
