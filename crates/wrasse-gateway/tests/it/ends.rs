//! Every way a run can end that needs no server and no second process.

use std::time::Duration;

use serde_json::{Value, json};
use wrasse_gateway::ShutdownWhy;
use wrasse_types::EndReason;

use crate::station::{Station, calls, eventually, rule};

/// Where each end is shown in this suite; the ends of processes are the end-to-end suite's. Exhaustive, so that a new
/// reason has to be placed.
const fn shown(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Success => "runs::a_message_becomes_a_final_text_and_a_line",
        EndReason::ModelError
        | EndReason::FallbacksExhausted
        | EndReason::ToolError
        | EndReason::BudgetExhausted => "ends::faults_of_the_work",
        EndReason::RunTimeout => "ends::the_runs_own_limit",
        EndReason::CronTimeout | EndReason::JobRemoved => "cron::limits_and_removal_end_the_run",
        EndReason::Cancelled | EndReason::ClientInterrupted => "ends::cancelled",
        EndReason::Stopped => "ends::stopped",
        EndReason::ParentStopped => "spawn::stopping_a_parent_stops_everything_below_it",
        EndReason::SessionReset | EndReason::SessionLazyReset | EndReason::SessionDeleted => {
            "sessions::…"
        }
        EndReason::LocalEnded
        | EndReason::GatewayStopped
        | EndReason::GatewayRestarted
        | EndReason::WardenLost => "shutdown::each_reason_is_recorded",
        EndReason::GatewayLost => "shutdown::what_a_dead_gateway_left_is_put_in_order",
        EndReason::Internal => "ends::a_fault_of_ours_ends_only_its_run",
    }
}

#[test]
fn every_end_is_shown_somewhere() {
    for reason in EndReason::ALL {
        assert!(shown(reason).contains("::"), "{reason:?}");
    }
}

async fn end_of(rules: Value, config: Value) -> (String, String) {
    let station = Station::start(rules, config).await;
    let run = station.begin("s", "go").await;
    let answer = station.wait_over(&run).await;
    assert_eq!(answer["status"], "error", "{answer}");
    let line = station.reports.lock().unwrap().pop().unwrap().to_string();
    assert!(line.contains(" FAIL main ← message · ") && line.contains("left 0 of 0"), "{line}");
    station.stop().await;
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    (text("endReason"), text("error"))
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_work() {
    let auth = || json!([rule(json!({}), json!({ "error": "auth" }))]);
    let (reason, error) = end_of(auth(), json!({})).await;
    assert_eq!(reason, "model_error");
    assert!(error.contains("play/x"), "{error}");
    let chain = json!({ "agents": { "defaults": { "model": { "primary": "play/x", "fallbacks": ["play/y"] } } } });
    let (reason, error) = end_of(auth(), chain).await;
    assert_eq!(reason, "fallbacks_exhausted");
    assert!(error.contains("play/y"), "{error}");
    let gives_up = json!([
        rule(json!({ "turn": 0 }), calls("nothing_like_it", json!({}))),
        rule(json!({ "last": "tool" }), json!({ "text": "" })),
    ]);
    let (reason, error) = end_of(gives_up, json!({})).await;
    assert_eq!(reason, "tool_error");
    assert!(error.starts_with("nothing_like_it: "), "{error}");
    let endless = json!([rule(json!({}), calls("sessions_list", json!({})))]);
    let budget = json!({ "agents": { "defaults": { "budget": { "turns": 3 } } } });
    let (reason, error) = end_of(endless, budget).await;
    assert_eq!(reason, "budget_exhausted");
    assert!(error.contains("3 model turns"), "{error}");
}

fn hanging() -> Value {
    json!([rule(json!({}), json!({ "hang": true }))])
}

async fn hanging_run(station: &Station) -> String {
    let run = station.begin("s", "go").await;
    eventually("it works", async || {
        station.active().await.iter().any(|run| run["state"] == "running")
    })
    .await;
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runs_own_limit() {
    let station = Station::start(hanging(), json!({})).await;
    let params = json!({ "sessionKey": "s", "message": "x", "timeoutMs": 300 });
    let answer = station.wait_over(&station.begin_with(params).await).await;
    assert_eq!(answer["endReason"], "run_timeout");
    assert_eq!(answer["error"], "run time limit passed (300ms)");
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled() {
    let station = Station::start(hanging(), json!({})).await;
    for (params, reason) in [
        (json!({}), "cancelled"),
        (json!({ "reason": "client_interrupted" }), "client_interrupted"),
        (json!({ "reason": "client_timeout" }), "run_timeout"),
    ] {
        let run = hanging_run(&station).await;
        let mut params = params;
        params["runId"] = json!(run);
        let answer = station.ok("runs.cancel", params).await;
        assert_eq!(
            answer,
            json!({ "runId": run, "cancelled": true, "endReason": reason, "over": true })
        );
        assert_eq!(station.wait(&run).await["endReason"], reason);
        let again = station.ok("runs.cancel", json!({ "runId": run })).await;
        assert_eq!(again["cancelled"], false);
    }
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped() {
    let station = Station::start(hanging(), json!({})).await;
    let run = hanging_run(&station).await;
    let queued = station.begin("s", "behind it").await;
    let stopped = station.ok("sessions.stop", json!({ "key": "s" })).await;
    assert_eq!(stopped["endedRuns"].as_array().unwrap().len(), 2);
    for run in [run, queued] {
        assert_eq!(station.wait(&run).await["endReason"], "stopped");
    }
    station.stop().await;
}

/// The store fails under a run: the run ends, the gateway goes on to shut down in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_ours_ends_only_its_run() {
    let mut endless = calls("sessions_list", json!({}));
    endless["delay_ms"] = json!(100);
    let rules = json!([rule(json!({}), endless)]);
    let station = Station::start(rules, json!({})).await;
    let run = hanging_run(&station).await;
    eventually("it is between its turns", async || station.texts("s").await.len() > 3).await;
    station.store.close().await;
    let answer = station.ok("agent.wait", json!({ "runId": run, "timeoutMs": 10_000 })).await;
    assert_eq!(answer["endReason"], "internal", "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("the store failed"), "{answer}");
    let report = station.gateway.shutdown(ShutdownWhy::Stop, Duration::from_secs(8)).await;
    assert_eq!(report.runs_left, 0);
}
