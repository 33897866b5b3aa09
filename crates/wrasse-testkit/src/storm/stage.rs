//! Where rounds are played: a gateway below an oracle, and around it everybody who must not be hit.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Options;
use super::cast::{Cast, LET_GO};
use super::table::{Entry, Id, Table, Used, was_signalled};
use crate::pulse::Pulse;
use crate::rpc::Rpc;
use crate::station::{PATIENCE, Station, free_port};

const SIGKILL: i32 = 9;
const TOKEN: &str = "storm-token";
/// How often a stage looks at the process table.
pub(super) const LOOK: Duration = Duration::from_millis(12);
/// What the processes of Wrasse itself are called.
const WRASSE: [&str; 3] = ["wrasse", "wrasse-warden", "wrasse-guardian"];
/// Siblings of dead wardens that are kept: enough to be there at several starts.
const SIBLINGS_MAX: usize = 6;
/// Bystanders with command lines that servers have too.
const BYSTANDERS: [&str; 3] = ["f-eof-deaf", "f-term-deaf", "sleeper"];
/// Executes its arguments with every signal blocked: whatever is sent stays pending, and is found.
const DEAF: [&str; 2] = ["env", "--block-signal"];

/// [`DEAF`] where the machine's `env` knows it, else nothing.
fn deaf(station: &mut Station) -> Result<&'static [&'static str], String> {
    let tried = station.spawn(&words(&[&DEAF, &["true"]]));
    match station.oracle.exit_code(tried, PATIENCE) {
        Some(0) => Ok(&DEAF),
        Some(_) => Ok(&[]),
        None => Err("`env` does not end".to_owned()),
    }
}

/// Looks at the process table again and again, and counts the time that the machine had neither for us nor for Wrasse.
#[derive(Debug)]
pub(super) struct Watch {
    pulse: Pulse,
    used: Used,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { pulse: Pulse::new(), used: Used::default() }
    }

    /// Returns what is there, since when we know it, and how much was missed until then.
    pub(super) fn look(&mut self, stage: &Stage) -> (Table, Instant, Duration) {
        let table = Table::read();
        let used = self.used.since(stage.wrasse(&table));
        let missed = self.pulse.beat_less(used);
        (table, Instant::now(), missed)
    }
}

/// Somebody who must live through everything.
#[derive(Debug, Clone)]
pub(super) struct Stranger {
    pub(super) id: Id,
    pub(super) what: String,
    pub(super) hears: Hears,
}

/// What becomes of a signal that does not end a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hears {
    /// It acts on it.
    Signals,
    /// It blocks all that can be blocked: they stay pending.
    Nothing,
}

impl Stranger {
    /// What was done to it, if anything.
    fn harm(&self, table: &Table) -> Option<&'static str> {
        let entry = table.get(self.id.pid).filter(|entry| entry.id == self.id && entry.lives());
        match entry {
            None => Some("was killed"),
            Some(entry) if entry.is_stopped() => Some("was stopped"),
            Some(_) if self.hears == Hears::Nothing && was_signalled(self.id.pid) => {
                Some("was sent a signal")
            }
            Some(_) => None,
        }
    }
}

/// One gateway under storm.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) station: Station,
    pub(super) cast: Arc<Cast>,
    pub(super) rpc: Rpc,
    pub(super) warden: Id,
    pub(super) gateway: Id,
    /// The layers that the gateway must say it has, where any were asked for.
    layers: Option<Vec<String>>,
    siblings: VecDeque<Stranger>,
    others: Vec<Stranger>,
    /// A second Wrasse of the same user, and the bystanders.
    other: Station,
    second: Second,
}

/// The second Wrasse's call, which is in flight throughout.
#[derive(Debug)]
struct Second {
    rpc: Rpc,
    run: String,
    stem: PathBuf,
}

impl Stage {
    /// Sets everything up and starts both gateways.
    pub(super) fn new(options: &Options, cast: &Arc<Cast>) -> Result<Self, String> {
        let (station, port) = (Station::new(), free_port());
        let mut containment = json!({ "guard": options.guard.as_deref().unwrap_or("auto") });
        if let Some(layers) = &options.layers {
            containment["layers"] = json!(layers);
        }
        cast.configure(&station, port, TOKEN, &json!({ "containment": containment }));
        let (other, others, second) = bystanders(cast, &station)?;
        let rpc = Rpc { port, token: TOKEN.to_owned() };
        let nobody = Id { pid: 0, start: 0 };
        let mut stage = Self {
            station,
            cast: Arc::clone(cast),
            rpc,
            warden: nobody,
            gateway: nobody,
            layers: options.layers.as_deref().map(with_floor),
            siblings: VecDeque::new(),
            others,
            other,
            second,
        };
        stage.start()?;
        Ok(stage)
    }

