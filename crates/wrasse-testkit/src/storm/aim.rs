//! Whom a kill hits, recorded by pid and start time before it happens.

use serde_json::{Value, json};

use super::plan::{Chance, Kill};
use super::round::Run;
use super::stage::Stage;
use super::table::{Id, Table};
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
    /// Leaders of other instances in mid-call.
    pub(super) others: Vec<Other>,
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
}

/// A process of a sibling that must live on.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) id: Id,
    pub(super) what: String,
}

/// An instance as the gateway tells of it.
#[derive(Debug)]
struct Instance {
    server: String,
    session: String,
    guardian: u32,
    leader: Option<u32>,
}

/// Chooses; `None` when there is nobody yet.
pub(super) fn aim(
    stage: &Stage,
    kill: Kill,
    runs: &[Run],
    chance: &mut Chance,
) -> Result<Option<Aim>, String> {
    match kill {
        Kill::Gateway => Ok(Some(whole(stage, vec![("gateway", stage.gateway)], chance))),
        Kill::Warden => Ok(Some(whole(stage, vec![("warden", stage.warden)], chance))),
        Kill::GatewayWarden => {
            let both = vec![("gateway", stage.gateway), ("warden", stage.warden)];
            Ok(Some(whole(stage, both, chance)))
        }
        Kill::GatewayGuardians => {
            let mut victims = guardians(stage);
            victims.push(("gateway", stage.gateway));
            Ok(Some(whole(stage, victims, chance)))
        }
        Kill::AllThree => {
            let mut victims = guardians(stage);
            victims.extend([("gateway", stage.gateway), ("warden", stage.warden)]);
            Ok(Some(whole(stage, victims, chance)))
        }
        Kill::Guardian | Kill::Leader | Kill::Member => one(stage, kill, runs, chance),
    }
}

fn guardians(stage: &Stage) -> Vec<(&'static str, Id)> {
    let table = Table::read();
    table.children(stage.gateway.pid).map(|entry| ("guardian", entry.id)).collect()
}

/// A kill after which nothing of the gateway may be left. The order within the instant is drawn too.
fn whole(stage: &Stage, mut victims: Vec<(&'static str, Id)>, chance: &mut Chance) -> Aim {
    chance.shuffle(&mut victims);
    let table = Table::read();
    Aim {
        victims: victims.iter().map(|(_, id)| id.pid).collect(),
        names: victims.iter().map(|(name, id)| format!("{name} {}", id.pid)).collect(),
        target: None,
        hit: Vec::new(),
        others: Vec::new(),
        processes: stage.trees(&table).len(),
    }
}

/// A kill within one instance.
fn one(
    stage: &Stage,
    kill: Kill,
    runs: &[Run],
    chance: &mut Chance,
) -> Result<Option<Aim>, String> {
    let ps = stage.rpc.call("ps", &json!({}), PATIENCE)?;
    let table = Table::read();
    let all: Vec<Instance> =
        ps["instances"].as_array().into_iter().flatten().filter_map(instance).collect();
    let mut candidates: Vec<(&Instance, Id)> = Vec::new();
    for instance in &all {
        let Some(guardian) = table.get(instance.guardian).filter(|g| g.ppid == stage.gateway.pid)
        else {
            continue;
        };
        let leader = leader(instance, &table);
        let below = table.below(instance.guardian);
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
        return Ok(None);
    }
    let (instance, victim) = candidates[chance.below(candidates.len())];
    let mut hit: Vec<Id> = table.below(instance.guardian).iter().map(|entry| entry.id).collect();
    hit.extend(table.id(instance.guardian));
    let steady =
        |server: &str| stage.cast.actors.iter().any(|actor| actor.name == server && actor.steady);
    Ok(Some(Aim {
        victims: vec![victim.pid],
        names: vec![format!("{} {} of {}", kill.name(), victim.pid, instance.server)],
        target: Some(Target {
            name: instance.server.clone(),
            session: instance.session.clone(),
            leader: leader(instance, &table),
            steady: steady(&instance.server),
        }),
        hit,
        others: others(stage, &all, instance, runs, &table),
        processes: stage.trees(&table).len(),
    }))
}

fn instance(value: &Value) -> Option<Instance> {
    let pid = |name: &str| value[name].as_u64().and_then(|pid| u32::try_from(pid).ok());
    Some(Instance {
        server: value["server"].as_str()?.to_owned(),
        session: value["session_key"].as_str().unwrap_or_default().to_owned(),
        guardian: pid("guardian_pid")?,
        leader: pid("pid"),
    })
}

fn leader(instance: &Instance, table: &Table) -> Option<Id> {
    let entry = table.get(instance.leader?)?;
    (entry.ppid == instance.guardian && entry.lives()).then_some(entry.id)
}

/// Leaders of the other instances whose call is in flight: nothing but us may end these.
fn others(
    stage: &Stage,
    all: &[Instance],
    hit: &Instance,
    runs: &[Run],
    table: &Table,
) -> Vec<Other> {
    let mut others = Vec::new();
    for instance in all.iter().filter(|instance| instance.guardian != hit.guardian) {
        let run = runs.iter().find(|run| run.session == instance.session);
        let busy = run.is_some_and(|run| stage.cast.actors[run.actor].steady && run.is_busy());
        if busy && let Some(id) = leader(instance, table) {
            others.push(Other { id, what: format!("{} {}", instance.server, id.pid) });
        }
    }
    others
}
