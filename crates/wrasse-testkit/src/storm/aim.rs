//! Whom a kill hits, recorded by pid and start time before it happens.

use serde::Serialize;
use serde_json::{Value, json};

use super::cast::{Reply, Serves};
use super::plan::{Kill, Manner};
use super::round::Run;
use super::stage::Stage;
use super::table::{Id, Table};
use crate::chance::Chance;
use crate::station::PATIENCE;

/// One shot.
#[derive(Debug)]
pub(super) struct Aim {
    pub(super) victims: Vec<u32>,
    /// In words.
    pub(super) names: Vec<String>,
    /// The instance that is hit, if it is one.
    pub(super) target: Option<Target>,
    /// Guardian and tree of the instance that is hit.
    pub(super) hit: Vec<Id>,
    /// Leaders of other instances that are up.
    pub(super) others: Vec<Other>,
    /// How far each instance that this is about has come.
    pub(super) stages: Vec<Progress>,
    /// Sessions that have an instance.
    pub(super) sessions: Vec<String>,
    /// How many processes all trees have.
    pub(super) processes: usize,
}

/// The instance that is hit.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) session: String,
    pub(super) leader: Option<Id>,
    pub(super) steady: bool,
    pub(super) serves: Serves,
    /// Who may leave by itself when the victim is gone: those above it, where they wait for it.
    pub(super) may_follow: Vec<Id>,
}

/// How far an instance has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Progress {
    Starting,
    Handshaking,
    Ready,
    MidCall,
    Ending,
}

/// A process of a sibling that must live on.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) id: Id,
    pub(super) what: String,
    pub(super) session: String,
}

/// An instance as the gateway tells of it.
#[derive(Debug)]
pub(super) struct Instance {
    server: String,
    pub(super) session: String,
    /// Not yet, while it starts.
    guardian: Option<u32>,
    pub(super) leader: Option<u32>,
    pub(super) progress: Progress,
}

/// Chooses; `None` when there is nobody yet.
pub(super) fn aim(
    stage: &Stage,
    kill: Kill,
    manner: Manner,
    runs: &[Run],
    chance: &mut Chance,
) -> Result<Option<Aim>, String> {
    let all = instances(stage)?;
    if stage.has_leaves() {
        in_leaves(&all)?;
    }
    // Children first: a stopped child is woken by its parent's death.
    let mut victims = match kill {
        Kill::Gateway | Kill::Warden | Kill::GatewayWarden => Vec::new(),
        Kill::GatewayGuardians | Kill::AllThree => guardians(stage),
        Kill::Guardian | Kill::Leader | Kill::Member => {
            return Ok(one(stage, kill, &all, runs, chance));
        }
    };
    if kill != Kill::Warden {
        victims.push(("gateway", stage.gateway));
    }
    if matches!(kill, Kill::Warden | Kill::GatewayWarden | Kill::AllThree) {
        victims.push(("warden", stage.warden));
    }
    if manner == Manner::OneByOne {
        chance.shuffle(&mut victims);
    }
    Ok(Some(whole(stage, &all, &victims)))
}

/// What the gateway says of its instances.
pub(super) fn instances(stage: &Stage) -> Result<Vec<Instance>, String> {
    let ps = stage.rpc.call("ps", &json!({}), PATIENCE)?;
    Ok(ps["instances"].as_array().into_iter().flatten().filter_map(instance).collect())
}

/// What is up must be where the layer puts it, not only where the gateway says that it puts it.
fn in_leaves(all: &[Instance]) -> Result<(), String> {
    for instance in
        all.iter().filter(|one| matches!(one.progress, Progress::Ready | Progress::MidCall))
    {
        let Some(leader) = instance.leader else { continue };
        // Whoever has exited since is in none.
        let cgroup = std::fs::read_to_string(format!("/proc/{leader}/cgroup")).unwrap_or_default();
        let unified = cgroup.lines().find_map(|line| line.strip_prefix("0::"));
        if unified.is_some_and(|path| !path.contains("/wrasse-") && !path.ends_with("(deleted)")) {
            return Err(format!("{} {leader} is in no leaf: {unified:?}", instance.server));
        }
    }
    Ok(())
}

fn guardians(stage: &Stage) -> Vec<(&'static str, Id)> {
    let table = Table::read();
    table.children(stage.gateway.pid).map(|entry| ("guardian", entry.id)).collect()
}

