//! Putting the parts together, in the one order that works: lock, containment, sweep, store, servers, gateway.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use wrasse_config::{Config, Durability};
use wrasse_contain::sweep::{self, SweepReport};
use wrasse_contain::{ContainOptions, Containment, warden::WardenLink};
use wrasse_gateway::{Gateway, GatewayIdentity, GatewayParts};
use wrasse_mcp::{Servers, ServersParts};
use wrasse_model::Models;
use wrasse_scope::Scope;
use wrasse_store::{Role, StateDir, StateLock, Store};
use wrasse_types::UnixMillis;

use crate::args::Common;
use crate::exit::{Exit, ExpectedError, failed};
use crate::gateway::line;
use crate::leftovers::{Known, LookError};
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
    if let Err(error) = wrasse_contain::raise_descriptor_limit() {
        tracing::warn!("the limit of open files stays low: {error}");
    }
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
    for state_dir in place::shim_state_dirs(common, state.path()) {
        sweep_after_shims(&state_dir).await;
    }
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
    let known = Known::read(installation, &store.ledger()).await.map_err(|error| failed(&error))?;
    // First what one kill ends that no fork escapes.
    known.end_leaves(None).await;
    let find = || {
        let found = known.find()?;
        if !found.is_empty() {
            tracing::warn!(
                "{} processes of a gateway that died are left; ending them",
                found.len()
            );
        }
        Ok(found)
    };
    let report = sweep::until_clean(find).await.map_err(|error: LookError| failed(&error))?;
    if report != SweepReport::default() {
        tracing::warn!(
            "swept: {} found, {} ended, {} left",
            report.found,
            report.ended,
            report.survivors
        );
    }
    Ok(())
}

/// Ends what dead shims of `wrasse wrap` left. They have marks and a ledger of their own, and one that lives is not
/// touched, so nothing here waits for it to work.
async fn sweep_after_shims(state_dir: &Path) {
    match wrasse_wrap::ledger::sweep(state_dir).await {
        Ok(report) if report.found == 0 => {}
        Ok(report) => tracing::warn!(
            "swept after shims that died: {} found, {} ended, {} left",
            report.found,
            report.ended,
            report.survivors
        ),
        Err(error) => tracing::warn!("what dead shims left was not looked for: {error}"),
    }
}

async fn open_store(state: &StateDir, config: &Config) -> Result<Store, ExpectedError> {
    let durability = match config.store.durability {
        Durability::Process => wrasse_store::Durability::Process,
        Durability::Power => wrasse_store::Durability::Power,
    };
    Store::open(state, durability, Role::Gateway).await.map_err(|error| failed(&error))
}
