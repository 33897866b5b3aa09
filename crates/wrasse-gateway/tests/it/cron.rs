//! Jobs on a real clock, with periods of fractions of a second.

use serde_json::{Value, json};
use wrasse_types::{EndReason, UnixMillis};

use crate::cron_once::soon;
use crate::station::{Station, calls, eventually, rule};

fn job(id: &str, every_ms: u64) -> Value {
    json!({
        "id": id, "name": id, "schedule": { "kind": "every", "everyMs": every_ms },
        "sessionTarget": "isolated", "payload": { "kind": "agentTurn", "message": "tick" },
        "delivery": { "mode": "none" },
    })
}

fn with_jobs(jobs: &[Value]) -> Value {
    json!({ "cron": { "jobs": jobs } })
}

async fn firings(station: &Station, id: &str) -> Vec<Value> {
    station.ok("cron.runs", json!({ "id": id })).await["runs"].as_array().unwrap().clone()
}

async fn ended_firings(station: &Station, id: &str, count: usize) -> Vec<Value> {
    let ended = async || {
        let all = station.call("cron.runs", json!({ "id": id })).await.unwrap_or_default();
        let all = all["runs"].as_array().cloned().unwrap_or_default();
        all.iter().filter(|firing| !firing["endedAt"].is_null()).count() >= count
    };
    eventually("the job has fired", ended).await;
    firings(station, id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolated_job_fires_again_and_again_in_sessions_of_its_own() {
    let station = Station::start(json!([]), with_jobs(&[job("beat", 300)])).await;
    let runs = ended_firings(&station, "beat", 3).await;
    let ended: Vec<&Value> = runs.iter().filter(|run| !run["endedAt"].is_null()).collect();
    assert!(ended.iter().all(|run| run["status"] == "ok"), "{runs:?}");
    assert!(ended.iter().all(|run| run["summary"] == "heard: [cron:beat beat] tick"), "{runs:?}");
    assert!(ended.iter().all(|run| run["delivered"] == "not requested"));
    let sessions =
        station.ok("sessions.list", json!({ "prefix": "agent:main:cron:beat:run:" })).await;
    assert!(sessions["total"].as_u64().unwrap() >= 3);
    let run = station.run(ended[0]["runId"].as_str().unwrap()).await;
    assert_eq!(
        (run.cause.as_str(), run.job.unwrap().to_string().as_str()),
        ("cron \"beat\"", "beat")
    );
    let listed = station.ok("cron.list", json!({})).await;
    assert_eq!(listed["jobs"][0]["id"], "beat");
    assert_eq!(listed["jobs"][0]["state"]["lastStatus"], "ok");
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_never_overlaps_itself_and_by_hand_neither() {
    let rules = json!([rule(json!({}), json!({ "hang": true }))]);
    let station = Station::start(rules, with_jobs(&[job("slow", 200)])).await;
    eventually("it fired", async || station.active().await.len() == 1).await;
    let by_hand = station.ok("cron.run", json!({ "id": "slow" })).await;
    assert_eq!((&by_hand["ran"], &by_hand["reason"]), (&json!(false), &json!("already-running")));
    let due = async || station.ok("cron.status", json!({})).await["nextWakeAt"].clone();
    let first = due().await;
    eventually("two more due times went by", async || due().await != first).await;
    assert_eq!(station.active().await.len(), 1);
    assert_eq!(firings(&station, "slow").await.len(), 1);
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_due_time_that_comes_while_the_job_runs_is_left_out_when_it_comes() {
    let rules = json!([rule(json!({}), json!({ "hang": true }))]);
    let station = Station::start(rules, with_jobs(&[job("slow", 400)])).await;
    eventually("it fired", async || station.active().await.len() == 1).await;
    let due = async || station.ok("cron.status", json!({})).await["nextWakeAt"].clone();
    let first = due().await;
    // Nothing but the clock wakes the scheduler here.
    eventually("the due time was left out", async || due().await != first).await;
    assert_eq!(firings(&station, "slow").await.len(), 1);
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_job_fires_before_jobs_are_served() {
    let station = Station::start_idle(json!([]), with_jobs(&[job("beat", 100)])).await;
    let due = station.ok("cron.status", json!({})).await["nextWakeAt"].clone();
    let due = UnixMillis::parse(due.as_str().unwrap()).unwrap();
    let past = due.plus(std::time::Duration::from_millis(300));
    eventually("due times went by", async || UnixMillis::now() > past).await;
    assert_eq!(firings(&station, "beat").await.len(), 0);
    assert_eq!(station.say("main", "hello").await, "heard: hello");
    assert_eq!(firings(&station, "beat").await.len(), 0);
    station.gateway.serve_jobs();
    station.gateway.serve_jobs();
    ended_firings(&station, "beat", 2).await;
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_firings_that_outlived_their_retention_are_forgotten_at_the_start() {
    let mut config = with_jobs(&[job("old", 600_000)]);
    config["cron"]["sessionRetention"] = json!("1ms");
    let station = Station::start_idle(json!([]), config.clone()).await;
    let fired = station.ok("cron.run", json!({ "id": "old" })).await;
    let run = fired["runId"].as_str().unwrap();
    station.wait_over(run).await;
    let session = station.run(run).await.session_id;
    assert!(!station.store.transcript(&session, None).await.unwrap().is_empty());
    station.say("kept", "hello").await;
    let dir = station.dir();
    station.stop().await;
    let station = Station::start_in(dir, json!([]), config).await;
    let prefix = json!({ "prefix": "agent:main:cron:" });
    eventually("the session is gone", async || {
        station.ok("sessions.list", prefix.clone()).await["sessions"] == json!([])
    })
    .await;
    assert!(station.store.transcript(&session, None).await.unwrap().is_empty());
    assert_eq!(station.texts("kept").await.len(), 2, "what a person said is kept");
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_result_holds_what_its_children_found() {
    let rules = json!([
        rule(
            json!({ "agent": "hub", "text": "tick", "turn": 0 }),
            calls("sessions_spawn", json!({ "task": "dig", "agentId": "mole" }))
        ),
        rule(json!({ "agent": "hub", "last": "tool" }), json!({ "text": "on it" })),
        rule(
            json!({ "agent": "hub", "text": "UNTRUSTED_CHILD_RESULT" }),
            json!({ "text": "final: {{last}}" })
        ),
        rule(json!({ "agent": "mole" }), json!({ "text": "gold", "delay_ms": 100 })),
    ]);
    let mut hub = job("dig", 600_000);
    hub["agentId"] = json!("hub");
    hub["delivery"] = json!({ "mode": "announce" });
    let config = json!({
        "agents": { "list": [
            { "id": "hub", "subagents": { "allowAgents": ["mole"] } }, { "id": "mole" } ] },
        "cron": { "jobs": [hub] },
    });
    let station = Station::start(rules, config).await;
    let fired = station.ok("cron.run", json!({ "id": "dig" })).await;
    let run = fired["runId"].as_str().unwrap();
    let answer = station.wait_over(run).await;
    let text = answer["text"].as_str().unwrap();
    assert!(text.starts_with("final: ") && text.contains("gold"), "{text}");
    assert!(answer["delivery"].as_str().unwrap().contains("NOT delivered"), "{answer}");
    let runs = ended_firings(&station, "dig", 1).await;
    assert_eq!(runs[0]["delivered"], "not delivered");
    let line =
        station.reports.lock().unwrap().iter().find(|r| r.run.as_str() == run).unwrap().to_string();
    assert!(
        line.contains("hub ← cron \"dig\"")
            && line.contains("1 child")
            && line.contains("NOT delivered"),
        "{line}"
    );
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_removal_end_the_run() {
    let rules = json!([
        rule(json!({ "depth": 0, "turn": 0 }), calls("sessions_spawn", json!({ "task": "x" }))),
        rule(json!({ "depth": 0 }), json!({ "text": "waiting" })),
        rule(json!({ "depth": 1 }), json!({ "hang": true })),
    ]);
    let mut limited = job("limited", 600_000);
    // From its acceptance on: all three must be seen waiting before.
    limited["payload"]["timeoutSeconds"] = json!(5);
    let jobs = [limited, job("removed", 600_000), job("disabled", 600_000)];
    let station = Station::start(rules, with_jobs(&jobs)).await;
    let mut runs = Vec::new();
    for id in ["limited", "removed", "disabled"] {
        let fired = station.ok("cron.run", json!({ "id": id })).await;
        runs.push(fired["runId"].as_str().unwrap().to_owned());
    }
    eventually("each waits for its child", async || {
        station.active().await.iter().filter(|run| run["state"] == "waiting").count() == 3
    })
    .await;
    station.ok("cron.remove", json!({ "id": "removed" })).await;
    station.ok("cron.disable", json!({ "id": "disabled" })).await;
    assert_eq!(station.wait_over(&runs[0]).await["endReason"], "cron_timeout");
    for run in &runs[1..] {
        let answer = station.wait_over(run).await;
        assert_eq!(answer["endReason"], "job_removed");
        assert_eq!(answer["error"], "its job was removed or disabled");
    }
    station.quiet().await;
    for run in &runs {
        let shown = station.ok("runs.show", json!({ "runId": run })).await;
        assert_eq!(shown["children"][0]["endReason"], "parent_stopped", "{shown}");
    }
    let failed = station.ok("cron.list", json!({})).await;
    let limited = failed["jobs"].as_array().unwrap().iter().find(|j| j["id"] == "limited").unwrap();
    assert_eq!(limited["state"]["consecutiveErrors"], 1);
    assert_eq!(firings(&station, "removed").await[0]["status"], "interrupted");
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_the_command_line_and_of_the_config() {
    let rules = json!([rule(json!({ "text": "hang" }), json!({ "hang": true }))]);
    let dir = {
        let station =
            Station::start(rules.clone(), with_jobs(&[job("kept", 600_000), job("gone", 600_000)]))
                .await;
        let added = station.ok("cron.add", json!({
            "name": "once", "schedule": { "kind": "at", "at": soon() },
            "sessionTarget": "main", "payload": { "kind": "systemEvent", "text": "wake up" },
        })).await;
        assert_eq!(added["id"].as_str().unwrap().len(), 36);
        eventually("it ran on the main session and is removed", async || {
            let jobs = station.ok("cron.list", json!({})).await;
            jobs["jobs"].as_array().unwrap().len() == 2
        })
        .await;
        assert_eq!(station.texts("main").await[0].1, "System: wake up");
        let wrong = station
            .refused(
                "cron.add",
                json!({ "name": "x", "schedule": { "kind": "cron", "expr": "no" } }),
            )
            .await;
        assert_eq!(wrong.code, "invalid");
        let past = json!({
            "name": "x", "schedule": { "kind": "at", "at": "2001-01-01T00:00:00Z" },
            "payload": { "kind": "agentTurn", "message": "x" },
        });
        let past = station.refused("cron.add", past).await;
        assert!(past.code == "invalid" && past.message.contains("has passed"), "{past:?}");
        station.ok("cron.disable", json!({ "id": "kept" })).await;
        station
            .ok(
                "cron.edit",
                json!({ "id": "gone", "patch": { "payload": { "message": "changed" } } }),
            )
            .await;
        let dir = station.dir();
        station.stop().await;
        dir
    };
    let station = Station::start_in(dir, rules, with_jobs(&[job("kept", 600_000)])).await;
    let jobs = station.ok("cron.list", json!({})).await;
    assert_eq!(
        jobs["jobs"].as_array().unwrap().len(),
        1,
        "a job that left the config is gone: {jobs}"
    );
    assert_eq!(jobs["jobs"][0]["enabled"], false, "an operator's switch outlives a restart");
    station.ok("cron.enable", json!({ "id": "kept" })).await;
    let fired = station.ok("cron.run", json!({ "id": "kept" })).await;
    let run = fired["runId"].as_str().unwrap();
    station.wait_over(run).await;
    assert_eq!(station.run(run).await.end, Some(EndReason::Success));
    station.stop().await;
}
