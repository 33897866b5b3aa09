//! What commands do when something is in their way: a full stdout, faults to be read by programs, a store that cannot
//! commit, a gateway in another PID namespace.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::namespace::{AS_ANYBODY, AS_ROOT, permits};
use wrasse_testkit::station::{PATIENCE, Station, eventually, text};

use crate::hygiene::{configure, hold, look, named, station};

const SIGKILL: i32 = 9;

/// What a command was asked for is lost: it fails, and says so once.
#[test]
fn a_full_stdout_is_a_failure_that_is_said_once() {
    let mut station = station();
    station.start();
    look(&station);
    let commands: &[&[&str]] = &[
        &["ps"],
        &["ps", "--json"],
        &["status"],
        &["agent", "-m", "hello"],
        &["sessions", "list"],
        &["runs", "list"],
        &["cron", "status"],
        &["mcp", "status"],
        &["why", "fix"],
        &["reap"],
        &["config", "print"],
        &["config", "check"],
        &["config", "schema"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
        &["ps", "--help"],
    ];
    for args in commands {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = station.command(args).stdout(Stdio::from(full)).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert_eq!(said.matches("cannot write to stdout").count(), 1, "{args:?}: {said}");
    }
    // A reader that had enough is no failure.
    for args in commands {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = station.command(args).stdout(Stdio::from(writer)).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "{args:?}");
    }
    station.assert_flat();
}

/// A gateway whose stdout is full works on; that its lines are lost is said once, where there is room.
#[test]
fn a_gateway_with_a_full_stdout_says_so_once_and_serves() {
    let mut station = station();
    station.set_launcher(&["sh", "-c", "exec \"$@\" >/dev/full", "sh"]);
    station.start();
    look(&station);
    look(&station);
    let log = station.log();
    assert_eq!(log.matches("the lines of ended runs cannot be written").count(), 1, "{log}");
    let runs = station.json(&["runs", "list"]);
    assert_eq!(runs["runs"].as_array().map(Vec::len), Some(2), "{runs:#}");
    station.assert_flat();
}

/// Who asks for JSON gets it, faults or not.
#[test]
fn faults_of_the_configuration_are_json_when_asked_for() {
    let station = Station::new();
    let path = station.path("state").join("wrasse.json5");
    std::fs::write(&path, "{ gateway: { port: 'x' },\n  agentz: {} }").unwrap();
    let output = station.cli(&["config", "check", "--json"]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["schema"], &report["ok"]), (&json!(1), &json!(false)));
    let faults = report["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 2, "{report:#}");
    let unknown = faults.iter().find(|fault| fault["path"] == "agentz").unwrap();
    assert_eq!((&unknown["line"], &unknown["message"]), (&json!(2), &json!("unknown key")));
    assert!(unknown["suggestion"].as_str().unwrap().contains("agents"), "{unknown}");
    assert!(unknown["file"].as_str().unwrap().ends_with("wrasse.json5"), "{unknown}");
    assert_eq!(text(&output.stderr), "");

    std::fs::write(&path, "{}").unwrap();
    let report = station.json(&["config", "check"]);
    assert_eq!((&report["ok"], &report["faults"]), (&json!(true), &json!([])));
}

fn readyz(station: &Station) -> (u16, Value) {
    let endpoint = std::fs::read(station.path("state").join("endpoint.json")).unwrap();
    let endpoint: Value = serde_json::from_slice(&endpoint).unwrap();
    let port = u16::try_from(endpoint["port"].as_u64().unwrap()).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
}

/// Another process holds the database's write lock: the gateway lives, answers, and is not ready.
#[test]
#[expect(clippy::disallowed_methods, reason = "the one in the way is a program of the test's own")]
fn a_store_that_cannot_commit_is_not_ready() {
    let mut station = station();
    station.start();
    assert_eq!(readyz(&station), (200, json!({ "ready": true, "failing": [] })));
    let script = "import sqlite3,sys\ndb = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                  db.execute('BEGIN IMMEDIATE')\nprint('held', flush=True)\nsys.stdin.read()\n";
    let mut holder = Command::new("python3")
        .args(["-c", script])
        .arg(station.path("state").join("wrasse.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 5];
    holder.stdout.take().unwrap().read_exact(&mut held).unwrap();
    let failing = |body: &Value| body["failing"][0].as_str().unwrap_or_default().to_owned();
    eventually("it is not ready", PATIENCE, || readyz(&station).0 == 503);
    let (_, body) = readyz(&station);
    assert!(failing(&body).contains("commit"), "{body}");
    let status = station.json(&["status"]);
    assert_eq!(status["ready"], false, "{status:#}");
    assert!(station.ok(&["status"]).contains("! the store"));
    drop(holder.stdin.take());
    holder.wait().unwrap();
    eventually("it is ready again", PATIENCE, || readyz(&station).0 == 200);
    station.assert_flat();
}

/// Its numbers mean nothing here, or somebody else: the gateway is waited for by what both can see.
#[test]
fn a_gateway_of_another_pid_namespace_is_stopped_and_restarted() {
    for launcher in [&AS_ROOT[..], &AS_ANYBODY[..]] {
        let test = "a_gateway_of_another_pid_namespace_is_stopped_and_restarted";
        if let Err(why) = permits(launcher) {
            eprintln!("SKIPPED {test} under {}: {why}", launcher.join(" "));
            continue;
        }
        let mut station = Station::new();
        configure(&station, station.fixture(Mode::TermDeaf), json!({}));
        station.set_launcher(launcher);
        let launched = station.start();
        hold(&station);
        station.ok(&["gateway", "restart"]);
        station.wait_ready();
        look(&station);
        hold(&station);
        let stopped = station.json(&["gateway", "stop"]);
        assert_eq!((&stopped["stopped"], &stopped["seen_empty"]), (&json!(true), &json!(false)));
        // It was gone when that returned: the state dir is free for the next one.
        assert!(!station.path("state").join("endpoint.json").exists());
        station.warden = None;
        assert_eq!(station.oracle.exit_code(launched, PATIENCE), Some(0), "{}", station.log());
        station.assert_empty();
        station.set_launcher(&[]);
        station.start();
        let stopped = station.json(&["gateway", "stop"]);
        assert_eq!(stopped["seen_empty"], true, "{stopped}");
        station.warden = None;
        station.assert_flat();
    }
}

/// The gateway and its guardians die in one instant: the warden ends what is left and removes what it was in.
// failure mode F1
#[test]
fn the_warden_removes_the_leaves_of_those_that_cannot() {
    let mut station = Station::new();
    configure(&station, station.fixture(Mode::Daemon), json!({}));
    station.start();
    hold(&station);
    let layers = station.json(&["ps"])["gateway"]["containment"].clone();
    if layers != json!(["floor", "cgroup2"]) {
        eprintln!("SKIPPED the_warden_removes_the_leaves_of_those_that_cannot: {layers}");
        station.assert_flat();
        return;
    }
    let leaves = wrasse_testkit::leaves::of(&station.path("state"));
    assert_eq!(leaves.len(), 1, "{leaves:?}");
    let gateway = station.gateway();
    let warden = station.warden.take().unwrap();
    let guardians = named(&station.oracle.list(), "wrasse-guardian");
    let dead: Vec<u32> = [gateway].into_iter().chain(guardians.iter().map(|one| one.pid)).collect();
    station.kill_at_once(&dead);
    assert_eq!(station.oracle.exit_code(warden, PATIENCE), Some(128 + SIGKILL));
    station.assert_empty();
    station.assert_no_leaves();
    station.start();
    station.assert_flat();
}
