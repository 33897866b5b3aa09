//! One run: message, turns, calls, final text, release, report.

use serde_json::json;
use wrasse_store::RunState;
use wrasse_types::EndReason;

use crate::station::{Station, calls, eventually, rule};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_becomes_a_final_text_and_a_line() {
    let station = Station::start(json!([]), json!({})).await;
    let run = station.begin("trip", "hello").await;
    let answer = station.wait(&run).await;
    assert_eq!(answer["text"], "heard: hello");
    assert_eq!(answer["endReason"], "success");
    assert_eq!(answer["sessionKey"], "agent:main:trip");
    station.wait_over(&run).await;
    let row = station.run(&run).await;
    assert_eq!((row.state, row.end), (RunState::Ended, Some(EndReason::Success)));
    assert_eq!(row.released, Some(json!([])));
    let report = station.reports.lock().unwrap().pop().unwrap();
    let line = report.to_string();
    assert!(line.contains(&format!("run {run} ok   main ← message · ")), "{line}");
    assert!(line.ends_with(" · no server needed · left 0 of 0"), "{line}");
    assert_eq!(
        station.texts("trip").await,
        [("user".into(), "hello".into()), ("assistant".into(), "heard: hello".to_owned())]
    );
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_where_it_was_and_its_runs_queue() {
    let rules =
        json!([rule(json!({ "text": "slow" }), json!({ "text": "slow done", "delay_ms": 300 })),]);
    let station = Station::start(rules, json!({})).await;
    let first = station.begin("s", "slow one").await;
    let second = station.begin("s", "two").await;
    let third = station.begin("s", "three").await;
    for run in [&first, &second, &third] {
        station.wait_over(run).await;
    }
    let texts: Vec<String> = station.texts("s").await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(
        texts,
        ["slow one", "slow done", "two", "heard: two", "three", "heard: three"],
        "one at a time, in order"
    );
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_calls_are_told_to_the_model() {
    let rules = json!([
        rule(
            json!({ "text": "begin", "turn": 0 }),
            json!({ "calls": [
            { "name": "no_such_tool", "arguments": {} },
            { "name": "sessions_history", "arguments": { "sessionKey": "agent:other:main" } },
            { "name": "sessions_yield", "arguments": {} },
        ] })
        ),
        rule(json!({ "last": "tool" }), json!({ "text": "went on" })),
    ]);
    let station = Station::start(rules, json!({})).await;
    assert_eq!(station.say("s", "begin").await, "went on");
    let texts = station.texts("s").await;
    let tool = |part: &str| {
        assert!(
            texts.iter().any(|(role, text)| role == "tool" && text.contains(part)),
            "{part}: {texts:?}"
        );
    };
    tool("there is no tool \"no_such_tool\" in this run; there are: sessions_spawn");
    tool("\"forbidden\"");
    tool("there is nothing to wait for");
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_the_client_made_starts_one_run() {
    let station = Station::start(json!([]), json!({})).await;
    let params = json!({ "sessionKey": "s", "message": "once", "runId": "r-client-1" });
    assert_eq!(station.begin_with(params.clone()).await, "r-client-1");
    station.wait_over("r-client-1").await;
    assert_eq!(station.begin_with(params).await, "r-client-1");
    assert_eq!(station.texts("s").await.len(), 2, "the second request began nothing");
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_bound_how_many_work_at_once() {
    // Long enough for both to be seen.
    let rules = json!([rule(json!({}), json!({ "text": "ok", "delay_ms": 3000 }))]);
    let station =
        Station::start(rules, json!({ "agents": { "defaults": { "maxConcurrent": 1 } } })).await;
    let runs = [station.begin("a", "x").await, station.begin("b", "x").await];
    eventually("one works, one queues", async || {
        let mut states: Vec<String> = station
            .active()
            .await
            .iter()
            .map(|run| run["state"].as_str().unwrap().to_owned())
            .collect();
        states.sort();
        states == ["queued", "running"]
    })
    .await;
    for run in &runs {
        assert_eq!(station.wait_over(run).await["status"], "ok");
    }
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_narrows_what_a_model_is_offered() {
    let rules = json!([
        rule(json!({ "turn": 0 }), calls("sessions_spawn", json!({ "task": "x" }))),
        rule(json!({ "last": "tool" }), json!({ "text": "{{last}}" })),
    ]);
    let deny = json!({ "tools": { "deny": ["sessions_spawn"] } });
    let station = Station::start(rules, deny).await;
    let text = station.say("s", "go").await;
    assert!(text.contains("there is no tool \"sessions_spawn\""), "{text}");
    assert!(text.contains("sessions_list"), "{text}");
    station.stop().await;
}
