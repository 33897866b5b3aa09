//! Signals to the gateway: the first asks, the second hurries, the third leaves.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, ExpectedError};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// TERM, INT or HUP: stop.
    Stop,
    /// INT, to a command that waits for a run.
    Interrupt,
    /// USR1 or USR2: restart, as OpenClaw users know it.
    Restart,
}

/// The signals the gateway listens to.
#[derive(Debug)]
pub(crate) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr1: Signal,
    usr2: Signal,
}

impl Signals {
    /// Begins to listen.
    pub(crate) fn listen() -> Result<Self, ExpectedError> {
        let on = |kind| {
            signal(kind).map_err(|error| {
                ExpectedError::new(Exit::Internal, format!("cannot listen to signals: {error}"))
            })
        };
        Ok(Self {
            term: on(SignalKind::terminate())?,
            int: on(SignalKind::interrupt())?,
            hup: on(SignalKind::hangup())?,
            usr1: on(SignalKind::user_defined1())?,
            usr2: on(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.term.recv() => Asked::Stop,
            _ = self.int.recv() => Asked::Interrupt,
            _ = self.hup.recv() => Asked::Stop,
            _ = self.usr1.recv() => Asked::Restart,
            _ = self.usr2.recv() => Asked::Restart,
        }
    }
}
