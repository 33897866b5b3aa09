//! What a server and our own processes are started with: nothing that is not theirs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::processes::Process;
use wrasse_testkit::station::{PATIENCE, Station};

/// Rust's runtime ignores SIGPIPE in every program of its own, the fixture's included.
const SIGPIPE_BIT: u64 = 1 << 12;

/// One server with one agent: "look" asks it what it was started with, "hold" leaves a call in flight.
pub(crate) fn configure(station: &Station, server: Value, extra: Value) {
    let mut config = extra;
    config["mcp"]["servers"]["fix"] = server;
    let started = station.path("work").join("started");
    station.configure(
        config,
        &json!({ "rules": [
            { "when": { "last": "user", "text": "look" },
              "reply": { "calls": [{ "name": "fix__self", "arguments": {} }] } },
            { "when": { "last": "user", "text": "hold" },
              "reply": { "calls": [{ "name": "fix__hold", "arguments": { "started": started } }] } },
        ], "otherwise": { "text": "{{last}}" } }),
    );
}

/// A station with the server that conforms.
pub(crate) fn station() -> Station {
    let station = Station::new();
    configure(&station, station.fixture(Mode::Ok), json!({}));
    station
}

/// What the server says it was started with.
pub(crate) fn look(station: &Station) -> Value {
    let answer = station.ok(&["agent", "-m", "look", "--session-key", "look"]);
    // A line about an earlier instance may follow.
    let first = answer.lines().next().unwrap_or_default();
    serde_json::from_str(first)
        .unwrap_or_else(|error| panic!("{error}: {answer}\n{}", station.log()))
}

/// Leaves a call in flight.
pub(crate) fn hold(station: &Station) {
    let started = station.path("work").join("started");
    // Of an earlier one.
    drop(std::fs::remove_file(&started));
    let params = json!({ "message": "hold", "sessionKey": "hold" }).to_string();
    station.ok(&["gateway", "call", "agent", "--params", &params]);
    station.eventually("the call is in flight", || started.exists());
}

/// The living processes with a name.
pub(crate) fn named(seen: &[Process], name: &str) -> Vec<Process> {
    let living = seen.iter().filter(|process| process.state != 'Z');
    living.filter(|process| process.name.starts_with(name)).cloned().collect()
}

fn names(own: &Value) -> BTreeSet<String> {
    own["env"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

pub(crate) fn link(pid: u32, what: &str) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/{what}")).unwrap_or_default()
}

/// Everything a process has open.
pub(crate) fn open_files(pid: u32) -> Vec<(u32, String)> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let numbers = entries.flatten().filter_map(number);
    numbers.map(|fd| (fd, link(pid, &format!("fd/{fd}")).display().to_string())).collect()
}

/// failure mode C11, J7: the documented set and the mark, nothing else that the gateway has.
#[test]
fn a_server_gets_exactly_the_documented_environment() {
    let mut station = Station::new();
    let mut server = station.fixture(Mode::Ok);
    server["env"] = json!({ "OWN": "1" });
    configure(&station, server, json!({ "mcp": { "inheritEnv": ["PASSED_*"] } }));
    let documented = [
        "HOME",
        "LOGNAME",
        "PATH",
        "SHELL",
        "TERM",
        "USER",
        "LANG",
        "LC_ALL",
        "TZ",
        "TMPDIR",
        "XDG_CACHE_HOME",
        "HTTPS_PROXY",
        "no_proxy",
        "NODE_EXTRA_CA_CERTS",
        "SSL_CERT_FILE",
        "npm_config_cache",
        "PASSED_ON",
    ];
    let path = std::env::var("PATH").unwrap();
    for name in documented {
        let value = match name {
            "PATH" => path.clone(),
            "HOME" | "TMPDIR" => station.path("home").display().to_string(),
            _ => "x".to_owned(),
        };
        station.set_env(name, value);
    }
    for secret in [
        "OPENAI_API_KEY",
        "GITHUB_TOKEN",
        "NODE_OPTIONS",
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "BASH_ENV",
        "SSH_AUTH_SOCK",
        "UNHEARD_OF",
    ] {
        station.set_env(secret, "/nonexistent");
    }
    station.start();
    let own = look(&station);
    let expected: BTreeSet<String> =
        documented.iter().chain(&["OWN", "WRASSE_MARK"]).map(|name| (*name).to_owned()).collect();
    assert_eq!(names(&own), expected);
    station.assert_flat();
}

