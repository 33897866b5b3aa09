//! The life of whatever is behind one key, as a pure state machine.
//!
//! ```text
//! Absent → Starting → Handshaking → Ready{leases} → Draining{until} → Stopping{why} → Rundown{survivors} → Gone{why}
//!              └────────────┴──→ Backoff{until, tally} ⇄ Starting                        Broken{why}
//! ```
//!
//! At rest (`Absent`, `Gone`, `Backoff`, `Broken`) there is no tree and nobody holds anything. One line per edge:
//!
//! - rest → `Starting`: a claim, and the breaker lets it start.
//! - rest → `Backoff` or `Broken`: a claim, and the breaker refuses it.
//! - `Backoff` → `Absent`: its time has come; the next claim probes.
//! - `Starting` → `Handshaking`: the processes exist.
//! - `Starting`, `Handshaking` → `Ready`: usable; every claim becomes a lease.
//! - `Starting`, `Handshaking` → `Stopping`: its last claim ended, or it was told to stop; the start is cancelled.
//! - `Starting`, `Handshaking` → `Backoff`, `Broken` or `Gone`: the start failed, and its tree is gone.
//! - `Ready` → `Draining`: the last lease ended and retention keeps it.
//! - `Draining` → `Ready`: a claim.
//! - `Ready` → `Stopping`: the last lease ended and retention does not keep it, or it was told to stop.
//! - `Draining` → `Stopping`: nobody called it for its idle time, or it was told to stop.
//! - `Ready`, `Draining` → `Rundown`: it ended without having been asked; what is left of its tree is ended.
//! - `Stopping` → `Stopping`: a cancelled start came up all the same and now goes down the ladder.
//! - `Stopping`, `Rundown` → `Gone`: its tree is empty; claims that came meanwhile are submitted anew.
//! - `Stopping` → `Rundown`: the ladder is done and something survived it.
//!
//! Leases exist in `Ready` only, claims in every state that is not at rest, `Ready` or `Draining`. A start is ordered
//! only at rest, so two trees of one key never live at once. The idle clock moves with calls, never with
//! leases, and never fires while a call is in flight.
#![warn(clippy::wildcard_enum_match_arm)]

use wrasse_scope::clock::BootInstant;
use wrasse_types::GoneReason;

mod step;

pub use step::step;

/// Where the instance of a key is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// There is none, and there was none.
    Absent,
    /// It is asked for; no process exists yet.
    Starting {
        /// Who waits for it.
        claims: u32,
    },
    /// Its processes exist; it is not usable yet.
    Handshaking {
        /// Who waits for it.
        claims: u32,
    },
    /// Usable, and held.
    Ready {
        /// Who holds it; at least one.
        leases: u32,
        /// The calls on it.
        usage: Usage,
    },
    /// Usable, held by nobody, kept by retention.
    Draining {
        /// The calls on it.
        usage: Usage,
        /// When it ends; `None` while a call is in flight or until its owner ends.
        until: Option<BootInstant>,
    },
    /// Told to stop.
    Stopping {
        /// Why.
        why: GoneReason,
        /// What the stop is doing.
        stage: Stage,
        /// Claims for the instance after this one.
        waiting: u32,
    },
    /// Dead or as good as dead; its tree is not proven empty yet.
    Rundown {
        /// Why.
        why: GoneReason,
        /// What the ladder could not end; `None` until it has been down it.
        survivors: Option<u32>,
        /// Claims for the instance after this one.
        waiting: u32,
    },
    /// Its tree is empty.
    Gone {
        /// Why.
        why: GoneReason,
    },
    /// It failed to start and may be tried again later.
    Backoff {
        /// When.
        until: BootInstant,
        /// Failures so far.
        tally: u32,
    },
    /// It failed to start and needs a person.
    Broken {
        /// What is wrong.
        why: String,
    },
}

/// The calls on an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Calls in flight.
    pub calls: u32,
    /// When a call last began, moved or ended; when it was ready, if it was never called.
    pub last_use: BootInstant,
}

/// What a stop is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for a cancelled start to end its own tree.
    CancellingStart,
    /// Going down the stop ladder.
    Ladder,
}

/// What the breaker says to a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It may start.
    Start,
    /// Not before then.
    Wait {
        /// When.
        until: BootInstant,
        /// Failures so far.
        tally: u32,
    },
    /// Not until a person has changed something.
    Broken {
        /// What is wrong.
        why: String,
    },
}

