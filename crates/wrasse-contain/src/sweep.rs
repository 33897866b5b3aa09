//! The start-up sweep: ends what a gateway of this installation left behind when it, its guardians and its
//! warden all died at once.
//!
//! A process is swept only when all of this holds: it carries the mark of an instance of our installation;
//! the ledger knows that instance, in this boot, and the process is not older than the instance's guardian;
//! it lives in our pid namespace; and no gateway of our installation but ourselves is alive (the caller
//! holds the lock of the state directory as well). Or it descends from such a process. Names decide
//! nothing, and numbers alone neither.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use wrasse_guard::Mark;

use crate::process::{self, ProcessInfo, Stat};
use crate::search::{Clarity, Looker};
use crate::signal::{self, Signalled};
use crate::tree::{Freeze, Frozen, Member};
use crate::{cgroup, mark, warden};

/// How long a gateway's mark on somebody else may last: a guardian has it between fork and its own mark.
const OWNER_GRACE: Duration = Duration::from_secs(1);
/// How long the sweep goes on.
const END_WITHIN: Duration = Duration::from_secs(20);
/// How long killed processes are waited for before the next round.
const ROUND: Duration = Duration::from_secs(1);
const PASSES_MAX: u32 = 64;
const PAUSE: Duration = Duration::from_millis(5);

/// What the ledger knows about an instance of a gateway that died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseProof {
    /// When its guardian started, in clock ticks since boot.
    pub guardian_start_ticks: u64,
    /// The boot it was started in.
    pub boot_id: String,
}

/// Why a sweep was not made.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A gateway of this installation is still alive.
    #[error("a gateway of this installation is still running (pid {pid})")]
    OwnerAlive {
        /// It.
        pid: u32,
    },
    /// The process table cannot be read.
    #[error("failed to read the process table")]
    Proc(#[source] std::io::Error),
}

/// By which of its two marks a process was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkedBy {
    /// The resource limit that nothing else uses.
    Limit,
    /// The environment variable.
    Variable,
}

/// A process proven to be left over from a dead gateway of this installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The process.
    pub process: ProcessInfo,
    /// The instance it belonged to.
    pub instance: u64,
    /// What says so.
    pub marked_by: MarkedBy,
    /// How long after the guardian of its instance it was started.
    pub after_guardian: Duration,
    pub(crate) installation: u16,
    pub(crate) guardian_start_ticks: u64,
}

impl Leftover {
    /// Whether it still runs.
    pub fn runs(&self) -> bool {
        process::stat(self.process.pid)
            .is_some_and(|stat| stat.start_ticks == self.process.start_ticks && !stat.zombie)
    }
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Processes found, those that turned up during the sweep included.
    pub found: u32,
    /// Of these, how many are gone.
    pub ended: u32,
    /// Of these, how many are not.
    pub survivors: u32,
}

/// How hard to look for what is left over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Once: nothing says that a gateway died.
    Glance,
    /// Until enough looks were clear: the ledger has instances that never ended. A process that forks and exits for
    /// ever has a life of milliseconds, and may be gone before one look has come to it.
    Search,
}

/// Finds what is left over. `proof` says what the ledger knows about an instance; what it does not know is
/// left alone.
///
/// # Errors
/// When another gateway of this installation is alive, or `/proc` cannot be read.
pub fn find(
    installation: u16,
    effort: Effort,
    proof: impl Fn(u64) -> Option<LeaseProof>,
) -> Result<Vec<Leftover>, SweepError> {
    refuse_living_owner(installation, &spared())?;
    find_of_dead_owners(installation, effort, proof)
}

/// [`find`] for an installation with several owners at a time, of which some may live: `proof` speaks for
/// instances of owners that are proven dead, and for no other.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn find_of_dead_owners(
    installation: u16,
    effort: Effort,
    proof: impl Fn(u64) -> Option<LeaseProof>,
) -> Result<Vec<Leftover>, SweepError> {
    let spared = spared();
    let boot_id = process::boot_id();
    let known = |instance| {
        let proof = proof(instance).filter(|proof| proof.boot_id == boot_id);
        proof.map(|proof| proof.guardian_start_ticks)
    };
    let mut looker = Looker::new(installation, &spared, known);
    let found = match effort {
        Effort::Glance => {
            let mut found = Vec::new();
            looker.look(|leftover| found.push(leftover)).map(|_clarity| found)
        }
        Effort::Search => looker.search(),
    };
    let found = found.map_err(SweepError::Proc)?;
    Ok(last_seen(found))
}

