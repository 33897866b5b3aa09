//! `wrasse reap`: what dead gateways left, listed with the proof, ended when told.

use serde_json::{Value, json};
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::processes::Process;
use wrasse_testkit::station::{PATIENCE, Station, eventually, text};

use crate::hygiene::{configure, named};

const SIGKILL: i32 = 9;
/// What both say where there is nothing.
const NONE: &str = "leftovers of ours: 0\n";

/// A station whose gateway, warden and guardians died in one instant, with two daemons of two instances left.
fn with_leftovers() -> (Station, Vec<Process>) {
    let mut station = Station::new();
    configure(&station, station.fixture(Mode::Daemon), json!({}));
    station.start();
    for key in ["a", "b"] {
        let params = json!({ "message": "hold", "sessionKey": key }).to_string();
        station.ok(&["gateway", "call", "agent", "--params", &params]);
    }
    eventually("both calls are in flight", PATIENCE, || {
        let ps = station.json(&["ps"]);
        let instances = ps["instances"].as_array().unwrap().clone();
        instances.iter().filter(|one| one["in_flight"] == 1).count() == 2
    });
    let gateway = station.gateway();
    let warden = station.warden.take().unwrap();
    let seen = station.oracle.list();
    let guardians = named(&seen, "wrasse-guardian");
    assert_eq!(guardians.len(), 2, "{seen:#?}");
    let ours: Vec<u32> =
        [warden, gateway].into_iter().chain(guardians.iter().map(|one| one.pid)).collect();
    station.kill_at_once(&ours);
    let left = wait_daemons(&mut station, 2);
    (station, left)
}

/// Waits until nothing but so many daemons is left: the leaders die with their guardians, daemons do not.
fn wait_daemons(station: &mut Station, count: usize) -> Vec<Process> {
    let daemons = |seen: &[Process]| {
        seen.len() == count && seen.iter().all(|one| one.cmdline.ends_with("sleeper"))
    };
    let left = station.oracle.wait_until(PATIENCE, daemons);
    left.unwrap_or_else(|left| panic!("{left:#?}\n{}", station.log()))
}

fn pids(report: &Value) -> Vec<u32> {
    let leftovers = report["leftovers"].as_array().unwrap();
    let mut pids: Vec<u32> =
        leftovers.iter().map(|one| u32::try_from(one["pid"].as_u64().unwrap()).unwrap()).collect();
    pids.sort_unstable();
    pids
}

