//! Many servers at once, dead ones, and a house that is full: what they cost, and that all of them end.

use std::time::{Duration, Instant};

use serde_json::json;
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::station::{GONE, PATIENCE, SHUTDOWN, Station, eventually};

use super::hygiene::{configure, look, named};
use super::modes::leaders;

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// Twenty servers deaf to everything but SIGKILL, with the ladder as it is by default: all are gone when the gateway is,
/// and that is within its deadline.
// failure mode A10
#[test]
fn twenty_deaf_servers_are_gone_within_the_shutdown_deadline() {
    let mut station = Station::new();
    let (mut servers, mut calls) = (json!({}), Vec::new());
    for number in 0..20 {
        let mut server = station.fixture(Mode::TermDeaf);
        server["lifecycle"] = json!({ "idle": "1h" });
        servers[format!("s{number}")] = server;
        calls.push(json!({ "name": format!("s{number}__echo"), "arguments": { "text": "x" } }));
    }
    station.configure(
        json!({ "mcp": { "servers": servers } }),
        &json!({ "rules": [{ "when": { "last": "user" }, "reply": { "calls": calls } }],
            "otherwise": { "text": "done" } }),
    );
    station.start();
    station.ok(&["agent", "-m", "go", "--session-key", "deaf"]);
    assert_eq!(leaders(&station).len(), 20);
    let warden = station.warden.take().unwrap();
    station.oracle.signal(&[warden], SIGTERM);
    // One after the other they would take a hundred seconds.
    assert_eq!(station.oracle.exit_code(warden, SHUTDOWN), Some(0), "{}", station.log());
    let left = station.oracle.list();
    assert!(left.is_empty(), "{left:#?}");
    station.assert_ledger_closed();
}

/// The ladder as it is by default: 2 s, 3 s, kill. From the answer to the last call until nothing of a deaf server is left.
#[test]
fn the_default_ladder_takes_six_seconds_at_most() {
    let mut station = Station::new();
    let mut server = station.fixture(Mode::TermDeaf);
    server["lifecycle"] = json!({});
    let [started, until] = ["started", "until"].map(|name| station.path("work").join(name));
    let hold = json!({ "name": "deaf__hold", "arguments": { "started": started, "until": until } });
    station.configure(
        json!({ "mcp": { "servers": { "deaf": server } } }),
        &json!({ "rules": [{ "when": { "last": "user" }, "reply": { "calls": [hold] } }],
            "otherwise": { "text": "done" } }),
    );
    station.start();
    let params = json!({ "message": "go", "sessionKey": "deaf" }).to_string();
    let run = station.json(&["gateway", "call", "agent", "--params", &params]);
    station.eventually("the call is in flight", || started.exists());
    std::fs::write(&until, "").unwrap();
    station.assert_no_servers(Duration::from_secs(6));
    let (run, mut released) = (run["runId"].as_str().unwrap(), json!(null));
    eventually("what the run released is on record", PATIENCE, || {
        released = station.json(&["runs", "show", run])["run"]["released"].clone();
        released.is_array()
    });
    assert!(released[0]["tookMs"].as_u64() >= Some(5000), "no rung was left out: {released:#}");
    station.assert_flat();
}

/// Three hundred idle servers of ten sessions, under the usual limit of open files: the gateway answers, with no thread and
/// little memory for each.
// failure mode G5
#[test]
fn three_hundred_idle_servers_cost_no_threads() {
    const SERVERS: usize = 30;
    const SESSIONS: usize = 10;
    let mut station = Station::new();
    let (mut servers, mut calls) = (json!({}), Vec::new());
    for number in 0..SERVERS {
        let mut server = station.fixture(Mode::Ok);
        server["lifecycle"]["idle"] = json!("1h");
        servers[format!("s{number}")] = server;
        calls.push(json!({ "name": format!("s{number}__echo"), "arguments": { "text": "x" } }));
    }
    station.configure(
        json!({ "mcp": { "servers": servers, "limits": { "startConcurrency": 8 } } }),
        &json!({ "rules": [{ "when": { "last": "user" }, "reply": { "calls": calls } }],
            "otherwise": { "text": "done" } }),
    );
    station.set_launcher(&["sh", "-c", "ulimit -Sn 1024 && exec \"$@\"", "sh"]);
    station.start();
    let gateway = station.gateway();
    let threads = || std::fs::read_dir(format!("/proc/{gateway}/task")).unwrap().count();
    // The first tree brings the thread that counts what trees use.
    station.ok(&["agent", "-m", "go", "--session-key", "s0"]);
    let before = threads();
    for session in 0..SESSIONS {
        station.ok(&["agent", "-m", "go", "--session-key", &format!("s{session}")]);
    }
    let ps = station.rpc().call("ps", &json!({}), Duration::from_secs(30)).unwrap();
    assert_eq!(ps["instances"].as_array().unwrap().len(), SERVERS * SESSIONS);
    assert_eq!(open_files(ps["instances"][0]["pid"].as_u64().unwrap()), "1024");
    station.rpc().call("status", &json!({}), Duration::from_secs(30)).unwrap();
    assert_eq!(threads(), before);
    // One more run beside them.
    station.ok(&["agent", "-m", "go", "--session-key", "s0"]);
    station.ok(&["reap", "--idle", "--yes"]);
    station.assert_no_servers(PATIENCE);
    station.assert_flat();
}

