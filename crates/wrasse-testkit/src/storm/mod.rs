//! The storm: rounds in which parts of a busy Wrasse are SIGKILLed at random instants, and a look at what is left.
//!
//! Rounds run side by side, each lane with a gateway of its own, bystanders with the command lines of its servers, a
//! second Wrasse of the same user, and children that were there before its warden. A round is drawn from the seed and
//! its number alone. Whatever a guarantee says must be gone or must live is recorded by pid and start time before the
//! kill, and looked for with none of the code under test.

mod aim;
mod cast;
mod met;
mod plan;
mod plant;
mod real;
mod round;
mod siblings;
mod stage;
mod table;

pub use met::Met;
pub use plan::Kill;
pub use plant::Plant;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use cast::Cast;
use plan::{Moment, Plan};
use round::{Report, play};
use stage::Stage;

/// What to play.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Rounds are numbered `from..rounds`.
    pub rounds: u64,
    /// The first, to go on where an earlier storm stopped.
    pub from: u64,
    /// With a round's number it determines the round.
    pub seed: u64,
    /// Lanes side by side.
    pub jobs: usize,
    /// Only these classes; empty is all.
    pub only: Vec<Kill>,
    /// The `node_modules` of the real servers, to play with these instead of fixtures.
    pub real_servers: Option<PathBuf>,
    /// Only these servers; empty is all.
    pub servers: Vec<String>,
    /// `containment.guard`.
    pub guard: Option<String>,
    /// `containment.layers`.
    pub layers: Option<Vec<String>>,
    /// A file to which every round adds a JSON line.
    pub record: Option<PathBuf>,
    /// Stop beginning rounds after this long.
    pub time_max: Option<Duration>,
    /// What is done behind the judge's back in every round, for it to find.
    pub plant: Option<Plant>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Summary {
    /// Rounds played.
    pub rounds: u64,
    /// Processes that had to be gone and were not.
    pub survivors: usize,
    /// Processes that had to live and did not.
    pub strangers: usize,
    /// Rounds in which anything else that had to hold did not.
    pub broken: usize,
    /// Rounds in which the machine was busy with others for so long that a limit was later by it.
    pub delayed: usize,
    /// The longest from a kill to the end of what it had to end, starts of a gateway not counted.
    pub slowest: Duration,
    /// What the kills met.
    pub met: BTreeMap<Kill, Met>,
    /// Which servers were used.
    pub servers: BTreeSet<String>,
    /// What a storm of this length must have met to prove what it is for, and did not.
    pub unmet: Vec<String>,
    /// A dump of each round that did not hold.
    pub violations: Vec<String>,
}

impl Summary {
    /// Whether every round held, and the rounds met what they are for.
    pub fn holds(&self) -> bool {
        self.survivors == 0
            && self.strangers == 0
            && self.broken == 0
            && self.rounds > 0
            && self.unmet.is_empty()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rounds {}, survivors {}, strangers {}, slowest {:.2} s",
            self.rounds,
            self.survivors,
            self.strangers,
            self.slowest.as_secs_f64()
        )?;
        for (what, count) in [("broken", self.broken), ("delayed by others", self.delayed)] {
            if count > 0 {
                write!(f, ", {what} {count}")?;
            }
        }
        for what in &self.unmet {
            write!(f, "; proves too little: {what}")?;
        }
        Ok(())
    }
}

/// What the lanes share.
struct Storm {
    options: Options,
    cast: Arc<Cast>,
    next: AtomicU64,
    began: Instant,
    summary: Mutex<Summary>,
    record: Option<Mutex<std::fs::File>>,
}

/// Plays a storm to its end.
pub fn run(options: Options) -> Summary {
    let cast = match &options.real_servers {
        Some(modules) => real::cast(modules),
        None => Cast::fixtures(),
    };
    let record = options.record.as_ref().map(|path| {
        Mutex::new(std::fs::File::options().create(true).append(true).open(path).unwrap())
    });
    let storm = Storm {
        next: AtomicU64::new(options.from),
        cast: Arc::new(cast.only(&options.servers)),
        began: Instant::now(),
        summary: Mutex::default(),
        record,
        options,
    };
    std::thread::scope(|scope| {
        for _ in 0..storm.options.jobs.max(1) {
            scope.spawn(|| storm.lane());
        }
    });
    let mut summary = storm.summary.into_inner().unwrap();
    summary.unmet = met::unmet(&summary, &storm.options, &storm.cast);
    summary
}

