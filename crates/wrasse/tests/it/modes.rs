//! Failure modes that no other module of this binary meets on its way, each in the real program.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::processes::{self, Process};
use wrasse_testkit::station::{
    AFTER_DEATH, GONE, PATIENCE, Station, eventually, free_port, install, text,
};

use super::hygiene::{configure, hold, look};

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// The leaders of what runs now.
pub(crate) fn leaders(station: &Station) -> Vec<u32> {
    let ps = station.json(&["ps"]);
    let instances = ps["instances"].as_array().unwrap().iter();
    instances.map(|one| u32::try_from(one["pid"].as_u64().unwrap()).unwrap()).collect()
}

/// A launcher that passes no signal on dies of one; what it launched goes with it.
// failure mode A3
#[test]
fn a_launcher_that_dies_of_a_signal_takes_its_tree_with_it() {
    let mut station = Station::new();
    configure(&station, station.fixture(Mode::Npx), json!({}));
    station.start();
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT] {
        hold(&station);
        let leader = leaders(&station)[0];
        let below = processes::descendants(leader).len();
        assert!(below >= 2, "a shell and a server below the launcher");
        assert_eq!(station.oracle.signal(&[leader], signal), 1);
        station.assert_no_servers(GONE);
        // A server that ends right after its start is held back for a while.
        station.ok(&["mcp", "restart", "fix"]);
    }
    station.assert_flat();
}

/// A server that needs three seconds after SIGTERM is given them, once, and is called stopped.
// failure mode A11
#[test]
fn a_slow_end_is_waited_for_and_called_an_end() {
    let mut station = Station::new();
    let mut server = station.fixture(Mode::Ok);
    let slow = "exec 3<&0; (exec 0<&3 3<&-; trap '' TERM; exec \"$0\" f-ok) & exec 3<&-; \
        trap 'sleep 3; exit 0' TERM; wait; wait; sleep 60";
    server["args"] = json!(["-c", slow, server["command"]]);
    server["command"] = json!("sh");
    server["lifecycle"] = json!({ "idle": "10m", "stop": { "eof": "300ms", "term": "20s" } });
    configure(&station, server, json!({}));
    station.start();
    look(&station);
    let began = Instant::now();
    let answer = station.json(&["mcp", "stop", "fix"]);
    assert!(began.elapsed() >= Duration::from_secs(3), "{answer:#}");
    let ended = &answer["ended"][0];
    assert_eq!(ended["rung"], "term", "{answer:#}");
    assert_eq!(ended["survivors"], 0, "{answer:#}");
    assert_eq!(ended["provenEmpty"], true, "{answer:#}");
    station.assert_flat();
}

/// A container is its daemon's. Its client, and all that is ours, ends with the run; the container does not, and
/// doctor says so before.
// failure mode A16
#[test]
fn a_container_is_its_daemon_s_and_its_client_ours() {
    let mut station = Station::new();
    let socket = station.path("docker.sock");
    let fixture = station.program("wrasse-fixture").display().to_string();
    let daemon = station.spawn(&[fixture.clone(), "dockerd".into(), socket.display().to_string()]);
    eventually("the daemon listens", PATIENCE, || UnixStream::connect(&socket).is_ok());
    // The client under the name by which it is known.
    let client = station.path("docker");
    std::os::unix::fs::symlink(&fixture, &client).unwrap();
    let mut server = station.fixture(Mode::Docker);
    server["command"] = json!(client);
    server["args"] = json!(["f-docker", socket]);
    configure(&station, server, json!({}));
    let doctor = station.ok(&["doctor"]);
    assert!(doctor.contains("its container belongs to the daemon"), "{doctor}");
    station.start();
    look(&station);
    let ours = |process: &Process| {
        process.cmdline.contains("f-docker") || process.name.starts_with("wrasse-guardian")
    };
    let left = station.oracle.wait_until(GONE, |seen| !seen.iter().any(ours));
    let left = left.unwrap_or_else(|left| panic!("{left:#?}\n{}", station.log()));
    let container = |process: &&Process| process.ppid == daemon;
    assert!(left.iter().filter(container).count() == 1, "{left:#?}");
    let below: Vec<u32> = processes::descendants(daemon).iter().map(|one| one.pid).collect();
    station.ok(&["gateway", "stop"]);
    station.warden = None;
    station.oracle.signal(&[below, vec![daemon]].concat(), SIGKILL);
    station.assert_flat();
}