/// A variable that makes a program run something else is dropped, and that is said once.
#[test]
fn dangerous_variables_are_dropped_with_one_warning() {
    let mut station = Station::new();
    let mut server = station.fixture(Mode::Ok);
    server["env"] =
        json!({ "LD_PRELOAD": "/x.so", "NODE_OPTIONS": "-r x", "BASH_ENV": "x", "KEPT": "1" });
    configure(&station, server, json!({}));
    station.start();
    let own = look(&station);
    let names = names(&own);
    assert!(names.contains("KEPT"), "{names:?}");
    for dropped in ["LD_PRELOAD", "NODE_OPTIONS", "BASH_ENV"] {
        assert!(!names.contains(dropped), "{names:?}");
    }
    let log = station.log();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("LD_PRELOAD")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(warnings[0].contains("NODE_OPTIONS"), "{}", warnings[0]);
    station.assert_flat();
}

/// `inheritEnv: ["*"]` means what is harmless: the rest is passed on by its full name only, and said once.
#[test]
fn everything_inherited_is_everything_harmless() {
    let mut station = Station::new();
    let inherit = json!({ "mcp": { "inheritEnv": ["*", "PYTHONSTARTUP"] } });
    configure(&station, station.fixture(Mode::Ok), inherit);
    for name in ["LD_LIBRARY_PATH", "NODE_OPTIONS", "PYTHONSTARTUP", "GITHUB_TOKEN"] {
        station.set_env(name, "/nonexistent");
    }
    station.set_env("WRASSE_GATEWAY_TOKEN", "key-to-the-door");
    station.start();
    let names = names(&look(&station));
    for passed in ["PYTHONSTARTUP", "GITHUB_TOKEN", "WRASSE_MARK"] {
        assert!(names.contains(passed), "{names:?}");
    }
    for withheld in ["LD_LIBRARY_PATH", "NODE_OPTIONS", "WRASSE_GATEWAY_TOKEN", "WRASSE_WARDEN"] {
        assert!(!names.contains(withheld), "{names:?}");
    }
    let log = station.log();
    let said: Vec<&str> = log.lines().filter(|line| line.contains("mcp.inheritEnv")).collect();
    assert_eq!(said.len(), 1, "{log}");
    assert!(said[0].contains("LD_LIBRARY_PATH, NODE_OPTIONS"), "{}", said[0]);
    station.assert_flat();
}

/// Launched with descriptors open, signals ignored and blocked: nothing of it reaches the server.
#[test]
fn a_server_has_three_descriptors_and_no_inherited_signal_state() {
    let mut station = Station::new();
    // Before any program of Rust's, which would ignore SIGPIPE itself.
    let status = station.path("work").join("status");
    let mut server = station.fixture(Mode::Ok);
    server["args"] =
        json!(["-c", "cat /proc/self/status >\"$1\"; exec \"$0\" f-ok", server["command"], status]);
    server["command"] = json!("sh");
    configure(&station, server, json!({}));
    let deaf = super::host::python(
        "import os,signal,sys\nfor s in range(1,65):\n  try: signal.signal(s, signal.SIG_IGN)\n  except (OSError, ValueError): pass\n\
         signal.pthread_sigmask(signal.SIG_BLOCK, range(1,65))\n\
         os.dup2(os.open('/etc/passwd', os.O_RDONLY), 77); os.execvp(sys.argv[1], sys.argv[1:])",
    );
    station.set_launcher(&deaf.iter().map(String::as_str).collect::<Vec<_>>());
    station.start();
    let own = look(&station);
    let fds = own["fds"].as_array().unwrap();
    let numbers: Vec<u64> = fds.iter().map(|fd| fd[0].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2], "{own:#}");
    assert!(fds.iter().all(|fd| fd[1].as_str().unwrap().starts_with("pipe:")), "{own:#}");
    assert_eq!(own["cwd"], json!(station.path("work").canonicalize().unwrap()), "{own:#}");
    let bits = |text: &Value| u64::from_str_radix(text.as_str().unwrap(), 16).unwrap();
    assert_eq!(bits(&own["sig_ign"]) & !SIGPIPE_BIT, 0, "{own:#}");
    assert_eq!(bits(&own["sig_blk"]), 0, "{own:#}");
    assert_eq!(own["group"], own["pid"], "a group of its own: {own:#}");
    assert_ne!(own["session"], own["pid"], "{own:#}");
    let status = std::fs::read_to_string(status).unwrap();
    for field in ["SigIgn:", "SigBlk:"] {
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    station.assert_flat();
}

