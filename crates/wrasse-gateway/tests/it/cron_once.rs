//! Jobs that fire once, and gateways that end under their runs.

use std::time::Duration;

use serde_json::{Value, json};
use wrasse_gateway::ShutdownWhy;
use wrasse_store::{JobState, NewRun, NewSession, RunEnd, RunState};
use wrasse_types::{AgentId, EndReason, JobId, RunId, SessionKey, UnixMillis};

use crate::station::{Station, eventually, rule};

/// A time that a test can wait for, and that has not passed when it is read.
pub(crate) fn soon() -> String {
    UnixMillis::now().plus(Duration::from_secs(2)).to_string()
}

fn once(at: &str) -> Value {
    json!({
        "name": "once", "schedule": { "kind": "at", "at": at }, "sessionTarget": "isolated",
        "payload": { "kind": "agentTurn", "message": "tick" }, "delivery": { "mode": "none" },
    })
}

async fn statuses(station: &Station, id: &str) -> Vec<String> {
    let runs = station.call("cron.runs", json!({ "id": id })).await.unwrap_or_default();
    let runs = runs["runs"].as_array().cloned().unwrap_or_default();
    runs.iter().map(|run| run["status"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn jobs(station: &Station) -> Vec<Value> {
    station.ok("cron.list", json!({})).await["jobs"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_the_gateways_end_cut_off_is_run_again_at_the_next_start() {
    for why in [
        ShutdownWhy::Stop,
        ShutdownWhy::Signal,
        ShutdownWhy::Restart,
        ShutdownWhy::WardenLost,
        ShutdownWhy::LocalEnded,
    ] {
        let hanging = json!([rule(json!({}), json!({ "hang": true }))]);
        let station = Station::start(hanging, json!({})).await;
        let id = station.ok("cron.add", once(&soon())).await["id"].as_str().unwrap().to_owned();
        eventually("it works", async || {
            station.active().await.iter().any(|run| run["state"] == "running")
        })
        .await;
        station.gateway.shutdown(why, Duration::from_secs(8)).await;
        let line = station.reports.lock().unwrap()[0].to_string();
        assert!(line.contains(" FAIL ") && !line.contains(" ok "), "{why:?}: {line}");
        let dir = station.dir();
        station.stop().await;
        let next = Station::start_in(dir, json!([]), json!({})).await;
        eventually("it is done and removed", async || jobs(&next).await.is_empty()).await;
        assert_eq!(statuses(&next, &id).await, ["ok", "interrupted"], "{why:?}");
        next.stop().await;
    }
}

/// Makes the records of a run of a job as a gateway leaves them that dies under it.
async fn left_running(station: &Station, job: &JobId, run: &RunId, recorded: Option<RunState>) {
    let now = UnixMillis::now();
    let state =
        JobState { running_run: Some(run.clone()), last_run_at: Some(now), ..JobState::default() };
    station.store.save_job_state(job, &state).await.unwrap();
    let Some(recorded) = recorded else { return };
    let main = AgentId::new("main");
    let key = SessionKey::cron_run(&main, job.as_str(), run.as_str());
    let session = NewSession {
        key: key.clone(),
        agent: main.clone(),
        label: None,
        spawned_by: None,
        depth: 0,
        model: None,
    };
    let session = station.store.ensure_session(session).await.unwrap();
    let row = NewRun {
        id: run.clone(),
        session_key: key,
        session_id: session.session_id,
        agent: main,
        parent: None,
        root: run.clone(),
        cause: "cron \"once\"".to_owned(),
        job: Some(job.clone()),
        depth: 0,
        state: RunState::Running,
        started_at: now,
        label: None,
        cleanup_delete: false,
    };
    station.store.insert_run(&row).await.unwrap();
    if recorded == RunState::Ended {
        let end = RunEnd {
            at: now,
            reason: EndReason::Success,
            error: None,
            result: Some("done".to_owned()),
            usage_in: 0,
            usage_out: 0,
            calls: 0,
            turns: 1,
            children: 0,
            delivery: None,
        };
        station.store.end_run(run, end).await.unwrap();
    }
}

/// What is left when the gateway dies: before the run was begun, while it went on, and after its end was recorded.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_died_with_the_gateway_is_run_again_and_one_that_was_done_is_not() {
    let station = Station::start_idle(json!([]), json!({})).await;
    let mut ids = Vec::new();
    for (run, recorded) in
        [("r-a", None), ("r-b", Some(RunState::Running)), ("r-c", Some(RunState::Ended))]
    {
        let added = station.ok("cron.add", once("2100-01-01T00:00:00Z")).await;
        let id = added["id"].as_str().unwrap().to_owned();
        left_running(&station, &JobId::new(&id), &RunId::new(run), recorded).await;
        ids.push(id);
    }
    let dir = station.dir();
    station.stop().await;
    let next = Station::start_in(dir, json!([]), json!({})).await;
    eventually("each is done and removed", async || jobs(&next).await.is_empty()).await;
    next.quiet().await;
    assert_eq!(statuses(&next, &ids[0]).await, ["ok"]);
    assert_eq!(statuses(&next, &ids[1]).await, ["ok"]);
    assert!(statuses(&next, &ids[2]).await.is_empty());
    assert_eq!(next.run("r-b").await.end, Some(EndReason::GatewayLost));
    next.stop().await;
}

/// A run that takes the gateway down with it each time is not begun for ever.
#[tokio::test(flavor = "multi_thread")]
async fn cut_off_runs_count_against_the_retries() {
    let station = Station::start_idle(json!([]), json!({})).await;
    let added = station.ok("cron.add", once("2100-01-01T00:00:00Z")).await;
    let id = JobId::new(added["id"].as_str().unwrap());
    left_running(&station, &id, &RunId::new("r-x"), None).await;
    let state = JobState {
        running_run: Some(RunId::new("r-x")),
        last_run_at: Some(UnixMillis::now()),
        consecutive_errors: 3,
        ..JobState::default()
    };
    station.store.save_job_state(&id, &state).await.unwrap();
    let dir = station.dir();
    station.stop().await;
    let next = Station::start_in(dir, json!([]), json!({})).await;
    let job = &jobs(&next).await[0];
    assert_eq!(job["enabled"], false, "{job}");
    assert_eq!(job["state"]["lastStatus"], "interrupted", "{job}");
    assert_eq!(job["state"]["nextRunAt"], Value::Null, "{job}");
    next.stop().await;
}

/// One that was stored is caught up with; a time in the past is refused only from a person who writes it now.
#[tokio::test(flavor = "multi_thread")]
async fn a_stored_job_whose_time_passed_is_caught_up_with_once() {
    let mut job = once("2001-01-01T00:00:00Z");
    job["id"] = json!("late");
    job["deleteAfterRun"] = json!(false);
    let config = json!({ "cron": { "jobs": [job] } });
    let station = Station::start(json!([]), config.clone()).await;
    eventually("it fired", async || statuses(&station, "late").await == ["ok"]).await;
    station.quiet().await;
    let edited = station
        .ok("cron.edit", json!({ "id": "late", "patch": { "payload": { "message": "other" } } }))
        .await;
    assert_eq!(edited["state"]["nextRunAt"], Value::Null, "{edited}");
    let patch = json!({ "schedule": { "kind": "at", "at": "2002-01-01T00:00:00Z" } });
    let refused = station.refused("cron.edit", json!({ "id": "late", "patch": patch })).await;
    assert!(refused.message.contains("has passed"), "{refused:?}");
    let dir = station.dir();
    station.stop().await;
    let station = Station::start_in(dir, json!([]), config).await;
    let patch = json!({ "enabled": true, "schedule": { "kind": "at", "at": soon() } });
    station.ok("cron.edit", json!({ "id": "late", "patch": patch })).await;
    eventually("it fired at its new time", async || {
        statuses(&station, "late").await == ["ok", "ok"]
    })
    .await;
    station.stop().await;
}