/// guarantee G5; failure mode B2, D11
#[test]
fn leftovers_are_listed_with_the_proof_and_ended_when_told() {
    let (mut station, left) = with_leftovers();
    let stranger = ["sleep".to_owned(), "1000".to_owned()];
    let stranger = station.spawn(&stranger);
    let mut want: Vec<u32> = left.iter().map(|process| process.pid).collect();
    want.sort_unstable();

    // A dry run changes nothing, whatever it is asked for.
    for _ in 0..2 {
        let dry = station.cli(&["reap", "--json"]);
        assert_eq!(dry.status.code(), Some(3), "{}", text(&dry.stderr));
        let report: Value = serde_json::from_slice(&dry.stdout).unwrap();
        assert_eq!(pids(&report), want, "{report:#}");
        for one in report["leftovers"].as_array().unwrap() {
            assert_eq!(one["server"], "fix", "{one:#}");
            let proof = &one["proof"];
            assert!(
                proof["guardian_pid"].is_u64() && proof["after_guardian_ms"].is_u64(),
                "{one:#}"
            );
            assert_eq!((&proof["owner"], &proof["boot"]), (&json!("dead"), &json!("this")));
            assert_eq!(proof["ended_at"], Value::Null, "{one:#}");
        }
    }
    let words = station.cli(&["reap"]);
    let words = text(&words.stdout);
    for part in ["PROOF", "its end not on record", "nothing was ended", "wrasse reap --yes"] {
        assert!(words.contains(part), "{words}");
    }
    let unknown = station.cli(&["reap", "i-4711", "--yes"]);
    assert_eq!(unknown.status.code(), Some(1), "{}", text(&unknown.stdout));
    let living = station.oracle.list().iter().filter(|one| want.contains(&one.pid)).count();
    assert_eq!(living, want.len());

    // One instance, by the number of one of its processes: its tree only.
    let report: Value = serde_json::from_slice(&station.cli(&["reap", "--json"]).stdout).unwrap();
    let first = &report["leftovers"][0];
    let (instance, pid) = (&first["instance"], first["pid"].to_string());
    let one = station.json(&["reap", &pid, "--yes"]);
    assert_eq!((&one["survivors"], &one["leftovers"][0]["instance"]), (&json!(0), instance));
    let rest: Value = serde_json::from_slice(&station.cli(&["reap", "--json"]).stdout).unwrap();
    let rest_pids = pids(&rest);
    assert!(!rest_pids.is_empty() && rest_pids.len() < want.len(), "{rest:#}");
    assert!(rest["leftovers"].as_array().unwrap().iter().all(|one| one["instance"] != *instance));
    let ended = format!(
        "SELECT end_reason, end_detail, end_survivors FROM instances WHERE id = {}",
        number(instance)
    );
    assert_eq!(station.query(&ended).trim(), "swept|ended by wrasse reap|0");

    let said = station.ok(&["reap", "--yes"]);
    for pid in rest_pids {
        assert!(said.contains(&format!("ended {pid} ")), "{said}");
    }
    assert!(said.contains("· left 0"), "{said}");
    assert_eq!(station.ok(&["reap"]), NONE);
    let only_stranger = |seen: &[Process]| seen.iter().all(|process| process.pid == stranger);
    let left = station.oracle.wait_until(PATIENCE, only_stranger);
    assert!(left.is_ok_and(|left| left.len() == 1), "the stranger lives");
    station.oracle.signal(&[stranger], SIGKILL);
    station.assert_empty();
    station.start();
    assert!(station.ok(&["reap"]).ends_with(NONE));
    assert_eq!(station.json(&["ps"])["leftovers"], json!([]));
    station.assert_flat();
}

fn number(instance: &Value) -> String {
    instance.as_str().unwrap().trim_start_matches("i-").to_owned()
}

/// Where nothing was ever started nothing is made either.
#[test]
fn without_a_state_dir_nothing_is_left() {
    let mut station = Station::new();
    let absent = station.path("absent");
    station.set_env("WRASSE_STATE_DIR", absent.display().to_string());
    for args in [&["reap"][..], &["reap", "--yes"]] {
        assert_eq!(station.ok(args), NONE);
    }
    assert!(!absent.exists());
}

/// A gateway that lives leaves nothing, and reap ends nothing of its own.
#[test]
fn what_a_living_gateway_runs_is_no_leftover() {
    let mut station = Station::new();
    configure(&station, station.fixture(Mode::Daemon), json!({}));
    station.start();
    crate::hygiene::hold(&station);
    let said = station.ok(&["reap", "--yes"]);
    assert!(
        said.contains(&format!("gateway {} runs", station.gateway())) && said.ends_with(NONE),
        "{said}"
    );
    let ps = station.json(&["ps"]);
    assert_eq!(ps["instances"][0]["in_flight"], 1, "{ps:#}");
    station.assert_flat();
}

/// What stands in for a host: it starts a wrapped server, calls it once, and then only holds its stdin.
const HOST: &str = r#"
import json, subprocess, sys
shim = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
def say(message):
    shim.stdin.write((json.dumps({"jsonrpc": "2.0", **message}) + "\n").encode())
    shim.stdin.flush()
def hear(number):
    while True:
        answer = json.loads(shim.stdout.readline())
        if answer.get("id") == number:
            return answer
say({"id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
    "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}}})
hear(1)
say({"method": "notifications/initialized"})
say({"id": 2, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "x"}}})
with open(sys.argv[1], "w") as out:
    out.write(json.dumps(hear(2)) + "\n")
shim.wait()
"#;