/// Each field of an entry is edited and the gateway restarted: the old tree is gone, the new one is as the entry says.
// failure mode D2
#[test]
fn an_edited_entry_leaves_nothing_of_the_old_one() {
    let mut station = Station::new();
    let mut server = station.fixture(Mode::Ok);
    server["lifecycle"]["idle"] = json!("10m");
    let other = station.path("work").join("other");
    std::fs::create_dir(&other).unwrap();
    let edits = [
        ("env", json!({ "EDITED": "1" })),
        ("cwd", json!(other)),
        ("args", json!(["f-eof-deaf"])),
        ("command", json!(station.path("copy"))),
    ];
    install(&station.program("wrasse-fixture"), &station.path("copy"));
    configure(&station, server.clone(), json!({}));
    station.start();
    let mut before = look(&station);
    for (field, value) in edits {
        server[field] = value;
        configure(&station, server.clone(), json!({}));
        // The port is another one now: the old gateway is asked by its endpoint, not by the configuration.
        station.ok(&["gateway", "stop"]);
        station.warden = None;
        station.assert_empty();
        station.start();
        let now = look(&station);
        assert_ne!(now["pid"], before["pid"], "{field}");
        let seen = station.oracle.list();
        let servers = seen.iter().filter(|process| process.cmdline.contains(" f-")).count();
        assert_eq!(servers, 1, "{seen:#?}");
        before = now;
    }
    assert!(before["env"].as_array().unwrap().contains(&json!("EDITED")), "{before:#}");
    assert_eq!(before["cwd"], json!(other.canonicalize().unwrap()), "{before:#}");
    station.assert_flat();
}

/// A server that is kept runs what it was started from; a restart of it runs what is installed now.
// failure mode D10
#[test]
fn a_restarted_server_runs_what_is_installed() {
    let mut station = Station::new();
    let installed = station.path("server");
    install(&station.program("wrasse-fixture"), &installed);
    let mut server = station.fixture(Mode::Ok);
    server["command"] = json!(installed);
    server["lifecycle"]["idle"] = json!("10m");
    configure(&station, server, json!({}));
    station.start();
    look(&station);
    let exe = |pid: u32| std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let next = station.path("next");
    install(&station.program("wrasse-fixture"), &next);
    std::fs::rename(&next, &installed).unwrap();
    let old = leaders(&station)[0];
    assert!(exe(old).display().to_string().ends_with("(deleted)"));
    station.ok(&["mcp", "restart", "fix"]);
    look(&station);
    let new = leaders(&station);
    assert_eq!(new.len(), 1);
    assert_eq!(exe(new[0]), installed);
    assert!(!processes::descendants(station.gateway()).iter().any(|one| one.pid == old));
    station.assert_flat();
}

/// Servers that nobody has called yet are idle, not failed: none runs, none is tried.
// failure mode E10
#[test]
fn servers_that_were_never_called_are_not_failures() {
    let mut station = Station::new();
    let servers = json!({ "a": station.fixture(Mode::Ok), "b": station.fixture(Mode::Daemon) });
    station.configure(
        json!({ "mcp": { "servers": servers } }),
        &json!({ "otherwise": { "text": "done" } }),
    );
    station.start();
    let status = station.json(&["mcp", "status"]);
    for server in status["servers"].as_array().unwrap() {
        assert_eq!(server["state"], "absent", "{status:#}");
        assert!(server["fault"].is_null(), "{status:#}");
        assert_eq!(server["instances"], 0, "{status:#}");
    }
    assert_eq!(station.json(&["ps"])["ended"]["trees"], 0, "{}", station.log());
    station.assert_no_servers(Duration::from_secs(1));
    station.assert_flat();
}

