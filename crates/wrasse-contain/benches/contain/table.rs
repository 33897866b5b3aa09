//! The printed table, the few numbers behind it, and how every bench is asked for it.

use std::process::ExitCode;
use std::time::Duration;

/// How many samples each row takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Quick,
    Full,
}

impl Pace {
    pub(crate) fn samples(self, quick: usize, full: usize) -> usize {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// The words that this program was given, without what cargo adds.
pub(crate) fn arguments() -> Vec<String> {
    std::env::args().skip(1).filter(|arg| arg != "--bench").collect()
}

/// Runs a bench as its options say.
pub(crate) fn play(name: &str, options: &[&str], bench: fn(Pace) -> ExitCode) -> ExitCode {
    match options {
        // A test runner that asks every target for its tests.
        ["--list", ..] => ExitCode::SUCCESS,
        [] => bench(Pace::Full),
        ["--quick"] => bench(Pace::Quick),
        other => {
            println!("usage: {name} [--quick]; unknown arguments {other:?}");
            ExitCode::from(64)
        }
    }
}

/// What a row's budget says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Within its budget.
    Within,
    /// Over its budget, or something was left that should not be.
    Missed,
    /// There is no budget; the number is for reading.
    NoBudget,
}

impl Verdict {
    pub(crate) fn of<T: PartialOrd>(measured: T, budget: T) -> Self {
        if measured <= budget { Self::Within } else { Self::Missed }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Within => "within",
            Self::Missed => "MISSED",
            Self::NoBudget => "-",
        }
    }
}

/// Rows of: what, measured, what was run beside it, budget, verdict.
#[derive(Debug)]
pub(crate) struct Table {
    title: &'static str,
    rows: Vec<[String; 5]>,
    notes: Vec<String>,
    load: String,
}

impl Table {
    /// An empty table; remembers how busy the machine was.
    pub(crate) fn new(title: &'static str) -> Self {
        Self { title, rows: Vec::new(), notes: Vec::new(), load: load() }
    }

    /// Adds a row, and shows that it is done.
    pub(crate) fn row(
        &mut self,
        what: impl Into<String>,
        measured: impl Into<String>,
        beside: impl Into<String>,
        budget: impl Into<String>,
        verdict: Verdict,
    ) {
        let row =
            [what.into(), measured.into(), beside.into(), budget.into(), verdict.word().to_owned()];
        println!(". {}: {}", row[0], row[1]);
        self.rows.push(row);
    }

    /// Adds a line below the table.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Prints everything; fails when a row missed its budget.
    pub(crate) fn print(self) -> ExitCode {
        let head = ["what", "measured", "beside it, same run", "budget", "verdict"];
        let head = head.map(str::to_owned);
        let mut widths = [0; 5];
        for row in std::iter::once(&head).chain(&self.rows) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |row: &[String; 5]| {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            println!("| {} |", cells.collect::<Vec<_>>().join(" | "));
        };
        println!("\n{}\n", self.title);
        line(&head);
        line(&widths.map(|width| "-".repeat(width)));
        self.rows.iter().for_each(line);
        println!();
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let (before, after) = (self.load, load());
        println!(
            "kernel {}, {cores} cores, load {before} at the start and {after} at the end",
            kernel.trim()
        );
        self.notes.iter().for_each(|note| println!("{note}"));
        let missed = Verdict::Missed.word();
        ExitCode::from(u8::from(self.rows.iter().any(|row| row[4] == missed)))
    }
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}

/// The middle of some durations.
pub(crate) fn median(samples: &[Duration]) -> Duration {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// A duration as people compare it.
pub(crate) fn shown(duration: Duration) -> String {
    if duration < Duration::from_millis(1) {
        format!("{} µs", duration.as_micros())
    } else {
        format!("{:.2} ms", duration.as_secs_f64() * 1e3)
    }
}

/// The middle of some durations, with the ends of their range.
pub(crate) fn spread(samples: &[Duration]) -> String {
    let (min, max) = (samples.iter().min(), samples.iter().max());
    let [min, max] = [min, max].map(|end| end.copied().unwrap_or_default().as_secs_f64() * 1e3);
    format!("{} ({min:.2}-{max:.2})", shown(median(samples)))
}

/// How many times `a` is `b`.
pub(crate) fn ratio(a: Duration, b: Duration) -> String {
    format!("x{:.1}", a.as_secs_f64() / b.as_secs_f64().max(1e-9))
}
