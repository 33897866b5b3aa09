//! The rows in which nobody waits for the run: jobs fire it, or another run spawns it.

use serde_json::json;
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::station::{GONE, PATIENCE, Station, eventually};

use super::cell::{FIXTURES, flat, station, wait_busy};
use super::rows::impatient;

/// Starts one isolated job a fixture, fires them, returns their ids.
fn jobs(station: &Station, message: &str, extra: &[&str]) -> Vec<String> {
    let add = |mode: Mode| {
        let name = mode.name();
        let common = [
            "cron",
            "add",
            "--name",
            name,
            "--every",
            "1h",
            "--session",
            "isolated",
            "--agent",
            name,
            "--message",
            message,
        ];
        let added = station.json(&[&common[..], extra].concat());
        let id = added["id"].as_str().unwrap().to_owned();
        station.ok(&["cron", "run", &id]);
        id
    };
    FIXTURES.into_iter().map(add).collect()
}

/// failure mode B2: an isolated firing mints a session; nothing of it is left.
#[test]
fn cron_done() {
    let mut station = station(impatient());
    station.start();
    for id in jobs(&station, "echo", &[]) {
        eventually("the firing is over", PATIENCE, || {
            let runs = station.json(&["cron", "runs", &id]);
            runs["runs"].as_array().is_some_and(|runs| runs.iter().any(|run| run["status"] == "ok"))
        });
    }
    let ended = station.query("SELECT count(*) FROM runs WHERE end_reason = 'success'");
    assert_eq!(ended.trim(), "9");
    flat(station);
}

/// The limit ends a run wherever it is, as a run's own does.
#[test]
fn cron_timeout() {
    let mut station = station(json!({}));
    station.start();
    jobs(&station, "hold", &["--timeout-seconds", "4"]);
    let timed_out = format!(
        "SELECT count(DISTINCT agent) FROM runs WHERE end_reason = 'cron_timeout' AND agent <> '{}'",
        Mode::ExitNow.name()
    );
    station.eventually("the jobs have timed out", || station.query(&timed_out).trim() == "8");
    flat(station);
}

#[test]
fn job_removed() {
    let mut station = station(json!({}));
    station.start();
    let ids = jobs(&station, "hold", &[]);
    wait_busy(&mut station);
    for id in ids {
        station.ok(&["cron", "rm", &id, "--yes"]);
    }
    let ended = station.query("SELECT count(*) FROM runs WHERE end_reason = 'job_removed'");
    assert_eq!(ended.trim(), "8");
    flat(station);
}

/// failure mode B4: stopping a parent stops its children.
#[test]
fn parent_stopped() {
    let mut station = station(json!({}));
    station.start();
    let params = json!({ "message": "spawn hold", "sessionKey": "agent:hub:main" }).to_string();
    station.ok(&["gateway", "call", "agent", "--params", &params]);
    wait_busy(&mut station);
    station.ok(&["sessions", "stop", "agent:hub:main"]);
    let ended = station.query("SELECT count(*) FROM runs WHERE end_reason = 'parent_stopped'");
    assert_eq!(ended.trim(), "8");
    flat(station);
}

fn children(cleanup: &str) -> Station {
    let mut station = station(impatient());
    // The spawn rule says "keep"; the other spelling is a matter of one word.
    let script = station.path("script.json5");
    let text = std::fs::read_to_string(&script).unwrap();
    std::fs::write(script, text.replace("\"keep\"", &format!("\"{cleanup}\""))).unwrap();
    station.start();
    station.ok(&["agent", "-m", "spawn echo", "--session-key", "agent:hub:main"]);
    eventually("the children are over", PATIENCE, || {
        let ended = station
            .query("SELECT count(*) FROM runs WHERE parent IS NOT NULL AND end_reason = 'success'");
        ended.trim() == "9"
    });
    station
}

/// `cleanup: "keep"` keeps transcripts, never processes.
// failure modes B3, B4
#[test]
fn child_kept() {
    let mut station = children("keep");
    station.assert_no_servers(GONE);
    let kept = station.query("SELECT count(*) FROM sessions WHERE key LIKE '%:subagent:%'");
    assert_eq!(kept.trim(), "9");
    flat(station);
}

#[test]
fn child_deleted() {
    let station = children("delete");
    eventually("the children's records are gone", PATIENCE, || {
        station.query("SELECT count(*) FROM sessions WHERE key LIKE '%:subagent:%'").trim() == "0"
    });
    flat(station);
}
