use serde_json::json;
use wrasse_store::{CatalogueRow, FiringEnd, JobRow, JobState};
use wrasse_types::{AgentId, JobId, RunId, UnixMillis};

use crate::support::Fixture;

pub(crate) fn job(id: &str) -> JobRow {
    JobRow {
        id: JobId::new(id),
        name: format!("the {id}"),
        enabled: true,
        agent: AgentId::new("hub"),
        schedule: json!({ "kind": "every", "everyMs": 20_000 }),
        target: "isolated".to_owned(),
        payload: json!({ "kind": "agentTurn", "message": "look" }),
        delivery: "none".to_owned(),
        timeout_ms: Some(60_000),
        delete_after_run: false,
        origin: "cli".to_owned(),
        created_at: UnixMillis::new(1),
        updated_at: UnixMillis::new(1),
        next_due_at: None,
        running_run: None,
        last_run_at: None,
        last_status: None,
        last_error: None,
        consecutive_errors: 0,
    }
}

#[tokio::test]
async fn a_changed_definition_keeps_the_state() {
    let Fixture { store, .. } = &Fixture::new().await;
    let first = job("daily");
    store.upsert_job(&first).await.unwrap();
    assert_eq!(store.job(&first.id).await.unwrap(), Some(first.clone()));
    let state = JobState {
        next_due_at: Some(UnixMillis::new(99)),
        running_run: Some(RunId::new("r-1")),
        last_run_at: Some(UnixMillis::new(98)),
        last_status: Some("error".to_owned()),
        last_error: Some("model timed out".to_owned()),
        consecutive_errors: 2,
    };
    assert!(store.save_job_state(&first.id, &state).await.unwrap());
    let changed = JobRow {
        name: "renamed".to_owned(),
        timeout_ms: None,
        created_at: UnixMillis::new(50),
        updated_at: UnixMillis::new(50),
        ..first.clone()
    };
    store.upsert_job(&changed).await.unwrap();
    let row = store.job(&first.id).await.unwrap().unwrap();
    assert_eq!(row.state(), state);
    assert_eq!((row.name.as_str(), row.timeout_ms), ("renamed", None));
    assert_eq!((row.created_at, row.updated_at), (UnixMillis::new(1), UnixMillis::new(50)));

    assert!(store.set_job_enabled(&first.id, false).await.unwrap());
    assert!(!store.job(&first.id).await.unwrap().unwrap().enabled);
    store.upsert_job(&job("another")).await.unwrap();
    let names: Vec<_> = store.jobs().await.unwrap().into_iter().map(|job| job.name).collect();
    assert_eq!(names, ["renamed", "the another"]);
    assert!(store.delete_job(&first.id).await.unwrap());
    assert!(!store.delete_job(&first.id).await.unwrap());
    assert!(!store.save_job_state(&first.id, &state).await.unwrap());
    assert!(!store.set_job_enabled(&first.id, true).await.unwrap());
}

#[tokio::test]
async fn one_due_time_fires_once_whoever_asks() {
    let Fixture { store, .. } = &Fixture::new().await;
    let (id, due) = (JobId::new("daily"), UnixMillis::new(1_760_000_000_000));
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, id) = (store.clone(), id.clone());
        drop(askers.spawn(async move { store.begin_firing(&id, due).await.unwrap() }));
    }
    let claims = askers.join_all().await;
    assert_eq!(claims.iter().filter(|claimed| **claimed).count(), 1, "{claims:?}");
    assert!(store.begin_firing(&JobId::new("other"), due).await.unwrap());
    assert!(store.begin_firing(&id, UnixMillis::new(due.get() + 1)).await.unwrap());
}

#[tokio::test]
async fn a_firing_ends_once_and_outlives_its_job() {
    let Fixture { store, .. } = &Fixture::new().await;
    let (id, due, run) = (JobId::new("daily"), UnixMillis::new(1000), RunId::new("r-1"));
    store.upsert_job(&job("daily")).await.unwrap();
    let end = |status: &str| FiringEnd {
        run: None,
        status: status.to_owned(),
        error: None,
        summary: Some("clean".to_owned()),
        delivered: "not delivered: no route".to_owned(),
    };
    assert!(!store.end_firing(&id, due, end("ok")).await.unwrap(), "it has not begun");
    assert!(store.begin_firing(&id, due).await.unwrap());
    store.set_firing_run(&id, due, &run).await.unwrap();
    assert_eq!(store.firings(&id, None).await.unwrap()[0].status, "running");
    assert!(store.end_firing(&id, due, end("ok")).await.unwrap());
    assert!(!store.end_firing(&id, due, end("error")).await.unwrap());
    store.begin_firing(&id, UnixMillis::new(2000)).await.unwrap();
    store.delete_job(&id).await.unwrap();

    let rows = store.firings(&id, None).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.due_at.get()).collect::<Vec<_>>(), [2000, 1000]);
    assert_eq!((rows[1].status.as_str(), rows[1].run.as_ref()), ("ok", Some(&run)));
    assert_eq!(rows[1].delivered, "not delivered: no route");
    assert_eq!(store.firings(&id, Some(1)).await.unwrap().len(), 1);
    assert_eq!(store.close_lost_firings(UnixMillis::now()).await.unwrap(), 1);
    let lost = &store.firings(&id, Some(1)).await.unwrap()[0];
    assert_eq!((lost.status.as_str(), lost.error.as_deref()), ("error", Some("the gateway died")));
}

#[tokio::test]
async fn the_catalogue_and_the_packages_are_kept() {
    let Fixture { store, .. } = &Fixture::new().await;
    let entry = CatalogueRow {
        fingerprint: "f1".to_owned(),
        server: "sqlite".to_owned(),
        protocol: "2025-11-25".to_owned(),
        server_info: json!({ "name": "sqlite" }),
        instructions: Some("read first".to_owned()),
        tools: json!([{ "name": "read_query", "inputSchema": { "b": 1, "a": 2 } }]),
        fetched_at: UnixMillis::new(5),
    };
    assert_eq!(store.catalogue("f1").await.unwrap(), None);
    store.put_catalogue(&entry).await.unwrap();
    let newer = CatalogueRow { instructions: None, ..entry };
    store.put_catalogue(&newer).await.unwrap();
    assert_eq!(store.catalogue("f1").await.unwrap(), Some(newer));
    assert!(store.drop_catalogue("f1").await.unwrap());
    assert!(!store.drop_catalogue("f1").await.unwrap());

    let spec = "npx -y @upstash/context7-mcp";
    assert!(!store.first_launch_done(spec).await.unwrap());
    store.set_first_launch_done(spec).await.unwrap();
    store.set_first_launch_done(spec).await.unwrap();
    assert!(store.first_launch_done(spec).await.unwrap());
    store.forget_first_launch(spec).await.unwrap();
    assert!(!store.first_launch_done(spec).await.unwrap());

    assert_eq!(store.get_meta("x").await.unwrap(), None);
    store.set_meta("x", "1").await.unwrap();
    store.set_meta("x", "2").await.unwrap();
    assert_eq!(store.get_meta("x").await.unwrap().as_deref(), Some("2"));
}
