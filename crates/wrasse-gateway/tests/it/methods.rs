//! The method table as a whole.

use serde_json::json;
use wrasse_gateway::Gateway;

use crate::station::{Station, rule};

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
