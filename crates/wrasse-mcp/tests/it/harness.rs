//! A world for one test: state directory, store, containment, servers.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use wrasse_config as config;
use wrasse_contain::{ContainOptions, Containment, Guard};
use wrasse_mcp::{
    Offer, OfferRequest, OfferedTool, ServerLeases, Servers, ServersParts, ToolOutcome,
};
use wrasse_scope::Scope;
use wrasse_store::{Durability, Role, StateDir, Store};
use wrasse_types::{AgentId, Holder, RunId, ServerName, SessionKey};

/// The node that runs the fixtures; `None`, and a line that names the test, where there is none.
pub(crate) fn node(test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|dir| dir.join("node")).find(|file| file.is_file());
    if found.is_none() {
        let mut out = std::io::stderr();
        let line = format!("SKIPPED {test}: node is not installed\n");
        std::io::Write::write_all(&mut out, line.as_bytes()).unwrap();
    }
    found
}

/// A fixture server in a mode.
pub(crate) fn fixture(name: &str, mode: &[&str]) -> config::Server {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/servers/server.mjs");
    let mut args = vec![script.to_str().unwrap()];
    args.extend(mode);
    program(name, "node", &args)
}

/// Any program as a server.
pub(crate) fn program(name: &str, command: &str, args: &[&str]) -> config::Server {
    config::Server {
        name: ServerName::new(name),
        origin: "test.json5:1".to_owned(),
        enabled: true,
        transport: config::Transport::Stdio {
            command: command.to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: BTreeMap::new(),
            cwd: None,
        },
        connection_timeout: Duration::from_secs(20),
        request_timeout: Duration::from_secs(20),
        include: Vec::new(),
        exclude: Vec::new(),
        lifecycle: config::Lifecycle {
            idle: config::Idle::Run,
            stop_eof: Duration::from_secs(2),
            stop_term: Duration::from_secs(1),
            limits: config::ServerLimits::default(),
        },
    }
}

/// Everything that a test needs; [`World::finish`] proves that nothing is left.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) servers: Servers,
    pub(crate) store: Store,
    pub(crate) workspace: PathBuf,
    pub(crate) token: CancellationToken,
    scope: Scope,
}

impl World {
    pub(crate) async fn new(servers: Vec<config::Server>) -> Self {
        Self::with_env(servers, &[]).await
    }

    /// A world in which we have further variables.
    pub(crate) async fn with_env(servers: Vec<config::Server>, more: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::within(dir, servers, more).await
    }

    /// A world on a state directory that has a past.
    pub(crate) async fn within(
        dir: TempDir,
        servers: Vec<config::Server>,
        more: &[(&str, &str)],
    ) -> Self {
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        let store = Store::open(&state, Durability::Process, Role::Gateway).await.unwrap();
        let containment = Containment::start(ContainOptions {
            state_dir: state.path().to_owned(),
            guard: Guard::Auto,
            installation: state.installation().unwrap(),
        })
        .unwrap();
        let workspace = dir.path().join("work space");
        let mut env: HashMap<OsString, OsString> = std::env::vars_os().collect();
        env.extend(more.iter().map(|&(name, value)| (name.into(), value.into())));
        let scope = Scope::root("test");
        let servers = Servers::new(ServersParts {
            config: Arc::new(config_of(servers, &workspace)),
            containment,
            store: store.clone(),
            scope: scope.clone(),
            env,
        });
        Self { dir, servers, store, workspace, token: CancellationToken::new(), scope }
    }

    /// The leases of a run on a session.
    pub(crate) fn run(&self, run: &str, session: &str) -> ServerLeases {
        let key = SessionKey::parse(session, &AgentId::new("main")).unwrap();
        self.servers.leases(Holder::run(&RunId::new(run), key.clone()), key)
    }

    pub(crate) async fn offer(&self, leases: &ServerLeases) -> Offer {
        let request = OfferRequest::new(&self.workspace, &|_| true);
        self.servers.offer(leases, request, &self.token).await
    }

    /// Calls a tool by its offered name, whether or not it was in the offer.
    pub(crate) async fn call(
        &self,
        leases: &ServerLeases,
        offer: &Offer,
        name: &str,
        arguments: Value,
    ) -> ToolOutcome {
        leases.call(tool(offer, name), arguments, &self.token).await
    }

    /// The pid of the server behind a lease.
    pub(crate) async fn pid(&self, leases: &ServerLeases, offer: &Offer, server: &str) -> u32 {
        let outcome = self.call(leases, offer, &format!("{server}__pid"), Value::Null).await;
        assert!(!outcome.is_error, "{outcome:?}");
        outcome.text.parse().unwrap()
    }

    /// Ends everything and proves that nothing is left.
    pub(crate) async fn finish(self) -> TempDir {
        for ended in self.servers.stop_all(Duration::from_secs(10)).await {
            assert!(ended.proven_empty, "{ended:?}");
        }
        let (instances, leftovers, totals) = self.servers.ps().await;
        assert!(instances.is_empty(), "{instances:?}");
        assert!(leftovers.is_empty(), "{leftovers:?}");
        assert_eq!(totals.trees, totals.proven_empty, "{totals:?}");
        self.scope.cancel();
        let report = self.scope.join(Duration::from_secs(10)).await;
        assert!(report.is_clean(), "{report:?}");
        self.store.close().await;
        self.dir
    }
}

/// A tool of an offer.
pub(crate) fn tool<'a>(offer: &'a Offer, name: &str) -> &'a OfferedTool {
    let found = offer.tools.iter().find(|tool| tool.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {:?} (faults {:?})", names(offer), offer.faults))
}

/// The offered names.
pub(crate) fn names(offer: &Offer) -> Vec<&str> {
    offer.tools.iter().map(|tool| tool.name.as_str()).collect()
}

/// Whether a process lives; a zombie does not.
pub(crate) fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Polls until a condition holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The defaults, with these servers and this workspace.
fn config_of(servers: Vec<config::Server>, workspace: &Path) -> config::Config {
    let options = config::LoadOptions {
        state_dir: workspace.to_owned(),
        cwd: workspace.to_owned(),
        cpu_count: 2,
        ..config::LoadOptions::default()
    };
    let mut made = config::load(&options, &config::DiskFiles).unwrap();
    for agent in &mut made.agents.list {
        agent.workspace = workspace.to_owned();
    }
    made.mcp.servers = servers;
    made
}
