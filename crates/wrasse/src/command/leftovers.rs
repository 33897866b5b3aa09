//! `wrasse reap`: what dead gateways and dead shims of this state dir left behind, with the proof of each; `--yes` ends it.
//!
//! Needs no gateway. Where one runs there is nothing of a gateway to prove: it ended what was left before it served, and
//! says itself what carries our mark and belongs to nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use serde_json::{Value, json};
use wrasse_contain::sweep::{self, Leftover, SweepReport};
use wrasse_store::{
    Durability, InstanceEnd, LockError, LockHolder, Role, StateDir, StateLock, Store,
};
use wrasse_types::{GoneReason, InstanceId, StopRung};
use wrasse_wrap::ledger::{self, Remains};

use crate::args::{Common, ReapArgs};
use crate::client::Client;
use crate::command::items;
use crate::exit::{CommandResult, Exit, ExpectedError, failed};
use crate::leftovers::Known;
use crate::place;
use crate::render::leftovers as render;

/// What there is, by whom it was left.
#[derive(Default)]
struct Found {
    /// Of dead gateways. Empty while one lives.
    of_gateways: Vec<Leftover>,
    /// What their ledger says; absent while a gateway lives, and where none ever ran.
    records: Option<Records>,
    /// Of dead shims of `wrasse wrap`, which have a ledger of their own.
    of_shims: Remains,
    /// A gateway that runs, and what it says.
    gateway: Option<Gateway>,
}

/// The ledger of gateways that are all dead.
struct Records {
    store: Store,
    known: Known,
    /// INVARIANT: held for as long as anything is ended, so that no gateway begins meanwhile.
    _lock: StateLock,
}

/// A living gateway, and the processes that carry its mark and belong to nothing.
struct Gateway {
    pid: u32,
    leftovers: Vec<Value>,
}

pub(crate) async fn run(common: &Common, args: &ReapArgs) -> CommandResult {
    let path = place::state_dir(common)?;
    let mut found = if path.is_dir() { look(common, &path).await? } else { Found::default() };
    for shims in place::shim_state_dirs(common, &path) {
        let of_shims = ledger::leftovers(&shims).map_err(|error| failed(&error))?;
        found.of_shims = found.of_shims.and(of_shims);
    }
    let done = act(common, args, &path, &mut found).await;
    if let Some(records) = found.records {
        records.store.close().await;
    }
    done
}

async fn look(common: &Common, path: &Path) -> Result<Found, ExpectedError> {
    let mut found = Found::default();
    let state = StateDir::open(path).map_err(|error| failed(&error))?;
    match state.lock("reap") {
        // No record, so nothing was ever started.
        Ok(_) if !state.database().exists() => {}
        Ok(lock) => {
            // A dry run writes nothing, not even a newer schema.
            let role = if common.yes { Role::Gateway } else { Role::Reader };
            let opened = Store::open(&state, Durability::Process, role).await;
            let store = opened.map_err(|error| failed(&error))?;
            let installation = state.installation().map_err(|error| failed(&error))?;
            let known = Known::read(installation, &store.ledger()).await;
            let known = known.map_err(|error| failed(&error))?;
            found.of_gateways = known.find().map_err(|error| failed(&error))?;
            found.records = Some(Records { store, known, _lock: lock });
        }
        Err(LockError::Held { holder, .. }) if is_gateway(holder.as_ref()) => {
            let client = Client::find(common)?;
            let ps = client.call("ps", json!({})).await?;
            let leftovers = items(&ps["leftovers"]).to_vec();
            found.gateway = Some(Gateway { pid: client.endpoint.pid, leftovers });
        }
        Err(error) => return Err(failed(&error)),
    }
    Ok(found)
}

fn is_gateway(holder: Option<&LockHolder>) -> bool {
    holder.is_some_and(|holder| holder.purpose.starts_with("gateway"))
}

/// A tree that something is left of: they are chosen and ended whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Tree {
    OfGateway(u64),
    OfShim(u64),
}

impl Tree {
    fn has(&self, id: &str) -> bool {
        match self {
            Self::OfGateway(instance) => InstanceId::new(*instance).to_string() == id,
            Self::OfShim(instance) => render::shim_instance(*instance) == id,
        }
    }
}

