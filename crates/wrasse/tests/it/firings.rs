//! The main job: a hub woken by cron, two researchers, two leaves, twenty times; nothing is left of any firing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::processes::{self, Process};
use wrasse_testkit::station::{GONE, Station, eventually, has};

/// The servers of the report that started the project.
pub(crate) const REPORT: &str = r#"{
  "mcp": { "servers": {
    "filesystem": { "command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/home/node/.openclaw/workspace"] },
    "context7":   { "command": "npx", "args": ["-y", "@upstash/context7-mcp"] },
    "sqlite":     { "command": "npx", "args": ["-y", "mcp-server-sqlite-npx", "/home/node/.openclaw/workspace/projects/health-fitness/data/health.db"] }
  } }
}"#;

const FIRINGS: usize = 20;

/// What must be equal from the fifth firing on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Footprint {
    processes: usize,
    fds: usize,
    threads: u32,
}

fn hub(servers: Value, calls: [Value; 3]) -> Station {
    let station = Station::new();
    let [hub_call, researcher_call, leaf_call] = calls;
    let spawn = |agent: &str, task: &str| json!({ "name": "sessions_spawn", "arguments": { "agentId": agent, "task": task } });
    station.configure(
        json!({
            "agents": {
                "defaults": { "subagents": { "maxSpawnDepth": 2 } },
                "list": [
                    { "id": "hub", "default": true, "subagents": { "allowAgents": ["researcher"] } },
                    { "id": "researcher", "subagents": { "allowAgents": ["leaf"] } },
                    { "id": "leaf" },
                ],
            },
            "mcp": { "servers": servers },
        }),
        &json!({ "rules": [
            { "when": { "agent": "hub", "last": "user", "text": "digest", "times": 1 },
              "reply": { "calls": [hub_call, spawn("researcher", "tables"), spawn("researcher", "notes")] } },
            { "when": { "agent": "hub", "last": "tool" }, "reply": { "text": "waiting" } },
            { "when": { "agent": "hub" }, "reply": { "text": "the digest" } },
            { "when": { "agent": "researcher", "last": "user", "times": 1 },
              "reply": { "calls": [researcher_call, spawn("leaf", "look up")] } },
            { "when": { "agent": "researcher", "last": "tool" }, "reply": { "text": "waiting" } },
            { "when": { "agent": "researcher" }, "reply": { "text": "a report" } },
            { "when": { "agent": "leaf", "last": "user", "times": 1 }, "reply": { "calls": [leaf_call] } },
            { "when": { "agent": "leaf" }, "reply": { "text": "a leaf" } },
        ] }),
    );
    station
}

fn ours(process: &Process) -> bool {
    process.cmdline.contains("gateway run") || process.name.starts_with("wrasse-warden")
}

/// Fires once and waits for the firing's end and for the end of every process of it.
fn fire(station: &mut Station, job: &str, number: usize, patience: Duration) {
    station.ok(&["cron", "run", job]);
    eventually(&format!("firing {number} is over"), patience, || {
        let runs = station.json(&["cron", "runs", job]);
        let done =
            runs["runs"].as_array().unwrap().iter().filter(|run| run["status"] == "ok").count();
        done >= number
    });
    station.assert_no_servers(GONE);
}

/// The gateway as it is now. A guardian's socket closes a moment after the guardian is gone, so the footprint of one
/// look may be larger than that of the next; what is asserted is where it comes to rest.
fn look(station: &mut Station) -> (Footprint, u64) {
    let gateway = processes::read(station.gateway()).unwrap();
    let seen = station.oracle.list();
    assert!(seen.iter().all(ours), "{seen:#?}");
    let footprint =
        Footprint { processes: seen.len(), fds: gateway.fds.unwrap(), threads: gateway.threads };
    (footprint, gateway.memory)
}