/// A server whose known tools can no longer be had is not offered with them.
// failure mode I2
#[test]
fn tools_of_a_server_that_fails_to_start_are_withdrawn() {
    let mut station = Station::new();
    let installed = station.path("server");
    let mut server = station.fixture(Mode::Ok);
    server["command"] = json!(installed);
    configure(&station, server, json!({}));
    let update = |from: &Path| {
        let next = installed.with_extension("next");
        install(from, &next);
        std::fs::rename(&next, &installed).unwrap();
    };
    let good = station.program("wrasse-fixture");
    let bad = station.path("bad");
    std::fs::write(&bad, "#!/bin/sh\necho broken by an update >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&bad, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    update(&good);
    station.start();
    look(&station);
    update(&bad);
    let again = || {
        let output = station.cli(&["agent", "-m", "look", "--session-key", "again"]);
        text(&output.stdout)
    };
    // At first the calls are refused, with the server's own words; as the pauses grow, nothing is promised any more.
    assert!(again().contains("broken by an update"));
    eventually("its tools are withdrawn", PATIENCE, || {
        again().contains("there is no tool \"fix__self\"")
    });
    station.assert_logs("1 server did not come up");
    let status = station.json(&["mcp", "status"]);
    assert!(status["servers"][0]["fault"].is_object(), "{status:#}");
    station.assert_no_servers(GONE);
    update(&good);
    station.ok(&["mcp", "restart", "fix"]);
    look(&station);
    station.assert_flat();
}

/// A daemon of a server writes without bound. When all that could stop it dies but one, it stops.
// failure mode F4
#[test]
fn nobody_goes_on_writing_after_the_gateway_died() {
    let mut station = Station::new();
    let (file, mut server) = (station.path("work").join("noise"), station.fixture(Mode::Ok));
    let script = "(setsid sh -c 'trap \"\" TERM HUP; while :; do echo noise >>\"$1\"; done' sh \"$1\" \
        >/dev/null 2>&1 &); exec \"$0\" f-ok";
    server["args"] = json!(["-c", script, server["command"], file]);
    server["command"] = json!("sh");
    configure(&station, server, json!({}));
    station.start();
    hold(&station);
    let size = || std::fs::metadata(&file).map_or(0, |found| found.len());
    eventually("it writes", PATIENCE, || size() > 0);
    let gateway = station.gateway();
    station.warden = None;
    station.oracle.signal(&[gateway], SIGKILL);
    let left = station.oracle.wait_until(AFTER_DEATH, <[_]>::is_empty);
    assert!(left.is_ok(), "{left:#?}\n{}", station.log());
    let end = size();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(size(), end);
    station.start();
    station.assert_flat();
}

/// Whether somebody listens there. Who tried to listen there himself might keep away whom he waits for.
fn is_open(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// A lock and a port are held by daemons of a gateway that died with all its links: they are proven ours, and gone
/// before the next one serves.
// failure mode F6
#[test]
fn what_a_dead_gateway_s_daemons_held_is_free_at_the_next_start() {
    let mut station = Station::new();
    let (lock, port) = (station.path("work").join("lock"), free_port());
    let marker = station.path("work").join("second");
    // At first a daemon takes it, with an input that never ends; from the second start on the server itself must.
    let script = "if [ -e \"$2\" ]; then exec \"$0\" \"$1\" \"$3\"; fi; \
        (setsid sh -c 'sleep 1000 | \"$0\" \"$1\" \"$2\"' \"$0\" \"$1\" \"$3\" >/dev/null 2>&1 &); exec \"$0\" f-ok";
    let server = |mode: &str, thing: Value| {
        let mut server = station.fixture(Mode::Ok);
        server["args"] = json!(["-c", script, server["command"], mode, marker, thing.to_string()]);
        server["command"] = json!("sh");
        server
    };
    let lock_name = lock.display().to_string();
    let mut locking = server("f-lock", json!(0));
    locking["args"][5] = json!(lock_name);
    let servers = json!({ "lock": locking, "port": server("f-port", json!(port)) });
    let started = station.path("work").join("started");
    station.configure(
        json!({ "mcp": { "servers": servers } }),
        &json!({ "rules": [
            { "when": { "last": "user", "text": "hold" }, "reply": { "calls": [
                { "name": "lock__hold", "arguments": { "started": started } },
                { "name": "port__echo", "arguments": { "text": "x" } } ] } },
            { "when": { "last": "user" }, "reply": { "calls": [
                { "name": "lock__echo", "arguments": { "text": "locked" } },
                { "name": "port__echo", "arguments": { "text": "listening" } } ] } },
        ], "otherwise": { "text": "{{last}}" } }),
    );
    station.start();
    hold(&station);
    let held = |mode: &str| {
        let seen = processes::all();
        seen.iter().any(|one| one.cmdline.ends_with(mode) && one.name == "wrasse-fixture")
    };
    eventually("both are held", PATIENCE, || held(&format!("f-lock {lock_name}")) && is_open(port));
    let gateway = station.gateway();
    let guardians = super::chain::guardians(&station.oracle.list());
    let victims = [vec![station.warden.take().unwrap(), gateway], guardians].concat();
    station.kill_at_once(&victims);
    std::fs::write(&marker, "").unwrap();
    assert!(is_open(port), "the orphan holds its port");
    station.start();
    let answer = station.ok(&["agent", "-m", "go", "--session-key", "second"]);
    assert!(!answer.contains("failed"), "{answer}\n{}", station.log());
    station.assert_flat();
}

/// A port that somebody else holds: he is named, and lives.
// failure mode F6
#[test]
fn who_holds_the_port_is_named_and_left_alone() {
    let mut station = Station::new();
    let port = free_port();
    let server = station.fixture(Mode::Ok);
    configure(&station, server, json!({ "gateway": { "port": port } }));
    let fixture = station.program("wrasse-fixture").display().to_string();
    let script = format!("sleep 1000 | exec {fixture} f-port {port}");
    station.spawn(&["sh".into(), "-c".into(), script]);
    let holder = |seen: &[Process]| {
        seen.iter()
            .find(|one| {
                one.cmdline.ends_with(&format!("f-port {port}")) && !one.cmdline.starts_with("sh")
            })
            .map(|one| one.pid)
    };
    eventually("the port is taken", PATIENCE, || is_open(port));
    let stranger = holder(&station.oracle.list()).unwrap();
    let output = station.cli(&["gateway", "run"]);
    let said = text(&output.stderr) + &text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("process {stranger} (wrasse-fixture) listens there")), "{said}");
    let seen = station.oracle.list();
    assert_eq!(holder(&seen), Some(stranger));
    let all: Vec<u32> = seen.iter().map(|one| one.pid).collect();
    station.oracle.signal(&all, SIGKILL);
    station.assert_empty();
}
