//! The rows without a gateway: `wrasse agent --local`, which ends what it began before it leaves.

use serde_json::json;
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::station::{PATIENCE, Station};

use super::cell::{FIXTURES, answers, key, started, station};
use super::rows::impatient;

const SIGINT: i32 = 2;
/// How the runs of a state dir are on record as ended.
const RUN_ENDS: &str = "SELECT end_reason FROM runs ORDER BY depth";
/// Instances that are on record without a reason, or with something left of them.
const INSTANCES_WITHOUT_END: &str =
    "SELECT count(*) FROM instances WHERE end_reason IS NULL OR end_survivors > 0";

/// What every row ends with: nothing left, in fact and on record.
fn flat(station: &mut Station) {
    station.assert_empty();
    station.assert_ledger_closed();
    assert_eq!(station.query(INSTANCES_WITHOUT_END).trim(), "0", "{}", station.log());
}

/// One-shot runs, each in a state dir of its own, side by side.
fn local(message: &str, then: impl Fn(&mut Station, Mode, u32) + Sync) {
    std::thread::scope(|scope| {
        for mode in FIXTURES {
            let then = &then;
            scope.spawn(move || {
                let mut station = station(impatient());
                let args = ["agent", "--local", "-m", message, "--session-key", &key(mode)];
                let pid = station.start_other(&args);
                then(&mut station, mode, pid);
                flat(&mut station);
            });
        }
    });
}

/// failure mode H9: the command ends with its run.
#[test]
fn local_done() {
    local("echo", |station, mode, pid| {
        let code = station.oracle.exit_code(pid, PATIENCE);
        assert_eq!(code, Some(0), "{mode:?}\n{}", station.log());
        assert!(station.log().contains("done"), "{}", station.log());
        assert_eq!(station.query(RUN_ENDS).trim(), "success", "{mode:?}");
    });
}

#[test]
fn local_interrupted() {
    local("hold", |station, mode, pid| {
        if answers(mode) {
            let file = started(station, mode);
            station.eventually(mode.name(), || file.exists());
            station.oracle.signal(&[pid], SIGINT);
            assert_eq!(station.oracle.exit_code(pid, PATIENCE), Some(130), "{}", station.log());
            assert_eq!(station.query(RUN_ENDS).trim(), "client_interrupted", "{mode:?}");
        } else {
            assert_eq!(station.oracle.exit_code(pid, PATIENCE), Some(0), "{}", station.log());
            assert_eq!(station.query(RUN_ENDS).trim(), "success", "{mode:?}");
        }
    });
}

/// The command is interrupted above a chain of children, each of which stops its own child once it has ended itself, and
/// takes its time: its call is stuck in a full pipe. The first is stopped by its parent, the command leaves before that
/// has come down to the last, and ends whoever is left.
#[test]
fn local_ended() {
    const DEPTH: usize = 5;
    let mut station = Station::new();
    let stuck = station.path("work").join("stuck");
    let mut server = station.fixture(Mode::StdinStop);
    server["args"] = json!([Mode::StdinStop.name(), stuck]);
    server["requestTimeoutMs"] = json!(3_600_000);
    let spawn = json!({ "name": "sessions_spawn", "arguments": { "task": "deeper" } });
    // More than the pipe and the server's own buffer take.
    let call = json!({ "name": "fix__echo", "arguments": { "text": "x".repeat(1 << 18) } });
    station.configure(
        json!({
            "agents": { "defaults": { "subagents": { "maxConcurrent": 8, "maxSpawnDepth": DEPTH } } },
            "mcp": { "servers": { "fix": server } },
        }),
        &json!({ "rules": [
            { "when": { "depth": 0, "last": "user" }, "reply": { "calls": [spawn] } },
            { "when": { "depth": DEPTH, "last": "user" }, "reply": { "calls": [call] } },
            { "when": { "last": "user" }, "reply": { "calls": [spawn, call] } },
        ], "otherwise": { "text": "done" } }),
    );
    let pid = station.start_other(&["agent", "--local", "-m", "go"]);
    station.eventually("every child's call is stuck", || {
        std::fs::read_to_string(&stuck).is_ok_and(|lines| lines.lines().count() == DEPTH)
    });
    station.oracle.signal(&[pid], SIGINT);
    assert_eq!(station.oracle.exit_code(pid, PATIENCE), Some(130), "{}", station.log());
    let ends = station.query(RUN_ENDS);
    let ends: Vec<&str> = ends.lines().collect();
    assert_eq!(ends.len(), 1 + DEPTH, "{ends:?}");
    assert_eq!(ends[..2], ["client_interrupted", "parent_stopped"], "{ends:?}");
    assert_eq!(ends[DEPTH], "local_ended", "{ends:?}\n{}", station.log());
    flat(&mut station);
}
