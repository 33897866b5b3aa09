//! Why a claim was refused.

use std::time::Duration;

use wrasse_types::{GoneReason, ServerName, UnixMillis, format_duration};

use crate::backend::{Retry, StartFault, Whose};

/// A claim that did not become a lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// The caller's token was cancelled first.
    #[error("cancelled while waiting for the server")]
    Cancelled,
    /// Everything is being stopped; nothing new starts.
    #[error("the gateway is stopping and starts no servers")]
    ShuttingDown,
    /// The instance was stopped before it was ready.
    #[error("stopped before it was ready ({})", .reason.name())]
    Stopped {
        /// Why.
        reason: GoneReason,
    },
    /// The instance did not start.
    #[error("failed to start: {0}")]
    StartFailed(#[source] StartFault),
    /// It failed to start before and is not tried again yet.
    #[error(
        "server {server} failed to start {failures} times, next try in {}: {last}",
        format_duration(*retry_in)
    )]
    BackingOff {
        /// The server.
        server: ServerName,
        /// When the next start is allowed.
        retry_at: UnixMillis,
        /// How long that is from now.
        retry_in: Duration,
        /// Failures in the present window.
        failures: u32,
        /// The last of them.
        #[source]
        last: StartFault,
    },
    /// It failed in a way that needs a person, and nothing has changed since.
    #[error(
        "server {server} is not tried again until its definition changes or it is restarted: {fault}"
    )]
    Broken {
        /// The server.
        server: ServerName,
        /// What is wrong.
        #[source]
        fault: StartFault,
    },
    /// The ledger could not record the instance, so it was not started.
    #[error("refused to start what cannot be recorded: {message}")]
    Ledger {
        /// What the store said.
        message: String,
    },
    /// A fault of ours.
    #[error("internal fault: {0}")]
    Internal(String),
}

impl AcquireError {
    /// Whose fault it is.
    pub fn whose(&self) -> Whose {
        match self {
            Self::Cancelled | Self::ShuttingDown | Self::Stopped { .. } => Whose::Caller,
            Self::StartFailed(fault) => fault.whose,
            Self::BackingOff { last, .. } => last.whose,
            Self::Broken { fault, .. } => fault.whose,
            Self::Ledger { .. } | Self::Internal(_) => Whose::Us,
        }
    }

    /// Whether asking again can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::StartFailed(fault) => fault.retry,
            Self::Broken { .. } => Retry::NeedsPerson,
            Self::Cancelled
            | Self::ShuttingDown
            | Self::Stopped { .. }
            | Self::BackingOff { .. }
            | Self::Ledger { .. }
            | Self::Internal(_) => Retry::MayHelp,
        }
    }

    /// The start fault behind it, if one is.
    pub fn fault(&self) -> Option<&StartFault> {
        match self {
            Self::StartFailed(fault) | Self::Broken { fault, .. } => Some(fault),
            Self::BackingOff { last, .. } => Some(last),
            Self::Cancelled
            | Self::ShuttingDown
            | Self::Stopped { .. }
            | Self::Ledger { .. }
            | Self::Internal(_) => None,
        }
    }

    /// What would help, if anything is known to.
    pub fn help(&self) -> Option<String> {
        self.fault().and_then(|fault| fault.help.clone())
    }
}
