//! A panic inside a run, made on purpose: nothing a model or a server says brings one about.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use wrasse_types::{EndReason, RunId};

use crate::station::{Station, calls, eventually, rule};

/// The runs that panic after their first calls.
static ARMED: Mutex<BTreeSet<RunId>> = Mutex::new(BTreeSet::new());

/// Panics in a run that a test has picked.
pub(crate) fn panic_if_armed(run: &RunId) {
    let armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner).contains(run);
    assert!(!armed, "made by a test");
}

/// A server of one tool.
const SERVER: &str = r#"
while read -r line; do
  id=${line#*\"id\":}; id=${id%%[,\}]*}
  case $line in
    *'"initialize"'*) result='{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}';;
    *'"tools/list"'*) result='{"tools":[{"name":"ping","inputSchema":{"type":"object"}}]}';;
    *'"tools/call"'*) result='{"content":[{"type":"text","text":"pong"}]}';;
    *) continue;;
  esac
  printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done
"#;

async fn living(station: &Station) -> Value {
    station.ok("ps", json!({})).await["instances"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_its_run_and_releases_what_it_held() {
    let rules = json!([
        rule(json!({ "text": "call", "turn": 0 }), calls("real__ping", json!({}))),
        rule(json!({ "last": "tool" }), json!({ "text": "{{last}}" })),
    ]);
    let config = json!({
        "mcp": { "servers": { "real": { "command": "sh", "args": ["-c", SERVER] } } },
        // One lane: a run that kept its place would stop every other.
        "agents": { "defaults": { "maxConcurrent": 1 } },
    });
    let station = Station::start(rules, config).await;
    assert_eq!(station.say("first", "call").await, "pong", "the server works");
    let id = RunId::new("r-panics");
    ARMED.lock().unwrap().insert(id.clone());
    let params = json!({ "sessionKey": "s", "message": "call", "runId": id.as_str() });
    let run = station.begin_with(params).await;
    let behind = station.begin("s", "hello").await;

    let answer = station.wait_over(&run).await;
    assert_eq!(answer["endReason"], EndReason::Internal.name(), "{answer}");
    assert_eq!(answer["error"], "a fault of this program: made by a test");
    assert_eq!(answer["calls"], 1, "what it used is known: {answer}");
    let released = station.run(&run).await.released.unwrap();
    assert_eq!((&released[0]["server"], &released[0]["survivors"]), (&json!("real"), &json!(0)));
    let pid = released[0]["pid"].as_u64().unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{released}");

    assert_eq!(station.wait_over(&behind).await["status"], "ok", "its session is free");
    assert_eq!(station.say("other", "call").await, "pong", "its lane is free");
    assert!(station.gateway.readiness().await.ready);
    eventually("nothing is left", async || living(&station).await == json!([])).await;
    station.stop().await;
}