/// Each process once, without those that are gone again. Of an instance whose processes are all gone the last stays: it
/// may have a successor by now.
fn last_seen(mut found: Vec<Leftover>) -> Vec<Leftover> {
    let (mut seen, mut instances) = (HashSet::new(), HashSet::new());
    found.reverse();
    found.retain(|one| seen.insert((one.process.pid, one.process.start_ticks)));
    let (mut kept, gone): (Vec<Leftover>, Vec<Leftover>) =
        found.into_iter().partition(Leftover::runs);
    instances.extend(kept.iter().map(|one| one.instance));
    kept.extend(gone.into_iter().filter(|one| instances.insert(one.instance)));
    kept
}

/// What [`leaves`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeafReport {
    /// Leaves removed.
    pub removed: u32,
    /// Of these, how many had living processes in them, which were killed.
    pub killed: u32,
    /// Leaves that are still there.
    pub left: u32,
}

/// Removes the cgroups that a dead gateway of this installation left where we make ours. One with processes in it is
/// killed when the ledger knows its instance, in this boot, none of them is older than the instance's guardian, and none
/// carries the mark of another tree alone; otherwise it is left alone.
///
/// That it is in the leaf proves a process ours, better than a mark does: it was born there, below our guardian, or was
/// moved there by somebody who may do as he likes with it; and unlike a mark, a process cannot take the leaf off.
pub async fn leaves(
    installation: u16,
    proof: impl Fn(u64) -> Option<LeaseProof> + Send + 'static,
) -> LeafReport {
    let swept = tokio::task::spawn_blocking(move || sweep_leaves(installation, proof)).await;
    swept.unwrap_or_else(|fault| {
        tracing::error!(%fault, "the sweep of cgroups failed");
        LeafReport::default()
    })
}

fn sweep_leaves(installation: u16, proof: impl Fn(u64) -> Option<LeaseProof>) -> LeafReport {
    let boot_id = process::boot_id();
    let mut report = LeafReport::default();
    for leaf in cgroup::left_over(installation) {
        let members = leaf.members();
        let proof = leaf.instance.and_then(&proof).filter(|proof| proof.boot_id == boot_id);
        let ours = proof.is_some_and(|proof| {
            members.iter().all(|pid| leaf.agrees(*pid, proof.guardian_start_ticks))
        });
        if !ours && !members.is_empty() {
            let path = leaf.path.display();
            tracing::warn!(%path, ?members, "not all in this cgroup are proven ours: only what is marked is ended");
        }
        if ours && !members.is_empty() {
            leaf.kill();
            report.killed += 1;
        }
        let deadline = Instant::now() + ROUND;
        while ours && !leaf.members().is_empty() && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
        }
        let count = if leaf.remove() { &mut report.removed } else { &mut report.left };
        *count += 1;
    }
    if report != LeafReport::default() {
        tracing::info!(?report, "sweep of the cgroups that a dead gateway left behind");
    }
    report
}

/// Us, all above us and all below us, and the warden: never ended by a search, whatever they carry.
pub(crate) fn spared() -> HashSet<u32> {
    let me = std::process::id();
    let mut spared = HashSet::from([0, 1, me]);
    spared.extend(process::ancestors(me));
    spared.extend(process::descendants(me));
    spared.extend(warden::pid());
    spared
}

