//! When a job is due: pure arithmetic on given instants, no clock and no store.
//!
//! A cron expression is matched in the wall time of its zone; the deterministic spread (stagger) moves every firing of
//! a job by the same amount, so that many jobs of one minute do not start together and each still keeps its period.

use std::time::Duration;

use chrono::{DateTime, Local, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use sha2::{Digest, Sha256};
use wrasse_config::Schedule;
use wrasse_types::UnixMillis;

/// The spread of an expression that fires on the hour, where the job names none: five minutes.
const TOP_OF_HOUR_STAGGER_MS: u64 = 300_000;
/// The waits after one, two, … failures in a row.
const BACKOFF: [Duration; 5] = [
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(900),
    Duration::from_secs(3600),
];

/// A schedule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScheduleError {
    /// The time of `at`.
    #[error("{0:?} is not a time: write RFC 3339, as in \"2026-01-31T07:00:00Z\"")]
    At(String),
    /// A period of nothing.
    #[error("a period must be at least 1 ms")]
    Every,
    /// The expression.
    #[error("{expr:?} is not a cron expression: {reason}")]
    Expression {
        /// As written.
        expr: String,
        /// The parser's reason.
        reason: String,
    },
    /// The zone.
    #[error("{0:?} is not a time zone: write an IANA name, as in \"Europe/Berlin\"")]
    Zone(String),
}

/// A schedule that was checked.
#[derive(Debug, Clone)]
pub(crate) enum Plan {
    /// Once.
    At(UnixMillis),
    /// Periodically, counted from the anchor.
    Every {
        /// The period.
        every_ms: i64,
        /// Where counting began.
        anchor: UnixMillis,
    },
    /// By an expression.
    Cron {
        /// The expression.
        cron: Box<Cron>,
        /// The zone; the host's when absent.
        zone: Option<Tz>,
        /// How much later than the expression says.
        offset_ms: i64,
    },
}

impl Plan {
    /// Checks a schedule. `created` anchors a period that names no anchor.
    pub(crate) fn new(
        schedule: &Schedule,
        job_id: &str,
        created: UnixMillis,
    ) -> Result<Self, ScheduleError> {
        match schedule {
            Schedule::At { at } => parse_at(at).map(Self::At),
            Schedule::Every { every_ms, anchor_ms } => {
                let every_ms = i64::try_from(*every_ms).unwrap_or(i64::MAX);
                if every_ms == 0 {
                    return Err(ScheduleError::Every);
                }
                let anchor = anchor_ms.map_or(created, UnixMillis::new);
                Ok(Self::Every { every_ms, anchor })
            }
            Schedule::Cron { expr, tz, stagger_ms } => {
                let cron: Cron = expr.parse().map_err(|error: croner::errors::CronError| {
                    ScheduleError::Expression { expr: expr.clone(), reason: error.to_string() }
                })?;
                let zone = match tz.as_deref() {
                    None => None,
                    Some(name) => {
                        Some(name.parse::<Tz>().map_err(|_| ScheduleError::Zone(name.to_owned()))?)
                    }
                };
                let default = if is_top_of_hour(expr) { TOP_OF_HOUR_STAGGER_MS } else { 0 };
                let offset_ms = stagger_offset(job_id, stagger_ms.unwrap_or(default));
                Ok(Self::Cron { cron: Box::new(cron), zone, offset_ms })
            }
        }
    }

    /// The first instant after `now` at which the job is due; `None` is never again.
    pub(crate) fn next_after(&self, now: UnixMillis) -> Option<UnixMillis> {
        match self {
            Self::At(at) => (*at > now).then_some(*at),
            Self::Every { every_ms, anchor } => {
                let past = now.get().saturating_sub(anchor.get());
                let periods = past.div_euclid(*every_ms).checked_add(1)?;
                anchor.get().checked_add(periods.checked_mul(*every_ms)?).map(UnixMillis::new)
            }
            Self::Cron { cron, zone, offset_ms } => {
                let from = now.get().checked_sub(*offset_ms)?;
                let next = match zone {
                    Some(zone) => occurrence(cron, zone, from),
                    None => occurrence(cron, &Local, from),
                };
                next?.checked_add(*offset_ms).map(UnixMillis::new)
            }
        }
    }