impl Storm {
    fn lane(&self) {
        let mut stage = None;
        while let Some(plan) = self.draw() {
            let began = Instant::now();
            let played = catch_unwind(AssertUnwindSafe(|| self.round(&mut stage, &plan)));
            let report = played.unwrap_or_else(|fault| broken(text_of(fault.as_ref())));
            let dump = (!report.holds()).then(|| stage.as_ref().map(Stage::log_tail));
            self.note(&plan, &report, began.elapsed(), dump.flatten());
            if !report.holds() {
                // Whatever is left of it is ended by the oracle, and the next round begins anew.
                drop(stage.take());
            }
        }
        if let Some(stage) = stage {
            let struck = catch_unwind(AssertUnwindSafe(|| stage.strike()));
            let fault = match struck {
                Ok(Ok(())) => return,
                Ok(Err(fault)) => fault,
                Err(fault) => text_of(fault.as_ref()),
            };
            let mut summary = self.summary.lock().unwrap();
            summary.broken += 1;
            summary.violations.push(format!("at the end of a lane: {fault}"));
        }
    }

    /// The next round, if there is to be one.
    fn draw(&self) -> Option<Plan> {
        if self.options.time_max.is_some_and(|limit| self.began.elapsed() >= limit) {
            return None;
        }
        let round = self.next.fetch_add(1, Ordering::Relaxed);
        // The real servers take seconds to start.
        let span_ms = if self.options.real_servers.is_some() { 2_500 } else { 400 };
        (round < self.options.rounds).then(|| {
            let options = &self.options;
            let mut plan = Plan::draw(options.seed, round, &self.cast, &options.only, span_ms);
            if options.plant.is_some() {
                // There must be somebody to do it to.
                plan.moment = Moment::Busy(Duration::ZERO);
                plan.plant = options.plant;
            }
            plan
        })
    }

    fn round(&self, stage: &mut Option<Stage>, plan: &Plan) -> Report {
        if stage.is_none() {
            match Stage::new(&self.options, &self.cast) {
                Ok(new) => *stage = Some(new),
                Err(fault) => return broken(fault),
            }
        }
        let Some(stage) = stage.as_mut() else { return broken("no stage".to_owned()) };
        play(stage, plan).unwrap_or_else(broken)
    }

    fn note(&self, plan: &Plan, report: &Report, took: Duration, log: Option<String>) {
        let mut line = json!({
            "round": plan.round,
            "seed": plan.seed,
            "kill": plan.kill,
            "servers": plan.parts.iter().map(|(place, _)| &self.cast.actors[*place].name).collect::<Vec<_>>(),
            "moment": plan.moment,
            "manner": plan.manner,
            "ok": report.holds(),
            "round_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
        if let (Value::Object(line), Ok(Value::Object(report))) =
            (&mut line, serde_json::to_value(report))
        {
            line.extend(report);
        }
        if let Some(record) = &self.record {
            drop(writeln!(record.lock().unwrap(), "{line}"));
        }
        let mut summary = self.summary.lock().unwrap();
        summary.rounds += 1;
        summary.survivors += report.survivors.len();
        summary.strangers += report.strangers.len();
        summary.broken += usize::from(!report.broken.is_empty());
        summary.delayed += usize::from(report.missed_ms > 0);
        summary.met.entry(plan.kill).or_default().note(report);
        let names = plan.parts.iter().map(|(place, _)| self.cast.actors[*place].name.clone());
        summary.servers.extend(names);
        if plan.kill != Kill::AllThree {
            summary.slowest = summary.slowest.max(Duration::from_millis(report.took_ms));
        }
        if !report.holds() {
            let dump =
                format!("{line:#}\n--- the gateway's log ends with\n{}", log.unwrap_or_default());
            eprintln!(
                "seed {} round {} ({}) did not hold:\n{dump}",
                plan.seed,
                plan.round,
                plan.kill.name()
            );
            summary.violations.push(dump);
        }
        if summary.rounds.is_multiple_of(25) {
            eprintln!("{summary} (after {} s)", self.began.elapsed().as_secs());
        }
    }
}

fn broken(fault: String) -> Report {
    Report { broken: vec![fault], ..Report::default() }
}

fn text_of(fault: &(dyn std::any::Any + Send)) -> String {
    let text = fault.downcast_ref::<String>().cloned();
    text.or_else(|| fault.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without words".to_owned())
}
