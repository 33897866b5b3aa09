//! The rows: each brings a situation about, and looks.

use serde_json::{Value, json};
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::processes::{self, Process};
use wrasse_testkit::station::{AFTER_DEATH, GONE, PATIENCE, SHUTDOWN, Station, eventually};

use super::cell::{
    FIXTURES, answers, begin, configure, expect_end, expect_recorded, flat, key, let_go, station,
    wait_busy,
};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
const SIGINT: i32 = 2;

/// Ends slow starts early: for rows in which the run is to come to its own end.
pub(super) fn impatient() -> Value {
    let mut servers = json!({});
    servers[Mode::SlowInit.name()] = json!({ "connectionTimeoutMs": 700 });
    json!({ "mcp": { "servers": servers } })
}

fn merged(mut one: Value, other: &Value) -> Value {
    for (key, value) in other.as_object().unwrap() {
        one[key] = value.clone();
    }
    one
}

/// Runs that come to their own end with the given message.
fn own_end(extra: Value, message: &str, reason: &str) -> Station {
    let mut station = station(merged(extra, &impatient()));
    station.start();
    for (mode, run) in begin(&station, message) {
        let expected = if answers(mode) { reason } else { "success" };
        expect_end(&station, &run, expected);
        expect_recorded(&station, [&run], expected);
    }
    station
}

/// Runs in mid-call or mid-start.
fn busy(extra: Value) -> (Station, Vec<(Mode, String)>) {
    let mut station = station(extra);
    station.start();
    let runs = begin(&station, "hold");
    wait_busy(&mut station);
    (station, runs)
}

/// Every run but the one whose server never came up must have ended for the reason.
fn expect_all(station: &Station, runs: &[(Mode, String)], reason: &str) {
    let up = || runs.iter().filter(|(mode, _)| *mode != Mode::ExitNow).map(|(_, run)| run);
    for run in up() {
        expect_end(station, run, reason);
    }
    expect_recorded(station, up(), reason);
}

// failure modes B5, C2
#[test]
fn success() {
    flat(own_end(json!({}), "echo", "success"));
}

/// The session is kept with its record only; its next run works. // failure mode B1
#[test]
fn session_kept() {
    let mut station = own_end(json!({}), "echo", "success");
    station.assert_no_servers(GONE);
    for mode in FIXTURES {
        let shown = station.json(&["sessions", "show", &key(mode)]);
        assert_eq!(shown["session"]["key"], key(mode));
        let out = station.ok(&["agent", "-m", "echo", "--session-key", &key(mode)]);
        assert_eq!(out.trim(), "done");
    }
    flat(station);
}

// failure mode B6
#[test]
fn model_error() {
    flat(own_end(json!({}), "model-error", "model_error"));
}

#[test]
fn fallbacks_exhausted() {
    let chain = json!({ "agents": { "defaults": {
        "model": { "primary": "scripted/one", "fallbacks": ["scripted/two"] } } } });
    flat(own_end(chain, "model-error", "fallbacks_exhausted"));
}

/// Our own records fail under a run: it ends, and its servers with it.
#[test]
fn internal() {
    let mut station = station(impatient());
    station.start();
    station.query_write(
        "CREATE TRIGGER planted BEFORE INSERT ON transcript WHEN NEW.role = 'tool' \
         BEGIN SELECT RAISE(FAIL, 'planted'); END",
    );
    for (_, run) in begin(&station, "echo") {
        let answer = expect_end(&station, &run, "internal");
        assert!(answer["error"].as_str().unwrap().contains("planted"), "{answer:#}");
    }
    flat(station);
}

/// A tool failed and the model gave up: it says nothing more.
#[test]
fn tool_error() {
    let mut station = station(impatient());
    let script = station.path("script.json5");
    let text = std::fs::read_to_string(&script).unwrap();
    std::fs::write(script, text.replace("\"text\":\"done\"", "\"text\":\"\"")).unwrap();
    station.start();
    for (_, run) in begin(&station, "tool-error") {
        expect_end(&station, &run, "tool_error");
    }
    flat(station);
}

/// A tool that fails is told to the model, which decides; here it answers and the run is a success all the same.
#[test]
fn tool_error_is_the_models_to_judge() {
    flat(own_end(json!({}), "tool-error", "success"));
}

/// failure mode A5, H6: the leader dies in mid-call; the call fails, the run goes on.
#[test]
fn server_crashed() {
    flat(own_end(json!({}), "crash", "success"));
}

// failure mode B6
#[test]
fn budget_exhausted() {
    let budget = json!({ "agents": { "defaults": { "budget": { "calls": 3 } } } });
    flat(own_end(budget, "again", "budget_exhausted"));
}

/// The limit ends a run wherever it is; by then it is in mid-call or mid-start, unless the machine is slow.
#[test]
fn run_timeout() {
    let mut station = station(json!({ "agents": { "defaults": { "timeoutSeconds": 4 } } }));
    station.start();
    let runs = begin(&station, "hold");
    expect_all(&station, &runs, "run_timeout");
    flat(station);
}