    /// Whether the job fires at most once.
    pub(crate) const fn is_once(&self) -> bool {
        match self {
            Self::At(_) => true,
            Self::Every { .. } | Self::Cron { .. } => false,
        }
    }
}

/// The wait after so many failures in a row.
pub(crate) fn backoff(consecutive_errors: u32) -> Duration {
    let index = usize::try_from(consecutive_errors.saturating_sub(1)).unwrap_or(usize::MAX);
    BACKOFF[index.min(BACKOFF.len() - 1)]
}

/// Reads the time of an `at` schedule; without offset it is UTC.
pub(crate) fn parse_at(text: &str) -> Result<UnixMillis, ScheduleError> {
    let text = text.trim();
    if let Some(time) = UnixMillis::parse(text) {
        return Ok(time);
    }
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .map(|time| UnixMillis::new(time.and_utc().timestamp_millis()))
        .ok_or_else(|| ScheduleError::At(text.to_owned()))
}

fn occurrence<Z: TimeZone>(cron: &Cron, zone: &Z, from_ms: i64) -> Option<i64>
where
    DateTime<Z>: croner::CronDateTime,
{
    let from: DateTime<Z> = DateTime::<Utc>::from_timestamp_millis(from_ms)?.with_timezone(zone);
    cron.find_next_occurrence(&from, false).ok().map(|time| time.timestamp_millis())
}

/// The first four bytes of the id's digest, modulo the spread.
fn stagger_offset(job_id: &str, stagger_ms: u64) -> i64 {
    if stagger_ms == 0 {
        return 0;
    }
    let digest = Sha256::digest(job_id.as_bytes());
    let head = digest.iter().take(4).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    i64::try_from(head % stagger_ms).unwrap_or(0)
}

