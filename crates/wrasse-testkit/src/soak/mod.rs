//! The soak: servers are started and ended a thousand times, in every way a run can leave them, and the gateway must hold
//! afterwards what it held before.
//!
//! A cycle is one run on one fixture, in a session that is deleted at its end. Lanes play side by side, each with
//! fixtures of its own, so that those which hold a file or a port never meet themselves. What the gateway holds is
//! read from `/proc`, and what is left below it is told by the oracle, with none of the code under test.

mod cast;
mod footprint;

pub use footprint::Footprint;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use crate::fixture::Mode;
use crate::rpc::Rpc;
use crate::station::{PATIENCE, Station, free_port};
use cast::{Role, held, modes, role};

const TOKEN: &str = "soak-token";
const LOOK: Duration = Duration::from_millis(20);
/// How long a gateway has to come to rest: threads that have nothing to do end after ten seconds.
const REST: Duration = Duration::from_secs(20);
/// For how long it is watched coming to rest before the first cycle counts.
const BASELINE: Duration = Duration::from_secs(3);
/// Before the first cycle counts, every fixture is played in every way.
const WARM_UPS: u64 = 3;

/// What to play.
#[derive(Debug, Clone)]
pub struct Options {
    /// Cycles that count.
    pub cycles: u64,
    /// Lanes side by side.
    pub jobs: u64,
    /// Only these fixtures; empty is all. For finding what grows.
    pub servers: Vec<String>,
    /// What the gateway is started by: nothing, or what makes a namespace for it.
    pub launcher: Vec<String>,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    /// Cycles that were played.
    pub cycles: u64,
    /// What the gateway held before and after them.
    pub before: Footprint,
    /// At rest after the last.
    pub after: Footprint,
    /// Instances and leases that the ledger says are open, while the gateway still lives.
    pub open: u64,
    /// How long the cycles took.
    pub seconds: u64,
    /// What else did not hold: a cycle that did not end as it must, or something left when the gateway had gone.
    pub faults: Vec<String>,
}

impl Summary {
    /// Whether nothing was left and nothing grew.
    pub fn flat(&self) -> bool {
        self.after.is_back_at(self.before) && self.open == 0 && self.faults.is_empty()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.flat() { "flat" } else { "NOT FLAT" };
        writeln!(f, "  before: {}", self.before)?;
        writeln!(f, "  after:  {}, open in the ledger {}", self.after, self.open)?;
        for fault in self.faults.iter().take(5) {
            writeln!(f, "  fault:  {fault}")?;
        }
        write!(f, "  {verdict}: {} cycles in {} s", self.cycles, self.seconds)
    }
}

/// How a cycle's run leaves its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It comes to its own end.
    Ends,
    /// It is cancelled in mid-call.
    Cancelled,
    /// Its session is deleted in mid-call.
    Deleted,
}

impl Way {
    const ALL: [Self; 3] = [Self::Ends, Self::Cancelled, Self::Deleted];
}

/// Plays a soak to its end; `progress` is told how many cycles are over, now and then.
pub fn run(options: &Options, progress: &(dyn Fn(u64) + Sync)) -> Summary {
    let mut summary = Summary::default();
    let mut soak = Soak::new(options);
    let outcome = catch_unwind(AssertUnwindSafe(|| soak.play(options, progress, &mut summary)));
    if let Err(fault) = outcome {
        let text = fault.downcast_ref::<String>().cloned();
        summary.faults.push(text.unwrap_or_else(|| "the harness panicked".to_owned()));
    }
    summary
}

struct Soak {
    station: Station,
    rpc: Rpc,
    modes: Vec<Mode>,
}