/// guarantee G4; failure mode C2, L2: a guardian is killed, the gateway ends its tree, the run goes on.
#[test]
fn guardian_killed() {
    let (mut station, runs) = busy(json!({}));
    let ps = station.json(&["ps"]);
    let guardians: Vec<u32> = ps["instances"]
        .as_array()
        .unwrap()
        .iter()
        .map(|instance| u32::try_from(instance["guardian_pid"].as_u64().unwrap()).unwrap())
        .collect();
    let below: Vec<Process> =
        guardians.iter().flat_map(|guardian| processes::descendants(*guardian)).collect();
    assert!(station.oracle.signal(&guardians, SIGKILL) >= 7, "{ps:#}");
    let survives = |seen: &[Process]| {
        let same =
            |one: &Process, other: &Process| (one.pid, one.start) == (other.pid, other.start);
        seen.iter().any(|one| below.iter().any(|other| same(one, other)))
    };
    let left = station.oracle.wait_until(AFTER_DEATH, |seen| !survives(seen));
    assert!(left.is_ok(), "{left:#?}\n{}", station.log());
    for (_, run) in &runs {
        expect_end(&station, run, "success");
    }
    flat(station);
}

// failure mode C9
#[test]
fn stopped() {
    let (station, runs) = busy(json!({}));
    for mode in FIXTURES {
        station.ok(&["sessions", "stop", &key(mode)]);
    }
    expect_all(&station, &runs, "stopped");
    flat(station);
}

#[test]
fn cancelled() {
    let (station, runs) = busy(json!({}));
    for (mode, run) in &runs {
        if *mode != Mode::ExitNow {
            station.ok(&["runs", "cancel", run]);
        }
    }
    expect_all(&station, &runs, "cancelled");
    flat(station);
}

// failure mode B9
#[test]
fn session_reset() {
    let (station, runs) = busy(json!({}));
    for mode in FIXTURES {
        station.ok(&["sessions", "reset", &key(mode), "--yes"]);
    }
    expect_all(&station, &runs, "session_reset");
    flat(station);
}

// failure mode B1
#[test]
fn session_deleted() {
    let (station, runs) = busy(json!({}));
    for mode in FIXTURES {
        station.ok(&["sessions", "delete", &key(mode), "--yes"]);
        let shown = station.cli(&["sessions", "show", &key(mode)]);
        assert!(!shown.status.success());
    }
    expect_all(&station, &runs, "session_deleted");
    flat(station);
}

/// The session expired while a run of it was going on; the next message begins it anew.
#[test]
fn session_lazy_reset() {
    let mut extra = json!({ "session": { "reset": { "mode": "idle", "idleMinutes": 1 } } });
    // The next message waits for it.
    extra["mcp"]["servers"][Mode::SlowInit.name()] = json!({ "connectionTimeoutMs": 30_000 });
    let (station, runs) = busy(extra);
    // An hour passes: the record is what time is read from.
    station.query_write("UPDATE sessions SET last_interaction_at = last_interaction_at - 3600000");
    for mode in FIXTURES {
        station.ok(&["agent", "-m", "hello", "--session-key", &key(mode)]);
    }
    expect_all(&station, &runs, "session_lazy_reset");
    flat(station);
}

/// Ctrl-C of the command that waits for a run cancels the run.
#[test]
fn client_interrupted() {
    let mut station = station(json!({}));
    station.start();
    let start = |mode: Mode| {
        let child = station.command(&["agent", "-m", "hold", "--session-key", &key(mode)]).spawn();
        (mode, child.unwrap())
    };
    let clients: Vec<_> = FIXTURES.into_iter().map(start).collect();
    wait_busy(&mut station);
    for (mode, mut client) in clients {
        // A run may be busy before its client listens.
        if mode != Mode::ExitNow {
            station.eventually("the client catches Ctrl-C", || catches_interrupt(client.id()));
        }
        let pid = rustix::process::Pid::from_raw(i32::try_from(client.id()).unwrap()).unwrap();
        let sent = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        let status = client.wait().unwrap();
        if mode != Mode::ExitNow {
            sent.unwrap();
            assert_eq!(status.code(), Some(130), "{mode:?}");
        }
    }
    let ended = station.query("SELECT count(*) FROM runs WHERE end_reason = 'client_interrupted'");
    assert!(ended.trim().parse::<usize>().unwrap() >= 8, "{ended}");
    flat(station);
}

/// Whether a process has a handler for SIGINT.
fn catches_interrupt(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (SIGINT - 1)) != 0
}