/// The smallest footprint of a second of looks: the one to come back to.
fn at_rest(station: &mut Station) -> (Footprint, u64) {
    let end = Instant::now() + Duration::from_secs(1);
    let mut best = look(station);
    while Instant::now() < end {
        let next = look(station);
        if next.0.fds <= best.0.fds {
            best = next;
        }
    }
    best
}

fn twenty_firings(mut station: Station, patience: Duration, firings: usize) {
    station.start();
    let job = station.json(&[
        "cron",
        "add",
        "--name",
        "digest",
        "--every",
        "10h",
        "--session",
        "isolated",
        "--agent",
        "hub",
        "--message",
        "Write the digest.",
    ]);
    let job = job["id"].as_str().unwrap().to_owned();
    for number in 1..=4 {
        fire(&mut station, &job, number, patience);
    }
    let (rest, memory) = at_rest(&mut station);
    for number in 5..=firings {
        fire(&mut station, &job, number, patience);
        let mut now = look(&mut station);
        eventually(&format!("back to {rest:?} after firing {number}"), GONE, || {
            now = look(&mut station);
            now.0 == rest
        });
        let drift = now.1.abs_diff(memory);
        assert!(drift <= 2 << 20, "memory drifts by {drift} bytes at firing {number}");
    }
    let runs = station.query("SELECT count(*), sum(end_reason = 'success') FROM runs");
    assert_eq!(runs.trim(), format!("{0}|{0}", firings * 5), "{}", station.log());
    let lines = || station.log().matches("left 0 of").count();
    station.eventually("every run has its line", || lines() >= firings * 5);
    assert_eq!(lines(), firings * 5, "{}", station.log());
    let result = station.query("SELECT result FROM runs WHERE job IS NOT NULL LIMIT 1");
    assert_eq!(result.trim(), "the digest");
    station.assert_flat();
}

/// failure mode B2, B3, B4, E5: a hundred runs, flat from the fifth firing on.
#[test]
fn twenty_firings_with_fixtures_are_flat() {
    let station = Station::new();
    let servers = json!({
        "one": station.fixture(Mode::Ok), "two": station.fixture(Mode::Npx), "three": station.fixture(Mode::Daemon) });
    let call =
        |name: &str| json!({ "name": format!("{name}__echo"), "arguments": { "text": "hello" } });
    twenty_firings(
        hub(servers, [call("one"), call("two"), call("three")]),
        Duration::from_secs(60),
        FIRINGS,
    );
}

/// The same with the three servers of the report, as `npx -y` starts them.
#[test]
fn twenty_firings_with_the_reports_servers_are_flat() {
    let modules =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/servers/node_modules");
    if !has("npx") || !modules.is_dir() {
        eprintln!(
            "SKIPPED twenty_firings_with_the_reports_servers: no npx, or tests/servers is not installed"
        );
        return;
    }
    let mut config: Value = serde_json::from_str(REPORT).unwrap();
    let servers = config["mcp"]["servers"].take();
    let calls = [
        json!({ "name": "filesystem__list_allowed_directories", "arguments": {} }),
        json!({ "name": "sqlite__list_tables", "arguments": {} }),
        json!({ "name": "context7__resolve-library-id", "arguments": { "query": "tokio", "libraryName": "tokio" } }),
    ];
    let station = hub(servers, calls);
    let work = station.path("work");
    // Only the data paths change. `npx` finds the packages of the lock file in the workspace, so no test depends on a
    // registry being reachable at every start.
    let path = station.path("state").join("wrasse.json5");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text
        .replace(
            "/home/node/.openclaw/workspace/projects/health-fitness/data",
            &work.display().to_string(),
        )
        .replace("/home/node/.openclaw/workspace", &work.display().to_string());
    std::fs::write(&path, text).unwrap();
    std::os::unix::fs::symlink(modules.canonicalize().unwrap(), work.join("node_modules")).unwrap();
    twenty_firings(station, Duration::from_secs(240), FIRINGS);
}
