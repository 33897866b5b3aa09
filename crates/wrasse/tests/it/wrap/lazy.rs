//! When a server runs, and when not.

use std::time::Duration;

use serde_json::{Value, json};
use wrasse_testkit::station::{PATIENCE, Station, eventually};

use super::{assert_flat, learn, pid_of, row, rows, wrap};

/// A server starts at the first call, ends when it is idle, and starts again at the next call, which says so.
fn starts_when_called(flags: &[&str], name: &str) {
    let mut station = Station::new();
    learn(&mut station, &["f-counter"]);
    let mut host = wrap(
        &mut station,
        &[flags, &["--idle", "4s", "--name", "counter"]].concat(),
        &["f-counter"],
    );
    let answer = host.initialize(&json!({}));
    assert_eq!(answer["result"]["serverInfo"]["name"], "wrasse-fixture");
    let tools = host.request("tools/list", &json!({}));
    assert!(
        tools["result"]["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "counter")
    );
    assert_eq!(host.request("ping", &json!({}))["result"], json!({}));
    assert_eq!(host.request("prompts/list", &json!({}))["error"]["code"], -32601);
    let below = host.below(&mut station);
    assert_eq!(below.len(), 1, "only the shim: {below:#?}");
    assert_eq!(below[0].name, name);
    assert_eq!(row(&station)["instances"], json!([]));

    let first = host.call_text("counter", &json!({}));
    assert!(first.contains("\"count\":1") && !first.contains("wrasse"), "{first}");
    let second = host.call_text("counter", &json!({}));
    assert!(second.contains("\"count\":2"), "{second}");
    let said = row(&station);
    let instance = &said["instances"][0];
    let below = host.below(&mut station);
    let pids: Vec<u32> = below.iter().map(|process| process.pid).collect();
    assert_eq!(pids[1..], [pid_of(&instance["guardian"]), pid_of(&instance["server"])]);
    assert_eq!((said["name"].as_str(), pid_of(&said["host"])), (Some("counter"), host.pid));

    host.wait_servers(&mut station, 0, PATIENCE);
    let third = host.call_text("counter", &json!({}));
    assert!(third.contains("\"count\":1") && third.contains("restarted"), "{third}");
    let fourth = host.call_text("counter", &json!({}));
    assert!(fourth.contains("\"count\":2") && !fourth.contains("restarted"), "{fourth}");
    assert_eq!(host.end(&mut station), 0);
    assert_flat(&mut station);
}

#[test]
fn the_small_executable_starts_a_server_when_it_is_called() {
    starts_when_called(&[], "wrasse-shim");
}

#[test]
fn so_does_the_large_one() {
    starts_when_called(&["--in-process"], "wrasse");
}

#[test]
fn a_first_run_learns_every_page_and_the_next_starts_nothing() {
    let mut station = Station::new();
    learn(&mut station, &["protocol"]);
    let mut host = wrap(&mut station, &[], &["protocol"]);
    host.initialize(&json!({}));
    let tools = host.request("tools/list", &json!({}));
    let names: Vec<_> = tools["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].clone())
        .collect();
    assert_eq!(names, ["state", "ask", "progress", "big", "die", "wait"]);
    assert_eq!(tools["result"]["nextCursor"], Value::Null);
    assert_eq!(
        host.request("resources/list", &json!({}))["result"]["resources"][0]["uri"],
        "x://1"
    );
    assert_eq!(host.request("prompts/list", &json!({}))["result"]["prompts"], json!([]));
    assert_eq!(host.request("resources/templates/list", &json!({}))["error"]["code"], -32601);
    assert_eq!(host.below(&mut station).len(), 1, "only the shim");
    // Other capabilities may bring other answers: they have an entry of their own.
    assert_eq!(host.end(&mut station), 0);
    let mut other = wrap(&mut station, &[], &["protocol"]);
    other.initialize(&json!({ "sampling": {} }));
    other.wait_servers(&mut station, 2, PATIENCE);
    assert_eq!(other.end(&mut station), 0);
    assert_flat(&mut station);
}

#[test]
fn a_host_that_holds_an_old_list_hears_of_the_new_one() {
    let mut station = Station::new();
    let marker = station.path("work").join("extra");
    let server = ["protocol", marker.to_str().unwrap()];
    learn(&mut station, &server);
    let mut host = wrap(&mut station, &[], &server);
    host.initialize(&json!({}));
    let tools = host.request("tools/list", &json!({}));
    assert_eq!(tools["result"]["tools"].as_array().unwrap().len(), 6);
    // Replaced behind the catalogue's back, as an update of a package does.
    std::fs::write(&marker, b"").unwrap();
    host.call_text("state", &json!({}));
    host.hear(|message| message["method"] == "notifications/tools/list_changed");
    let id = host.ask("tools/list", &json!({}));
    assert_eq!(host.answer(id)["result"]["nextCursor"], "1", "a server that runs is asked itself");
    assert_eq!(host.end(&mut station), 0);
    assert_flat(&mut station);
}

#[test]
fn idle_off_keeps_a_server_as_long_as_its_host() {
    let mut station = Station::new();
    learn(&mut station, &["f-ok"]);
    let mut kept = wrap(&mut station, &["--idle", "off"], &["f-ok"]);
    let mut idle = wrap(&mut station, &["--idle", "200ms"], &["f-ok"]);
    for host in [&mut kept, &mut idle] {
        host.initialize(&json!({}));
        host.call_text("echo", &json!({ "text": "x" }));
    }
    idle.wait_servers(&mut station, 0, PATIENCE);
    assert_eq!(kept.below(&mut station).len(), 3);
    assert_eq!(kept.end(&mut station), 0);
    assert_eq!(idle.end(&mut station), 0);
    assert_flat(&mut station);
}

#[test]
fn a_call_in_flight_and_a_subscription_keep_a_server() {
    let mut station = Station::new();
    learn(&mut station, &["protocol"]);
    let mut host = wrap(&mut station, &["--idle", "100ms"], &["protocol"]);
    host.initialize(&json!({}));
    let waits = host.ask("tools/call", &json!({ "name": "wait", "arguments": {} }));
    eventually("the server is on record", PATIENCE, || {
        let texts = rows(&station).into_iter().filter_map(|file| std::fs::read(file).ok());
        let mut rows = texts.filter_map(|text| serde_json::from_slice::<Value>(&text).ok());
        rows.any(|row| row["instances"][0]["server"].is_object())
    });
    let server = pid_of(&row(&station)["instances"][0]["server"]);
    assert!(!ends_within(&mut station, server, Duration::from_secs(1)), "ended during a call");
    host.notify("notifications/cancelled", &json!({ "requestId": waits }));
    host.wait_servers(&mut station, 0, PATIENCE);

    host.request("resources/subscribe", &json!({ "uri": "x://1" }));
    host.hear(|message| message["method"] == "notifications/resources/updated");
    let server = pid_of(&row(&station)["instances"][0]["server"]);
    assert!(!ends_within(&mut station, server, Duration::from_secs(1)), "ended with a subscriber");
    host.request("resources/unsubscribe", &json!({ "uri": "x://1" }));
    host.wait_servers(&mut station, 0, PATIENCE);
    assert_eq!(host.end(&mut station), 0);
    assert_flat(&mut station);
}

/// Whether a process ends within a time.
fn ends_within(station: &mut Station, pid: u32, within: Duration) -> bool {
    station.oracle.wait_until(within, |seen| !seen.iter().any(|process| process.pid == pid)).is_ok()
}

/// Notifications are no use: a server that never stops talking is idle all the same.
#[test]
fn a_talkative_server_is_idle_and_does_not_drown_the_host() {
    let mut station = Station::new();
    let mut host = wrap(&mut station, &["--idle", "300ms"], &["f-notify-flood"]);
    host.initialize(&json!({}));
    assert_eq!(host.call_text("echo", &json!({ "text": "heard" })), "heard");
    let deadline = std::time::Instant::now() + PATIENCE;
    while host.below(&mut station).len() > 1 {
        assert!(std::time::Instant::now() < deadline, "{}", station.log());
        host.heard.clear();
        let id = host.ask("ping", &json!({}));
        host.answer(id);
    }
    assert_eq!(host.end(&mut station), 0);
    assert_flat(&mut station);
}

/// Who only wraps needs no gateway to see what runs and why.
#[test]
fn ps_and_why_know_what_is_wrapped() {
    let mut station = Station::new();
    learn(&mut station, &["f-ok"]);
    let mut idle = wrap(&mut station, &["--name", "quiet"], &["f-ok"]);
    idle.initialize(&json!({}));
    let mut busy = wrap(&mut station, &["--name", "busy"], &["f-ok", "--api-key", "sesame"]);
    busy.initialize(&json!({}));
    busy.call_text("echo", &json!({ "text": "x" }));
    let report = station.json(&["ps"]);
    let shims = report["shims"].as_array().unwrap();
    let find = |name: &str| shims.iter().find(|shim| shim["name"] == name).unwrap();
    assert_eq!((shims.len(), &find("quiet")["servers"]), (2, &json!([])));
    assert_eq!(pid_of(&find("busy")["host"]), busy.pid);
    let server = &find("busy")["servers"][0];
    assert!(
        server["processes"].as_u64().unwrap() >= 1 && server["memory_bytes"].as_u64().unwrap() > 0
    );
    let text = station.ok(&["ps"]);
    assert!(
        text.contains("starts when called") && text.contains("after 30s without a call"),
        "{text}"
    );
    assert!(!report.to_string().contains("sesame"), "{report}");

    let why = station.ok(&["why", &pid_of(server).to_string()]);
    assert!(why.contains("busy") && why.contains(&busy.pid.to_string()), "{why}");
    let why = station.ok(&["why", &find("quiet")["pid"].to_string()]);
    assert!(why.contains("quiet") && why.contains("starts when it is called"), "{why}");
    assert_eq!(idle.end(&mut station), 0);
    assert_eq!(busy.end(&mut station), 0);
    let gone = station.cli(&["ps"]);
    assert_eq!(gone.status.code(), Some(69));
    assert_flat(&mut station);
}
