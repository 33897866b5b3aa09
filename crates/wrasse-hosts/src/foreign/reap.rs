//! Ends what may be ended, and keeps a record of it.
//!
//! A set is stopped whole before anything is told to end; then everything is looked at anew, records included, and only
//! if the set is still of its class does it end. Nothing of a living session can be lost by that: what was wrong goes on
//! where it was stopped.

use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wrasse_contain::outside::{self, Target, Verdict};
use wrasse_types::UnixMillis;

use super::discover::{Options, look};
use super::processes::{Identity, is_alive};
use super::report::{Class, Report, Set};
use super::watch::has_moved;

/// How long a server gets between SIGTERM and SIGKILL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace(pub Duration);

impl Default for Grace {
    fn default() -> Self {
        Self(Duration::from_secs(2))
    }
}

/// Why nothing was ended, or not everything.
#[derive(Debug, thiserror::Error)]
pub enum ReapError {
    /// What was done could not be written down; nothing further was ended.
    #[error("failed to write {path}")]
    Ledger {
        /// The ledger.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What became of one set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every process of it is gone.
    Ended,
    /// It was no longer what it had been; it goes on.
    Spared,
    /// Some of it is still there.
    Survivors,
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaped {
    /// When.
    pub at: UnixMillis,
    /// What became of it.
    pub outcome: Outcome,
    /// What it had been.
    pub class: String,
    /// Why.
    pub why: String,
    /// Its host.
    pub host: String,
    /// The host's version, where it was known.
    pub version: Option<String>,
    /// The session's key, where it was known.
    pub session: Option<String>,
    /// Its servers.
    pub servers: Vec<String>,
    /// Its processes as number and start, in clock ticks since boot.
    pub processes: Vec<(u32, u64)>,
    /// How many ended on SIGTERM.
    pub on_term: u32,
    /// How many had to be killed.
    pub killed: u32,
    /// How many are still there.
    pub survivors: u32,
    /// Anonymous and shared memory that it had.
    pub memory_bytes: u64,
}

/// Ends sets of a report, one after the other, and appends each to the ledger. Sets that are in use or unknown are
/// passed over: nobody can ask for them.
///
/// # Errors
/// When the ledger cannot be written.
pub fn reap(
    report: &Report,
    sets: &[&Set],
    options: &Options,
    grace: Grace,
    ledger: &Path,
) -> Result<Vec<Reaped>, ReapError> {
    let failed = |source| ReapError::Ledger { path: ledger.to_owned(), source };
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(ledger)
        .map_err(failed)?;
    let mut done = Vec::new();
    for set in sets {
        match set.class {
            Class::Orphan | Class::Finished => {}
            Class::InUse | Class::Unknown => continue,
        }
        // Until it is written down, whoever asks us to end waits: a set must neither stay stopped nor end unrecorded.
        let uninterrupted = outside::Uninterrupted::begin();
        let reaped = end(report, set, options, grace);
        let mut line = serde_json::to_vec(&reaped).unwrap_or_default();
        line.push(b'\n');
        file.write_all(&line).and_then(|()| file.sync_data()).map_err(failed)?;
        drop(uninterrupted);
        done.push(reaped);
    }
    Ok(done)
}

fn end(report: &Report, set: &Set, options: &Options, grace: Grace) -> Reaped {
    let targets: Vec<Target> = set
        .processes()
        .map(|process| Target { pid: process.pid, start_ticks: process.start_ticks })
        .collect();
    let ended = outside::end(&targets, grace.0, |stopped| confirm(set, options, stopped));
    let server = |tree: &super::trees::Tree| report.servers[tree.server].name.clone();
    let host = set.host.map(|at| &report.hosts[at]);
    let known = set.trees.first().map(|tree| report.servers[tree.server].host);
    Reaped {
        at: UnixMillis::now(),
        outcome: match (ended.spared, ended.survivors) {
            (true, _) => Outcome::Spared,
            (false, 0) => Outcome::Ended,
            (false, _) => Outcome::Survivors,
        },
        class: set.class.name().to_owned(),
        why: set.why.clone(),
        host: known.map(|host| host.name().to_owned()).unwrap_or_default(),
        version: host.and_then(|host| host.version.clone()),
        session: set.owner.as_ref().map(|owner| owner.key.clone()),
        servers: set.trees.iter().map(server).collect(),
        processes: targets.iter().map(|target| (target.pid, target.start_ticks)).collect(),
        on_term: ended.on_term,
        killed: ended.killed,
        survivors: ended.survivors,
        memory_bytes: set.memory_bytes(),
    }
}

/// Whether a set, all of it stopped by now, is still what it was: the same servers, each of the same class, and nothing
/// else stopped with them. What is gone meanwhile is gone.
fn confirm(set: &Set, options: &Options, stopped: &[Target]) -> Verdict {
    if has_moved(set) {
        return Verdict::Spare;
    }
    let Ok(now) = look(options) else { return Verdict::Spare };
    let same = is_same(set, &now) && stopped.iter().all(|target| is_of(set, &now, *target));
    if same { Verdict::End } else { Verdict::Spare }
}

/// Whether a process that was stopped is one that was judged: of a server of the set, as it is now.
fn is_of(set: &Set, now: &Report, target: Target) -> bool {
    let roots: Vec<Identity> = set.trees.iter().map(|tree| tree.root).collect();
    let trees = now.sets.iter().flat_map(|set| &set.trees);
    let mut members =
        trees.filter(|tree| roots.contains(&tree.root)).flat_map(|tree| &tree.members);
    members.any(|member| member.pid == target.pid && member.start_ticks == target.start_ticks)
        || !is_alive(Identity { pid: target.pid, start_ticks: target.start_ticks })
}

fn is_same(set: &Set, now: &Report) -> bool {
    set.trees.iter().all(|tree| {
        let found =
            now.sets.iter().find(|other| other.trees.iter().any(|other| other.root == tree.root));
        match found {
            Some(found) => {
                found.class == set.class
                    && found.trees.iter().any(|other| {
                        other.root == tree.root
                            && other.hold == tree.hold
                            && other.server == tree.server
                    })
            }
            None => !is_alive(tree.root),
        }
    })
}

/// What the ledger says about a process, the latest first. A ledger that is not there says nothing; lines that cannot be
/// read are passed over.
pub fn past(ledger: &Path, pid: u32) -> Option<Reaped> {
    let file = std::fs::File::open(ledger).ok()?;
    let lines = std::io::BufReader::new(file).lines().map_while(Result::ok);
    let of_pid = |reaped: &Reaped| reaped.processes.iter().any(|(number, _)| *number == pid);
    lines.filter_map(|line| serde_json::from_str::<Reaped>(&line).ok()).filter(of_pid).last()
}
