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

/// The signals the gateway listens to. One that it was started to ignore (HUP by `nohup`, INT by a shell for what it
/// runs in the background) stays ignored: a listener would bring it to life again.
#[derive(Debug)]
pub(crate) struct Signals {
    term: Option<Signal>,
    int: Option<Signal>,
    hup: Option<Signal>,
    usr1: Option<Signal>,
    usr2: Option<Signal>,
}

impl Signals {
    /// Begins to listen. Called once, before anything changes a disposition.
    pub(crate) fn listen() -> Result<Self, ExpectedError> {
        Ok(Self {
            term: listen_to(SignalKind::terminate())?,
            int: listen_to(SignalKind::interrupt())?,
            hup: listen_to(SignalKind::hangup())?,
            usr1: listen_to(SignalKind::user_defined1())?,
            usr2: listen_to(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            () = heard(&mut self.term) => Asked::Stop,
            () = heard(&mut self.int) => Asked::Interrupt,
            () = heard(&mut self.hup) => Asked::Stop,
            () = heard(&mut self.usr1) => Asked::Restart,
            () = heard(&mut self.usr2) => Asked::Restart,
        }
    }
}

/// Waits for Ctrl-C, for a command that leaves by it; for ever where that is to be ignored.
pub(crate) async fn interrupted() -> Result<(), ExpectedError> {
    let mut int = listen_to(SignalKind::interrupt())?;
    heard(&mut int).await;
    Ok(())
}

fn listen_to(kind: SignalKind) -> Result<Option<Signal>, ExpectedError> {
    if wrasse_contain::is_ignored(kind.as_raw_value()) == Some(true) {
        return Ok(None);
    }
    signal(kind).map(Some).map_err(|error| {
        ExpectedError::new(Exit::Internal, format!("cannot listen to signals: {error}"))
    })
}

/// Waits for one signal, or for ever. Cancel-safe.
async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