async fn act(common: &Common, args: &ReapArgs, path: &Path, found: &mut Found) -> CommandResult {
    let all = all(found);
    let chosen = choose(&all, &args.ids)?;
    found.of_gateways.retain(|one| chosen.contains(&Tree::OfGateway(one.instance)));
    let narrowed = !args.ids.is_empty();
    found.of_shims.leftovers.retain(|one| chosen.contains(&Tree::OfShim(one.instance)));
    let known = found.records.as_ref().map(|records| &records.known);
    let mut shown: Vec<Value> =
        found.of_gateways.iter().map(|one| render::of_gateway(one, known)).collect();
    shown.extend(
        found.of_shims.leftovers.iter().map(|one| render::of_shim(one, &found.of_shims.rows)),
    );
    let ours = shown.len();
    let gateway = found.gateway.as_ref();
    shown.extend(gateway.iter().flat_map(|gateway| gateway.leftovers.iter().cloned()));
    let mut report = json!({
        "schema": 1, "state_dir": path, "gateway": gateway.map(|one| json!({ "pid": one.pid })),
        "leftovers": shown,
    });
    if !common.yes {
        render::show(common, &report);
        let any = !shown.is_empty();
        return Ok(if any { Exit::FoundSomething.into() } else { ExitCode::SUCCESS });
    }
    let ended = end(&place::shim_state_dirs(common, path), found, narrowed).await?;
    let leftovers = found.of_gateways.iter().chain(&found.of_shims.leftovers);
    for (one, shown) in leftovers.zip(report["leftovers"].as_array_mut().into_iter().flatten()) {
        shown["ended"] = json!(!one.runs());
    }
    report["found"] = json!(ended.found);
    report["ended"] = json!(ended.ended);
    report["survivors"] = json!(ended.survivors);
    render::show(common, &report);
    if shown.len() > ours {
        let text = "what carries the mark of a running gateway is ended by its next start only";
        return Err(ExpectedError::new(Exit::Failed, text).help("wrasse gateway restart"));
    }
    Ok(if ended.survivors == 0 { ExitCode::SUCCESS } else { Exit::Failed.into() })
}

fn all(found: &Found) -> Vec<(Tree, u32)> {
    let of_gateways =
        found.of_gateways.iter().map(|one| (Tree::OfGateway(one.instance), one.process.pid));
    let of_shims = found.of_shims.leftovers.iter();
    let of_shims = of_shims.map(|one| (Tree::OfShim(one.instance), one.process.pid));
    of_gateways.chain(of_shims).collect()
}

/// The trees that the arguments name, by their id or by the number of any of their processes; all if none is named.
fn choose(all: &[(Tree, u32)], ids: &[String]) -> Result<BTreeSet<Tree>, ExpectedError> {
    if ids.is_empty() {
        return Ok(all.iter().map(|(tree, _)| tree.clone()).collect());
    }
    let named = |id: &String| {
        let mut all = all.iter();
        let found = all.find(|(tree, pid)| tree.has(id) || pid.to_string() == *id);
        found.map(|(tree, _)| tree.clone()).ok_or_else(|| {
            let text = format!("nothing that is left over is called {id:?}; nothing was ended");
            ExpectedError::new(Exit::Failed, text).help("wrasse reap   lists what there is")
        })
    };
    ids.iter().map(named).collect()
}

/// Ends what was found, and puts it on record.
async fn end(
    of_shims: &[PathBuf],
    found: &Found,
    narrowed: bool,
) -> Result<SweepReport, ExpectedError> {
    let mut report = match &found.records {
        Some(records) if !found.of_gateways.is_empty() => {
            end_of_gateways(records, &found.of_gateways).await
        }
        Some(_) | None => SweepReport::default(),
    };
    let mut add = |more: SweepReport| {
        report.found += more.found;
        report.ended += more.ended;
        report.survivors += more.survivors;
    };
    if narrowed {
        add(sweep::end(found.of_shims.leftovers.clone()).await);
    } else {
        for state_dir in of_shims {
            // With their rows, of which nothing is left then.
            add(ledger::sweep(state_dir).await.map_err(|error| failed(&error))?);
        }
    }
    Ok(report)
}

async fn end_of_gateways(records: &Records, found: &[Leftover]) -> SweepReport {
    let began = Instant::now();
    let instances: BTreeSet<u64> = found.iter().map(|one| one.instance).collect();
    let instances: Vec<u64> = instances.into_iter().collect();
    records.known.end_leaves(Some(&instances)).await;
    let report = sweep::end(found.to_vec()).await;
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let ledger = records.store.ledger();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    for instance in instances {
        let own = || found.iter().filter(|one| one.instance == instance);
        let survivors = count(own().filter(|one| one.runs()).count());
        let id = InstanceId::new(instance);
        ledger.event(id, &format!("wrasse reap found {} processes left over", own().count()));
        let end = InstanceEnd {
            reason: GoneReason::Swept,
            detail: "ended by wrasse reap".to_owned(),
            rung: Some(StopRung::Kill),
            took_ms,
            processes: count(own().count()),
            survivors,
            proven_empty: survivors == 0 && report.survivors == 0,
        };
        // Of one whose end is on record already, that stays.
        ledger.ended(id, end);
    }
    ledger.flush().await;
    // Some may have died with their leaf, before they were looked for again.
    let found = report.found.max(count(found.len()));
    SweepReport { found, ended: found - report.survivors.min(found), ..report }
}
