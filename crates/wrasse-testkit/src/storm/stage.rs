//! Where rounds are played: a gateway below an oracle, and around it everybody who must not be hit.

use std::collections::{BTreeSet, VecDeque};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::Options;
use super::cast::Cast;
use super::plan::Chance;
use super::table::{Entry, Id, Table};
use crate::rpc::Rpc;
use crate::station::{PATIENCE, Station};

const TOKEN: &str = "storm-token";
/// How often a stage looks at the process table.
pub(super) const LOOK: Duration = Duration::from_millis(12);
/// Siblings of dead wardens that are kept: enough to be there at several starts.
const SIBLINGS_MAX: usize = 6;
/// Bystanders with command lines that servers have too.
const BYSTANDERS: [&str; 3] = ["f-eof-deaf", "f-term-deaf", "sleeper"];

/// Somebody who must live through everything.
#[derive(Debug, Clone)]
pub(super) struct Stranger {
    pub(super) id: Id,
    pub(super) what: String,
}

/// One gateway under storm.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) station: Station,
    pub(super) cast: Arc<Cast>,
    pub(super) rpc: Rpc,
    pub(super) warden: Id,
    pub(super) gateway: Id,
    siblings: VecDeque<Id>,
    others: Vec<Stranger>,
    /// A second Wrasse of the same user, with a server of its own in mid-call, and the bystanders.
    other: Station,
}

impl Stage {
    /// Sets everything up and starts both gateways.
    pub(super) fn new(options: &Options, cast: &Arc<Cast>) -> Result<Self, String> {
        let (station, port) = (Station::new(), quiet_port());
        let mut containment = json!({ "guard": options.guard.as_deref().unwrap_or("auto") });
        if let Some(layers) = &options.layers {
            containment["layers"] = json!(layers);
        }
        cast.configure(&station, port, TOKEN, &json!({ "containment": containment }));
        let (other, others) = bystanders()?;
        let rpc = Rpc { port, token: TOKEN.to_owned() };
        let nobody = Id { pid: 0, start: 0 };
        let mut stage = Self {
            station,
            cast: Arc::clone(cast),
            rpc,
            warden: nobody,
            gateway: nobody,
            siblings: VecDeque::new(),
            others,
            other,
        };
        stage.start()?;
        Ok(stage)
    }

    /// Starts the gateway from a shell that has children already: they are born before the warden begins.
    pub(super) fn start(&mut self) -> Result<Duration, String> {
        let began = Instant::now();
        let shell = "\"$1\" f-eof-deaf & sleep 100000 & exec \"$0\" gateway run";
        let wrasse = self.station.wrasse().display().to_string();
        let fixture = self.station.program("wrasse-fixture").display().to_string();
        let argv = ["sh".to_owned(), "-c".to_owned(), shell.to_owned(), wrasse, fixture];
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
        let gateway =
            status["gateway"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
        let id = |pid: u32, what: &str| table.id(pid).ok_or(format!("there is no {what}"));
        (self.warden, self.gateway) = (id(warden, "warden")?, id(gateway, "gateway")?);
        let siblings: Vec<Id> = table
            .children(warden)
            .filter(|entry| entry.id != self.gateway)
            .map(|entry| entry.id)
            .collect();
        if siblings.len() != 2 {
            return Err(format!("two siblings were born before the warden, {siblings:?} live"));
        }
        self.siblings.extend(siblings);
        while self.siblings.len() > SIBLINGS_MAX {
            let Some(oldest) = self.siblings.pop_front() else { break };
            self.station.oracle.signal(&[oldest.pid], 9);
            // Until it is gone it would look like one of the gateway's.
            while Table::read().lives(oldest) {
                std::thread::sleep(LOOK);
            }
        }
        Ok(took)
    }

    /// What is below the oracle and is nobody's but this gateway's: warden, gateway, guardians, trees.
    pub(super) fn ours<'a>(&self, table: &'a Table) -> Vec<&'a Entry> {
        let oracle = self.station.oracle.pid();
        let siblings: BTreeSet<Id> = self.siblings.iter().copied().collect();
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

