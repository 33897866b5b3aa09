//! When a job fires: OpenClaw's `schedule` object, or `every`, `cron`, `at` beside the name.

use std::str::FromStr;

use chrono::{DateTime, LocalResult, NaiveDate, NaiveDateTime, SecondsFormat, TimeZone, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};
use wrasse_types::{UnixMillis, parse_duration};

use super::super::cursor::{At, LONGEST};
use super::{check_keys, first};
use crate::Schedule;
use crate::text::Value;

const KEYS: &[&str] = &[
    "anchorMs",
    "at",
    "atMs",
    "cron",
    "every",
    "everyMs",
    "exact",
    "expr",
    "kind",
    "stagger",
    "staggerMs",
    "tz",
];

const LONGEST_MS: i64 = 10 * 365 * 86_400_000;

/// Reads the schedule of a job; `None` when there is none that can be used, which is noted.
pub(super) fn read(job: &At<'_>, now: Option<UnixMillis>) -> Option<Schedule> {
    let zone = zone(job);
    let Some(at) = job.get("schedule") else { return from_keys(job, zone, now) };
    match &at.node.value {
        Value::Text(text) => from_text(&at, text, zone, now),
        Value::Object(_) => {
            check_keys(&at, KEYS);
            let zone = self::zone(&at).or(zone);
            from_keys(&at, zone, now)
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Array(_) => {
            at.fault(
                format!("expected an object, found {}", at.node.kind()),
                Some("write { kind: \"cron\", expr: \"0 7 * * *\" }"),
            );
            None
        }
    }
}

/// `"0 7 * * *"`, `"every 20s"`, `"20s"`, or a time.
fn from_text(
    at: &At<'_>,
    text: &str,
    zone: Option<Tz>,
    now: Option<UnixMillis>,
) -> Option<Schedule> {
    let text = text.trim();
    if text.starts_with('@') || text.split_whitespace().count() >= 5 {
        return cron(at, text, zone, None);
    }
    let interval = text.strip_prefix("every ").unwrap_or(text);
    if parse_duration(interval).is_ok() {
        return every(at, interval, None);
    }
    time(at, text, zone, now)
}

fn from_keys(at: &At<'_>, zone: Option<Tz>, now: Option<UnixMillis>) -> Option<Schedule> {
    let kind = at.get("kind").and_then(|kind| kind.text());
    let named: Vec<&str> =
        [("at", ["at", "atMs"]), ("every", ["every", "everyMs"]), ("cron", ["cron", "expr"])]
            .iter()
            .filter(|(_, keys)| first(at, keys).is_some())
            .map(|(kind, _)| *kind)
            .collect();
    let kind = match (kind.as_deref(), named.as_slice()) {
        (Some(kind), _) => kind,
        (None, [one]) => one,
        (None, []) => {
            at.fault(
                "this job has no schedule",
                Some("add every: \"20m\", cron: \"0 7 * * *\" or at: \"2030-01-31T07:00:00Z\""),
            );
            return None;
        }
        (None, several) => {
            at.fault(
                format!("this job has several schedules: {}", several.join(", ")),
                Some("keep one of them"),
            );
            return None;
        }
    };
    match kind {
        "at" => match (at.get("at"), at.get("atMs")) {
            (Some(value), _) => time(&value, &value.text()?, zone, now),
            (None, Some(millis)) => from_millis(&millis),
            (None, None) => missing(at, "at: \"2030-01-31T07:00:00Z\""),
        },
        "every" => {
            let anchor = at.get("anchorMs").and_then(|anchor| anchor.int(0..=i64::MAX));
            match (at.get("every"), at.get("everyMs")) {
                (Some(value), _) => every(&value, &value.text()?, anchor),
                (None, Some(value)) => {
                    let every_ms = u64::try_from(value.int(1..=LONGEST_MS)?).ok()?;
                    Some(Schedule::Every { every_ms, anchor_ms: anchor })
                }
                (None, None) => missing(at, "every: \"20m\""),
            }
        }
        "cron" => match first(at, &["expr", "cron"]) {
            Some(value) => cron(&value, &value.text()?, zone, stagger(at)),
            None => missing(at, "expr: \"0 7 * * *\""),
        },
        other => {
            let at = at.get("kind").unwrap_or_else(|| at.clone());
            at.fault(
                format!("a schedule of kind {other:?} is not implemented"),
                Some("use \"at\", \"every\" or \"cron\""),
            );
            None
        }
    }
}

fn missing(at: &At<'_>, advice: &str) -> Option<Schedule> {
    at.fault("this schedule says no time", Some(&format!("add {advice}")));
    None
}

fn every(at: &At<'_>, text: &str, anchor_ms: Option<i64>) -> Option<Schedule> {
    let time = match parse_duration(text) {
        Ok(time) => time,
        Err(error) => {
            at.fault(error.to_string(), None);
            return None;
        }
    };
    let every_ms = u64::try_from(time.min(LONGEST).as_millis()).ok()?;
    if every_ms == 0 {
        at.fault("a job cannot fire without a pause", Some("write for example \"20s\""));
        return None;
    }
    Some(Schedule::Every { every_ms, anchor_ms })
}

fn cron(at: &At<'_>, text: &str, zone: Option<Tz>, stagger_ms: Option<u64>) -> Option<Schedule> {
    let expr = text.trim();
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    if let Err(error) = parser.parse(expr) {
        at.fault(
            format!(
                "{expr:?} is not a cron expression: {}",
                error.to_string().trim_end_matches('.')
            ),
            Some("write minute hour day month weekday, as in \"0 7 * * *\""),
        );
        return None;
    }
    Some(Schedule::Cron {
        expr: expr.to_owned(),
        tz: zone.map(|zone| zone.name().to_owned()),
        stagger_ms,
    })
}

fn stagger(at: &At<'_>) -> Option<u64> {
    if at.get("exact").and_then(|exact| exact.flag()) == Some(true) {
        return Some(0);
    }
    if let Some(stagger) = at.get("stagger") {
        return u64::try_from(stagger.duration()?.as_millis()).ok();
    }
    at.get("staggerMs")
        .and_then(|stagger| stagger.int(0..=i64::MAX))
        .and_then(|millis| u64::try_from(millis).ok())
}

fn zone(at: &At<'_>) -> Option<Tz> {
    let at = at.get("tz")?;
    let name = at.text()?;
    match name.trim().parse::<Tz>() {
        Ok(zone) => Some(zone),
        Err(_) => {
            let near =
                crate::known::closest(&name, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
            let advice = near.map_or("write for example \"Europe/Berlin\"".to_owned(), |near| {
                format!("did you mean {near:?}?")
            });
            at.fault(format!("{name:?} is not a time zone"), Some(&advice));
            None
        }
    }
}

fn from_millis(at: &At<'_>) -> Option<Schedule> {
    let millis = at.int(0..=253_402_300_799_999)?;
    DateTime::from_timestamp_millis(millis).map(|time| Schedule::At { at: text_of(time) })
}

fn text_of(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A time with offset, one without (of the zone, else UTC), or a duration from now.
fn time(at: &At<'_>, text: &str, zone: Option<Tz>, now: Option<UnixMillis>) -> Option<Schedule> {
    let text = text.trim();
    let ahead = text.strip_prefix('+').or_else(|| text.strip_prefix("in ")).unwrap_or(text);
    if let (Ok(ahead), Some(now)) = (parse_duration(ahead), now) {
        let time = DateTime::from_timestamp_millis(now.plus(ahead).get())?;
        return Some(Schedule::At { at: text_of(time) });
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(Schedule::At { at: text_of(time.to_utc()) });
    }
    let Some(naive) = naive(text) else {
        at.fault(
            format!("{text:?} is not a time"),
            Some("write for example \"2030-01-31T07:00:00Z\""),
        );
        return None;
    };
    let zone = zone.unwrap_or(Tz::UTC);
    match zone.from_local_datetime(&naive) {
        // Where clocks go back, the first of the two.
        LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => {
            Some(Schedule::At { at: text_of(time.to_utc()) })
        }
        LocalResult::None => {
            at.fault(format!("there is no {text:?} in {}: clocks skip it", zone.name()), None);
            None
        }
    }
}

fn naive(text: &str) -> Option<NaiveDateTime> {
    let formats =
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    let time = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    time.or_else(|| NaiveDate::from_str(text).ok()?.and_hms_opt(0, 0, 0))
}
