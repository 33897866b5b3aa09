//! Durations as people write them: `500ms`, `2s`, `1m30s`, `24h`, `7d`.

use std::time::Duration;

/// Says why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a duration: write a number and a unit (ms, s, m, h, d, w), as in \"30s\" or \"1h30m\""
)]
pub struct DurationError(String);

const UNITS: [(&str, u64); 6] = [
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads a duration: one or more numbers, each with a unit.
///
/// # Errors
/// When a number lacks a unit, a unit is unknown, or the sum does not fit.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let fail = || DurationError(text.to_owned());
    let mut rest = text.trim();
    let mut total_ms = 0_u64;
    if rest.is_empty() {
        return Err(fail());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(fail)?;
        let number: u64 = rest[..digits].parse().map_err(|_| fail())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = &rest[..letters];
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(fail)?;
        total_ms =
            number.checked_mul(*scale).and_then(|ms| total_ms.checked_add(ms)).ok_or_else(fail)?;
        rest = rest[letters..].trim_start();
    }
    Ok(Duration::from_millis(total_ms))
}

/// Writes a duration in at most two units, rounded down: `41.2 s` stays readable as `41s`, `3d 4h`.
pub fn format_duration(duration: Duration) -> String {
    let total_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if total_ms < 1000 {
        return format!("{total_ms}ms");
    }
    let mut parts = Vec::new();
    let mut left = total_ms;
    for (name, scale) in UNITS.iter().filter(|(name, _)| !matches!(*name, "ms" | "w")) {
        let count = left / scale;
        left %= scale;
        if count > 0 {
            parts.push(format!("{count}{name}"));
        }
        if parts.len() == 2 || (!parts.is_empty() && count == 0) {
            break;
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let ms = |text| parse_duration(text).map(|d| d.as_millis());
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("2s"), Ok(2000));
        assert_eq!(ms("1h30m"), Ok(5_400_000));
        assert_eq!(ms("1h 30m"), Ok(5_400_000));
        for bad in
            ["", "5", "s", "5x", "5 s", "-1s", "99999999999999999999s", "999999999999999999w"]
        {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn writes_two_units() {
        assert_eq!(format_duration(Duration::from_millis(21)), "21ms");
        assert_eq!(format_duration(Duration::from_secs(41)), "41s");
        assert_eq!(format_duration(Duration::from_secs(3 * 86_400 + 4 * 3600 + 5)), "3d 4h");
        assert_eq!(format_duration(Duration::from_secs(3600)), "1h");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in ".*") {
            drop(parse_duration(&text));
        }
    }
}
