use serde_json::json;
use wrasse_store::{NewRun, RunEnd, RunFilter, RunState};
use wrasse_types::{EndReason, JobId, RunId, UnixMillis};

use crate::support::{Fixture, key, new_run};

fn end(reason: EndReason) -> RunEnd {
    RunEnd {
        at: UnixMillis::now(),
        reason,
        error: Some("model timed out".to_owned()),
        result: Some("text".to_owned()),
        usage_in: 1 << 40,
        usage_out: 2,
        calls: 3,
        turns: 4,
        children: 5,
        delivery: None,
    }
}

#[tokio::test]
async fn a_run_from_its_start_to_its_one_end() {
    let Fixture { store, .. } = &Fixture::new().await;
    let id = RunId::new("r-1");
    assert_eq!(store.run(&id).await.unwrap(), None);
    store.insert_run(&new_run("r-1", &key("main"))).await.unwrap();
    assert!(store.insert_run(&new_run("r-1", &key("main"))).await.is_err(), "an id is used once");
    for state in [RunState::Running, RunState::Waiting, RunState::Running] {
        assert!(store.set_run_state(&id, state).await.unwrap());
        assert_eq!(store.run(&id).await.unwrap().unwrap().state, state);
    }
    assert_eq!(store.open_runs().await.unwrap().len(), 1);
    store.set_run_delivery(&id, "not delivered: no route").await.unwrap();
    assert!(store.end_run(&id, end(EndReason::RunTimeout)).await.unwrap());
    assert!(!store.end_run(&id, end(EndReason::Stopped)).await.unwrap(), "the first end stands");
    assert!(!store.set_run_state(&id, RunState::Running).await.unwrap());
    store.set_run_released(&id, &json!([{ "server": "sqlite" }])).await.unwrap();

    let row = store.run(&id).await.unwrap().unwrap();
    assert_eq!(row.state, RunState::Ended);
    assert_eq!(row.end, Some(EndReason::RunTimeout));
    assert_eq!((row.usage_in, row.usage_out), (1 << 40, 2));
    assert_eq!((row.calls, row.turns, row.children), (3, 4, 5));
    assert_eq!(row.delivery.as_deref(), Some("not delivered: no route"));
    assert_eq!(row.released, Some(json!([{ "server": "sqlite" }])));
    assert!(row.ended_at.is_some());
    assert!(store.open_runs().await.unwrap().is_empty());
}

#[tokio::test]
async fn every_reason_and_state_reads_back() {
    let Fixture { store, .. } = &Fixture::new().await;
    for reason in EndReason::ALL {
        let name = format!("r-{}", reason.name());
        store.insert_run(&new_run(&name, &key("main"))).await.unwrap();
        let id = RunId::new(name);
        assert!(store.end_run(&id, end(reason)).await.unwrap());
        assert_eq!(store.run(&id).await.unwrap().unwrap().end, Some(reason));
    }
}

#[tokio::test]
async fn runs_are_listed_newest_first_and_filtered() {
    let Fixture { store, .. } = &Fixture::new().await;
    let at = |millis| UnixMillis::new(1_760_000_000_000 + millis);
    let hub = key("agent:hub:main");
    let root =
        NewRun { job: Some(JobId::new("daily")), started_at: at(1), ..new_run("r-root", &hub) };
    store.insert_run(&root).await.unwrap();
    for (n, id) in ["r-a", "r-b"].into_iter().enumerate() {
        let child = NewRun {
            parent: Some(root.id.clone()),
            root: root.id.clone(),
            depth: 1,
            started_at: at(2 + i64::try_from(n).unwrap()),
            cleanup_delete: true,
            ..new_run(id, &key("agent:leaf:subagent:1"))
        };
        store.insert_run(&child).await.unwrap();
    }
    store.end_run(&RunId::new("r-a"), end(EndReason::Success)).await.unwrap();
    let ids = async |filter: RunFilter| {
        let rows = store.runs(filter).await.unwrap();
        rows.iter().map(|row| row.id.to_string()).collect::<Vec<_>>()
    };
    let all = RunFilter::default;
    assert_eq!(ids(all()).await, ["r-b", "r-a", "r-root"]);
    assert_eq!(ids(RunFilter { limit: Some(1), ..all() }).await, ["r-b"]);
    assert_eq!(ids(RunFilter { active: true, ..all() }).await, ["r-b", "r-root"]);
    assert_eq!(ids(RunFilter { session: Some(hub), ..all() }).await, ["r-root"]);
    let parent = Some(root.id.clone());
    assert_eq!(ids(RunFilter { parent, ..all() }).await, ["r-b", "r-a"]);
    assert_eq!(ids(RunFilter { root: Some(root.id), ..all() }).await, ["r-b", "r-a", "r-root"]);
    let job = Some(JobId::new("daily"));
    assert_eq!(ids(RunFilter { job, ..all() }).await, ["r-root"]);
    assert!(store.run(&RunId::new("r-b")).await.unwrap().unwrap().cleanup_delete);
}