fn refuse_living_owner(installation: u16, spared: &HashSet<u32>) -> Result<(), SweepError> {
    let deadline = Instant::now() + OWNER_GRACE;
    loop {
        let pids = process::all().map_err(SweepError::Proc)?;
        let owner = pids.into_iter().find(|pid| {
            !spared.contains(pid)
                && mark::of(*pid).is_some_and(|mark| {
                    mark.installation() == installation && mark.lease() == Mark::GATEWAY_LEASE
                })
                && process::stat(*pid).is_some_and(|stat| !stat.zombie)
        });
        match owner {
            None => return Ok(()),
            Some(pid) if Instant::now() >= deadline => return Err(SweepError::OwnerAlive { pid }),
            Some(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// The instance of ours that a process carries the mark of, by either mark.
pub(crate) fn instance_of(pid: u32, installation: u16) -> Option<(u64, MarkedBy)> {
    let limit = mark::of(pid).filter(|mark| mark.installation() == installation);
    let limit = limit.map(Mark::lease).filter(|lease| *lease != Mark::GATEWAY_LEASE);
    let variable = || mark::in_environment(pid, installation);
    limit
        .map(|instance| (instance, MarkedBy::Limit))
        .or_else(|| variable().map(|instance| (instance, MarkedBy::Variable)))
}

/// The instances of an installation whose marks are seen on anybody: what a ledger should be asked for, and no proof.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn marked(installation: u16) -> std::io::Result<HashSet<u64>> {
    let pids = process::all()?.into_iter();
    Ok(pids
        .filter_map(|pid| instance_of(pid, installation))
        .map(|(instance, _)| instance)
        .collect())
}

impl Leftover {
    /// Whether the process that has this number now is still proven.
    fn holds(&self, stat: &Stat) -> bool {
        stat.start_ticks == self.process.start_ticks
            && instance_of(stat.pid, self.installation)
                .is_some_and(|(instance, _)| instance == self.instance)
    }

    fn member(&self) -> Option<Member> {
        let stat = process::stat(self.process.pid)?;
        (self.holds(&stat) && !stat.zombie).then(|| Member::root(&stat))
    }
}

/// Ends what was found, and what that started meanwhile. Returns when nothing is left, or after a time.
pub async fn end(leftovers: Vec<Leftover>) -> SweepReport {
    if leftovers.is_empty() {
        return SweepReport::default();
    }
    // Ending processes is a walk over /proc and many signals: not for a worker of the runtime.
    match tokio::task::spawn_blocking(move || end_all(leftovers)).await {
        Ok(report) => report,
        Err(fault) => {
            tracing::error!(%fault, "the sweep failed");
            SweepReport::default()
        }
    }
}

fn end_all(leftovers: Vec<Leftover>) -> SweepReport {
    let deadline = Instant::now() + END_WITHIN;
    let mut seen: HashSet<(u32, u64)> = HashSet::new();
    let mut installations: BTreeMap<u16, HashMap<u64, u64>> = BTreeMap::new();
    for left in leftovers {
        let instances = installations.entry(left.installation).or_default();
        instances.insert(left.instance, left.guardian_start_ticks);
    }
    loop {
        let mut frozen = Frozen::default();
        let freeze = freeze(&mut frozen, &installations);
        let members = frozen.deepest_first();
        seen.extend(members.iter().map(|member| (member.pid, member.start_ticks)));
        frozen.kill();
        let round_over = Instant::now() + ROUND;
        while members.iter().any(Member::living) && Instant::now() < round_over {
            std::thread::sleep(PAUSE);
        }
        let left = members.iter().filter(|member| member.living()).count();
        let nobody = members.is_empty() && freeze == Freeze::Settled;
        if nobody || Instant::now() >= deadline {
            let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            let report = SweepReport {
                found: count(seen.len()),
                ended: count(seen.len() - left.min(seen.len())),
                survivors: count(left),
            };
            tracing::info!(?report, ?freeze, "sweep of what a dead gateway left behind");
            return report;
        }
    }
}

/// Stops everything that carries the mark of one of the instances, and what is below it.
fn freeze(frozen: &mut Frozen, installations: &BTreeMap<u16, HashMap<u64, u64>>) -> Freeze {
    let spared = spared();
    let mut lookers: Vec<_> = installations
        .iter()
        .map(|(installation, instances)| {
            Looker::new(*installation, &spared, |instance| instances.get(&instance).copied())
        })
        .collect();
    let roots = || {
        let (mut members, mut clarity) = (Vec::new(), Clarity::Clear);
        for looker in &mut lookers {
            // Stopped on sight: what is stopped neither forks nor exits.
            let looked = looker.look(|leftover| {
                let held = |stat: &Stat| leftover.holds(stat);
                match signal::send(leftover.process.pid, Signal::STOP, held) {
                    Signalled::Yes | Signalled::Refused => {}
                    // It was too quick, and may have a successor.
                    Signalled::Gone => clarity = Clarity::Unclear,
                }
                members.extend(leftover.member());
            });
            match looked {
                Ok(Clarity::Clear) => {}
                Ok(Clarity::Unclear) => clarity = Clarity::Unclear,
                Err(error) => tracing::error!(%error, "cannot read the process table"),
            }
        }
        (members, clarity)
    };
    frozen.freeze(roots, PASSES_MAX)
}

/// Finds and ends, again and again, until a whole search finds nobody, somebody cannot be ended, or a time is over:
/// of an instance that was between two lives in one search, the next may see somebody. Blocks its thread while it looks.
///
/// # Errors
/// When `find` fails.
pub async fn until_clean<E>(
    mut find: impl FnMut() -> Result<Vec<Leftover>, E>,
) -> Result<SweepReport, E> {
    let deadline = Instant::now() + END_WITHIN;
    let mut whole = SweepReport::default();
    loop {
        let found = find()?;
        if found.is_empty() {
            return Ok(whole);
        }
        let report = end(found).await;
        whole.found += report.found;
        whole.ended += report.ended;
        whole.survivors = report.survivors;
        if report.survivors > 0 || Instant::now() >= deadline {
            return Ok(whole);
        }
    }
}