/// What becomes of claims that wait for the instance after the one that is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followers {
    /// They are refused: what they wait for is not wanted any more.
    Refuse,
    /// They go on waiting.
    Keep,
}

/// What happens to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants it.
    Claimed {
        /// What the breaker says; looked at only at rest.
        admission: Admission,
    },
    /// Somebody who waited for it does not any more.
    ClaimDropped,
    /// The processes exist.
    Spawned,
    /// It is usable.
    Started,
    /// The start failed or was given up; its tree is gone.
    StartFailed {
        /// What the breaker says to the next one; `Start` if the failure does not count.
        next: Admission,
    },
    /// A holder ended or let go.
    LeaseEnded,
    /// A call began.
    CallBegan,
    /// A call in flight showed progress.
    CallMoved,
    /// A call ended.
    CallEnded,
    /// It ended without having been asked.
    Exited {
        /// Why.
        why: GoneReason,
    },
    /// It is to stop.
    StopAsked {
        /// Why.
        why: GoneReason,
        /// What becomes of claims on the one after it.
        followers: Followers,
    },
    /// The stop ladder is done.
    StopDone {
        /// What it could not end.
        survivors: u32,
    },
    /// What the ladder could not end was counted again.
    Recounted {
        /// What is left.
        survivors: u32,
    },
    /// Time passed.
    Tick,
}

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start one: write its row, ask the backend.
    Start,
    /// Cancel the start that is under way.
    CancelStart,
    /// Send its tree down the stop ladder.
    Stop {
        /// Why.
        why: GoneReason,
    },
    /// Make a lease of every claim.
    Grant,
    /// Refuse every claim.
    Refuse {
        /// With what.
        refusal: Refusal,
    },
    /// End every lease: its instance is not usable any more.
    Revoke {
        /// Why.
        why: GoneReason,
    },
    /// Record its end. Exactly once for each `Start`.
    Close {
        /// Why it ended.
        why: GoneReason,
    },
    /// Submit every waiting claim anew.
    Resubmit,
}

/// Why claims are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The start they waited for failed.
    StartFailed,
    /// The breaker lets nothing start yet.
    BackingOff,
    /// The breaker lets nothing start until a person acts.
    Broken,
    /// What they waited for was stopped.
    Stopped {
        /// Why.
        why: GoneReason,
    },
}

impl State {
    /// Whether there is no tree and nobody waits.
    pub fn at_rest(&self) -> bool {
        match self {
            Self::Absent | Self::Gone { .. } | Self::Backoff { .. } | Self::Broken { .. } => true,
            Self::Starting { .. }
            | Self::Handshaking { .. }
            | Self::Ready { .. }
            | Self::Draining { .. }
            | Self::Stopping { .. }
            | Self::Rundown { .. } => false,
        }
    }

    /// When the state has to be given a [`Event::Tick`].
    pub fn deadline(&self) -> Option<BootInstant> {
        match self {
            Self::Draining { until, .. } => *until,
            Self::Backoff { until, .. } => Some(*until),
            Self::Absent
            | Self::Starting { .. }
            | Self::Handshaking { .. }
            | Self::Ready { .. }
            | Self::Stopping { .. }
            | Self::Rundown { .. }
            | Self::Gone { .. }
            | Self::Broken { .. } => None,
        }
    }

    /// The calls on a usable instance.
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::Ready { usage, .. } | Self::Draining { usage, .. } => Some(*usage),
            Self::Absent
            | Self::Starting { .. }
            | Self::Handshaking { .. }
            | Self::Stopping { .. }
            | Self::Rundown { .. }
            | Self::Gone { .. }
            | Self::Backoff { .. }
            | Self::Broken { .. } => None,
        }
    }

    /// The word users read.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Starting { .. } => "starting",
            Self::Handshaking { .. } => "handshaking",
            Self::Ready { .. } => "ready",
            Self::Draining { .. } => "draining",
            Self::Stopping { .. } => "stopping",
            Self::Rundown { .. } => "rundown",
            Self::Gone { .. } => "gone",
            Self::Backoff { .. } => "backoff",
            Self::Broken { .. } => "broken",
        }
    }
}

#[cfg(test)]
mod tests;
