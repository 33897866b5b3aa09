//! When a session has grown stale and the next message begins it anew. Pure.

use chrono::{DateTime, Days, TimeZone};
use wrasse_config::{Reset, Session};
use wrasse_types::UnixMillis;

/// What becomes of a session when a message arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// It goes on.
    Fresh,
    /// It begins anew: the last interaction was before today's hour, or too long ago.
    Stale,
}

/// Judges a session by the time of its last interaction; `zone` is the host's.
pub(crate) fn freshness<Z: TimeZone>(
    policy: &Session,
    last_interaction: UnixMillis,
    now: UnixMillis,
    zone: &Z,
) -> Freshness {
    let idle_over = policy.reset_idle.is_some_and(|idle| now.since(last_interaction) > idle);
    let day_over = match policy.reset {
        Reset::None => false,
        Reset::Daily { at_hour } => {
            last_boundary(now, at_hour, zone).is_some_and(|boundary| last_interaction < boundary)
        }
    };
    if idle_over || day_over { Freshness::Stale } else { Freshness::Fresh }
}

/// The last time at which the local clock showed the hour.
fn last_boundary<Z: TimeZone>(now: UnixMillis, at_hour: u8, zone: &Z) -> Option<UnixMillis> {
    let local = DateTime::from_timestamp_millis(now.get())?.with_timezone(zone);
    let on = |date: chrono::NaiveDate| {
        let time = date.and_hms_opt(u32::from(at_hour.min(23)), 0, 0)?;
        // An hour that the clock skips is taken as the first instant after the gap.
        let instant = zone.from_local_datetime(&time).earliest().or_else(|| {
            zone.from_local_datetime(&(time + chrono::TimeDelta::hours(1))).earliest()
        })?;
        Some(UnixMillis::new(instant.timestamp_millis()))
    };
    let today = on(local.date_naive())?;
    if today <= now {
        Some(today)
    } else {
        on(local.date_naive().checked_sub_days(Days::new(1))?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono_tz::Europe::Berlin;

    use super::*;

    fn stale(reset: Reset, idle_minutes: Option<u64>, last: &str, now: &str) -> bool {
        let policy =
            Session { reset, reset_idle: idle_minutes.map(|m| Duration::from_secs(m * 60)) };
        let at = |text: &str| UnixMillis::parse(text).unwrap();
        freshness(&policy, at(last), at(now), &Berlin) == Freshness::Stale
    }

    #[test]
    fn daily_counts_local_hours() {
        let daily = Reset::Daily { at_hour: 4 };
        // 04:00 in Berlin is 03:00 UTC in winter.
        assert!(!stale(daily, None, "2026-01-10T03:00:00Z", "2026-01-10T20:00:00Z"));
        assert!(stale(daily, None, "2026-01-10T02:59:59Z", "2026-01-10T03:00:00Z"));
        assert!(!stale(daily, None, "2026-01-09T10:00:00Z", "2026-01-10T02:59:59Z"));
        assert!(!stale(Reset::None, None, "2020-01-01T00:00:00Z", "2026-01-10T02:59:59Z"));
    }

    #[test]
    fn idle_and_daily_together_the_earliest_wins() {
        let daily = Reset::Daily { at_hour: 4 };
        assert!(stale(daily, Some(60), "2026-01-10T10:00:00Z", "2026-01-10T11:00:01Z"));
        assert!(!stale(daily, Some(60), "2026-01-10T10:00:00Z", "2026-01-10T10:30:00Z"));
        assert!(stale(daily, Some(60_000), "2026-01-09T10:00:00Z", "2026-01-10T10:30:00Z"));
    }

    #[test]
    fn an_hour_that_the_clock_skips_still_divides_the_days() {
        let daily = Reset::Daily { at_hour: 2 };
        assert!(stale(daily, None, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"));
    }
}
