//! What passes through, and how.

use serde_json::{Value, json};
use wrasse_testkit::hosted::Hosted;
use wrasse_testkit::processes::Process;
use wrasse_testkit::station::{PATIENCE, Station};

use super::{assert_flat, learn, wait_learnt, wrap};

fn protocol(station: &mut Station, flags: &[&str]) -> Hosted {
    let mut host = wrap(station, flags, &["protocol"]);
    host.initialize(&json!({ "roots": { "listChanged": true }, "sampling": {} }));
    host
}

fn heard(host: &mut Hosted) -> Vec<String> {
    let state: Value =
        serde_json::from_str(host.call_text("state", &json!({})).lines().next().unwrap()).unwrap();
    state["heard"]
        .as_array()
        .unwrap()
        .iter()
        .map(|method| method.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn questions_progress_and_unknown_methods_pass() {
    let mut station = Station::new();
    for flags in [&[][..], &["--transparent"]] {
        // Once with a server that was there before, once with one that the call starts.
        for _ in 0..2 {
            let mut host = protocol(&mut station, flags);
            let call = host.ask("tools/call", &json!({ "name": "ask", "arguments": {} }));
            let question = host.hear(|message| message["method"] == "roots/list");
            let answer = json!({ "roots": [{ "uri": "file:///x" }] });
            host.say(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": answer }));
            assert!(host.answer(call).to_string().contains("file:///x"));

            let call =
                json!({ "name": "progress", "arguments": {}, "_meta": { "progressToken": "t/1" } });
            assert_eq!(host.request("tools/call", &call)["result"]["content"][0]["text"], "done");
            let progress = host.hear(|message| message["method"] == "notifications/progress");
            assert_eq!(progress["params"]["progressToken"], "t/1");
            let custom = host.request("custom/method", &json!({ "a": [1.50, "\u{e9}"] }));
            assert_eq!(custom["result"]["custom"]["a"], json!([1.50, "\u{e9}"]));
            host.notify("notifications/custom", &json!({}));
            assert!(heard(&mut host).contains(&"notifications/custom".to_owned()));
            assert_eq!(host.end(&mut station), 0);
        }
    }
    assert_flat(&mut station);
}

#[test]
fn ten_megabytes_pass_and_leave_no_memory_behind() {
    const BYTES: usize = 10 << 20;
    let mut station = Station::new();
    let mut host = protocol(&mut station, &["--idle", "off"]);
    for _ in 0..3 {
        let text = host.call_text("big", &json!({ "bytes": BYTES }));
        assert_eq!(text.len(), BYTES);
    }
    let shim = host.shim(&mut station);
    // The host has the last byte a moment before the shim frees what it sent.
    let small = |seen: &[Process]| seen.iter().any(|one| one.pid == shim && one.memory < 2 << 20);
    let seen = station.oracle.wait_until(PATIENCE, small);
    assert!(seen.is_ok(), "{seen:#?}");
    let text = "y".repeat(BYTES);
    let sent = host.request("custom/method", &json!({ "text": text }));
    assert_eq!(sent["result"]["custom"]["text"].as_str().unwrap().len(), BYTES);
    assert_eq!(host.end(&mut station), 0);
    assert_flat(&mut station);
}

#[test]
fn a_restarted_server_is_told_what_the_first_was() {
    let mut station = Station::new();
    learn(&mut station, &["protocol"]);
    let mut host = protocol(&mut station, &["--idle", "200ms"]);
    host.call_text("state", &json!({}));
    assert_eq!(host.request("logging/setLevel", &json!({ "level": "debug" }))["result"], json!({}));
    host.notify("notifications/roots/list_changed", &json!({}));
    host.wait_servers(&mut station, 0, PATIENCE);
    // Nobody is started to hear of it.
    host.notify("notifications/custom", &json!({}));
    assert_eq!(host.below(&mut station).len(), 1);
    let told = heard(&mut host);
    let at = |method: &str| {
        told.iter()
            .position(|told| told == method)
            .unwrap_or_else(|| panic!("no {method} in {told:?}"))
    };
    assert_eq!(at("initialize"), 0);
    assert_eq!(at("notifications/initialized"), 1);
    for method in ["logging/setLevel", "notifications/roots/list_changed", "notifications/custom"] {
        assert!(at(method) < at("tools/call"), "{told:?}");
    }
    assert_eq!(host.end(&mut station), 0);
    assert_flat(&mut station);
}

/// The answer to a question of a server that died must not become the answer to its successor's.
#[test]
fn a_late_answer_reaches_nobody() {
    let mut station = Station::new();
    learn(&mut station, &["protocol"]);
    let mut host = protocol(&mut station, &[]);
    host.call_text("state", &json!({}));
    let failed = host.call("ask", &json!({ "die": true }));
    assert_eq!(failed["error"]["data"]["wrasse"]["outcome"], "unknown", "{failed}");
    let old = host.hear(|message| message["method"] == "roots/list");
    let taken_back = host.hear(|message| message["method"] == "notifications/cancelled");
    assert_eq!(taken_back["params"]["requestId"], old["id"]);

    let call = host.ask("tools/call", &json!({ "name": "ask", "arguments": {} }));
    let new = host.hear(|message| message["method"] == "roots/list");
    assert_ne!(old["id"], new["id"], "both servers ask under the id 1");
    host.say(&json!({ "jsonrpc": "2.0", "id": old["id"], "result": { "late": true } }));
    host.say(&json!({ "jsonrpc": "2.0", "id": new["id"], "result": { "roots": [] } }));
    let answer = host.answer(call).to_string();
    assert!(answer.contains("roots") && !answer.contains("late"), "{answer}");
    assert!(answer.contains("\\\"id\\\":1"), "the server hears its own id: {answer}");
    assert_eq!(host.end(&mut station), 0);
    assert_flat(&mut station);
}

#[test]
fn the_stateless_era_works_the_same() {
    let mut station = Station::new();
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                       "io.modelcontextprotocol/clientCapabilities": {} });
    let with = |more: &Value| {
        let mut params = more.clone();
        params["_meta"] = meta.clone();
        params
    };
    for round in 0..2 {
        let mut host = wrap(&mut station, &["--idle", "300ms"], &["protocol", "stateless"]);
        let discovered = host.request("server/discover", &with(&json!({})));
        assert_eq!(discovered["result"]["supportedVersions"], json!(["2026-07-28"]));
        let listen = json!({ "notifications": { "toolsListChanged": true } });
        if round == 1 {
            let tools = host.request("tools/list", &with(&json!({})));
            assert_eq!(tools["result"]["tools"].as_array().unwrap().len(), 6, "{tools}");
            host.ask("subscriptions/listen", &with(&listen));
            host.hear(|m| m["method"] == "notifications/subscriptions/acknowledged");
            assert_eq!(host.below(&mut station).len(), 1, "only the shim");
        }
        let call = json!({ "name": "state", "arguments": {} });
        let state = host.request("tools/call", &with(&call));
        assert!(!state.to_string().contains("initialize"), "{state}");
        wait_learnt(&station);
        host.wait_servers(&mut station, 0, PATIENCE);
        let again = host.request("tools/call", &with(&call));
        assert!(again.to_string().contains("restarted"), "{again}");
        let acknowledged =
            host.heard.iter().any(|m| m["method"] == "notifications/subscriptions/acknowledged");
        assert!(!acknowledged, "once is enough: {:?}", host.heard);
        assert_eq!(host.end(&mut station), 0);
    }
    assert_flat(&mut station);
}

/// A host of the newer era asks first, is refused by a server of the older one, and goes on by its rules.
#[test]
fn a_refused_discovery_is_remembered_too() {
    let mut station = Station::new();
    for round in 0..2 {
        let mut host = wrap(&mut station, &[], &["protocol"]);
        let params = json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                                        "io.modelcontextprotocol/clientCapabilities": {} } });
        assert_eq!(host.request("server/discover", &params)["error"]["code"], -32601);
        host.initialize(&json!({}));
        let tools = host.request("tools/list", &json!({}));
        assert!(tools["result"]["tools"].is_array());
        if round == 0 {
            let all = host.request("resources/list", &json!({}));
            assert!(all["result"]["resources"].is_array());
            wait_learnt(&station);
        } else {
            assert_eq!(host.below(&mut station).len(), 1, "only the shim");
        }
        assert_eq!(host.end(&mut station), 0);
    }
    assert_flat(&mut station);
}

/// The server begins to read when the shim has long taken all it takes: the rest is read as soon as there is room again.
#[test]
fn a_server_that_reads_late_gets_it_all() {
    let mut station = Station::new();
    let size = 3 << 20;
    let script = format!("sleep 1; head -c {size} | wc -c");
    let mut host = Hosted::wrapped(&mut station, &["--transparent"], &["sh", "-c", &script]);
    // With the end of the line.
    host.say_raw(&"x".repeat(size - 1));
    assert_eq!(host.next_message(), Some(json!(size)), "{}", station.log());
    assert_eq!(host.end(&mut station), 0);
    assert_flat(&mut station);

    let mut host = wrap(&mut station, &[], &["f-ok"]);
    host.initialize(&json!({}));
    assert_eq!(host.call_text("echo", &json!({ "text": "x".repeat(size) })).len(), size);
    assert_eq!(host.end(&mut station), 0);
    assert_flat(&mut station);
}
