//! Whether the machine had time for those who measure.

use std::time::{Duration, Instant};

/// How long a look takes at most on a machine that is not busy with others, the pause before it included.
const LOOK_MAX: Duration = Duration::from_millis(100);

/// Tells how long the machine had no time for us, who are as busy as those we watch and have the same priority. A limit
/// is on what Wrasse does, not on what else runs on the machine.
#[derive(Debug)]
pub struct Pulse {
    last: Instant,
    missed: Duration,
}

impl Pulse {
    /// Begins to measure.
    #[expect(clippy::new_without_default, reason = "it begins now, which is no default")]
    pub fn new() -> Self {
        Self { last: Instant::now(), missed: Duration::ZERO }
    }

    /// One look has passed; returns what was missed in all.
    pub fn beat(&mut self) -> Duration {
        self.missed += self.last.elapsed().saturating_sub(LOOK_MAX);
        self.last = Instant::now();
        self.missed
    }
}
