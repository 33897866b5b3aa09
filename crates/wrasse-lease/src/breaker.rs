//! Holds back starts of a server that fails to start. Pure: it is told the time.
//!
//! ```text
//! Closed → Open{until} → Probing → Closed        Broken (needs a person)
//!   └─ failures within the window beyond the tolerance    └─ one start only; failed: Open again, for longer
//! ```
//!
//! One per server, shared by all owners: nine sessions that want a broken server are one failing server, not nine
//! (failure mode C3). A success forgets everything, so a pause never outlives its cause (failure mode C4).

use std::collections::VecDeque;
use std::time::Duration;

use wrasse_scope::clock::BootInstant;

use crate::backend::{Retry, StartFault};
use crate::options::BreakerOptions;

/// More failures than this are not counted one by one; the pause is at its cap long before.
const TALLY_MAX: usize = 64;

/// The breaker of one server.
#[derive(Debug)]
pub(crate) struct Breaker {
    options: BreakerOptions,
    position: Position,
    failures: VecDeque<BootInstant>,
    last: Option<StartFault>,
    random: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Position {
    Closed,
    Open { until: BootInstant },
    Probing { start: u64 },
    Broken { fingerprint: String },
}

/// What the breaker says to one start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on.
    Start,
    /// Not before then.
    Wait { until: BootInstant, tally: u32, last: StartFault },
    /// One start is being tried; its outcome decides.
    Busy,
    /// Not until a person has changed something.
    Broken { fault: StartFault },
}

impl Breaker {
    pub(crate) fn new(options: BreakerOptions) -> Self {
        Self {
            options,
            position: Position::Closed,
            failures: VecDeque::new(),
            last: None,
            random: options.seed | 1,
        }
    }

    /// Asks for a start, which has a number of its own; after a pause, the first who asks is the probe.
    pub(crate) fn admit(&mut self, start: u64, fingerprint: &str, now: BootInstant) -> Verdict {
        match &self.position {
            Position::Closed => Verdict::Start,
            Position::Open { until } if *until <= now => {
                self.position = Position::Probing { start };
                Verdict::Start
            }
            Position::Open { until } => {
                Verdict::Wait { until: *until, tally: self.tally(now), last: self.last_fault() }
            }
            Position::Probing { start: probe } if *probe == start => Verdict::Start,
            Position::Probing { .. } => Verdict::Busy,
            // Another definition is another cause: it gets its chance.
            Position::Broken { fingerprint: broken } if broken != fingerprint => Verdict::Start,
            Position::Broken { .. } => Verdict::Broken { fault: self.last_fault() },
        }
    }

    /// The start came up: the server works.
    pub(crate) fn ready(&mut self) {
        self.position = Position::Closed;
    }

    /// The instance did its work: what failed before is forgotten.
    pub(crate) fn settled(&mut self) {
        self.position = Position::Closed;
        self.failures.clear();
        self.last = None;
    }

    /// The start failed, or its instance died at once.
    pub(crate) fn failed(
        &mut self,
        start: u64,
        fingerprint: &str,
        fault: StartFault,
        now: BootInstant,
    ) {
        let needs_person = fault.retry == Retry::NeedsPerson;
        self.last = Some(fault);
        self.failures.push_back(now);
        if self.failures.len() > TALLY_MAX {
            self.failures.pop_front();
        }
        let tally = self.tally(now);
        if needs_person {
            self.position = Position::Broken { fingerprint: fingerprint.to_owned() };
            return;
        }
        match self.position {
            // A start from before the pause fails late: the probe decides, not this.
            Position::Probing { start: probe } if probe != start => return,
            Position::Closed
            | Position::Open { .. }
            | Position::Probing { .. }
            | Position::Broken { .. } => {}
        }
        self.position = match tally.checked_sub(self.options.tolerance) {
            None | Some(0) => Position::Closed,
            Some(beyond) => Position::Open { until: now + self.pause(beyond) },
        };
    }

    /// The start was given up without an outcome; if it was the probe, the next who asks is.
    pub(crate) fn abandoned(&mut self, start: u64, now: BootInstant) {
        if self.position == (Position::Probing { start }) {
            self.position = Position::Open { until: now };
        }
    }

    /// Whether there is nothing to remember.
    pub(crate) fn is_clear(&self) -> bool {
        self.position == Position::Closed && self.failures.is_empty()
    }

    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    pub(crate) fn last(&self) -> Option<&StartFault> {
        self.last.as_ref()
    }

    /// Failures within the window.
    pub(crate) fn tally(&self, now: BootInstant) -> u32 {
        let recent =
            self.failures.iter().filter(|at| now.since(**at) <= self.options.window).count();
        u32::try_from(recent).unwrap_or(u32::MAX)
    }

    fn last_fault(&self) -> StartFault {
        self.last.clone().unwrap_or_else(|| StartFault::ours("an earlier start failed"))
    }

    /// Floor, doubled for each failure, with jitter on top, never beyond the cap.
    fn pause(&mut self, beyond: u32) -> Duration {
        let doubled = self.options.floor.saturating_mul(1 << (beyond - 1).min(16));
        let parts = u128::from(self.next_random() % 1000) * u128::from(self.options.jitter_percent);
        let extra_ns = doubled.as_nanos().saturating_mul(parts) / 100_000;
        let extra = Duration::from_nanos(u64::try_from(extra_ns).unwrap_or(u64::MAX));
        doubled.saturating_add(extra).min(self.options.cap)
    }

    /// xorshift64: enough to keep gateways out of step, and the same for the same seed.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

#[cfg(test)]
mod tests;
