//! The ordered end, and putting in order what a gateway that died left.

use std::time::Duration;

use serde_json::{Value, json};
use wrasse_gateway::ShutdownWhy;
use wrasse_store::{NewRun, NewSession, RunState};
use wrasse_types::{AgentId, EndReason, RunId, SessionKey, UnixMillis};

use crate::station::{Station, eventually, rule};

fn hanging() -> Value {
    json!([rule(json!({}), json!({ "hang": true }))])
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reason_is_recorded() {
    for (why, reason) in [
        (ShutdownWhy::Stop, EndReason::GatewayStopped),
        (ShutdownWhy::Signal, EndReason::GatewayStopped),
        (ShutdownWhy::Restart, EndReason::GatewayRestarted),
        (ShutdownWhy::WardenLost, EndReason::WardenLost),
        (ShutdownWhy::LocalEnded, EndReason::LocalEnded),
    ] {
        let station = Station::start(hanging(), json!({})).await;
        let at_work = station.begin("s", "x").await;
        let queued = station.begin("s", "x").await;
        eventually("it works", async || {
            station.active().await.iter().any(|run| run["state"] == "running")
        })
        .await;
        assert!(station.gateway.readiness().await.ready);
        let report = station.gateway.shutdown(why, Duration::from_secs(8)).await;
        assert_eq!((report.runs, report.runs_left), (2, 0));
        for run in [at_work, queued] {
            assert_eq!(station.run(&run).await.end, Some(reason), "{why:?}");
            let answer = station.ok("agent.wait", json!({ "runId": run })).await;
            assert_eq!(answer["status"], "error", "{answer}");
        }
        assert!(!station.gateway.readiness().await.ready);
        let refused = station.refused("agent", json!({ "message": "x" })).await;
        assert_eq!(refused.code, "draining");
        station.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_ask_the_program_to_shut_down() {
    let station = Station::start(json!([]), json!({})).await;
    let mut asked = station.gateway.shutdown_asked();
    assert_eq!(*asked.borrow(), None);
    station.ok("gateway.restart", json!({})).await;
    station.ok("gateway.stop", json!({})).await;
    let why = *asked.wait_for(Option::is_some).await.unwrap();
    assert_eq!(why, Some(ShutdownWhy::Restart), "the first to ask is heard");
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_gateway_left_is_put_in_order() {
    let station = Station::start(json!([]), json!({})).await;
    let main = AgentId::new("main");
    let key = SessionKey::main(&main);
    let session = station
        .store
        .ensure_session(NewSession {
            key: key.clone(),
            agent: main.clone(),
            label: None,
            spawned_by: None,
            depth: 0,
            model: None,
        })
        .await
        .unwrap();
    let id = RunId::new("r-lost");
    station
        .store
        .insert_run(&NewRun {
            id: id.clone(),
            session_key: key,
            session_id: session.session_id,
            agent: main,
            parent: None,
            root: id.clone(),
            cause: "message".to_owned(),
            job: None,
            depth: 0,
            state: RunState::Running,
            started_at: UnixMillis::now(),
            label: None,
            cleanup_delete: false,
        })
        .await
        .unwrap();
    let dir = station.dir();
    station.stop().await;
    let next = Station::start_in(dir, json!([]), json!({})).await;
    let row = next.run("r-lost").await;
    assert_eq!((row.state, row.end), (RunState::Ended, Some(EndReason::GatewayLost)));
    assert_eq!(next.say("main", "hello").await, "heard: hello");
    next.stop().await;
}
