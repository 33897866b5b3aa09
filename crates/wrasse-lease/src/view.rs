//! What can be seen from outside: instances, leases, ends, the breaker.

use std::time::Duration;

use wrasse_scope::clock::BootInstant;
use wrasse_types::wire::PsEnds;
use wrasse_types::{GoneReason, Holder, InstanceId, LeaseId, ServerName, StopRung, UnixMillis};

use crate::backend::{StartFault, Vitals};

/// One instance, as it was when asked.
#[derive(Debug, Clone)]
pub struct InstanceView {
    /// Its number.
    pub id: InstanceId,
    /// Its server.
    pub server: ServerName,
    /// Whose it is: the owner of its key.
    pub owner: String,
    /// The fingerprint of its key.
    pub fingerprint: String,
    /// The word for its state: `starting`, `handshaking`, `ready`, `draining`, `stopping`, `rundown`.
    pub state: &'static str,
    /// Its processes, once there are any.
    pub vitals: Option<Vitals>,
    /// Who holds it, those that wait for it to be ready included.
    pub leases: Vec<LeaseView>,
    /// Calls that are over.
    pub calls: u64,
    /// Calls in flight.
    pub in_flight: u64,
    /// When it was started.
    pub started_at: UnixMillis,
    /// When it was ready.
    pub ready_at: Option<UnixMillis>,
    /// When a call last began, moved or ended.
    pub last_call_at: Option<UnixMillis>,
    /// When and why it will end.
    pub ends: PsEnds,
}

/// One lease.
#[derive(Debug, Clone)]
pub struct LeaseView {
    /// Its number.
    pub id: LeaseId,
    /// When it began.
    pub since: UnixMillis,
    /// What it was taken for.
    pub reason: String,
    /// Who holds it.
    pub holder: Holder,
}

/// An instance whose stop was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its number.
    pub instance: InstanceId,
    /// Its server.
    pub server: ServerName,
    /// Its leader, if it got that far.
    pub pid: Option<u32>,
    /// Why it ended.
    pub reason: GoneReason,
    /// The rung of the ladder that emptied it; `None` if it never came up.
    pub rung: Option<StopRung>,
    /// How long the stop took.
    pub took: Duration,
    /// Processes reaped.
    pub processes: u32,
    /// Processes that could not be ended.
    pub survivors: u32,
    /// Whether the kernel said that nothing is left.
    pub proven_empty: bool,
}

/// An instance with a past was replaced by the one that is held now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// When the present instance was started.
    pub at: UnixMillis,
    /// Why the one before it ended.
    pub why: GoneReason,
    /// When it ended.
    pub ended_at: UnixMillis,
    /// The one before it.
    pub previous: InstanceId,
}

/// What the breaker of a server allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BreakerPosition {
    /// Starts are allowed, in spite of failures.
    Closed,
    /// No start until then.
    Open {
        /// When the next start is allowed.
        until: UnixMillis,
    },
    /// One start is being tried.
    Probing,
    /// Nothing starts until the definition changes or an operator restarts it.
    Broken,
}

/// The breaker of one server that has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerView {
    /// What it allows.
    pub position: BreakerPosition,
    /// Failures in the present window.
    pub failures: u32,
    /// The last failure.
    pub last: StartFault,
}

/// The wall-clock time of an instant of the clock of deadlines.
pub(crate) fn unix_at(at: BootInstant, now: BootInstant) -> UnixMillis {
    UnixMillis::now().plus(at.since(now))
}