    /// Waits until two looks in a row find nothing; returns when the first of them was.
    pub(super) fn empty_by(
        &self,
        deadline: Instant,
        what: impl for<'a> Fn(&Self, &'a Table) -> Vec<&'a Entry>,
    ) -> Result<Instant, Vec<Entry>> {
        let mut empty_since = None;
        loop {
            let now = Instant::now();
            let table = Table::read();
            let left = what(self, &table);
            match (left.is_empty(), empty_since) {
                (true, Some(since)) => return Ok(since),
                (true, None) => empty_since = Some(now),
                (false, _) if now >= deadline => return Err(left.into_iter().cloned().collect()),
                (false, _) => empty_since = None,
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Everybody who must live and does not.
    pub(super) fn strangers_hit(&self) -> Vec<String> {
        let table = Table::read();
        let siblings = self.siblings.iter().map(|id| (*id, "a child from before the warden"));
        let others = self.others.iter().map(|other| (other.id, other.what.as_str()));
        siblings
            .chain(others)
            .filter(|(id, _)| !table.lives(*id))
            .map(|(id, what)| format!("{} {what}", id.pid))
            .collect()
    }

    /// The end of the gateway's log.
    pub(super) fn log_tail(&self) -> String {
        let log = self.station.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Ends both gateways in order; nothing of either may be left, in the process table or in the ledger.
    pub(super) fn strike(mut self) -> Result<(), String> {
        let panicked = self.station.log().contains("panicked at");
        let siblings: Vec<u32> = self.siblings.iter().map(|id| id.pid).collect();
        self.station.oracle.signal(&siblings, 9);
        let bystanders: Vec<u32> = self.others.iter().map(|other| other.id.pid).collect();
        let others = Table::read();
        let direct: Vec<u32> = others.children(self.other.oracle.pid()).map(|e| e.id.pid).collect();
        let bystanders: Vec<u32> = bystanders
            .into_iter()
            .filter(|pid| direct.contains(pid) && Some(*pid) != self.other.warden)
            .collect();
        self.other.oracle.signal(&bystanders, 9);
        self.station.assert_flat();
        self.other.assert_flat();
        if panicked { Err(format!("the gateway panicked: {}", self.station.log())) } else { Ok(()) }
    }
}

/// The second Wrasse and the bystanders, all recorded.
fn bystanders() -> Result<(Station, Vec<Stranger>), String> {
    let mut other = Station::new();
    let cast = Cast::second();
    let rpc = Rpc { port: quiet_port(), token: TOKEN.to_owned() };
    cast.configure(&other, rpc.port, TOKEN, &json!({}));
    let fixture = other.program("wrasse-fixture").display().to_string();
    for mode in BYSTANDERS {
        other.spawn(&[fixture.clone(), mode.to_owned()]);
    }
    other.start();
    let stem = other.path("work").join("second");
    let actor = &cast.actors[0];
    let params = json!({ "message": stem, "sessionKey": format!("agent:{}:second", actor.name) });
    rpc.call("agent", &params, PATIENCE)?;
    let (began, started) = (Instant::now(), super::round::started(&stem, &actor.name));
    while !started.exists() {
        if began.elapsed() > PATIENCE {
            return Err(format!("the second Wrasse's call does not begin\n{}", other.log()));
        }
        std::thread::sleep(LOOK);
    }
    let table = Table::read();
    let strangers = table
        .below(other.oracle.pid())
        .into_iter()
        .map(|entry| Stranger { id: entry.id, what: format!("{} (bystander)", entry.name) })
        .collect();
    Ok((other, strangers))
}

/// A free port below those that the kernel gives to outgoing connections: while a gateway is dead, nobody else of
/// this machine's storms may come to have it.
fn quiet_port() -> u16 {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let asked = ASKED.fetch_add(1, Ordering::Relaxed);
    let mut chance = Chance::new(u64::from(std::process::id()), asked);
    loop {
        let port = 15_000 + u16::try_from(chance.below(15_000)).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
