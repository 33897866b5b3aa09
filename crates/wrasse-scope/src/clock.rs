//! The clock of all deadlines: `CLOCK_BOOTTIME`, which counts while the machine is suspended.
//!
//! The runtime's timers stand on `CLOCK_MONOTONIC`, which does not. So nobody sleeps longer than [`NAP`] at a
//! time: after each nap the clock is asked again, and a deadline that passed during suspension is noticed at most
//! one nap after the machine wakes.

use std::ops::Add;
use std::pin::pin;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The longest time slept without asking the clock.
pub const NAP: Duration = Duration::from_secs(30);

/// A point in time since the machine was booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// The time that went by since `earlier`; zero if that is later.
    pub fn since(self, earlier: BootInstant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The time that went by since this instant.
    pub fn elapsed(self) -> Duration {
        now().since(self)
    }

    /// What is left until this instant; zero if it has passed.
    pub fn remaining(self) -> Duration {
        self.since(now())
    }

    /// Whether this instant has come.
    pub fn has_passed(self) -> bool {
        now() >= self
    }

    /// The time since boot.
    pub fn since_boot(self) -> Duration {
        self.0
    }

    /// The instant this long after boot.
    pub fn from_boot(since: Duration) -> BootInstant {
        BootInstant(since)
    }
}

impl Add<Duration> for BootInstant {
    type Output = BootInstant;

    fn add(self, by: Duration) -> BootInstant {
        BootInstant(self.0.saturating_add(by))
    }
}

/// The present.
pub fn now() -> BootInstant {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    BootInstant(Duration::new(seconds, nanos))
}

/// Waits until `until`. Cancel-safe.
pub async fn sleep_until(until: BootInstant) {
    loop {
        let left = until.remaining();
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(NAP)).await;
    }
}

/// Waits this long. Cancel-safe.
pub async fn sleep(duration: Duration) {
    sleep_until(now() + duration).await;
}

/// The time was up before the future was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time limit of {} passed", wrasse_types::format_duration(self.0))]
pub struct Elapsed(pub Duration);

/// Waits for `future` this long at most. A future that is ready wins over a limit that has passed.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let until = now() + limit;
    let mut future = pin!(future);
    tokio::select! {
        biased;
        output = &mut future => Ok(output),
        () = sleep_until(until) => Err(Elapsed(limit)),
    }
}

/// Waits for `future` until then at most.
pub async fn timeout_at<F: Future>(until: BootInstant, future: F) -> Result<F::Output, Elapsed> {
    timeout(until.remaining(), future).await
}
