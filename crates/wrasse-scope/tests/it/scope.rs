use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use wrasse_scope::{OnCancel, OnPanic, Scope, TaskKind, TaskLost};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

/// Counts its drop.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn joining_an_empty_scope_is_clean_at_once() {
    let report = Scope::root("test").join(Duration::ZERO).await;
    assert!(report.is_clean() && report.is_proven());
}

#[tokio::test(flavor = "multi_thread")]
async fn join_proves_that_every_future_is_dropped() {
    for _ in 0..50 {
        let scope = Scope::root("test");
        let dropped = Arc::new(AtomicUsize::new(0));
        for _ in 0..20 {
            let guard = Guard(Arc::clone(&dropped));
            let token = scope.token();
            scope.spawn(TaskKind::Run, async move {
                let _held = guard;
                token.cancelled().await;
            });
        }
        scope.cancel();
        assert!(scope.join(LONG).await.is_clean());
        assert_eq!(dropped.load(Ordering::SeqCst), 20);
        assert!(scope.tasks().is_empty());
    }
}

#[tokio::test]
async fn cancel_aborts_one_kind_and_waits_for_the_other() {
    let scope = Scope::root("test");
    let dropped = Arc::new(AtomicUsize::new(0));
    let guard = Guard(Arc::clone(&dropped));
    let ticker = scope.spawn_value(TaskKind::Wire, async move {
        let _held = guard;
        pending::<()>().await;
    });
    let (go, gone) = oneshot::channel::<()>();
    let run = scope.spawn_value(TaskKind::Run, async move { gone.await.is_ok() });
    scope.cancel();
    assert_eq!(ticker.await, Err(TaskLost::Aborted));
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    go.send(()).unwrap();
    assert_eq!(run.await, Ok(true), "a waiting kind ends by itself");
    assert!(scope.join(LONG).await.is_clean());
}

#[tokio::test]
async fn the_deadline_aborts_and_names_what_was_left() {
    let root = Scope::root("gateway");
    let child = root.child("session");
    child.spawn(TaskKind::Run, pending());
    let lost = root.spawn_value(TaskKind::Instance, pending::<()>());
    let report = root.join(SHORT).await;
    let mut named: Vec<String> = report.aborted.iter().map(ToString::to_string).collect();
    named.sort();
    assert_eq!(named, ["instance of gateway", "run of gateway/session"]);
    assert!(report.is_proven() && !report.is_clean());
    assert_eq!(lost.await, Err(TaskLost::Aborted));
    assert!(root.join(Duration::ZERO).await.is_clean(), "nothing is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_blocks_its_thread_is_stuck_and_said() {
    let scope = Scope::root("test");
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let (entered, inside) = oneshot::channel();
    scope.spawn(TaskKind::Run, async move {
        entered.send(()).unwrap();
        let _released = wait.recv();
    });
    inside.await.unwrap();
    let report = scope.join(SHORT).await;
    assert_eq!(report.stuck.len(), 1);
    assert!(!report.is_proven());
    drop(release);
    assert!(scope.join(LONG).await.is_clean());
}

#[tokio::test]
async fn a_panic_stays_in_its_task() {
    let scope = Scope::root("test");
    let lost = scope.spawn_value(TaskKind::Run, async { panic!("no {}", "fish") });
    let other = scope.spawn_value(TaskKind::Run, async { 5 });
    assert_eq!(lost.await, Err::<(), _>(TaskLost::Panicked(String::from("no fish"))));
    assert_eq!(other.await, Ok(5));
    assert!(!scope.is_cancelled(), "a run's panic is only logged");
    assert!(scope.join(LONG).await.is_clean());
}

#[tokio::test]
async fn a_panic_of_a_vital_task_fails_its_scope_only() {
    let root = Scope::root("gateway");
    let part = root.child("part");
    part.spawn(TaskKind::Scheduler, async { panic!("lost") });
    part.token().cancelled().await;
    assert!(!root.is_cancelled());
    assert!(root.join(LONG).await.is_clean());
}

#[tokio::test]
async fn a_panic_in_a_drop_is_contained_too() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    let scope = Scope::root("test");
    let bad = Bad;
    scope.spawn(TaskKind::Wire, async move {
        let _held = bad;
        pending::<()>().await;
    });
    tokio::task::yield_now().await;
    scope.cancel();
    assert!(scope.join(LONG).await.is_clean());
}

#[tokio::test]
async fn a_parent_cancels_and_joins_its_children_but_not_the_reverse() {
    let root = Scope::root("gateway");
    let (left, right) = (root.child("left"), root.child("right"));
    for scope in [&left, &right] {
        let token = scope.token();
        scope.spawn(TaskKind::Run, async move { token.cancelled().await });
    }
    assert_eq!(root.tasks().len(), 2);
    left.cancel();
    assert!(left.join(LONG).await.is_clean());
    assert_eq!(root.tasks().len(), 1);
    assert!(!right.is_cancelled());
    drop(right);
    root.cancel();
    assert!(root.join(LONG).await.is_clean(), "a child whose handle is gone is joined as well");
}

#[tokio::test]
async fn dropping_a_handle_does_not_stop_the_task() {
    let scope = Scope::root("test");
    let (done, notify) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (at_end, begin) = (Arc::clone(&done), Arc::clone(&notify));
    drop(scope.spawn_value(TaskKind::Run, async move {
        begin.notified().await;
        at_end.notify_one();
    }));
    notify.notify_one();
    done.notified().await;
    assert!(scope.join(LONG).await.is_clean());
}

#[tokio::test]
async fn many_short_children_leave_nothing_in_the_parent() {
    let root = Scope::root("gateway");
    for _ in 0..1000 {
        let child = root.child("run");
        child.spawn(TaskKind::Run, async {});
        assert!(child.join(LONG).await.is_clean());
    }
    assert!(root.tasks().is_empty());
    assert!(root.join(LONG).await.is_clean());
}

#[test]
fn every_kind_has_a_name_of_its_own_and_a_policy() {
    let mut names: Vec<&str> = TaskKind::ALL.iter().map(|kind| kind.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TaskKind::ALL.len());
    assert_eq!(TaskKind::Run.on_cancel(), OnCancel::Wait, "a run has leases to release");
    assert_eq!(TaskKind::Run.on_panic(), OnPanic::Log);
    assert_eq!(TaskKind::HttpServer.on_panic(), OnPanic::FailScope);
}