/// Starts a host with a wrapped server of this mode and waits until it was called.
fn host(station: &mut Station, mode: Mode) -> u32 {
    let answer = station.path("answer");
    let mut argv = crate::host::python(HOST).to_vec();
    argv.extend([
        answer.display().to_string(),
        station.wrasse().display().to_string(),
        "wrap".to_owned(),
        "--name".to_owned(),
        "wrapped".to_owned(),
        "--".to_owned(),
        station.program("wrasse-fixture").display().to_string(),
        mode.name().to_owned(),
    ]);
    let host = station.spawn(&argv);
    station.eventually("the wrapped server answers", || {
        std::fs::read_to_string(&answer).is_ok_and(|text| text.ends_with('\n'))
    });
    host
}

/// Kills a shim, its guardian and what stands between them in one instant. The shim, and the numbers of what is left.
fn kill_shim_and_guardian(station: &mut Station, host: u32) -> (u32, Vec<u32>) {
    let seen = station.oracle.list();
    let shim = seen.iter().find(|one| one.ppid == host).unwrap().pid;
    let guardian = named(&seen, "wrasse-guardian")[0].pid;
    let mut dead = vec![shim];
    // Whatever stands between the shim and its guardian.
    let mut at = seen.iter().find(|one| one.pid == guardian).unwrap();
    while at.pid != shim {
        dead.push(at.pid);
        at = seen.iter().find(|one| one.pid == at.ppid).unwrap();
    }
    dead[1..].reverse();
    station.kill_at_once(&dead);
    let left = wait_daemons(station, 1);
    let mut want: Vec<u32> = left.iter().map(|one| one.pid).collect();
    want.sort_unstable();
    (shim, want)
}

/// A shim and its guardian die in one instant: what is left is listed beside what gateways left, and ended by both ways.
// failure mode F1
#[test]
fn what_a_dead_shim_left_is_reaped_and_swept() {
    for by_a_start in [false, true] {
        let mut station = Station::new();
        configure(&station, station.fixture(Mode::Ok), json!({}));
        let host = host(&mut station, Mode::Daemon);
        assert_eq!(station.ok(&["reap"]), NONE, "a living shim is a living owner");
        let (shim, want) = kill_shim_and_guardian(&mut station, host);
        let dry = station.cli(&["reap", "--json"]);
        assert_eq!(dry.status.code(), Some(3), "{}", text(&dry.stderr));
        let report: Value = serde_json::from_slice(&dry.stdout).unwrap();
        assert_eq!(pids(&report), want, "{report:#}");
        let first = &report["leftovers"][0];
        assert_eq!((&first["left_by"], &first["server"]), (&json!("shim"), &json!("wrapped")));
        assert_eq!(first["shim_pid"], json!(shim), "{first:#}");
        if by_a_start {
            station.start();
        } else {
            let said = station.ok(&["reap", first["instance"].as_str().unwrap(), "--yes"]);
            assert!(said.contains("· left 0"), "{said}");
            station.assert_empty();
            assert_eq!(station.ok(&["reap", "--yes"]), NONE);
        }
        assert_eq!(station.ok(&["reap"]).lines().last(), Some(NONE.trim()));
        station.assert_flat();
    }
}

/// Where the configuration has a state dir of its own, shims have another: `wrasse wrap` reads no configuration.
// failure mode F1
#[test]
fn what_a_dead_shim_left_is_found_beside_another_state_dir() {
    for by_a_start in [false, true] {
        let mut station = Station::new();
        let own = station.path("state");
        configure(&station, station.fixture(Mode::Ok), json!({ "stateDir": own }));
        station.set_env("WRASSE_STATE_DIR", "");
        let host = host(&mut station, Mode::Daemon);
        assert!(station.path("home").join(".wrasse/wrap/shims").is_dir());
        let (_, want) = kill_shim_and_guardian(&mut station, host);
        let dry = station.cli(&["reap", "--json"]);
        let report: Value = serde_json::from_slice(&dry.stdout).unwrap();
        assert_eq!(pids(&report), want, "{report:#}");
        if by_a_start {
            station.start();
        } else {
            let said = station.ok(&["reap", "--yes"]);
            assert!(said.contains("· left 0"), "{said}");
            station.assert_empty();
        }
        assert_eq!(station.ok(&["reap"]).lines().last(), Some(NONE.trim()));
        station.assert_flat();
    }
}
