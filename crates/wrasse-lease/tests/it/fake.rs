//! A backend whose trees are entries in a table, so that nothing can leak unseen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{Notify, watch};
use wrasse_lease::{
    Backend, ExitNote, Key, Retry, Running, StartFault, StartRequest, StopReport, StopTree, Vitals,
    Whose,
};
use wrasse_scope::clock;
use wrasse_store::NewInstance;
use wrasse_types::{GoneReason, InstanceId, StopRung};

/// The steps of a start; the processes exist from [`SPAWN`] on.
pub(crate) const POINTS: u32 = 20;
const SPAWN: u32 = 5;

/// What a start does when it reaches its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Waits, until it is cancelled; then ends its tree.
    Wait,
    /// Waits for ever, whatever it is told.
    Deaf,
    Fail(Retry),
    Panic,
}

/// What to start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spec {
    pub(crate) at: Option<(u32, Act)>,
    pub(crate) stop: Duration,
    /// What the ladder cannot end.
    pub(crate) survivors: u32,
}

/// How a tree ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Ended and awaited.
    Ended,
    /// Dropped, and so killed.
    Killed,
}

#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) starts: Vec<InstanceId>,
    pub(crate) living: BTreeMap<InstanceId, Key>,
    pub(crate) fates: Vec<(InstanceId, Fate)>,
    pub(crate) starting: BTreeSet<InstanceId>,
    pub(crate) most_starting: usize,
    pub(crate) faults: Vec<String>,
    pub(crate) survivors: u32,
    /// Overrides the specs: what every start does now.
    pub(crate) always: Option<(u32, Act)>,
}

/// The backend.
#[derive(Debug)]
pub(crate) struct Fake {
    world: Mutex<World>,
    pub(crate) reached: watch::Sender<Option<u32>>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self { world: Mutex::default(), reached: watch::Sender::new(None) }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(crate) fn starts(&self) -> usize {
        self.world().starts.len()
    }

    pub(crate) fn living(&self) -> usize {
        self.world().living.len()
    }

    /// Waits until a start is at this point.
    pub(crate) async fn at(&self, point: u32) {
        let mut reached = self.reached.subscribe();
        let waited = clock::timeout(
            Duration::from_secs(20),
            reached.wait_for(|at| at.is_some_and(|at| at >= point)),
        );
        drop(waited.await.unwrap().unwrap());
    }
}

/// A tree: gone when ended, and killed when dropped.
pub(crate) struct Tree {
    fake: Arc<Fake>,
    instance: InstanceId,
    spec: Spec,
    handle: Handle,
}

impl Tree {
    async fn end(self) -> StopReport {
        clock::sleep(self.spec.stop).await;
        self.handle.exit("stopped");
        self.fake.world().living.remove(&self.instance);
        self.fake.world().fates.push((self.instance, Fate::Ended));
        self.fake.world().survivors += self.spec.survivors;
        StopReport {
            rung: StopRung::Stdin,
            took: Duration::from_millis(1),
            processes: 1,
            survivors: self.spec.survivors,
            proven_empty: self.spec.survivors == 0,
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.handle.exit("killed");
        let mut world = self.fake.world();
        if world.living.remove(&self.instance).is_some() {
            world.fates.push((self.instance, Fate::Killed));
        }
    }
}

impl StopTree for Tree {
    fn stop(self: Box<Self>, _why: GoneReason) -> BoxFuture<'static, StopReport> {
        self.end().boxed()
    }
}

/// The handle of a fake: it answers as long as its tree lives.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    instance: InstanceId,
    dead: Arc<(Mutex<Option<String>>, Notify)>,
}

impl Handle {
    pub(crate) fn call(&self) -> Result<InstanceId, String> {
        match &*self.dead.0.lock().unwrap() {
            None => Ok(self.instance),
            Some(why) => Err(why.clone()),
        }
    }

