//! Scopes: who owns which tasks.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::{self, BootInstant};
use crate::kind::{OnCancel, TaskKind};
use crate::report::{JoinReport, TaskView};
use crate::task::{Registration, TaskHandle, Tracked};

/// How long an aborted task may take to be dropped: the runtime needs one poll of it.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// Owns tasks and the scopes below it. A cheap handle: clones are the same scope.
///
/// Dropping every handle stops nothing; tasks keep their scope alive.
#[derive(Clone)]
pub struct Scope {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    id: u64,
    pub(crate) path: String,
    pub(crate) token: CancellationToken,
    parent: Option<Arc<Inner>>,
    members: Mutex<Members>,
    /// INVARIANT: the number of registered tasks here and in all scopes below.
    live: watch::Sender<usize>,
}

#[derive(Default)]
struct Members {
    tasks: HashMap<u64, Entry>,
    children: HashMap<u64, Weak<Inner>>,
}

struct Entry {
    kind: TaskKind,
    since: BootInstant,
    /// Set just after the spawn; missing only while the task has no way to be polled to its end yet.
    abort: Option<AbortHandle>,
}

impl Scope {
    /// Makes a scope that has none above it.
    pub fn root(name: &'static str) -> Scope {
        Scope { inner: Arc::new(Inner::new(String::from(name), CancellationToken::new(), None)) }
    }

    /// Makes a scope below this one: cancelled with it, and joined by it.
    pub fn child(&self, name: &'static str) -> Scope {
        let parent = &self.inner;
        let child = Arc::new(Inner::new(
            format!("{}/{name}", parent.path),
            parent.token.child_token(),
            Some(Arc::clone(parent)),
        ));
        parent.members().children.insert(child.id, Arc::downgrade(&child));
        Scope { inner: child }
    }

    /// The path of names from the root, as `gateway/run`.
    pub fn path(&self) -> &str {
        &self.inner.path
    }

    /// The token of this scope, cancelled by [`Scope::cancel`] here or above.
    pub fn token(&self) -> CancellationToken {
        self.inner.token.clone()
    }

    /// Spawns a task. A panic is logged and handled as the kind says. Needs a running runtime.
    pub fn spawn<F>(&self, kind: TaskKind, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.start(kind, future, None);
    }

    /// Spawns a task whose value is awaited through the handle; dropping the handle does not stop the task.
    pub fn spawn_value<F, T>(&self, kind: TaskKind, future: F) -> TaskHandle<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let (sender, value) = oneshot::channel();
        self.start(kind, future, Some(sender));
        TaskHandle { value }
    }

    /// Asks every task of this scope and below to end. Returns at once; [`Scope::join`] proves the end.
    pub fn cancel(&self) {
        self.inner.token.cancel();
    }

    /// Whether the scope has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.inner.token.is_cancelled()
    }

    /// Every living task of this scope and below.
    pub fn tasks(&self) -> Vec<TaskView> {
        let mut found = Vec::new();
        self.inner.visit(&mut |scope, entry| found.push(entry.view(scope)));
        found
    }

    /// Waits until no task of this scope or below is left; after the deadline aborts what is left and names it.
    ///
    /// Cancels nothing by itself, and does not close the scope: what is spawned later is later joined. A task
    /// must not join its own scope, as it would wait for itself. Cancel-safe: dropping it aborts nothing.
    pub async fn join(&self, deadline: Duration) -> JoinReport {
        let started = clock::now();
        if self.empty_within(deadline).await {
            return JoinReport { took: started.elapsed(), ..JoinReport::default() };
        }
        let mut aborted = Vec::new();
        let mut handles = Vec::new();
        self.inner.visit(&mut |scope, entry| {
            aborted.push(entry.view(scope));
            handles.extend(entry.abort.clone());
        });
        // Not under the scope's lock: on a runtime that shuts down an abort drops the task at once.
        handles.iter().for_each(AbortHandle::abort);
        for task in &aborted {
            tracing::warn!(task = task.kind.name(), scope = %task.scope, "task aborted at its deadline");
        }
        let stuck = if self.empty_within(ABORT_GRACE).await { Vec::new() } else { self.tasks() };
        JoinReport { aborted, stuck, took: started.elapsed() }
    }

    async fn empty_within(&self, limit: Duration) -> bool {
        let mut live = self.inner.live.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        clock::timeout(limit, live.wait_for(|count| *count == 0)).await.is_ok()
    }

    fn start<F, T>(
        &self,
        kind: TaskKind,
        future: F,
        value: Option<oneshot::Sender<Result<T, crate::TaskLost>>>,
    ) where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let registration = Inner::register(&self.inner, kind);
        let id = registration.id;
        let cancelled = match kind.on_cancel() {
            OnCancel::Wait => None,
            OnCancel::Abort => Some(self.inner.token.clone().cancelled_owned()),
        };
        let tracked = Tracked::new(Box::pin(future), cancelled, value, registration);
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that spawns: the task is tracked"
        )]
        let task = tokio::spawn(tracked);
        if let Some(entry) = self.inner.members().tasks.get_mut(&id) {
            entry.abort = Some(task.abort_handle());
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("path", &self.inner.path)
            .field("live", &*self.inner.live.borrow())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn new(path: String, token: CancellationToken, parent: Option<Arc<Inner>>) -> Self {
        Self {
            id: next_id(),
            path,
            token,
            parent,
            members: Mutex::default(),
            live: watch::Sender::new(0),
        }
    }

    fn register(scope: &Arc<Inner>, kind: TaskKind) -> Registration {
        let id = next_id();
        scope.members().tasks.insert(id, Entry { kind, since: clock::now(), abort: None });
        scope.count(|live| *live += 1);
        Registration { scope: Arc::clone(scope), id, kind }
    }

    pub(crate) fn deregister(&self, id: u64) {
        let entry = self.members().tasks.remove(&id);
        drop(entry);
        self.count(|live| *live = live.saturating_sub(1));
    }

    /// Changes the count here and in every scope above.
    fn count(&self, change: impl Fn(&mut usize)) {
        let mut at = Some(self);
        while let Some(scope) = at {
            scope.live.send_modify(&change);
            at = scope.parent.as_deref();
        }
    }

    /// Shows every entry of this scope and below. The visitor runs under the scope's lock.
    fn visit(&self, visitor: &mut impl FnMut(&Inner, &Entry)) {
        let children: Vec<Arc<Inner>> = {
            let members = self.members();
            members.tasks.values().for_each(|entry| visitor(self, entry));
            members.children.values().filter_map(Weak::upgrade).collect()
        };
        for child in children {
            child.visit(visitor);
        }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        // Nothing panics while holding it; if something did, the maps are still whole.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(parent) = &self.parent {
            parent.members().children.remove(&self.id);
        }
    }
}

impl Entry {
    fn view(&self, scope: &Inner) -> TaskView {
        TaskView { kind: self.kind, scope: scope.path.clone(), age: self.since.elapsed() }
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
