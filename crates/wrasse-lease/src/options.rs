//! Limits and time constants of leases.

use std::time::Duration;

/// How a server that fails to start is held back. Shared by all owners of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerOptions {
    /// Failures within the window that cost nothing.
    pub tolerance: u32,
    /// The first pause; each further failure doubles it.
    pub floor: Duration,
    /// The longest pause.
    pub cap: Duration,
    /// How much of a pause is random, in percent, so that gateways do not retry in step.
    pub jitter_percent: u32,
    /// Failures older than this are forgotten.
    pub window: Duration,
    /// An instance that exits by itself this soon after it was ready counts as a failed start.
    pub settle: Duration,
    /// Seeds the jitter.
    pub seed: u64,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            tolerance: 1,
            floor: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            jitter_percent: 20,
            window: Duration::from_secs(600),
            settle: Duration::from_secs(10),
            seed: 0x5741_5241_5353_4521,
        }
    }
}

/// The limits of one [`Leases`](crate::Leases).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseOptions {
    /// Starts that may be under way at once; the others wait their turn.
    pub start_concurrency: usize,
    /// How failing servers are held back.
    pub breaker: BreakerOptions,
    /// How long a cancelled start may take to end its tree before it is dropped.
    pub cancel_grace: Duration,
    /// How often the survivors of a stop are counted again.
    pub recount: Duration,
}

impl Default for LeaseOptions {
    fn default() -> Self {
        Self {
            start_concurrency: 4,
            breaker: BreakerOptions::default(),
            cancel_grace: Duration::from_secs(10),
            recount: Duration::from_secs(1),
        }
    }
}