    /// The leader exits by itself.
    pub(crate) fn exit(&self, why: &str) {
        self.dead.0.lock().unwrap().get_or_insert_with(|| why.to_owned());
        self.dead.1.notify_waiters();
        self.dead.1.notify_one();
    }
}

/// The shared backend, as the trait wants it.
#[derive(Debug)]
pub(crate) struct FakeBackend(pub(crate) Arc<Fake>);

impl Backend for FakeBackend {
    type Spec = Spec;
    type Handle = Handle;

    fn describe(&self, key: &Key, _spec: &Spec) -> NewInstance {
        NewInstance {
            kind: String::from("server"),
            server: key.server.clone(),
            scope: String::from("session"),
            session_key: None,
            fingerprint: key.fingerprint.clone(),
            command: String::from("fake"),
            origin: String::from("test"),
        }
    }

    fn start(
        &self,
        request: StartRequest<Spec>,
    ) -> BoxFuture<'_, Result<Running<Handle>, StartFault>> {
        let fake = Arc::clone(&self.0);
        async move {
            let _starting = Starting::new(&fake, request.instance);
            start(&fake, &request).await
        }
        .boxed()
    }

    fn survivors(&self, _vitals: Vitals) -> u32 {
        self.0.world().survivors
    }
}

async fn start(
    fake: &Arc<Fake>,
    request: &StartRequest<Spec>,
) -> Result<Running<Handle>, StartFault> {
    let instance = request.instance;
    let pid = u32::try_from(instance.number()).unwrap();
    let vitals = Vitals { guardian_pid: pid + 100_000, pid };
    let dead = Arc::new((Mutex::new(None), Notify::new()));
    let handle = Handle { instance, dead };
    let mut tree = None;
    for point in 0..POINTS {
        if point == SPAWN {
            tree = Some(born(fake, request, &handle));
            request.progress.spawned(vitals);
        }
        fake.reached.send_replace(Some(point));
        let always = fake.world().always;
        let act = always.or(request.spec.at).filter(|(at, _)| *at == point);
        let fault = match act {
            None => {
                tokio::task::yield_now().await;
                continue;
            }
            Some((_, Act::Wait)) => {
                request.token.cancelled().await;
                StartFault::cancelled()
            }
            Some((_, Act::Deaf)) => std::future::pending().await,
            Some((_, Act::Panic)) => panic!("told to panic at {point}"),
            Some((_, Act::Fail(retry))) => fault(retry),
        };
        if let Some(tree) = tree {
            request.progress.ended(tree.end().await);
        }
        return Err(fault);
    }
    let exit = handle.clone();
    let exited = async move {
        exit.dead.1.notified().await;
        ExitNote::exited("exit code 3")
    };
    let stop = Box::new(tree.unwrap());
    Ok(Running { handle, vitals, exited: exited.boxed(), stop })
}

fn born(fake: &Arc<Fake>, request: &StartRequest<Spec>, handle: &Handle) -> Tree {
    let mut world = fake.world();
    if world.living.values().any(|key| *key == request.key) {
        world.faults.push(format!("two trees of {:?} live at once", request.key));
    }
    world.living.insert(request.instance, request.key.clone());
    let fake = Arc::clone(fake);
    Tree { fake, instance: request.instance, spec: request.spec, handle: handle.clone() }
}

/// Counts the starts that are under way.
struct Starting<'a>(&'a Fake, InstanceId);

impl<'a> Starting<'a> {
    fn new(fake: &'a Fake, instance: InstanceId) -> Self {
        let mut world = fake.world();
        world.starts.push(instance);
        world.starting.insert(instance);
        world.most_starting = world.most_starting.max(world.starting.len());
        Self(fake, instance)
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.world().starting.remove(&self.1);
    }
}

pub(crate) fn fault(retry: Retry) -> StartFault {
    StartFault {
        whose: Whose::Server,
        retry,
        message: String::from("exit code 1"),
        stderr_tail: vec![String::from("boom")],
        help: Some(String::from("wrasse doctor")),
    }
}