/// The client is gone, the run is not: it goes on to its own end.
#[test]
fn client_gone() {
    let mut station = station(impatient());
    station.start();
    let start = |mode: Mode| {
        station.command(&["agent", "-m", "hold", "--session-key", &key(mode)]).spawn().unwrap()
    };
    let clients: Vec<_> = FIXTURES.into_iter().map(start).collect();
    for mode in FIXTURES.into_iter().filter(|mode| answers(*mode)) {
        let file = super::cell::started(&station, mode);
        eventually(mode.name(), PATIENCE, || file.exists());
    }
    // The others have no call that would show it.
    eventually("every client has sent its message", PATIENCE, || {
        station.query("SELECT count(*) FROM runs").trim() == "9"
    });
    for mut client in clients {
        // One whose server never came up may have left by itself.
        drop(client.kill());
        client.wait().unwrap();
    }
    std::fs::write(let_go(&station), "").unwrap();
    eventually("all runs are over", PATIENCE, || {
        station.query("SELECT count(*) FROM runs WHERE end_reason = 'success'").trim() == "9"
    });
    flat(station);
}

#[test]
fn gateway_stopped() {
    let (mut station, _) = busy(json!({}));
    station.assert_flat();
    let ended = station.query("SELECT count(*) FROM runs WHERE end_reason = 'gateway_stopped'");
    assert_eq!(ended.trim(), "8");
}

/// failure mode A10: at its own exit nothing is left.
// failure mode F5
#[test]
fn gateway_terminated() {
    let (mut station, _) = busy(json!({}));
    let warden = station.warden.take().unwrap();
    station.oracle.signal(&[warden], SIGTERM);
    let code = station.oracle.exit_code(warden, SHUTDOWN);
    assert_eq!(code, Some(0), "{}", station.log());
    station.assert_flat();
    let ended = station.query("SELECT count(*) FROM runs WHERE end_reason = 'gateway_stopped'");
    assert_eq!(ended.trim(), "8");
}

/// failure mode D11, D12: one set before, none of it after.
#[test]
fn gateway_restarted() {
    let (mut station, runs) = busy(json!({}));
    let before = (station.warden, station.gateway());
    station.ok(&["gateway", "restart"]);
    station.wait_ready();
    assert_ne!(before.1, station.gateway());
    assert!(station.oracle.list().iter().any(|process| Some(process.pid) == before.0));
    expect_all(&station, &runs, "gateway_restarted");
    flat(station);
}

/// failure mode F1, F2: SIGKILL of the gateway; every tree is empty within 2 s and no restart is needed.
#[test]
fn gateway_killed() {
    let (mut station, runs) = busy(json!({}));
    let gateway = station.gateway();
    let warden = station.warden.take().unwrap();
    station.oracle.signal(&[gateway], SIGKILL);
    let left = station.oracle.wait_until(AFTER_DEATH, <[_]>::is_empty);
    assert!(left.is_ok(), "{left:#?}\n{}", station.log());
    assert_eq!(station.oracle.exit_code(warden, PATIENCE), Some(137));
    station.start();
    expect_all(&station, &runs, "gateway_lost");
    flat(station);
}

/// SIGKILL of the warden alone: within 2 s the gateway has ended every tree, and exits 70.
// failure mode F5
#[test]
fn warden_killed() {
    let (mut station, runs) = busy(json!({}));
    let gateway = station.gateway();
    let warden = station.warden.take().unwrap();
    station.oracle.signal(&[warden], SIGKILL);
    let left = station.oracle.wait_until(AFTER_DEATH, <[_]>::is_empty);
    assert!(left.is_ok(), "{left:#?}\n{}", station.log());
    assert_eq!(station.oracle.exit_code(gateway, PATIENCE), Some(70), "{}", station.log());
    station.start();
    for (mode, run) in &runs {
        if *mode != Mode::ExitNow {
            let shown = station.json(&["runs", "show", run]);
            assert_eq!(shown["run"]["endReason"], "warden_lost", "{shown:#}\n{}", station.log());
        }
    }
    flat(station);
}

/// The default ladder, once a fixture: 2 s, 3 s, kill. Everything is gone right after its run's end, by the gateway's own
/// record: the answer of a run is seen later than its end.
#[test]
fn default_ladder() {
    let station = Station::new();
    configure(&station, impatient());
    let path = station.path("state").join("wrasse.json5");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    for (_, server) in config["mcp"]["servers"].as_object_mut().unwrap() {
        server.as_object_mut().unwrap().remove("lifecycle");
    }
    std::fs::write(path, config.to_string()).unwrap();
    let mut station = station;
    station.start();
    let runs = begin(&station, "echo");
    for (_, run) in &runs {
        expect_end(&station, run, "success");
    }
    station.assert_no_servers(PATIENCE);
    for (mode, run) in runs {
        let mut released = Value::Null;
        eventually("what the run released is on record", PATIENCE, || {
            released = station.json(&["runs", "show", &run])["run"]["released"].clone();
            released.is_array()
        });
        let took = |ended: &Value| ended["tookMs"].as_u64().unwrap();
        let longest = released.as_array().unwrap().iter().map(took).max();
        // Nine end at once here, beside other tests. The six seconds that one may take are measured in
        // `house::the_default_ladder_takes_six_seconds_at_most`.
        let late = GONE.as_millis();
        assert!(longest.map(u128::from) < Some(late), "{mode:?}: {released:#}\n{}", station.log());
        if mode == Mode::TermDeaf {
            assert!(longest >= Some(5000), "{released:#}");
        }
    }
    flat(station);
}
