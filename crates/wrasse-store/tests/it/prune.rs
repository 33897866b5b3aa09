use std::time::Duration;

use wrasse_store::{FiringEnd, NewRun, NewSession, Retain, RunEnd};
use wrasse_types::{EndReason, GoneReason, Holder, JobId, RunId, UnixMillis};

use crate::jobs::job;
use crate::ledger::end;
use crate::support::{Fixture, key, new_instance, new_run};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn the_past_is_forgotten_and_the_present_is_not() {
    let Fixture { store, .. } = &Fixture::new().await;
    let ledger = store.ledger();
    let old = ledger.begin_instance(new_instance("old")).await.unwrap();
    let lease = ledger.lease_began(old, &Holder::operator("probe"), "x");
    ledger.lease_ended(lease, "released");
    ledger.event(old, "ready");
    ledger.ended(old, end(GoneReason::Released));
    let open = ledger.begin_instance(new_instance("open")).await.unwrap();
    ledger.flush().await;

    let isolated = key("agent:hub:cron:daily:run:1");
    let busy = key("agent:hub:cron:daily:run:2");
    for session in [&isolated, &busy, &key("agent:hub:main")] {
        let new = NewSession {
            key: session.clone(),
            agent: session.agent(),
            label: None,
            spawned_by: None,
            depth: 0,
            model: None,
        };
        store.ensure_session(new).await.unwrap();
    }
    store.insert_run(&new_run("r-done", &isolated)).await.unwrap();
    store.end_run(&RunId::new("r-done"), run_end()).await.unwrap();
    store.insert_run(&new_run("r-busy", &busy)).await.unwrap();

    let now = UnixMillis::now();
    let nothing = store.prune(now, &Retain::default()).await.unwrap();
    assert_eq!(nothing, wrasse_store::Pruned::default());
    let pruned = store.prune(now.plus(31 * DAY), &Retain::default()).await.unwrap();
    assert_eq!((pruned.instances, pruned.runs, pruned.sessions), (1, 1, 1));
    assert!(ledger.instance(old).await.unwrap().is_none());
    assert!(ledger.instance(open).await.unwrap().is_some());
    assert!(store.session(&busy).await.unwrap().is_some(), "a run is using it");
    assert_eq!(store.count_sessions().await.unwrap(), 2);

    // The numbers of what was forgotten are not used again.
    let next = ledger.begin_instance(new_instance("next")).await.unwrap();
    assert!(next > open);
}

#[tokio::test]
async fn numbers_are_not_used_again_after_pruning_and_a_restart() {
    let Fixture { store, dir, .. } = &Fixture::new().await;
    let ledger = store.ledger();
    let id = ledger.begin_instance(new_instance("old")).await.unwrap();
    let lease = ledger.lease_began(id, &Holder::operator("probe"), "x");
    ledger.ended(id, end(GoneReason::Released));
    ledger.flush().await;
    store.prune(UnixMillis::now().plus(31 * DAY), &Retain::default()).await.unwrap();
    store.close().await;
    let store = crate::support::gateway(dir).await;
    let ledger = store.ledger();
    let next = ledger.begin_instance(new_instance("next")).await.unwrap();
    assert!(next > id);
    assert!(ledger.lease_began(next, &Holder::operator("probe"), "x") > lease);
    store.close().await;
}

#[tokio::test]
async fn firings_and_runs_are_bounded_by_number() {
    let Fixture { store, .. } = &Fixture::new().await;
    store.upsert_job(&job("daily")).await.unwrap();
    let (daily, removed) = (JobId::new("daily"), JobId::new("removed"));
    for due in 0..30 {
        let due = UnixMillis::new(due);
        for id in [&daily, &removed] {
            store.begin_firing(id, due).await.unwrap();
            let end = FiringEnd {
                run: None,
                status: "ok".to_owned(),
                error: None,
                summary: None,
                delivered: String::new(),
            };
            store.end_firing(id, due, end).await.unwrap();
        }
        let id = format!("r-{due}");
        store.insert_run(&NewRun { started_at: due, ..new_run(&id, &key("main")) }).await.unwrap();
        store.end_run(&RunId::new(id), run_end()).await.unwrap();
    }
    let retain = Retain { firings_per_job: 10, runs_max: 5, ..Retain::default() };
    let pruned = store.prune(UnixMillis::now(), &retain).await.unwrap();
    assert_eq!((pruned.firings, pruned.runs), (40, 25));
    let left = store.firings(&daily, None).await.unwrap();
    assert_eq!((left.len(), left[9].due_at), (10, UnixMillis::new(20)));
    let pruned = store.prune(UnixMillis::now().plus(31 * DAY), &retain).await.unwrap();
    assert_eq!(pruned.firings, 10, "those of a removed job go by age");
    assert_eq!(store.firings(&removed, None).await.unwrap(), []);
    assert_eq!(store.firings(&daily, None).await.unwrap().len(), 10);
}

fn run_end() -> RunEnd {
    RunEnd {
        at: UnixMillis::now(),
        reason: EndReason::Success,
        error: None,
        result: None,
        usage_in: 0,
        usage_out: 0,
        calls: 0,
        turns: 0,
        children: 0,
        delivery: None,
    }
}
