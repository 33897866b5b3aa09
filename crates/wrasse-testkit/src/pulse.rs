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
        self.beat_less(Duration::ZERO)
    }

    /// The same, where those we watch used so much of the processors meanwhile: for as long, it was they for whom the
    /// machine had time, and it may have been they who kept us waiting.
    pub(crate) fn beat_less(&mut self, used: Duration) -> Duration {
        self.missed += self.last.elapsed().saturating_sub(LOOK_MAX).saturating_sub(used);
        self.last = Instant::now();
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, LOOK_MAX, Pulse};

    #[test]
    fn what_those_watched_used_is_not_missed() {
        const LATE: Duration = Duration::from_millis(20);
        let look = |used| {
            let mut pulse = Pulse::new();
            std::thread::sleep(LOOK_MAX + LATE);
            pulse.beat_less(used)
        };
        assert!(look(Duration::ZERO) >= LATE);
        assert_eq!(look(Duration::from_secs(3600)), Duration::ZERO);
    }
}
