//! Putting the parts together, in the one order that works: lock, containment, sweep, store, servers, gateway.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use wrasse_config::{Config, Durability};
use wrasse_contain::{ContainOptions, Containment, sweep, warden::WardenLink};
use wrasse_gateway::{Gateway, GatewayIdentity, GatewayParts};
use wrasse_mcp::{Servers, ServersParts};
use wrasse_model::Models;
use wrasse_scope::Scope;
use wrasse_store::{Role, StateDir, StateLock, Store};
use wrasse_types::UnixMillis;

use crate::args::Common;
use crate::exit::{Exit, ExpectedError};
use crate::gateway::line;
use crate::place;

/// A running gateway without a door.
#[derive(Debug)]
pub(crate) struct Composed {
    pub(crate) config: Arc<Config>,
    pub(crate) state: StateDir,
    pub(crate) store: Store,
    pub(crate) containment: Containment,
    pub(crate) gateway: Gateway,
    pub(crate) scope: Scope,
    pub(crate) started_at: UnixMillis,
    /// INVARIANT: held for as long as any tree may live.
    pub(crate) _lock: StateLock,
}

/// Where the end-of-run lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunLines {
    Stdout,
    Stderr,
}

/// Composes everything; what dead gateways of this installation left is ended first.
pub(crate) async fn compose(
    common: &Common,
    purpose: &str,
    warden: &WardenLink,
    lines: RunLines,
) -> Result<Composed, ExpectedError> {
    let config = Arc::new(place::load(common)?.config);
    say_warnings(&config);
    let state = StateDir::open(&config.state_dir).map_err(|error| failed(&error))?;
    let lock = state.lock(purpose).map_err(|error| failed(&error))?;
    let installation = state.installation().map_err(|error| failed(&error))?;
    let options = ContainOptions {
        state_dir: state.path().to_owned(),
        guard: super::guard(config.containment.guard),
        installation,
    };
    let layers = super::layers(config.containment.layers);
    let containment = Containment::start_with(options, layers)
        .map_err(|error| ExpectedError::new(Exit::Internal, format!("no containment: {error}")))?;
    for note in containment.report().notes {
        tracing::warn!("containment: {note}");
    }
    let store = open_store(&state, &config).await?;
    sweep_leftovers(installation, &store).await?;
    let scope = Scope::root("gateway");
    let servers = Servers::new(ServersParts {
        config: Arc::clone(&config),
        containment: containment.clone(),
        store: store.clone(),
        scope: scope.child("servers"),
        env: std::env::vars_os().collect(),
    });
    let started_at = UnixMillis::now();
    let memory = containment.clone();
    let gateway = Gateway::start(GatewayParts {
        config: Arc::clone(&config),
        store: store.clone(),
        servers,
        models: Models::new(&config.models),
        scope: scope.child("runs"),
        identity: GatewayIdentity {
            pid: std::process::id(),
            warden_pid: Some(warden.pid()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at,
            containment: containment.report().layers,
            own_memory: Arc::new(move || memory.own_memory()),
        },
        report: Arc::new(move |report| line::print(report, lines)),
    })
    .await
    .map_err(|error| failed(&error))?;
    Ok(Composed { config, state, store, containment, gateway, scope, started_at, _lock: lock })
}

/// A fault with everything behind it: the cause is what a person can cure.
fn failed(error: &dyn std::error::Error) -> ExpectedError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    ExpectedError::new(Exit::Failed, text)
}

fn say_warnings(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("config: {warning}");
    }
    let mut denied: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for tool in &config.denied_tools {
        denied.entry(&tool.key).or_default().push(&tool.tool);
    }
    for (key, tools) in denied {
        tracing::warn!(
            "config: {key} restricts in a way Wrasse lacks, so these tools are off: {}; unsafeIgnore: [{key:?}] \
             acknowledges it",
            tools.join(", ")
        );
    }
    if !config.unused_keys.is_empty() {
        tracing::info!(
            "config: {} keys belong to features Wrasse lacks and change nothing here (wrasse config check -v)",
            config.unused_keys.len()
        );
    }
}

/// Ends what dead gateways of this installation left, before anything new begins. `// failure mode D11`
async fn sweep_leftovers(installation: u16, store: &Store) -> Result<(), ExpectedError> {
    /// Instances that ended lately are asked about too: a record of an end is no proof of it.
    const RECENT: u32 = 1000;
    let ledger = store.ledger();
    let mut known = ledger.recent_instances(RECENT).await.map_err(|error| failed(&error))?;
    let open = ledger.open_instances().await.map_err(|error| failed(&error))?;
    let effort = if open.is_empty() { sweep::Effort::Glance } else { sweep::Effort::Search };
    known.extend(open);
    let proofs: HashMap<u64, sweep::LeaseProof> = known
        .into_iter()
        .filter_map(|row| {
            let guardian = row.guardian?;
            let proof = sweep::LeaseProof {
                guardian_start_ticks: guardian.start_ticks,
                boot_id: guardian.boot_id,
            };
            Some((row.id.number(), proof))
        })
        .collect();
    // First what one kill ends that no fork escapes.
    let known = proofs.clone();
    sweep::leaves(installation, move |instance| known.get(&instance).cloned()).await;
    let found = sweep::find(installation, effort, |instance| proofs.get(&instance).cloned())
        .map_err(|error| failed(&error))?;
    if found.is_empty() {
        return Ok(());
    }
    tracing::warn!("{} processes of a gateway that died are left; ending them", found.len());
    let report = sweep::end(found).await;
    tracing::warn!(
        "swept: {} found, {} ended, {} left",
        report.found,
        report.ended,
        report.survivors
    );
    Ok(())
}

async fn open_store(state: &StateDir, config: &Config) -> Result<Store, ExpectedError> {
    let durability = match config.store.durability {
        Durability::Process => wrasse_store::Durability::Process,
        Durability::Power => wrasse_store::Durability::Power,
    };
    Store::open(state, durability, Role::Gateway).await.map_err(|error| failed(&error))
}
