use wrasse_store::{FlushOutcome, GuardianIdentity, InstanceEnd, StoreError};
use wrasse_types::{GoneReason, Holder, HolderKind, InstanceId, RunId, StopRung, UnixMillis};

use crate::support::{Fixture, gateway, key, new_instance};

pub(crate) fn end(reason: GoneReason) -> InstanceEnd {
    InstanceEnd {
        reason,
        detail: "its run is over".to_owned(),
        rung: Some(StopRung::Stdin),
        took_ms: 21,
        processes: 3,
        survivors: 0,
        proven_empty: true,
    }
}

fn guardian(pid: u32) -> GuardianIdentity {
    GuardianIdentity { pid, start_ticks: 998_877, boot_id: "a3a1c0de".to_owned() }
}

fn holder() -> Holder {
    Holder::run(&RunId::new("r-1"), key("agent:hub:main"))
}

#[tokio::test]
async fn an_instance_from_its_row_to_its_end() {
    let Fixture { store, .. } = &Fixture::new().await;
    let ledger = store.ledger();
    let id = ledger.begin_instance(new_instance("sqlite")).await.unwrap();
    let begun = ledger.instance(id).await.unwrap().unwrap();
    assert_eq!((begun.guardian.as_ref(), begun.pid, begun.ended_at), (None, None, None));
    ledger.spawning(id, guardian(4120)).await.unwrap();
    ledger.running(id, 4121, 998_878);
    let lease = ledger.lease_began(id, &holder(), "tool call sqlite__read_query");
    ledger.event(id, "ready, 5 tools");
    assert_eq!(ledger.open_leases().await.unwrap()[0].id, lease);
    assert_eq!(ledger.open_instances().await.unwrap()[0].pid, Some(4121));
    ledger.lease_ended(lease, "released");
    ledger.ended(id, end(GoneReason::Released));
    ledger.ended(id, end(GoneReason::Swept));

    let row = ledger.instance(id).await.unwrap().unwrap();
    assert_eq!(row.server.as_str(), "sqlite");
    assert_eq!(row.session_key, Some(key("main")));
    assert_eq!(row.guardian, Some(guardian(4120)));
    assert_eq!((row.pid, row.start_ticks), (Some(4121), Some(998_878)));
    assert!(row.running_at.is_some() && row.ended_at.is_some());
    assert_eq!(row.end, Some(end(GoneReason::Released)), "the first end stands");
    assert_eq!(row.events[0].text, "ready, 5 tools");
    assert_eq!(row.leases[0].holder, holder());
    assert_eq!(row.leases[0].end_reason.as_deref(), Some("released"));
    assert!(ledger.open_leases().await.unwrap().is_empty());
    assert!(ledger.open_instances().await.unwrap().is_empty());
    assert_eq!(ledger.lost_rows(), 0);

    let next = ledger.begin_instance(new_instance("context7")).await.unwrap();
    ledger.spawning(next, guardian(4121)).await.unwrap();
    let newest = ledger.instance_by_pid(4121).await.unwrap().unwrap();
    assert_eq!(newest.id, next, "the number was used again, and the newest is meant");
    assert_eq!(ledger.instance_by_pid(4120).await.unwrap().unwrap().id, id);
    assert!(ledger.instance_by_pid(1).await.unwrap().is_none());
    let recent = ledger.recent_instances(5).await.unwrap();
    assert_eq!(recent.iter().map(|row| row.id).collect::<Vec<_>>(), [next, id]);
    assert!(ledger.instance(InstanceId::new(999)).await.unwrap().is_none());
}

#[tokio::test]
async fn every_kind_of_holder_reads_back() {
    let Fixture { store, .. } = &Fixture::new().await;
    let ledger = store.ledger();
    let id = ledger.begin_instance(new_instance("sqlite")).await.unwrap();
    let kinds = [
        HolderKind::Run,
        HolderKind::Session,
        HolderKind::Job,
        HolderKind::Door,
        HolderKind::Catalogue,
        HolderKind::Operator,
    ];
    for kind in kinds {
        let holder = Holder { kind, id: "x".to_owned(), session_key: None, agent: None };
        let _: wrasse_types::LeaseId = ledger.lease_began(id, &holder, "why");
    }
    let found = ledger.open_leases().await.unwrap();
    assert_eq!(found.iter().map(|lease| lease.holder.kind).collect::<Vec<_>>(), kinds);
}

#[tokio::test]
async fn what_is_written_behind_keeps_its_order() {
    let Fixture { store, .. } = &Fixture::new().await;
    let ledger = store.ledger();
    let first = ledger.begin_instance(new_instance("sqlite")).await.unwrap();
    let words: Vec<String> = (0..1500).map(|n| format!("event {n}")).collect();
    for word in &words {
        ledger.event(first, word);
    }
    let lease = ledger.lease_began(first, &holder(), "calls");
    // Awaited, and still behind all of the above.
    let second = ledger.begin_instance(new_instance("sqlite")).await.unwrap();
    assert!(second > first);
    let row = ledger.instance(first).await.unwrap().unwrap();
    assert!(row.events.iter().map(|event| &event.text).eq(&words));
    assert_eq!(row.leases[0].id, lease);
    assert_eq!(ledger.flush().await, FlushOutcome::Written);
    assert_eq!(ledger.lost_rows(), 0);
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_numbers_go_on() {
    let Fixture { store, dir, .. } = &Fixture::new().await;
    let ledger = store.ledger();
    let id = ledger.begin_instance(new_instance("sqlite")).await.unwrap();
    let mut last = ledger.lease_began(id, &holder(), "first");
    for _ in 0..1000 {
        ledger.lease_ended(last, "released");
        last = ledger.lease_began(id, &holder(), "again");
    }
    store.close().await;

    let store = gateway(dir).await;
    let ledger = store.ledger();
    let open = ledger.open_leases().await.unwrap();
    assert_eq!(open.iter().map(|lease| lease.id).collect::<Vec<_>>(), [last]);
    let lost = ledger.close_lost(UnixMillis::now()).await.unwrap();
    assert_eq!((lost.instances, lost.leases), (1, 1));
    let swept = ledger.instance(id).await.unwrap().unwrap();
    assert_eq!(swept.end.map(|end| end.reason), Some(GoneReason::Swept));
    assert_eq!(swept.leases.last().unwrap().end_reason.as_deref(), Some("gateway died"));
    let next = ledger.begin_instance(new_instance("sqlite")).await.unwrap();
    assert!(next > id);
    assert_eq!(ledger.lease_began(next, &holder(), "x").number(), last.number() + 1);
    store.close().await;
}

#[tokio::test]
async fn a_guardian_of_no_instance_is_refused() {
    let Fixture { store, .. } = &Fixture::new().await;
    let refused = store.ledger().spawning(InstanceId::new(7), guardian(1)).await;
    assert!(matches!(refused, Err(StoreError::NotFound { what: "instance", .. })), "{refused:?}");
}
