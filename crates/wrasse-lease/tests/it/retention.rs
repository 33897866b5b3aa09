//! What is kept, and for how long.

use std::time::Duration;

use wrasse_lease::{Claim, Retention};
use wrasse_types::GoneReason;

use crate::fake::Spec;
use crate::reef::{Reef, of, until};

fn kept(owner: &str, keep: Duration) -> Claim<Spec> {
    Claim { retention: Retention::For(keep), ..of("s", owner) }
}

// failure mode E1: what is kept for a time ends after it, by itself.
#[tokio::test]
async fn an_idle_instance_ends_after_its_time() {
    let reef = Reef::new().await;
    let lease = reef.acquire(kept("o", Duration::from_secs(3))).await.unwrap();
    drop(lease.begin_call());
    let instance = lease.instance();
    assert_eq!(lease.release().await, None, "it is kept");
    let view = reef.view().remove(0);
    assert_eq!((view.state, view.leases.len()), ("draining", 0));
    assert_eq!(view.ends.because, "idle for 3s");
    assert!(view.ends.when.is_some());
    let again = reef.acquire(kept("o", Duration::from_secs(3))).await.unwrap();
    assert_eq!(again.instance(), instance, "kept for this");
    drop(again);
    reef.until_gone().await;
    let ledger = reef.store.ledger();
    ledger.flush().await;
    let row = ledger.instance(instance).await.unwrap().unwrap();
    assert_eq!(row.end.unwrap().reason, GoneReason::Idle);
    reef.end().await;
}

// failure mode E2: leases that come and go without a call do not keep it.
#[tokio::test]
async fn taking_and_releasing_leases_does_not_keep_it() {
    let reef = Reef::new().await;
    let keep = Duration::from_secs(3);
    let first = reef.acquire(kept("o", keep)).await.unwrap();
    let instance = first.instance();
    drop(first);
    let mut taken = 0;
    loop {
        let lease = reef.acquire(kept("o", keep)).await.unwrap();
        if lease.instance() != instance {
            break;
        }
        taken += 1;
        assert!(taken < 10_000, "kept by leases alone");
        drop(lease);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(taken > 0);
    reef.end().await;
}

// failure modes E7, J4: a call in flight outlives any idle time, even when its lease is gone.
#[tokio::test]
async fn the_idle_clock_does_not_fire_during_a_call() {
    let reef = Reef::new().await;
    let keep = Duration::from_millis(60);
    let busy = reef.acquire(kept("busy", keep)).await.unwrap();
    let call = busy.begin_call();
    let instance = busy.instance();
    assert_eq!(busy.release().await, None);
    // Another one, as idle as this one is not, ends twice meanwhile.
    for _ in 0..2 {
        let idle = reef.acquire(kept("idle", keep)).await.unwrap();
        drop(idle);
        until("the idle one ends", || reef.view().len() == 1).await;
    }
    let view = reef.view().remove(0);
    assert_eq!((view.id, view.state, view.in_flight), (instance, "draining", 1));
    assert_eq!(view.ends.when, None);
    drop(call);
    reef.until_gone().await;
    reef.end().await;
}

#[tokio::test]
async fn until_its_owner_ends() {
    let reef = Reef::new().await;
    let claim = || Claim { retention: Retention::UntilOwnerEnds, ..of("s", "o") };
    let lease = reef.acquire(claim()).await.unwrap();
    let instance = lease.instance();
    assert_eq!(lease.release().await, None);
    assert_eq!(reef.view()[0].ends.because, "with o");
    let again = reef.acquire(claim()).await.unwrap();
    assert_eq!(again.instance(), instance);
    let ended = reef.leases.owner_ended("o", GoneReason::SessionEnded).await;
    assert_eq!((ended.len(), ended[0].instance), (1, instance));
    assert_eq!(again.lost_reason(), Some(GoneReason::SessionEnded));
    assert_eq!(again.handle().call(), Err(String::from("stopped")));
    assert_eq!(reef.fake.living(), 0);
    assert_eq!(again.release().await.unwrap().reason, GoneReason::SessionEnded);
    reef.end().await;
}

// failure mode J4
#[tokio::test]
async fn what_nobody_holds_can_be_ended_at_once() {
    let reef = Reef::new().await;
    let keep = Duration::from_secs(3600);
    let held = reef.acquire(kept("held", keep)).await.unwrap();
    drop(reef.acquire(kept("idle", keep)).await.unwrap());
    let ended = reef.leases.idle_now().await;
    assert_eq!((ended.len(), ended[0].reason), (1, GoneReason::Idle));
    assert_eq!(held.handle().call(), Ok(held.instance()));
    reef.leases.stop_instance(held.instance(), GoneReason::StoppedByOperator).await.unwrap();
    reef.end().await;
}