/// Servers go before us when memory runs out, and their mark is on them; we ourselves are as we were launched.
// failure mode G9
#[test]
fn a_server_carries_its_mark_and_is_the_first_to_go() {
    let mut station = station();
    station.start();
    let own = look(&station);
    let score: i32 = own["oom_score_adj"].as_str().unwrap().parse().unwrap();
    let of = |pid: u32| -> i32 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        text.trim().parse().unwrap()
    };
    let (gateway, warden) = (of(station.gateway()), of(station.warden.unwrap()));
    assert_eq!(gateway, warden);
    // Where ours is the highest there is, none is higher.
    assert!(score > gateway || gateway == 1000, "{own:#}");
    let locks = |limits: &str| -> Option<u64> {
        let line = limits.lines().find(|line| line.starts_with("Max file locks"))?;
        line.split_whitespace().nth(3)?.parse().ok()
    };
    let server = locks(own["limits"].as_str().unwrap());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", station.gateway())).unwrap();
    let gateway = locks(&limits);
    assert!(server.is_some() && server < gateway, "{server:?} {gateway:?}");
    station.assert_flat();
}

/// Neither a workspace nor anything the caller had open is held by a guardian, and the door by nobody but the gateway.
#[test]
fn ours_hold_nothing_of_anybody() {
    let mut station = station();
    let script = "exec 7</etc/passwd 9>>\"$0\"; exec \"$@\"";
    let extra = station.path("extra").display().to_string();
    station.set_launcher(&["sh", "-c", script, &extra]);
    station.start();
    hold(&station);
    let seen = station.oracle.list();
    let guardians = named(&seen, "wrasse-guardian");
    assert_eq!(guardians.len(), 1, "{seen:#?}");
    let gateway = station.gateway();
    for process in seen.iter().filter(|process| process.pid != gateway) {
        let open = open_files(process.pid);
        let ours = Some(process.pid) == station.warden;
        let foreign = |(_, path): &&(u32, String)| path == "/etc/passwd" || *path == extra;
        // The warden passes on what its caller meant for the gateway.
        assert!(ours || !open.iter().any(|file| foreign(&file)), "{process:?} {open:?}");
    }
    let guardian = guardians[0].pid;
    assert_eq!(link(guardian, "cwd"), PathBuf::from("/"));
    let kinds = open_files(guardian);
    // Its own leaf of the cgroup layer, where there is one.
    let known = ["socket:", "pipe:", "anon_inode:", "/dev/null", "/sys/fs/cgroup/"];
    let log = station.path("gateway.log").display().to_string();
    let fine = |path: &str| known.iter().any(|kind| path.starts_with(kind)) || path == log;
    assert!(kinds.iter().all(|(_, path)| fine(path)), "{kinds:?}");
    assert_eq!(link(gateway, "fd/0"), PathBuf::from("/dev/null"));
    station.assert_flat();
}