/// The soft limit of open files.
fn open_files(pid: u64) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}

/// User and system time of a process.
pub(crate) fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A server, then a guardian, is killed while it is held: the gateway does not spin.
// failure mode G8
#[test]
fn a_dead_child_costs_no_processor_time() {
    let mut station = Station::new();
    let mut server = station.fixture(Mode::Daemon);
    server["lifecycle"]["idle"] = json!("10m");
    configure(&station, server, json!({}));
    station.start();
    let gateway = station.gateway();
    for victim in ["server", "guardian"] {
        look(&station);
        let pid = match victim {
            "server" => leaders(&station)[0],
            _ => named(&station.oracle.list(), "wrasse-guardian")[0].pid,
        };
        station.oracle.signal(&[pid], SIGKILL);
        station.assert_no_servers(GONE);
        let (began, before) = (Instant::now(), cpu_ticks(gateway));
        std::thread::sleep(Duration::from_secs(2));
        let spent = cpu_ticks(gateway) - before;
        let ticks = u64::try_from(began.elapsed().as_millis() / 10).unwrap();
        assert!(spent * 10 < ticks, "{victim}: {spent} of {ticks} ticks");
    }
    station.assert_flat();
}

/// The house is full: the room that was unused for longest is cleared; only when all are in use is a newcomer refused,
/// and told by whom.
// failure mode E6
#[test]
fn a_full_house_clears_what_nobody_uses_and_names_who_does() {
    let mut station = Station::new();
    let (mut servers, mut rules) = (json!({}), Vec::new());
    let work = station.path("work");
    let until = work.join("until");
    let started = |name: &str| work.join(format!("started-{name}"));
    let names = ["a", "b", "c"];
    for name in names {
        let mut server = station.fixture(Mode::Ok);
        server["lifecycle"]["idle"] = json!("1h");
        servers[name] = server;
        let call = json!({ "name": format!("{name}__echo"), "arguments": { "text": "hello" } });
        rules.push(json!({ "when": { "last": "user", "text": format!("use {name}") }, "reply": { "calls": [call] } }));
    }
    let held = ["b", "c"].map(|name| {
        json!({ "name": format!("{name}__hold"), "arguments": { "started": started(name), "until": until } })
    });
    rules.push(json!({ "when": { "last": "user", "text": "hold" }, "reply": { "calls": held } }));
    let script = json!({ "rules": rules, "otherwise": { "text": "{{last}}" } });
    station.configure(json!({ "mcp": { "servers": servers } }), &script);
    // Their tools are known before there is a budget.
    station.start();
    station.ok(&["agent", "-m", "nothing", "--session-key", "s"]);
    station.ok(&["gateway", "stop"]);
    station.warden = None;
    let limits = json!({ "processes": 2 });
    station.configure(json!({ "mcp": { "servers": servers, "limits": limits } }), &script);
    station.start();
    let running = |station: &Station| -> Vec<String> {
        let ps = station.json(&["ps"]);
        let instances = ps["instances"].as_array().unwrap().iter();
        instances.map(|one| one["server"].as_str().unwrap().to_owned()).collect()
    };
    let say = |station: &Station, name: &str| {
        station.ok(&["agent", "-m", &format!("use {name}"), "--session-key", "s"])
    };
    for name in names {
        assert!(say(&station, name).starts_with("hello"), "{name}\n{}", station.log());
    }
    let mut left = running(&station);
    left.sort();
    assert_eq!(left, ["b", "c"], "{}", station.log());
    // Both in use: a third is refused, and nobody is touched.
    let params = json!({ "message": "hold", "sessionKey": "s" }).to_string();
    let run = station.json(&["gateway", "call", "agent", "--params", &params]);
    eventually("both are held", PATIENCE, || started("b").exists() && started("c").exists());
    let refused = station.ok(&["agent", "-m", "use a", "--session-key", "t"]);
    assert!(refused.contains("mcp.limits.processes is used up (2 of 2)"), "{refused}");
    let holder = run["runId"].as_str().unwrap();
    assert!(
        refused.contains(&format!("b by run {holder}, c by run {holder}")),
        "{refused} {run:#}"
    );
    std::fs::write(&until, "").unwrap();
    eventually("there is room again", PATIENCE, || {
        station.ok(&["agent", "-m", "use a", "--session-key", "t"]).starts_with("hello")
    });
    station.assert_flat();
}
