//! The breakers of all servers, behind one short lock.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use wrasse_scope::clock;
use wrasse_types::ServerName;

use crate::backend::{Retry, StartFault, Whose};
use crate::breaker::{Breaker, Position, Verdict};
use crate::claim::Key;
use crate::options::BreakerOptions;
use crate::state::Admission;
use crate::view::{BreakerPosition, BreakerView, unix_at};

/// The breakers of all servers. Only servers that have failed have one.
#[derive(Debug)]
pub(crate) struct Breakers {
    options: BreakerOptions,
    by_server: Mutex<HashMap<ServerName, Breaker>>,
    /// Counts changes, so that those who found a probe under way learn of its outcome.
    changes: watch::Sender<u64>,
}

impl Breakers {
    pub(crate) fn new(options: BreakerOptions) -> Self {
        Self { options, by_server: Mutex::default(), changes: watch::Sender::new(0) }
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn admit(&self, key: &Key, start: u64) -> Verdict {
        match self.lock().get_mut(&key.server) {
            Some(breaker) => breaker.admit(start, &key.fingerprint, clock::now()),
            None => Verdict::Start,
        }
    }

    pub(crate) fn ready(&self, key: &Key) {
        self.change(key, Breaker::ready);
    }

    pub(crate) fn settled(&self, key: &Key) {
        self.change(key, Breaker::settled);
    }

    pub(crate) fn abandoned(&self, key: &Key, start: u64) {
        self.change(key, |breaker| breaker.abandoned(start, clock::now()));
    }

    /// Counts a failure if it says something about the server, and tells what the next start has to expect.
    pub(crate) fn failed(&self, key: &Key, start: u64, fault: &StartFault) -> Admission {
        if !counts(fault) {
            self.abandoned(key, start);
            return Admission::Start;
        }
        let now = clock::now();
        let mut by_server = self.lock();
        let breaker =
            by_server.entry(key.server.clone()).or_insert_with(|| Breaker::new(self.options));
        breaker.failed(start, &key.fingerprint, fault.clone(), now);
        let next = match breaker.position() {
            Position::Closed | Position::Probing { .. } => Admission::Start,
            Position::Open { until } => {
                Admission::Wait { until: *until, tally: breaker.tally(now) }
            }
            Position::Broken { .. } => Admission::Broken { why: fault.message.clone() },
        };
        drop(by_server);
        self.bump();
        next
    }

    pub(crate) fn reset(&self, server: &ServerName) {
        drop(self.lock().remove(server));
        self.bump();
    }

    pub(crate) fn view(&self, server: &ServerName) -> Option<BreakerView> {
        let now = clock::now();
        let by_server = self.lock();
        let breaker = by_server.get(server)?;
        let position = match breaker.position() {
            Position::Closed => BreakerPosition::Closed,
            Position::Open { until } => BreakerPosition::Open { until: unix_at(*until, now) },
            Position::Probing { .. } => BreakerPosition::Probing,
            Position::Broken { .. } => BreakerPosition::Broken,
        };
        let last = breaker.last()?.clone();
        Some(BreakerView { position, failures: breaker.tally(now), last })
    }

    fn change(&self, key: &Key, change: impl FnOnce(&mut Breaker)) {
        let mut by_server = self.lock();
        let Some(breaker) = by_server.get_mut(&key.server) else { return };
        change(breaker);
        if breaker.is_clear() {
            by_server.remove(&key.server);
        }
        drop(by_server);
        self.bump();
    }

    /// Lets everybody who waits for a probe ask again.
    pub(crate) fn wake_all(&self) {
        self.bump();
    }

    fn bump(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServerName, Breaker>> {
        self.by_server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A start that its caller gave up says nothing about the server.
fn counts(fault: &StartFault) -> bool {
    match (fault.retry, fault.whose) {
        (Retry::NeedsPerson, Whose::Caller | Whose::Server | Whose::Us)
        | (Retry::MayHelp, Whose::Server | Whose::Us) => true,
        (Retry::MayHelp, Whose::Caller) => false,
    }
}