/// No directory or mount is kept busy by ours; what is relative on the command line or in the environment is still
/// found where it was meant, and after a restart too.
#[test]
fn ours_stand_in_the_root_and_find_what_was_meant() {
    for by_variable in [false, true] {
        let mut station = station();
        let state = station.path("state");
        // Beside the state dir, so that the default is not what is found.
        let config = station.path("here.json5");
        std::fs::rename(state.join("wrasse.json5"), &config).unwrap();
        let state_dir = if by_variable {
            station.set_env("WRASSE_STATE_DIR", "../state");
            station.set_env("WRASSE_CONFIG", "../here.json5");
            station.set_launcher(&[]);
            vec![]
        } else {
            station.set_env("WRASSE_STATE_DIR", "");
            vec!["--state-dir", "../state", "--config", "../here.json5"]
        };
        let program = station.wrasse().display().to_string();
        let argv = [vec![program.as_str(), "gateway", "run"], state_dir.clone()].concat();
        let argv: Vec<String> = argv.into_iter().map(str::to_owned).collect();
        let warden = station.spawn(&argv);
        // The station's own commands name it in full.
        station.set_env("WRASSE_STATE_DIR", state.display().to_string());
        station.wait_ready();
        station.warden = Some(warden);
        for restarted in [false, true] {
            if restarted {
                station.ok(&["gateway", "restart"]);
                station.wait_ready();
            }
            let own = look(&station);
            assert_eq!(own["cwd"], json!(station.path("work").canonicalize().unwrap()), "{own:#}");
            hold(&station);
            let gateway = station.gateway();
            // The first run may still be letting its server go.
            let ours = |seen: &[Process]| {
                ["wrasse-warden", "wrasse-guardian"].map(|name| named(seen, name))
            };
            let one_each = |seen: &[Process]| ours(seen).each_ref().map(Vec::len) == [1, 1];
            let seen = station.oracle.wait_until(PATIENCE, one_each);
            let ours = ours(&seen.unwrap_or_else(|seen| panic!("{seen:#?}")));
            let pids = ours.iter().flatten().map(|process| process.pid).chain([gateway]);
            for pid in pids {
                assert_eq!(link(pid, "cwd"), PathBuf::from("/"), "{:#?}", station.oracle.list());
            }
        }
        station.assert_flat();
        assert!(!PathBuf::from("/state").exists());
    }
}

/// What a server is given in confidence stands on nobody's command line and in nobody's environment but its own.
// failure mode J7
#[test]
fn a_guardian_says_nothing_of_what_its_server_was_given() {
    const SECRET: &str = "s3cret-of-a-server";
    let mut station = Station::new();
    let mut server = station.fixture(Mode::Ok);
    server["env"] = json!({ "API_TOKEN": SECRET });
    server["args"] = json!(["f-ok", SECRET]);
    configure(&station, server, json!({}));
    station.start();
    hold(&station);
    let mut carriers = |file: &str| {
        let seen = station.oracle.list();
        let holds = |process: &&Process| {
            let bytes = std::fs::read(format!("/proc/{}/{file}", process.pid)).unwrap_or_default();
            bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
        };
        seen.iter().filter(holds).map(|process| process.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(carriers("environ"), ["wrasse-fixture"]);
    assert_eq!(carriers("cmdline"), ["wrasse-fixture"]);
    let ps = station.ok(&["ps", "--json"]);
    assert!(!ps.contains(SECRET), "{ps}");
    assert!(!station.log().contains(SECRET), "{}", station.log());
    station.assert_flat();
}

/// failure mode G10: the port is free as soon as the gateway is killed, whatever its servers do.
#[test]
fn the_port_is_nobody_elses() {
    let mut station = Station::new();
    configure(&station, station.fixture(Mode::TermDeaf), json!({}));
    station.start();
    hold(&station);
    let gateway = station.gateway();
    let endpoint = std::fs::read(station.path("state").join("endpoint.json")).unwrap();
    let endpoint: Value = serde_json::from_slice(&endpoint).unwrap();
    let port = endpoint["port"].as_u64().unwrap();
    let listeners = |port: u64| -> Vec<String> {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let listens = |row: &Vec<&str>| {
            row.get(3) == Some(&"0A") && row[1].ends_with(&format!(":{port:04X}"))
        };
        rows.filter(listens).map(|row| format!("socket:[{}]", row[9])).collect()
    };
    let doors = listeners(port);
    assert_eq!(doors.len(), 1);
    for process in station.oracle.list() {
        let holds = open_files(process.pid).iter().any(|(_, path)| doors.contains(path));
        assert_eq!(holds, process.pid == gateway, "{process:?}");
    }
    station.warden = None;
    station.kill(&[gateway]);
    assert_eq!(listeners(port), [""; 0]);
    station.assert_empty();
    station.start();
    station.assert_flat();
}
