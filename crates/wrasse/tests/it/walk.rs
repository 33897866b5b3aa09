//! The thinnest true path: command line → gateway → server → answer → reaped tree.

use serde_json::{Value, json};
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::station::{GONE, PATIENCE, Station, eventually};

/// One server, one agent that echoes once and then repeats what it heard.
pub(crate) fn echo_station(mode: Mode) -> Station {
    let station = Station::new();
    configure_echo(&station, mode);
    station
}

/// The configuration of [`echo_station`], for a station that was prepared first.
pub(crate) fn configure_echo(station: &Station, mode: Mode) {
    configure_server(station, &station.fixture(mode));
}

fn configure_server(station: &Station, server: &Value) {
    station.configure(
        json!({ "mcp": { "servers": { "fix": server } } }),
        &json!({ "rules": [
            { "when": { "last": "user", "text": "crash" },
              "reply": { "calls": [{ "name": "fix__crash", "arguments": {} }] } },
            { "when": { "last": "user", "text": "big" },
              "reply": { "calls": [{ "name": "fix__big", "arguments": { "bytes": 20_000_000 } }] } },
            { "when": { "last": "user" },
              "reply": { "calls": [{ "name": "fix__echo", "arguments": { "text": "{{last}}" } }] } },
        ], "otherwise": { "text": "heard: {{last}}" } }),
    );
}

#[test]
fn one_turn_from_the_command_line_to_a_reaped_tree() {
    let mut station = Station::new();
    let mut server = station.fixture(Mode::Ok);
    // A slow machine must not bring it to the next rung.
    server["lifecycle"]["stop"]["eof"] = json!("10s");
    configure_server(&station, &server);
    station.start();
    let answer = station.json(&["agent", "-m", "hello", "--session-key", "walk"]);
    assert_eq!(answer["status"], "ok", "{answer:#}");
    assert_eq!(answer["text"], "heard: hello");
    assert_eq!(answer["sessionKey"], "agent:main:walk");
    station.assert_no_servers(PATIENCE);
    station.assert_logs("left 0 of 1");
    let ended = station.json(&["ps"])["ended"].clone();
    assert_eq!(ended["trees"], 1, "{ended:#}");
    assert_eq!(ended["stdin"], 1, "{ended:#}");
    assert_eq!(ended["proven_empty"], 1, "{ended:#}");
    station.assert_flat();
}

/// What `ps` shows is what the oracle sees, process for process; `why` tells the holder of each.
// failure mode I3
#[test]
fn ps_and_why_agree_with_the_oracle() {
    let station = Station::new();
    let until = station.path("work").join("until");
    let started = station.path("work").join("started");
    station.configure(
        json!({ "mcp": { "servers": { "fix": station.fixture(Mode::Npx) } } }),
        &json!({ "rules": [{ "when": { "last": "user" }, "reply": { "calls": [
            { "name": "fix__hold", "arguments": { "until": until, "started": started } }] } }],
            "otherwise": { "text": "done" } }),
    );
    let mut station = station;
    station.start();
    let client = station.command(&["agent", "-m", "go"]).spawn().unwrap();
    station.eventually("the call is in flight", || started.exists());
    let ps = station.json(&["ps"]);
    let instance = &ps["instances"][0];
    let mut shown: Vec<u64> = instance["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["pid"].as_u64().unwrap())
        .collect();
    let guardian = u32::try_from(instance["guardian_pid"].as_u64().unwrap()).unwrap();
    let mut seen: Vec<u64> = wrasse_testkit::processes::descendants(guardian)
        .iter()
        .map(|process| u64::from(process.pid))
        .collect();
    shown.sort_unstable();
    seen.sort_unstable();
    assert_eq!(shown, seen, "{ps:#}");
    assert!(seen.len() >= 3, "wrapper, shell and server: {ps:#}");
    assert_eq!(instance["leases"][0]["holder"]["kind"], "run", "{ps:#}");
    for pid in shown {
        let why = station.ok(&["why", &pid.to_string()]);
        assert!(why.contains("run r-"), "{why}");
    }
    let why = station.ok(&["why", "fix"]);
    assert!(why.contains("run r-"), "{why}");
    std::fs::write(until, "").unwrap();
    let output = client.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "done");
    station.assert_flat();
}

/// Waits until the one instance has no lease: a run gives its own back after its answer. What `ps` says then.
fn wait_kept(station: &Station) -> Value {
    let mut ps = Value::Null;
    eventually("the lease is given back", PATIENCE, || {
        ps = station.json(&["ps"]);
        ps["instances"][0]["leases"] == json!([])
    });
    ps
}

/// A duration keeps a private instance for its session from call to call, and ends it at the session's end.
// failure mode B8
#[test]
fn an_idle_time_keeps_an_instance_for_its_session() {
    let mut station = Station::new();
    let mut server = station.fixture(Mode::Ok);
    server["lifecycle"]["idle"] = json!("10m");
    station.configure(
        json!({ "mcp": { "servers": { "fix": server } } }),
        &json!({ "rules": [{ "when": { "last": "user" }, "reply": { "calls": [
            { "name": "fix__counter", "arguments": {} }] } }], "otherwise": { "text": "{{last}}" } }),
    );
    station.start();
    let first = station.ok(&["agent", "-m", "go", "--session-key", "kept"]);
    let second = station.ok(&["agent", "-m", "go", "--session-key", "kept"]);
    assert!(first.contains("\"count\":1") && second.contains("\"count\":2"), "{first} {second}");
    let ps = wait_kept(&station);
    assert!(ps["instances"][0]["ends"]["when"].is_string(), "{ps:#}");
    station.ok(&["sessions", "reset", "kept", "--yes"]);
    station.assert_no_servers(GONE);
    station.ok(&["agent", "-m", "go", "--session-key", "kept"]);
    wait_kept(&station);
    station.ok(&["reap", "--idle", "--yes"]);
    station.assert_no_servers(GONE);
    station.assert_flat();
}