impl Soak {
    fn new(options: &Options) -> Self {
        let (mut station, port) = (Station::new(), free_port());
        cast::configure(&station, port, TOKEN);
        let launcher: Vec<&str> = options.launcher.iter().map(String::as_str).collect();
        station.set_launcher(&launcher);
        let mut modes = modes();
        modes.retain(|mode| {
            options.servers.is_empty() || options.servers.iter().any(|name| name == mode.name())
        });
        Self { station, rpc: Rpc { port, token: TOKEN.to_owned() }, modes }
    }

    fn play(&mut self, options: &Options, progress: &(dyn Fn(u64) + Sync), summary: &mut Summary) {
        self.station.start();
        let gateway = self.gateway();
        let count = u64::try_from(self.modes.len()).unwrap();
        let jobs = options.jobs.clamp(1, count);
        summary.faults = self.cycles(WARM_UPS * count, jobs, &|_| ());
        self.ask_at_once();
        summary.before = self.baseline(gateway);
        let began = Instant::now();
        summary.faults.extend(self.cycles(options.cycles, jobs, progress));
        summary.cycles = options.cycles;
        summary.seconds = began.elapsed().as_secs();
        summary.after = self.at_rest(gateway, summary.before);
        let end = Instant::now() + REST;
        // The last rows may still be on their way to the database.
        while {
            summary.open = self.open_rows();
            summary.open
        } > 0
            && Instant::now() < end
        {
            std::thread::sleep(LOOK);
        }
        self.end(options, summary);
    }