    /// Starts the gateway from a shell that has children already: they are born before the warden begins.
    pub(super) fn start(&mut self) -> Result<Duration, String> {
        let began = Instant::now();
        let deaf = deaf(&mut self.station)?;
        let how = deaf.join(" ");
        let shell =
            format!("{how} \"$1\" f-eof-deaf & {how} sleep 100000 & exec \"$0\" gateway run");
        let wrasse = self.station.wrasse().display().to_string();
        let fixture = self.station.program("wrasse-fixture").display().to_string();
        let argv = ["sh", "-c", &shell, &wrasse, &fixture].map(str::to_owned);
        let warden = self.station.spawn(&argv);
        self.station.warden = Some(warden);
        while !self.rpc.ready() {
            if let Some(code) = self.station.oracle.exit_code(warden, Duration::ZERO) {
                return Err(format!("the gateway ended at its start with code {code}"));
            }
            if began.elapsed() > PATIENCE {
                return Err("the gateway does not become ready".to_owned());
            }
            std::thread::sleep(LOOK);
        }
        let took = began.elapsed();
        let table = Table::read();
        let status = self.rpc.call("status", &json!({}), PATIENCE)?;
        let layers = &status["gateway"]["containment"];
        if self.layers.as_ref().is_some_and(|asked| *layers != json!(asked)) {
            return Err(format!("layers {:?} were asked for, {layers} are in use", self.layers));
        }
        let gateway =
            status["gateway"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
        let id = |pid: u32, what: &str| table.id(pid).ok_or(format!("there is no {what}"));
        (self.warden, self.gateway) = (id(warden, "warden")?, id(gateway, "gateway")?);
        let known = |own: Id| self.wrasse(&table).any(|entry| entry.id == own);
        if !known(self.warden) || !known(self.gateway) {
            return Err(format!("warden and gateway are not called as one of {WRASSE:?}"));
        }
        let siblings: Vec<Stranger> = table
            .children(warden)
            .filter(|entry| entry.id != self.gateway)
            .map(|entry| Stranger {
                id: entry.id,
                what: "a child from before the warden".to_owned(),
                hears: if deaf.is_empty() { Hears::Signals } else { Hears::Nothing },
            })
            .collect();
        if siblings.len() != 2 {
            return Err(format!("two siblings were born before the warden, {siblings:?} live"));
        }
        self.siblings.extend(siblings);
        while self.siblings.len() > SIBLINGS_MAX {
            let Some(oldest) = self.siblings.pop_front() else { break };
            self.station.oracle.signal(&[oldest.id.pid], SIGKILL);
            // Until it is gone it would look like one of the gateway's.
            while Table::read().lives(oldest.id) {
                std::thread::sleep(LOOK);
            }
        }
        Ok(took)
    }

    /// Whether every server is to be in a cgroup of its own.
    pub(super) fn has_leaves(&self) -> bool {
        self.layers.iter().flatten().any(|layer| layer == "cgroup2")
    }

    /// What is below the oracle and is nobody's but this gateway's: warden, gateway, guardians, trees.
    pub(super) fn ours<'a>(&self, table: &'a Table) -> Vec<&'a Entry> {
        let oracle = self.station.oracle.pid();
        let siblings: BTreeSet<Id> = self.siblings.iter().map(|sibling| sibling.id).collect();
        let mut ours = table.below(oracle);
        // The oracle reaps what it is given when it is asked: until then that is nobody's zombie.
        ours.retain(|entry| {
            !siblings.contains(&entry.id) && (entry.lives() || entry.ppid != oracle)
        });
        ours
    }

    /// Everything of this gateway but itself and its warden.
    pub(super) fn trees<'a>(&self, table: &'a Table) -> Vec<&'a Entry> {
        let mut ours = self.ours(table);
        ours.retain(|entry| entry.id != self.warden && entry.id != self.gateway);
        ours
    }

    /// Gateway, warden and guardians, by their names: whoever lost its parent is found too.
    fn wrasse<'a>(&self, table: &'a Table) -> impl Iterator<Item = &'a Entry> {
        let ours = self.ours(table).into_iter();
        ours.filter(|entry| WRASSE.contains(&entry.name.as_str()))
    }

    /// Waits until two looks in a row find nothing; returns when the first of them was, and the time until then for
    /// which the machine had no time for us: the deadline is later by as much.
    pub(super) fn empty_by(
        &self,
        deadline: Instant,
        what: impl for<'a> Fn(&Self, &'a Table) -> Vec<&'a Entry>,
    ) -> Result<(Instant, Duration), Vec<Entry>> {
        let (mut empty_since, mut watch) = (None, Watch::new());
        loop {
            let (table, now, missed) = watch.look(self);
            let left = what(self, &table);
            match (left.is_empty(), empty_since) {
                (true, Some(found)) => return Ok(found),
                (true, None) => empty_since = Some((now, missed)),
                (false, _) if now >= deadline + missed => {
                    return Err(left.into_iter().cloned().collect());
                }
                (false, _) => empty_since = None,
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Everybody who must be left alone, and what was done to them.
    pub(super) fn strangers_hit(&self) -> Vec<String> {
        let table = Table::read();
        let harm = |one: &Stranger| {
            one.harm(&table).map(|harm| format!("{} {} {harm}", one.id.pid, one.what))
        };
        self.strangers().filter_map(harm).collect()
    }

    /// Children from before the warden, bystanders, the second Wrasse and its tree.
    pub(super) fn strangers(&self) -> impl Iterator<Item = &Stranger> {
        self.siblings.iter().chain(&self.others)
    }

    /// Signals a stranger, as Wrasse must never do.
    pub(super) fn harm(&mut self, stranger: &Stranger, signal: i32) -> bool {
        let pids = [stranger.id.pid];
        self.station.oracle.signal(&pids, signal) + self.other.oracle.signal(&pids, signal) == 1
    }

    /// The end of the gateway's log.
    pub(super) fn log_tail(&self) -> String {
        let log = self.station.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Ends both gateways in order; nothing of either may be left, in the process table or in the ledger, and the second
    /// Wrasse's call must be answered after all that happened.
    pub(super) fn strike(mut self) -> Result<(), String> {
        let panicked = self.station.log().contains("panicked at");
        self.second.answered()?;
        let siblings: Vec<u32> = self.siblings.iter().map(|sibling| sibling.id.pid).collect();
        self.station.oracle.signal(&siblings, SIGKILL);
        let table = Table::read();
        let wrasse = self.other.warden;
        let mut bystanders = Vec::new();
        for child in table.children(self.other.oracle.pid()) {
            if Some(child.id.pid) != wrasse {
                bystanders.push(child.id.pid);
                bystanders.extend(table.below(child.id.pid).iter().map(|entry| entry.id.pid));
            }
        }
        self.other.oracle.signal(&bystanders, SIGKILL);
        self.station.assert_flat();
        self.other.assert_flat();
        if panicked { Err(format!("the gateway panicked: {}", self.station.log())) } else { Ok(()) }
    }
}

impl Second {
    /// Begins the call and waits until it is in flight.
    fn begin(rpc: Rpc, other: &Station, actor: &str) -> Result<Self, String> {
        let stem = other.path("work").join("second");
        let params = json!({ "message": stem, "sessionKey": format!("agent:{actor}:second") });
        let accepted = rpc.call("agent", &params, PATIENCE)?;
        let run = accepted["runId"].as_str().ok_or("the second Wrasse began no run")?.to_owned();
        let (began, started) = (Instant::now(), super::round::started(&stem, actor));
        while !started.exists() {
            if began.elapsed() > PATIENCE {
                return Err(format!("the second Wrasse's call does not begin\n{}", other.log()));
            }
            std::thread::sleep(LOOK);
        }
        Ok(Self { rpc, run, stem })
    }

    /// Lets the call go.
    fn answered(&self) -> Result<(), String> {
        std::fs::write(self.stem.with_extension("go"), "").unwrap();
        let params = json!({ "runId": self.run, "timeoutMs": 60_000 });
        let answer = self.rpc.call("agent.wait", &params, 2 * PATIENCE)?;
        let text = answer["text"].as_str().unwrap_or_default();
        if answer["status"] == "ok" && text.contains(LET_GO) {
            Ok(())
        } else {
            Err(format!("the second Wrasse's call was not answered: {answer}"))
        }
    }
}

/// The second Wrasse and the bystanders, all recorded.
fn bystanders(cast: &Cast, first: &Station) -> Result<(Station, Vec<Stranger>, Second), String> {
    let mut other = Station::new();
    let own = Cast::second();
    let rpc = Rpc { port: free_port(), token: TOKEN.to_owned() };
    own.configure(&other, rpc.port, TOKEN, &json!({}));
    let fixture = other.program("wrasse-fixture").display().to_string();
    let (deaf, mut blocked) = (deaf(&mut other)?, Vec::new());
    for mode in BYSTANDERS {
        let pid = other.spawn(&words(&[deaf, &[&fixture, mode]]));
        blocked.extend((!deaf.is_empty()).then_some(pid));
    }
    cast.start_bystanders(&mut other, first)?;
    other.start();
    let second = Second::begin(rpc, &other, &own.actors[0].name)?;
    let strangers = Table::read()
        .below(other.oracle.pid())
        .into_iter()
        .map(|entry| Stranger {
            id: entry.id,
            what: format!("{} (bystander)", entry.name),
            hears: if blocked.contains(&entry.id.pid) { Hears::Nothing } else { Hears::Signals },
        })
        .collect();
    Ok((other, strangers, second))
}

/// The layers as a gateway names them: the floor, which is never missing, and what is above it.
fn with_floor(asked: &[String]) -> Vec<String> {
    let above = asked.iter().filter(|layer| *layer != "floor").cloned();
    std::iter::once("floor".to_owned()).chain(above).collect()
}

fn words(parts: &[&[&str]]) -> Vec<String> {
    parts.iter().flat_map(|part| part.iter()).map(|word| (*word).to_owned()).collect()
}