/// Minute 0 of a recurring hour: `0 * * * *`, `0 */2 * * *`, `0 0 * * * *`.
fn is_top_of_hour(expr: &str) -> bool {
    let fields: Vec<&str> = expr.split_whitespace().collect();
    match fields.as_slice() {
        [minute, hour, _, _, _] => *minute == "0" && hour.contains('*'),
        [second, minute, hour, _, _, _] => *second == "0" && *minute == "0" && hour.contains('*'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> UnixMillis {
        parse_at(text).unwrap()
    }

    fn cron(expr: &str, tz: &str, stagger_ms: Option<u64>) -> Plan {
        let schedule =
            Schedule::Cron { expr: expr.to_owned(), tz: Some(tz.to_owned()), stagger_ms };
        Plan::new(&schedule, "job", UnixMillis::new(0)).unwrap()
    }

    #[test]
    fn cron_in_its_zone_and_across_summer_time() {
        let daily = cron("30 7 * * *", "Europe/Berlin", Some(0));
        let next = |from: &str| daily.next_after(at(from)).unwrap();
        assert_eq!(next("2026-01-10T07:00:00Z"), at("2026-01-11T06:30:00Z"));
        assert_eq!(next("2026-07-10T05:29:59Z"), at("2026-07-10T05:30:00Z"));
        assert_eq!(next("2026-07-10T05:30:00Z"), at("2026-07-11T05:30:00Z"));
        // 02:30 does not exist on 2026-03-29 in Berlin: the day is not lost and not doubled.
        let night = cron("30 2 * * *", "Europe/Berlin", Some(0));
        let first = night.next_after(at("2026-03-28T12:00:00Z")).unwrap();
        let second = night.next_after(first).unwrap();
        assert!(
            first > at("2026-03-29T00:00:00Z") && first < at("2026-03-29T02:00:00Z"),
            "{first}"
        );
        assert_eq!(second, at("2026-03-30T00:30:00Z"));
    }

    #[test]
    fn six_fields_are_seconds_first() {
        let plan = cron("*/10 * * * * *", "UTC", None);
        assert_eq!(plan.next_after(at("2026-01-01T00:00:03Z")), Some(at("2026-01-01T00:00:10Z")));
    }

    #[test]
    fn the_spread_is_the_same_each_time_and_only_on_the_hour() {
        let hourly = cron("0 * * * *", "UTC", None);
        let first = hourly.next_after(at("2026-01-01T00:30:00Z")).unwrap();
        let second = hourly.next_after(first).unwrap();
        assert_eq!(second.since(first), Duration::from_secs(3600));
        let offset = first.since(at("2026-01-01T01:00:00Z"));
        assert_eq!(i64::try_from(offset.as_millis()).unwrap(), stagger_offset("job", 300_000));
        assert_ne!(stagger_offset("job", 300_000), stagger_offset("other", 300_000));
        for (expr, expected) in [
            ("0 * * * *", true),
            ("0 */2 * * *", true),
            ("0 7 * * *", false),
            ("5 * * * *", false),
            ("0 0 * * * *", true),
        ] {
            assert_eq!(is_top_of_hour(expr), expected, "{expr}");
        }
    }

    #[test]
    fn faults_name_what_is_wrong() {
        let fault = |schedule: Schedule| {
            Plan::new(&schedule, "job", UnixMillis::new(0)).unwrap_err().to_string()
        };
        let cron = |expr: &str, tz: Option<&str>| Schedule::Cron {
            expr: expr.to_owned(),
            tz: tz.map(str::to_owned),
            stagger_ms: None,
        };
        assert!(fault(cron("not cron", None)).contains("not cron"));
        assert!(fault(cron("* * * * *", Some("Mars/Base"))).contains("Mars/Base"));
        assert!(fault(Schedule::At { at: "tomorrow".to_owned() }).contains("tomorrow"));
        assert!(fault(Schedule::Every { every_ms: 0, anchor_ms: None }).contains("1 ms"));
    }

    #[test]
    fn at_is_due_once() {
        let plan =
            Plan::new(&Schedule::At { at: "2026-01-01T00:00".to_owned() }, "j", UnixMillis::new(0))
                .unwrap();
        assert!(plan.is_once());
        assert_eq!(plan.next_after(UnixMillis::new(0)), Some(at("2026-01-01T00:00:00Z")));
        assert_eq!(plan.next_after(at("2026-01-01T00:00:00Z")), None);
    }

    #[test]
    fn backoff_grows_to_an_hour() {
        assert_eq!(backoff(1), Duration::from_secs(30));
        assert_eq!(backoff(3), Duration::from_secs(300));
        assert_eq!(backoff(99), Duration::from_secs(3600));
    }

    proptest! {
        /// A period keeps its phase for ever and never gives an instant that is past.
        #[test]
        fn every_keeps_its_phase(every in 1_u64..10_000_000, anchor in -1_000_000_000_000_i64..2_000_000_000_000,
                                 now in 0_i64..2_000_000_000_000) {
            let schedule = Schedule::Every { every_ms: every, anchor_ms: Some(anchor) };
            let plan = Plan::new(&schedule, "j", UnixMillis::new(0)).unwrap();
            let next = plan.next_after(UnixMillis::new(now)).unwrap().get();
            let every = i64::try_from(every).unwrap();
            prop_assert!(next > now && next - now <= every);
            prop_assert_eq!((next - anchor).rem_euclid(every), 0);
        }

        #[test]
        fn stagger_is_within_bounds(id in ".*", stagger in 1_u64..1_000_000) {
            let offset = stagger_offset(&id, stagger);
            prop_assert!(offset >= 0 && u64::try_from(offset).unwrap() < stagger);
        }
    }
}
