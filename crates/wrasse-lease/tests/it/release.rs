//! Releases: awaited, dropped, raced by the next claim, by holders that die.

use std::time::Duration;

use tokio::task::JoinSet;
use wrasse_lease::Claim;
use wrasse_types::{GoneReason, StopRung};

use crate::fake::Spec;
use crate::reef::{Reef, claim, holder, of, until};

#[tokio::test]
async fn the_last_release_of_a_run_waits_for_the_end() {
    let reef = Reef::new().await;
    let (first, second) =
        (reef.acquire(claim()).await.unwrap(), reef.acquire(claim()).await.unwrap());
    assert_eq!(first.release().await, None, "somebody else holds it");
    let instance = second.instance();
    let ended = second.release().await.unwrap();
    assert_eq!((ended.instance, ended.reason), (instance, GoneReason::Released));
    assert_eq!((ended.rung, ended.survivors), (Some(StopRung::Stdin), 0));
    assert_eq!(reef.fake.living(), 0);
    reef.end().await;
}

// failure mode J2: the next claim races the end of the run before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_follow_up_gets_an_instance_however_the_race_ends() {
    let reef = Reef::new().await;
    let slow =
        || Claim { spec: Spec { stop: Duration::from_millis(5), ..Spec::default() }, ..claim() };
    let mut lease = reef.acquire(slow()).await.unwrap();
    for _ in 0..50 {
        let follow_up = reef.spawn(slow());
        lease.release().await;
        lease = follow_up.await.unwrap().unwrap();
        assert_eq!(lease.handle().call(), Ok(lease.instance()));
    }
    lease.release().await.unwrap();
    reef.end().await;
}

// failure mode J2: a claim that finds the instance stopping waits, and gets the next one.
#[tokio::test]
async fn a_claim_while_stopping_gets_the_next_instance() {
    let reef = Reef::new().await;
    let spec = Spec { stop: Duration::from_millis(300), ..Spec::default() };
    let first = reef.acquire(Claim { spec, ..claim() }).await.unwrap();
    let before = first.instance();
    drop(first);
    assert_eq!(reef.view()[0].state, "stopping");
    let next = reef.acquire(claim()).await.unwrap();
    assert!(next.instance() > before);
    assert_eq!(next.handle().call(), Ok(next.instance()));
    next.release().await.unwrap();
    reef.end().await;
}

// failure mode J3: the end of one of two holders leaves the call of the other alone.
#[tokio::test]
async fn one_of_two_holders_ends() {
    let reef = Reef::new().await;
    let run = |id| Claim { holder: holder(id), ..claim() };
    let (first, second) =
        (reef.acquire(run("r-1")).await.unwrap(), reef.acquire(run("r-2")).await.unwrap());
    let call = second.begin_call();
    assert_eq!(first.release().await, None);
    assert_eq!(second.handle().call(), Ok(second.instance()));
    assert!(!second.lost().is_cancelled());
    let view = &reef.view()[0];
    assert_eq!((view.in_flight, view.calls, view.state), (1, 0, "ready"));
    assert_eq!(view.ends.because, "with run r-2");
    drop(call);
    assert_eq!(reef.view()[0].calls, 1);
    second.release().await.unwrap();
    reef.end().await;
}

// failure mode E3: a holder whose task is aborted or panics holds nothing.
#[tokio::test]
async fn a_holder_that_dies_holds_nothing() {
    let reef = Reef::new().await;
    let mut tasks = JoinSet::new();
    let aborted = reef.acquire(of("s", "aborted")).await.unwrap();
    let panics = reef.acquire(of("s", "panics")).await.unwrap();
    let abort = tasks.spawn(async move {
        let _held = aborted;
        std::future::pending::<()>().await;
    });
    tasks.spawn(async move {
        let _call = panics.begin_call();
        let _held = panics;
        panic!("told to");
    });
    abort.abort();
    while tasks.join_next().await.is_some() {}
    reef.until_gone().await;
    let ledger = reef.store.ledger();
    ledger.flush().await;
    let mut reasons = Vec::new();
    for row in ledger.recent_instances(10).await.unwrap() {
        let row = ledger.instance(row.id).await.unwrap().unwrap();
        reasons.extend(row.leases.into_iter().filter_map(|lease| lease.end_reason));
    }
    reasons.sort();
    assert_eq!(reasons, ["its holder panicked", "released"]);
    reef.end().await;
}

// failure modes H6, D13, K4: a server that dies is seen dead at once, and the next claim gets a new one, which says so.
#[tokio::test]
async fn a_leader_that_exits_ends_its_instance() {
    let reef = Reef::new().await;
    let lease = reef.acquire(claim()).await.unwrap();
    assert_eq!(lease.restarted_since(), None);
    drop(lease.begin_call());
    lease.handle().exit("crashed");
    lease.lost().cancelled().await;
    assert_eq!(lease.lost_reason(), Some(GoneReason::Exited));
    assert_eq!(lease.handle().call(), Err(String::from("crashed")));

    // The run still has the dead lease when it asks again.
    let next = reef.acquire(claim()).await.unwrap();
    assert!(next.instance() > lease.instance());
    let restart = next.restarted_since().unwrap();
    assert_eq!((restart.why, restart.previous), (GoneReason::Exited, lease.instance()));
    assert_eq!(next.restarted_since(), None, "told once");

    let ended = lease.release().await.unwrap();
    assert_eq!(ended.reason, GoneReason::Exited);
    assert_eq!(next.handle().call(), Ok(next.instance()), "the old lease let go of the old one");
    next.release().await.unwrap();
    reef.end().await;
}

#[tokio::test]
async fn a_past_is_told_until_somebody_was_told_and_forgotten_with_its_owner() {
    let reef = Reef::new().await;
    let used = reef.acquire(claim()).await.unwrap();
    drop(used.begin_call());
    used.release().await.unwrap();
    // Nobody is told by this one, so the next one still says it.
    reef.acquire(claim()).await.unwrap().release().await.unwrap();
    let told = reef.acquire(claim()).await.unwrap();
    assert_eq!(told.restarted_since().unwrap().why, GoneReason::Released);
    drop(told.begin_call());
    told.release().await.unwrap();
    reef.leases.owner_ended("o", GoneReason::SessionEnded).await;
    let fresh = reef.acquire(claim()).await.unwrap();
    assert_eq!(fresh.restarted_since(), None, "the session starts anew");
    fresh.release().await.unwrap();
    until("nothing lives", || reef.fake.living() == 0).await;
    reef.end().await;
}
