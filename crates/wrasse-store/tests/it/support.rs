//! What the tests share.

use std::time::{Duration, Instant};

use wrasse_store::{Durability, NewInstance, NewRun, Role, RunState, StateDir, Store};
use wrasse_types::{AgentId, RunId, ServerName, SessionId, SessionKey, UnixMillis};

/// A store in a directory that goes away with it.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) dir: StateDir,
    _home: tempfile::TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let (home, dir) = state_dir();
        let store = gateway(&dir).await;
        Self { store, dir, _home: home }
    }
}

/// A fresh state directory inside a temporary one.
pub(crate) fn state_dir() -> (tempfile::TempDir, StateDir) {
    let home = tempfile::tempdir().unwrap();
    let dir = StateDir::open(&home.path().join("state")).unwrap();
    (home, dir)
}

pub(crate) async fn gateway(dir: &StateDir) -> Store {
    Store::open(dir, Durability::Process, Role::Gateway).await.unwrap()
}

pub(crate) fn key(text: &str) -> SessionKey {
    SessionKey::parse(text, &AgentId::new("main")).unwrap()
}

pub(crate) fn new_run(id: &str, session: &SessionKey) -> NewRun {
    NewRun {
        id: RunId::new(id),
        session_key: session.clone(),
        session_id: SessionId::new("span"),
        agent: session.agent(),
        parent: None,
        root: RunId::new(id),
        cause: "message".to_owned(),
        job: None,
        depth: 0,
        state: RunState::Queued,
        started_at: UnixMillis::now(),
        label: None,
        cleanup_delete: false,
    }
}

pub(crate) fn new_instance(server: &str) -> NewInstance {
    NewInstance {
        kind: "server".to_owned(),
        server: ServerName::new(server),
        scope: "session".to_owned(),
        session_key: Some(key("main")),
        fingerprint: "f0".to_owned(),
        command: "npx -y something".to_owned(),
        origin: "run r-1".to_owned(),
    }
}

/// Asks until the answer is yes; gives up after a time that no machine needs.
pub(crate) async fn until<F: AsyncFnMut() -> bool>(what: &str, mut asked: F) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !asked().await {
        assert!(Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
