//! The method table as a whole.

use serde_json::json;
use wrasse_gateway::Gateway;

use crate::station::{Station, calls, eventually, rule};

#[tokio::test(flavor = "multi_thread")]
async fn every_method_refuses_what_it_does_not_know() {
    let station = Station::start(json!([]), json!({})).await;
    for method in Gateway::methods() {
        // A job is spelt by the config crate, which has its own tests.
        if method.name == "cron.add" {
            continue;
        }
        let refused = station.refused(method.name, json!({ "noSuchParameter": 1 })).await;
        assert_eq!(refused.code, "invalid", "{}", method.name);
        assert!(
            refused.message.contains("noSuchParameter") || refused.message.contains("missing"),
            "{}: {}",
            method.name,
            refused.message
        );
    }
    assert_eq!(station.refused("no.such", json!({})).await.code, "unknown_method");
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_on_shows_what_it_has_used() {
    let rules = json!([
        rule(json!({ "depth": 0, "turn": 0 }), calls("sessions_spawn", json!({ "task": "x" }))),
        rule(json!({}), json!({ "hang": true })),
    ]);
    let station = Station::start(rules, json!({})).await;
    let run = station.begin("s", "go").await;
    let shown = async || station.ok("runs.show", json!({ "runId": run })).await["run"].clone();
    eventually("its second turn goes on", async || shown().await["turns"] == 2).await;
    let list = station.ok("runs.list", json!({ "sessionKey": "s" })).await;
    let why = station.ok("why", json!({ "what": run })).await;
    for view in [&shown().await, &list["runs"][0], &why["record"]["run"]] {
        assert_eq!((&view["calls"], &view["children"]), (&json!(1), &json!(1)), "{view}");
        assert_eq!(view["turns"], 2, "{view}");
    }
    // 0 is no limit, not no patience.
    let wait = station.ok("runs.cancel", json!({ "runId": run }));
    let params = json!({ "runId": run, "timeoutMs": 0 });
    let (answer, _) = tokio::join!(station.ok("agent.wait", params), wait);
    assert_eq!(answer["endReason"], "cancelled", "{answer}");
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_finds_what_a_word_names_first() {
    let config = json!({
        "mcp": { "servers": { "notes": { "command": "/bin/false" } } },
        "cron": { "jobs": [{
            "id": "j-1", "name": "nightly", "schedule": { "kind": "every", "everyMs": 600_000 },
            "sessionTarget": "isolated", "payload": { "kind": "agentTurn", "message": "tick" },
        }] },
    });
    let station = Station::start(json!([]), config).await;
    let kind = async |what: &str| station.ok("why", json!({ "what": what })).await["kind"].clone();
    assert_eq!((kind("nightly").await, kind("j-1").await), (json!("job"), json!("job")));
    station.say("notes", "hello").await;
    assert_eq!(kind("notes").await, "server");
    assert_eq!(kind("agent:main:notes").await, "session");
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_things() {
    let rules = json!([rule(json!({ "text": "hang" }), json!({ "hang": true }))]);
    let station = Station::start(rules, json!({})).await;
    let run = station.begin("s", "hang").await;
    let ps = station.ok("ps", json!({})).await;
    assert_eq!(ps["schema"], 1);
    assert_eq!(ps["gateway"]["runs_active"], 1);
    assert_eq!(ps["instances"], json!([]));
    let why = station.ok("why", json!({ "what": run })).await;
    assert_eq!(why["kind"], "run");
    assert!(why["ends"].as_str().unwrap().contains("final text"), "{why}");
    assert_eq!(why["record"]["run"]["id"], run);
    assert_eq!(station.ok("why", json!({ "what": "agent:main:s" })).await["kind"], "session");
    let own = station.ok("why", json!({ "what": std::process::id().to_string() })).await;
    assert_eq!(own["record"]["role"], "gateway");
    assert_eq!(station.refused("why", json!({ "what": "r-nothing" })).await.code, "not_found");
    assert_eq!(station.refused("mcp.probe", json!({ "name": "x" })).await.code, "not_found");
    assert_eq!(station.ok("mcp.status", json!({})).await["servers"], json!([]));
    assert_eq!(station.ok("models.list", json!({})).await["models"][0]["api"], "scripted");
    assert_eq!(station.ok("reap", json!({ "idle": true })).await["ended"], json!([]));
    let wait = station.ok("agent.wait", json!({ "runId": run, "timeoutMs": 10 })).await;
    assert_eq!(wait["status"], "timeout");
    assert_eq!(station.refused("agent.wait", json!({ "runId": "r-none" })).await.code, "not_found");
    station.stop().await;
}
