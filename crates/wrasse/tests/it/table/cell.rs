//! What the rows share: a gateway with one agent, one server and one session a fixture.

use std::path::PathBuf;

use serde_json::{Value, json};
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::station::{GONE, PATIENCE, Station, eventually};

/// The fixtures of the table.
pub(super) const FIXTURES: [Mode; 9] = [
    Mode::Ok,
    Mode::Npx,
    Mode::EofDeaf,
    Mode::TermDeaf,
    Mode::Daemon,
    Mode::LeaderDies,
    Mode::SlowInit,
    Mode::ExitNow,
    Mode::StderrFlood,
];

/// Whether a call to the fixture can be in flight: the others never come up.
pub(super) const fn answers(mode: Mode) -> bool {
    !matches!(mode, Mode::SlowInit | Mode::ExitNow)
}

/// A station whose configuration has the fixtures, and the rules the rows speak in.
pub(super) fn station(extra: Value) -> Station {
    let station = Station::new();
    configure(&station, extra);
    station
}

pub(super) fn configure(station: &Station, extra: Value) {
    let mut servers = json!({});
    let mut agents = vec![json!({ "id": "hub", "default": true, "tools": { "deny": ["f-*"] },
        "subagents": { "allowAgents": ["*"] } })];
    let mut rules = vec![
        json!({ "when": { "agent": "hub", "last": "user", "text": "spawn", "times": 1 },
            "reply": { "calls": spawns() } }),
        json!({ "when": { "agent": "hub" }, "reply": { "text": "the hub is done" } }),
    ];
    for mode in FIXTURES {
        let name = mode.name();
        servers[name] = station.fixture(mode);
        // No clock of a server's ends what a row waits for.
        for limit in ["connectionTimeoutMs", "requestTimeoutMs"] {
            servers[name][limit] = json!(3_600_000);
        }
        agents.push(json!({ "id": name, "tools": { "allow": [format!("{name}__*")] } }));
        rules.extend(rules_of(station, mode));
    }
    let mut config = json!({
        "agents": { "list": agents, "defaults": { "maxConcurrent": 20,
            "subagents": { "maxConcurrent": 20, "maxChildrenPerAgent": 20, "maxSpawnDepth": 2 } } },
        "mcp": { "servers": servers },
    });
    overlay(&mut config, &extra);
    station.configure(config, &json!({ "rules": rules, "otherwise": { "text": "done" } }));
}

/// One file a fixture that its held call touches, and one that lets it go.
pub(super) fn started(station: &Station, mode: Mode) -> PathBuf {
    station.path("work").join(format!("{}.started", mode.name()))
}

pub(super) fn let_go(station: &Station) -> PathBuf {
    station.path("work").join("let-go")
}

fn rules_of(station: &Station, mode: Mode) -> Vec<Value> {
    let name = mode.name();
    let tool = |tool: &str| format!("{name}__{tool}");
    let on = |text: &str, tool_name: &str, arguments: Value| {
        json!({ "when": { "agent": name, "last": "user", "text": text },
            "reply": { "calls": [{ "name": tool(tool_name), "arguments": arguments }] } })
    };
    let after = |text: &str, reply: Value| json!({ "when": { "agent": name, "last": "tool", "text": text }, "reply": reply });
    let hold = json!({ "started": started(station, mode), "until": let_go(station) });
    vec![
        on("hold", "hold", hold),
        on("echo", "echo", json!({ "text": "heard" })),
        on("model-error", "echo", json!({ "text": "model-error" })),
        on("again", "echo", json!({ "text": "again" })),
        on("crash", "crash", json!({})),
        on("tool-error", "fail", json!({})),
        after("model-error", json!({ "error": "auth" })),
        after(
            "again",
            json!({ "calls": [{ "name": tool("echo"), "arguments": { "text": "again" } }] }),
        ),
    ]
}

fn spawns() -> Vec<Value> {
    FIXTURES
        .iter()
        .map(|mode| {
            json!({ "name": "sessions_spawn",
                "arguments": { "agentId": mode.name(), "task": "{{last}}", "cleanup": "keep" } })
        })
        .collect()
}

fn overlay(base: &mut Value, extra: &Value) {
    match (base, extra) {
        (Value::Object(base), Value::Object(extra)) => {
            for (key, value) in extra {
                overlay(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, extra) => *base = extra.clone(),
    }
}

/// The session of a fixture.
pub(super) fn key(mode: Mode) -> String {
    format!("agent:{}:table", mode.name())
}

/// Starts one run a fixture and does not wait for it; returns their ids.
pub(super) fn begin(station: &Station, message: &str) -> Vec<(Mode, String)> {
    let start = |mode: Mode| {
        let params = json!({ "message": message, "sessionKey": key(mode) }).to_string();
        let answer = station.json(&["gateway", "call", "agent", "--params", &params]);
        (mode, answer["runId"].as_str().unwrap().to_owned())
    };
    FIXTURES.into_iter().map(start).collect()
}

/// Waits until every fixture is in the middle of what it does: in mid-call, or in mid-start. The run of the one that never
/// comes up has ended by itself then.
pub(super) fn wait_busy(station: &mut Station) {
    for mode in FIXTURES.into_iter().filter(|mode| answers(*mode)) {
        let file = started(station, mode);
        let what = format!("{} is in mid-call", mode.name());
        station.eventually(&what, || file.exists());
    }
    let slow = Mode::SlowInit.name();
    let seen = station.oracle.wait_until(PATIENCE, |seen| {
        seen.iter()
            .any(|process| process.cmdline.ends_with(slow) && !process.name.starts_with("wrasse-g"))
    });
    assert!(seen.is_ok(), "{slow} is not starting\n{}", station.log());
    let never_up = format!(
        "SELECT count(*) FROM runs WHERE agent = '{}' AND end_reason = 'success'",
        Mode::ExitNow.name()
    );
    station.eventually(&never_up, || station.query(&never_up).trim() == "1");
}

/// Waits for a run and checks how it ended.
pub(super) fn expect_end(station: &Station, run: &str, reason: &str) -> Value {
    let params = json!({ "runId": run, "timeoutMs": 60_000 }).to_string();
    let answer = station.json(&["gateway", "call", "agent.wait", "--params", &params]);
    assert_eq!(answer["endReason"], reason, "{run}: {answer:#}\n{}", station.log());
    answer
}

/// The ends of runs as they are on record, read by another program.
pub(super) fn expect_recorded<'a>(
    station: &Station,
    runs: impl IntoIterator<Item = &'a String>,
    reason: &str,
) {
    let recorded = station.query("SELECT id, end_reason FROM runs");
    for run in runs {
        let row = format!("{run}|{reason}");
        assert!(recorded.lines().any(|line| line == row), "{row}:\n{recorded}{}", station.log());
    }
}

/// What every row ends with: nothing left of the runs while the gateway lives on, then nothing at all.
pub(super) fn flat(mut station: Station) {
    station.assert_no_servers(GONE);
    eventually("every run has ended", PATIENCE, || {
        station.json(&["runs", "list", "--active"])["runs"].as_array().is_some_and(Vec::is_empty)
    });
    // Its end is on record before its servers are released.
    let mut ps = Value::Null;
    eventually("every server is released", PATIENCE, || {
        ps = station.json(&["ps"]);
        ps["instances"] == json!([])
    });
    assert_eq!(ps["leftovers"], json!([]), "{ps:#}");
    station.assert_flat();
}
