//! Stops: of one, of all, under a deadline, and what cannot be stopped.

use std::time::Duration;

use wrasse_lease::{AcquireError, Claim};
use wrasse_scope::clock;
use wrasse_types::{GoneReason, ServerName};

use crate::fake::{Fate, Spec};
use crate::reef::{Reef, claim, key, of, until};

const OPERATOR: GoneReason = GoneReason::StoppedByOperator;

// failure modes J1, D6: the end of one, by force or by itself, touches no other.
#[tokio::test]
async fn siblings_are_left_alone() {
    let reef = Reef::new().await;
    let a = reef.acquire(of("a", "o")).await.unwrap();
    let b = reef.acquire(of("b", "o")).await.unwrap();
    let c = reef.acquire(of("a", "other")).await.unwrap();
    let call = b.begin_call();
    let ended = reef.leases.stop_instance(a.instance(), OPERATOR).await.unwrap();
    assert_eq!(ended.reason, OPERATOR);
    assert_eq!(a.lost_reason(), Some(OPERATOR));
    c.handle().exit("crashed");
    c.lost().cancelled().await;
    until("two are gone", || reef.view().len() == 1).await;
    let view = reef.view().remove(0);
    assert_eq!((view.id, view.in_flight), (b.instance(), 1));
    assert_eq!(b.handle().call(), Ok(b.instance()));
    drop(call);
    assert_eq!(reef.leases.stop_instance(a.instance(), OPERATOR).await, None, "gone already");
    b.release().await.unwrap();
    reef.end().await;
}

#[tokio::test]
async fn a_server_stops_for_all_its_owners() {
    let reef = Reef::new().await;
    let leases = [
        reef.acquire(of("a", "1")).await.unwrap(),
        reef.acquire(of("a", "2")).await.unwrap(),
        reef.acquire(of("b", "1")).await.unwrap(),
    ];
    let ended = reef.leases.stop_server(&ServerName::new("a"), GoneReason::Replaced).await;
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().all(|end| end.server.as_str() == "a" && end.proven_empty));
    assert_eq!(leases[2].handle().call(), Ok(leases[2].instance()));
    let again = reef.acquire(of("a", "1")).await.unwrap();
    again.release().await.unwrap();
    drop(leases);
    reef.until_gone().await;
    reef.end().await;
}

#[tokio::test]
async fn all_stop_side_by_side_and_nothing_starts_after() {
    let reef = Reef::new().await;
    let slow = |owner: &str| Claim {
        spec: Spec { stop: Duration::from_millis(500), ..Spec::default() },
        ..of("s", owner)
    };
    let mut leases = Vec::new();
    for n in 0..20 {
        leases.push(reef.acquire(slow(&n.to_string())).await.unwrap());
    }
    let began = clock::now();
    let ended = reef.leases.stop_all(GoneReason::GatewayStopped, Duration::from_secs(8)).await;
    assert_eq!(ended.len(), 20);
    assert!(began.elapsed() < Duration::from_secs(5), "one after the other would take 10 s");
    assert_eq!(reef.fake.living(), 0);
    let refused = reef.acquire(claim()).await.unwrap_err();
    assert_eq!(refused, AcquireError::ShuttingDown);
    reef.end().await;
}

#[tokio::test]
async fn a_deadline_ends_the_waiting_and_not_the_stop() {
    let reef = Reef::new().await;
    let slow = Spec { stop: Duration::from_secs(5), ..Spec::default() };
    let _slow = reef.acquire(Claim { spec: slow, ..of("slow", "o") }).await.unwrap();
    let _fast = reef.acquire(of("fast", "o")).await.unwrap();
    let ended = reef.leases.stop_all(OPERATOR, Duration::from_secs(2)).await;
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].server.as_str(), "fast");
    assert_eq!(reef.view()[0].state, "stopping", "a view does not wait for a busy driver");
    assert_eq!(reef.view()[0].ends.because, "stopping: stopped_by_operator");
    reef.until_gone().await;
    reef.end().await;
}

#[tokio::test]
async fn a_tree_that_outlives_its_stop_blocks_its_key_until_it_is_gone() {
    let reef = Reef::new().await;
    let spec = Spec { survivors: 2, ..Spec::default() };
    let stuck = reef.acquire(Claim { spec, ..claim() }).await.unwrap();
    let ended = stuck.release().await.unwrap();
    assert_eq!((ended.survivors, ended.proven_empty), (2, false), "told, not waited for");
    let next = reef.spawn(claim());
    until("it is in rundown", || reef.view()[0].state == "rundown").await;
    let because = reef.view()[0].ends.because.clone();
    assert!(because.contains("2 processes"), "{because}");
    assert_eq!(reef.fake.starts(), 1, "never two of one key");
    reef.fake.world().survivors = 0;
    let lease = next.await.unwrap().unwrap();
    assert_eq!(reef.fake.starts(), 2);
    lease.release().await.unwrap();
    reef.end().await;
}

// failure mode D3
#[tokio::test]
async fn the_end_of_the_scope_ends_everything() {
    let reef = Reef::new().await;
    let held = reef.acquire(claim()).await.unwrap();
    reef.scope.cancel();
    assert!(reef.scope.join(Duration::from_secs(20)).await.is_clean());
    assert_eq!(held.lost_reason(), Some(GoneReason::GatewayStopped));
    assert_eq!(held.release().await.unwrap().reason, GoneReason::GatewayStopped);
    assert_eq!(reef.acquire(claim()).await.unwrap_err(), AcquireError::ShuttingDown);
    reef.end().await;
}

// failure mode D3: an owner that is dropped instead of shut down takes its trees with it.
#[tokio::test]
async fn a_driver_that_is_aborted_drops_its_tree() {
    let reef = Reef::new().await;
    let slow = Spec { stop: Duration::from_secs(3600), ..Spec::default() };
    let held = reef.acquire(Claim { spec: slow, ..claim() }).await.unwrap();
    let waiting = reef.spawn(Claim { key: key("s", "o"), ..claim() });
    drop(waiting.await.unwrap().unwrap());
    let instance = held.instance();
    drop(held);
    let follow_up = reef.leases.acquire(claim(), &reef.token);
    let mut follow_up = Box::pin(follow_up);
    assert!(clock::timeout(Duration::from_millis(20), &mut follow_up).await.is_err());
    let report = reef.scope.join(Duration::from_millis(50)).await;
    assert_eq!((report.aborted.len(), report.stuck.len()), (1, 0));
    assert_eq!(reef.fake.world().fates, vec![(instance, Fate::Killed)]);
    assert!(matches!(follow_up.await.unwrap_err(), AcquireError::Internal(_)));
    reef.end().await;
}