/// A kill after which nothing of the gateway may be left.
fn whole(stage: &Stage, all: &[Instance], victims: &[(&'static str, Id)]) -> Aim {
    let table = Table::read();
    Aim {
        victims: victims.iter().map(|(_, id)| id.pid).collect(),
        names: victims.iter().map(|(name, id)| format!("{name} {}", id.pid)).collect(),
        target: None,
        hit: Vec::new(),
        others: Vec::new(),
        stages: all.iter().map(|instance| instance.progress).collect(),
        sessions: Vec::new(),
        processes: stage.trees(&table).len(),
    }
}

/// A kill within one instance.
fn one(
    stage: &Stage,
    kill: Kill,
    all: &[Instance],
    runs: &[Run],
    chance: &mut Chance,
) -> Option<Aim> {
    let table = Table::read();
    let mut candidates: Vec<(&Instance, Id)> = Vec::new();
    for instance in all {
        let guardian = instance.guardian.and_then(|pid| table.get(pid));
        let Some(guardian) = guardian.filter(|guardian| guardian.ppid == stage.gateway.pid) else {
            continue;
        };
        let leader = leader(instance, &table);
        let below = table.below(guardian.id.pid);
        let living = below.iter().filter(|entry| entry.lives());
        match kill {
            Kill::Guardian => candidates.push((instance, guardian.id)),
            Kill::Leader => candidates.extend(leader.map(|leader| (instance, leader))),
            Kill::Member => candidates.extend(
                living
                    .filter(|entry| leader.is_some_and(|leader| leader != entry.id))
                    .map(|entry| (instance, entry.id)),
            ),
            Kill::Gateway
            | Kill::Warden
            | Kill::GatewayGuardians
            | Kill::GatewayWarden
            | Kill::AllThree => {}
        }
    }
    if candidates.is_empty() {
        return None;
    }
    let (instance, victim) = candidates[chance.below(candidates.len())];
    let guardian = instance.guardian?;
    let mut hit: Vec<Id> = table.below(guardian).iter().map(|entry| entry.id).collect();
    hit.extend(table.id(guardian));
    let actor = stage.cast.actors.iter().find(|actor| actor.name == instance.server)?;
    Some(Aim {
        victims: vec![victim.pid],
        names: vec![format!("{} {} of {}", kill.name(), victim.pid, instance.server)],
        target: Some(Target {
            name: instance.server.clone(),
            session: instance.session.clone(),
            leader: leader(instance, &table),
            steady: actor.steady,
            serves: actor.serves,
            may_follow: match actor.serves {
                Serves::Below => above(victim, guardian, &table),
                Serves::Leader => Vec::new(),
            },
        }),
        hit,
        others: others(stage, all, instance, runs, &table),
        stages: vec![instance.progress],
        sessions: all.iter().map(|instance| instance.session.clone()).collect(),
        processes: stage.trees(&table).len(),
    })
}

fn instance(value: &Value) -> Option<Instance> {
    let pid = |name: &str| value[name].as_u64().and_then(|pid| u32::try_from(pid).ok());
    let progress = match value["state"].as_str()? {
        // The first launch of a package: its program is there, or not yet.
        "installing" if value["pid"].is_null() => Progress::Starting,
        "installing" => Progress::Handshaking,
        "starting" => Progress::Starting,
        "handshaking" => Progress::Handshaking,
        "ready" if value["in_flight"].as_u64().is_some_and(|calls| calls > 0) => Progress::MidCall,
        // Without a lease, and kept.
        "ready" | "draining" => Progress::Ready,
        _ => Progress::Ending,
    };
    Some(Instance {
        progress,
        server: value["server"].as_str()?.to_owned(),
        session: value["session_key"].as_str().unwrap_or_default().to_owned(),
        guardian: pid("guardian_pid"),
        leader: pid("pid"),
    })
}

/// The processes between one of a tree and its guardian.
fn above(member: Id, guardian: u32, table: &Table) -> Vec<Id> {
    let parent = |id: &Id| {
        let parent = table.get(table.get(id.pid)?.ppid)?;
        (parent.id.pid != guardian).then_some(parent.id)
    };
    // A table that is not of one instant could hold a circle; no tree here is so deep.
    std::iter::successors(parent(&member), parent).take(64).collect()
}

fn leader(instance: &Instance, table: &Table) -> Option<Id> {
    let entry = table.get(instance.leader?)?;
    (Some(entry.ppid) == instance.guardian && entry.lives()).then_some(entry.id)
}

/// Leaders of the other instances whose call is in flight, or which stay when it is over: nothing but us may end these.
fn others(
    stage: &Stage,
    all: &[Instance],
    hit: &Instance,
    runs: &[Run],
    table: &Table,
) -> Vec<Other> {
    let mut others = Vec::new();
    for instance in all.iter().filter(|instance| instance.guardian != hit.guardian) {
        let Some(run) = runs.iter().find(|run| run.session == instance.session) else { continue };
        let actor = &stage.cast.actors[run.actor];
        let up = match actor.reply {
            Reply::Kept => matches!(instance.progress, Progress::Ready | Progress::MidCall),
            Reply::Held | Reply::Without | Reply::Never => actor.steady && run.is_busy(),
        };
        if up && let Some(id) = leader(instance, table) {
            let what = format!("{} {}", instance.server, id.pid);
            others.push(Other { id, what, session: instance.session.clone() });
        }
    }
    others
}