    /// Opens every connection that the gateway will ever have to its database: they are made when first needed.
    fn ask_at_once(&self) {
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        self.rpc.call("sessions.list", &json!({}), PATIENCE).unwrap();
                    }
                });
            }
        });
    }

    /// The gateway's number out here: it may know another.
    fn gateway(&mut self) -> u32 {
        let seen = self.station.oracle.list();
        let warden = seen.iter().find(|process| process.name.starts_with("wrasse-warden")).unwrap();
        seen.iter().find(|process| process.ppid == warden.pid).unwrap().pid
    }

    /// Plays cycles side by side; returns what did not hold.
    fn cycles(&self, count: u64, jobs: u64, progress: &(dyn Fn(u64) + Sync)) -> Vec<String> {
        let over = AtomicU64::new(0);
        let lane = |lane: u64| {
            let own: Vec<Mode> = self
                .modes
                .iter()
                .zip(0_u64..)
                .filter(|(_, place)| place % jobs == lane)
                .map(|(mode, _)| *mode)
                .collect();
            let mut faults = Vec::new();
            let share = count / jobs + u64::from(lane < count % jobs);
            for number in 0..share {
                let turn = usize::try_from(number).unwrap();
                let mode = own[turn % own.len()];
                let way = Way::ALL[(turn / own.len()) % Way::ALL.len()];
                if let Err(fault) = self.cycle(mode, way) {
                    faults.push(format!("{} {way:?}: {fault}", mode.name()));
                }
                progress(over.fetch_add(1, Ordering::Relaxed) + 1);
            }
            faults
        };
        std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..jobs).map(|number| scope.spawn(move || lane(number))).collect();
            lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
        })
    }

    fn cycle(&self, mode: Mode, way: Way) -> Result<(), String> {
        let (name, role) = (mode.name(), role(mode));
        if role == Role::Fails {
            self.rpc.call("mcp.restart", &json!({ "name": name }), PATIENCE)?;
        }
        let way = if role == Role::Fails { Way::Ends } else { way };
        let held = held(&self.station, mode);
        drop(std::fs::remove_file(&held));
        let key = format!("agent:{name}:soak");
        let message = if way == Way::Ends { "echo" } else { "hold" };
        let params = json!({ "message": message, "sessionKey": key });
        let accepted = self.rpc.call("agent", &params, PATIENCE)?;
        let run = accepted["runId"].as_str().ok_or_else(|| format!("no run: {accepted}"))?;
        if way != Way::Ends {
            self.until(|| held.exists(), "the call is in flight")?;
        }
        if way == Way::Cancelled {
            self.rpc.call("runs.cancel", &json!({ "runId": run }), PATIENCE)?;
        }
        if way == Way::Deleted {
            self.rpc.call("sessions.delete", &json!({ "key": key }), PATIENCE)?;
        }
        let params = json!({ "runId": run, "timeoutMs": 60_000 });
        let answer = self.rpc.call("agent.wait", &params, 2 * PATIENCE)?;
        let expected = match way {
            Way::Ends => "success",
            Way::Cancelled => "cancelled",
            Way::Deleted => "session_deleted",
        };
        if answer["endReason"] != expected {
            return Err(format!("not {expected}: {answer}"));
        }
        if way != Way::Deleted {
            self.rpc.call("sessions.delete", &json!({ "key": key }), PATIENCE)?;
        }
        Ok(())
    }

    fn until(&self, condition: impl Fn() -> bool, what: &str) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        while !condition() {
            if Instant::now() >= end {
                let log = self.station.log();
                let lines: Vec<&str> = log.lines().rev().take(5).collect();
                return Err(format!("not in time: {what}; the log ends with {lines:#?}"));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// The least of what is seen in a while: what a gateway comes to rest at.
    fn baseline(&mut self, gateway: u32) -> Footprint {
        let end = Instant::now() + BASELINE;
        let mut least = self.look(gateway);
        while Instant::now() < end {
            std::thread::sleep(LOOK);
            least = least.least(self.look(gateway));
        }
        least
    }

    /// Looks until everything that can be counted is where it was, or the time is over; returns the last look.
    fn at_rest(&mut self, gateway: u32, before: Footprint) -> Footprint {
        let end = Instant::now() + REST;
        loop {
            let now = self.look(gateway);
            let counted = now.fds <= before.fds && now.threads <= before.threads;
            if (counted && now.is_back_at(before)) || Instant::now() >= end {
                return now;
            }
            std::thread::sleep(LOOK);
        }
    }

    fn look(&mut self, gateway: u32) -> Footprint {
        let seen = self.station.oracle.list();
        Footprint::look(gateway, &seen).unwrap_or_else(|| {
            panic!("the gateway {gateway} cannot be read\n{}", self.station.log())
        })
    }

    /// Open instances and leases, as the gateway and as its database tell.
    fn open_rows(&self) -> u64 {
        let ps = self.rpc.call("ps", &json!({}), PATIENCE).unwrap();
        let told = ps["instances"].as_array().map_or(1, Vec::len);
        let leftovers = ps["leftovers"].as_array().map_or(1, Vec::len);
        let open = |table: &str| -> u64 {
            let sql = format!("SELECT count(*) FROM {table} WHERE ended_at IS NULL");
            self.station.query(&sql).trim().parse().unwrap()
        };
        let written = open("instances") + open("leases") + open("runs");
        u64::try_from(told + leftovers).unwrap() + written
    }

    /// Ends the gateway; nothing may be left of it.
    fn end(&mut self, options: &Options, summary: &mut Summary) {
        const SIGTERM: i32 = 15;
        if options.launcher.is_empty() {
            self.station.assert_flat();
            return;
        }
        // The order of a container's end goes to its PID 1.
        let seen = self.station.oracle.list();
        let init = seen.iter().find(|process| process.name.starts_with("wrasse-warden")).unwrap();
        let init = init.pid;
        self.station.oracle.signal(&[init], SIGTERM);
        let launched = self.station.warden.take().unwrap();
        let code = self.station.oracle.exit_code(launched, PATIENCE);
        if code != Some(0) {
            summary.faults.push(format!("the namespace ended with {code:?}"));
        }
        self.station.assert_empty();
        self.station.assert_ledger_closed();
    }
}

/// What a summary is called with `--json`.
pub fn report(name: &str, summary: &Summary) -> Value {
    json!({ "schema": 1, "soak": name, "flat": summary.flat(), "result": summary })
}
