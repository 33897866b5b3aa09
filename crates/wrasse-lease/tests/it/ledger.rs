//! What the ledger keeps, and what happens without it.

use wrasse_lease::{AcquireError, Claim, Whose};
use wrasse_types::{GoneReason, StopRung};

use crate::fake::Act;
use crate::reef::{Reef, acting, claim, holder};

#[tokio::test]
async fn an_instance_is_on_record_from_before_its_start_to_its_end() {
    let reef = Reef::new().await;
    let ledger = reef.store.ledger();
    let task = reef.spawn(acting(0, Act::Wait));
    reef.fake.at(0).await;
    let open = ledger.open_instances().await.unwrap();
    assert_eq!(open.len(), 1, "the row comes before any process");
    ledger.flush().await;
    let leases = ledger.open_leases().await.unwrap();
    assert_eq!(leases.len(), 1, "who waits for a start holds it");
    assert_eq!(leases[0].holder, holder("r-1"));
    assert_eq!(leases[0].reason, "tool call s__t");
    reef.leases.owner_ended("o", GoneReason::SessionEnded).await;
    task.await.unwrap().unwrap_err();

    let first = reef.acquire(claim()).await.unwrap();
    let second = reef.acquire(Claim { holder: holder("r-2"), ..claim() }).await.unwrap();
    let (instance, lease) = (first.instance(), first.id());
    drop(first);
    second.release().await.unwrap();
    ledger.flush().await;
    let row = ledger.instance(instance).await.unwrap().unwrap();
    let end = row.end.unwrap();
    assert_eq!((end.reason, end.rung), (GoneReason::Released, Some(StopRung::Stdin)));
    assert!(end.proven_empty);
    assert_eq!(row.leases.len(), 2);
    assert!(row.leases.iter().any(|row| row.id == lease));
    assert!(row.leases.iter().all(|row| row.end_reason.as_deref() == Some("released")));
    let events: Vec<_> = row.events.into_iter().map(|event| event.text).collect();
    let spawned = format!("spawned as {}", instance.number());
    let asked = "start asked by run r-1 for tool call s__t";
    assert_eq!(events, [asked, spawned.as_str(), "ready", "stop: released"]);
    reef.end().await;
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_started_but_ending_needs_no_record() {
    let reef = Reef::new().await;
    let held = reef.acquire(claim()).await.unwrap();
    reef.store.close().await;
    let refused = reef.acquire(Claim { key: crate::reef::key("s", "b"), ..claim() }).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, AcquireError::Ledger { .. }), "{refused}");
    assert_eq!(refused.whose(), Whose::Us);
    assert_eq!(reef.fake.starts(), 1);
    assert!(held.release().await.unwrap().proven_empty);
    assert_eq!(reef.fake.living(), 0);
    assert!(reef.view().is_empty());
}
