//! What can happen to a shim, and waiting for it.

use std::future::pending;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use wrasse_contain::is_ignored;
use wrasse_contain::sweep::{SweepError, SweepReport};
use wrasse_scope::clock;

use super::{ANSWERS_MAX, Brain, Phase, QUEUE_MAX, Shim};
use crate::slot::{Buffers, ServerEvent, or_never};

/// One thing that happened.
pub(super) enum Event {
    HostGone,
    Signal,
    HostBytes(io::Result<usize>),
    HostHungUp,
    HostTakes(io::Result<()>),
    ErrorsTaken(io::Result<()>),
    Server(ServerEvent),
    Swept(Result<SweepReport, SweepError>),
    Tick,
}

/// The signals that mean "end".
#[derive(Debug)]
pub(crate) struct Signals(Vec<Signal>);

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        // Who starts us under nohup means it.
        let heeded = kinds.into_iter().filter(|kind| {
            *kind == SignalKind::terminate() || is_ignored(kind.as_raw_value()) != Some(true)
        });
        heeded.map(signal).collect::<io::Result<Vec<_>>>().map(Self)
    }

    pub(crate) async fn wait(&mut self) {
        let [first, others @ ..] = self.0.as_mut_slice() else { return pending().await };
        match others {
            [second, third] => tokio::select! {
                _ = first.recv() => {}
                _ = second.recv() => {}
                _ = third.recv() => {}
            },
            [second] => tokio::select! {
                _ = first.recv() => {}
                _ = second.recv() => {}
            },
            _ => drop(first.recv().await),
        }
    }
}

impl Shim {
    /// Waits for the next thing to happen. What has room is read, what has something is written.
    pub(super) async fn next(&mut self, host: &mut [u8], server: &mut Buffers) -> Event {
        let now = clock::now();
        let (tick, waiting) = match &self.brain {
            Brain::Session(session) => (session.wake_at(now), session.waiting_bytes()),
            Brain::Pipe => (None, 0),
        };
        let tick = match self.phase {
            Phase::Draining { until } => Some(tick.map_or(until, |tick| tick.min(until))),
            Phase::Serving | Phase::Ladder | Phase::Over => tick,
        };
        let full = is_full(self.slot.to_server.bytes() + waiting, self.output.queue.bytes());
        let room_for_server = self.output.queue.bytes() <= QUEUE_MAX;
        // Not in order: a server that never stops writing must not keep the host from being heard.
        tokio::select! {
            () = self.host.gone(), if self.phase != Phase::Over => Event::HostGone,
            () = self.signals.wait() => Event::Signal,
            event = self.slot.next(server, room_for_server) => Event::Server(event),
            swept = or_never(&mut self.sweeping) => Event::Swept(swept),
            taken = self.output.write_some() => Event::HostTakes(taken),
            count = async {
                match &self.input {
                    Some(input) if !full => input.read(host).await,
                    Some(_) | None => pending().await,
                }
            } => Event::HostBytes(count),
            () = async {
                match &self.input {
                    Some(input) if full => input.hung_up().await,
                    Some(_) | None => pending().await,
                }
            } => Event::HostHungUp,
            taken = async {
                match &mut self.errors {
                    Some(errors) => errors.write_some().await,
                    None => pending().await,
                }
            } => Event::ErrorsTaken(taken),
            () = async {
                match tick {
                    Some(at) => clock::sleep_until(at).await,
                    None => pending().await,
                }
            } => Event::Tick,
        }
    }
}

/// Whether the host is heard no further, by the bytes that wait for the server and for the host itself: who asks and asks
/// and reads no answer.
fn is_full(for_server: usize, for_host: usize) -> bool {
    for_server > QUEUE_MAX || for_host > ANSWERS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_not_served_or_does_not_read_is_heard_no_further() {
        assert!(!is_full(QUEUE_MAX, QUEUE_MAX), "a host may write much before it reads");
        assert!(is_full(QUEUE_MAX + 1, 0));
        assert!(is_full(0, ANSWERS_MAX + 1));
    }
}
