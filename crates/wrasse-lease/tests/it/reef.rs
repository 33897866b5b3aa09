//! One set of leases over a fake backend and a real ledger, and the checks after each test.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wrasse_lease::{
    AcquireError, BreakerOptions, Claim, InstanceView, Key, Lease, LeaseOptions, Leases, Retention,
};
use wrasse_scope::{Scope, TaskHandle, TaskKind, clock};
use wrasse_store::{Durability, Role, StateDir, Store};
use wrasse_types::{AgentId, Holder, RunId, ServerName, SessionKey};

use crate::fake::{Act, Fake, FakeBackend, Spec};

pub(crate) type FakeLease = Lease<FakeBackend>;
pub(crate) type Outcome = Result<FakeLease, AcquireError>;

pub(crate) struct Reef {
    pub(crate) leases: Leases<FakeBackend>,
    pub(crate) fake: Arc<Fake>,
    pub(crate) store: Store,
    pub(crate) scope: Scope,
    pub(crate) token: CancellationToken,
    _dir: tempfile::TempDir,
}

pub(crate) fn options() -> LeaseOptions {
    LeaseOptions {
        start_concurrency: 4,
        breaker: BreakerOptions {
            floor: Duration::from_millis(300),
            cap: Duration::from_secs(2),
            ..BreakerOptions::default()
        },
        cancel_grace: Duration::from_millis(100),
        recount: Duration::from_millis(20),
    }
}

/// A claim of a run on the server "s" of the owner "o", as the tests vary it.
pub(crate) fn claim() -> Claim<Spec> {
    Claim {
        key: key("s", "o"),
        spec: Spec::default(),
        retention: Retention::Run,
        holder: holder("r-1"),
        reason: String::from("tool call s__t"),
    }
}

pub(crate) fn of(server: &str, owner: &str) -> Claim<Spec> {
    Claim { key: key(server, owner), ..claim() }
}

pub(crate) fn acting(point: u32, act: Act) -> Claim<Spec> {
    Claim { spec: Spec { at: Some((point, act)), ..Spec::default() }, ..claim() }
}

pub(crate) fn key(server: &str, owner: &str) -> Key {
    Key {
        server: ServerName::new(server),
        owner: owner.to_owned(),
        fingerprint: String::from("f1"),
    }
}

pub(crate) fn holder(run: &str) -> Holder {
    Holder::run(&RunId::new(run), SessionKey::main(&AgentId::new("main")))
}

/// Waits for something to become true.
pub(crate) async fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = clock::now() + Duration::from_secs(20);
    while !happened() {
        assert!(!deadline.has_passed(), "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

impl Reef {
    pub(crate) async fn new() -> Self {
        Self::with(options()).await
    }

    pub(crate) async fn with(options: LeaseOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let store = Store::open(&state, Durability::Process, Role::Gateway).await.unwrap();
        let (fake, scope) = (Arc::new(Fake::new()), Scope::root("test"));
        let backend = Arc::new(FakeBackend(Arc::clone(&fake)));
        let leases = Leases::new(backend, store.ledger(), scope.child("leases"), options);
        Self { leases, fake, store, scope, token: CancellationToken::new(), _dir: dir }
    }

    pub(crate) async fn acquire(&self, claim: Claim<Spec>) -> Outcome {
        clock::timeout(Duration::from_secs(20), self.leases.acquire(claim, &self.token))
            .await
            .unwrap()
    }

    /// Acquires in a task of its own.
    pub(crate) fn spawn(&self, claim: Claim<Spec>) -> TaskHandle<Outcome> {
        let (leases, token) = (self.leases.clone(), self.token.clone());
        self.scope.spawn_value(TaskKind::Run, async move { leases.acquire(claim, &token).await })
    }

    pub(crate) fn view(&self) -> Vec<InstanceView> {
        self.leases.snapshot()
    }

    pub(crate) async fn until_gone(&self) {
        until("every instance gone", || self.view().is_empty() && self.fake.living() == 0).await;
    }

    /// Nothing lives, every start has exactly one end, and the ledger is closed.
    pub(crate) async fn end(self) {
        self.scope.cancel();
        let report = self.scope.join(Duration::from_secs(20)).await;
        assert!(report.is_clean(), "{report:?}");
        self.check_empty().await;
        self.store.close().await;
    }

    pub(crate) async fn check_empty(&self) {
        assert_eq!(self.view().len(), 0);
        let ledger = self.store.ledger();
        ledger.flush().await;
        assert_eq!(ledger.open_instances().await.unwrap(), Vec::new());
        assert_eq!(ledger.open_leases().await.unwrap(), Vec::new());
        let world = self.fake.world();
        assert_eq!(world.faults, Vec::<String>::new());
        assert!(world.living.is_empty(), "{:?}", world.living);
        // failure mode H8: every start yields exactly one closed event.
        let trees = u64::try_from(world.fates.len()).unwrap();
        assert_eq!(self.leases.ended_totals().trees, trees, "{:?}", world.fates);
    }
}
