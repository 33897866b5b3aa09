//! Servers that attack: one that kills all it may, one that forks without bound. Each where it can harm nobody else.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::namespace::{AS_ANYBODY, AS_ROOT, permits};
use wrasse_testkit::nobody::can_be;
use wrasse_testkit::station::{PATIENCE, Station, bins, eventually, install};

use super::hygiene::hold;

/// Set for the test program itself when it runs as a user of its own.
const LIMITED: &str = "WRASSE_TEST_LIMITED";
/// A user that nobody else is, and how many processes and threads it may have.
const USER: u32 = 64_321;
const PROCESSES: u32 = 90;

/// A server kills every process it may, its siblings, its guardian and the gateway among them, in a PID namespace of
/// its own: nothing of any server is left, and the next start is as good as the first.
// failure mode K5
#[test]
fn a_server_that_kills_everybody_ends_itself() {
    for launcher in [&AS_ROOT[..], &AS_ANYBODY[..]] {
        if let Err(why) = permits(launcher) {
            eprintln!(
                "SKIPPED a_server_that_kills_everybody_ends_itself under {}: {why}",
                launcher.join(" ")
            );
            continue;
        }
        let mut station = Station::new();
        let mut killer = station.fixture(Mode::KillAll);
        // The stage: the warden, which is PID 1 in there and cannot be killed from below.
        killer["args"] = json!(["f-killall", "1"]);
        killer["env"] = json!({ "KILLALL_MAY_EMPTY": "${KILLALL_MAY_EMPTY}" });
        let servers = json!({ "killer": killer, "fix": station.fixture(Mode::Ok),
            "deaf": station.fixture(Mode::TermDeaf), "daemon": station.fixture(Mode::Daemon) });
        let started = station.path("work").join("started");
        let call = |server: &str, tool: &str| json!({ "name": format!("{server}__{tool}"), "arguments": { "started": started, "text": "x" } });
        station.configure(
            json!({ "mcp": { "servers": servers } }),
            &json!({ "rules": [
                { "when": { "last": "user", "text": "hold" }, "reply": { "calls": [
                    call("deaf", "echo"), call("daemon", "echo"), call("fix", "hold")] } },
                { "when": { "last": "user", "text": "kill" }, "reply": { "calls": [call("killer", "echo")] } },
            ], "otherwise": { "text": "done" } }),
        );
        // What is PID 1 there names the namespace, and nobody else does.
        let name = "[ $$ = 1 ] && KILLALL_MAY_EMPTY=$(readlink /proc/self/ns/pid) && \
            export KILLALL_MAY_EMPTY && exec \"$@\"";
        station.set_launcher(&[launcher, &["sh", "-c", name, "sh"]].concat());
        station.start();
        hold(&station);
        let launched = station.warden.take().unwrap();
        let params = json!({ "message": "kill", "sessionKey": "kill" }).to_string();
        // The gateway may be dead before it has answered.
        station.cli(&["gateway", "call", "agent", "--params", &params]);
        assert_eq!(station.oracle.exit_code(launched, PATIENCE), Some(137), "{}", station.log());
        station.assert_empty();
        station.set_launcher(&[]);
        station.start();
        station.assert_flat();
    }
}

/// Runs one test of this program again as a user of its own, with few processes and from copies that it may read.
#[expect(clippy::disallowed_methods, reason = "starts itself as another user")]
fn limited(test: &str) {
    let folder = tempfile::Builder::new().prefix("wrasse-limited-").tempdir().unwrap();
    let open = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    open(folder.path());
    if let Err(why) = can_be(USER, folder.path()) {
        eprintln!("SKIPPED {test}: {why}");
        return;
    }
    let own = std::env::current_exe().unwrap();
    let programs = ["wrasse", "wrasse-fixture", "wrasse-oracle"].map(|name| bins().join(name));
    for program in programs.iter().chain([&own]) {
        let copy = folder.path().join(program.file_name().unwrap());
        install(program, &copy);
        open(&copy);
    }
    let mut child = Command::new("prlimit")
        .arg(format!("--nproc={PROCESSES}:{PROCESSES}"))
        .arg(folder.path().join(own.file_name().unwrap()))
        .args(["--exact", "--nocapture", "--test-threads=1", test])
        .env(LIMITED, "1")
        .env("HOME", folder.path())
        .env_remove("TMPDIR")
        .current_dir(folder.path())
        .uid(USER)
        .gid(USER)
        .spawn()
        .unwrap();
    let end = Instant::now() + 4 * PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() >= end {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(status.success(), "{test}: {status}");
}

/// No more processes are to be had: a start is refused with the reason, the gateway answers, the bomb is ended by
/// force, and then there are processes again.
// failure mode G6
#[test]
fn a_fork_bomb_takes_every_process_and_is_ended() {
    if std::env::var_os(LIMITED).is_none() {
        return limited("enemies::a_fork_bomb_takes_every_process_and_is_ended");
    }
    let mut station = Station::new();
    let mut servers = json!({ "bomb": station.fixture(Mode::ForkBomb), "counted": station.fixture(Mode::ForkBomb),
        "ok": station.fixture(Mode::Ok) });
    for name in ["bomb", "counted"] {
        servers[name]["lifecycle"]["idle"] = json!("10m");
    }
    servers["counted"]["lifecycle"]["processesMax"] = json!(20);
    let rule = |word: &str, server: &str| {
        json!({ "when": { "last": "user", "text": word },
            "reply": { "calls": [{ "name": format!("{server}__echo"), "arguments": { "text": "hello" } }] } })
    };
    station.configure(
        json!({ "mcp": { "servers": servers } }),
        &json!({ "rules": [rule("bomb", "bomb"), rule("counted", "counted"), rule("ok", "ok")],
            "otherwise": { "text": "{{last}}" } }),
    );
    station.start();
    let rpc = station.rpc();
    let run = |word: &str| -> Value {
        let params = json!({ "message": word, "sessionKey": word });
        let run = rpc.call("agent", &params, PATIENCE).unwrap();
        let params = json!({ "runId": run["runId"], "timeoutMs": 60_000 });
        rpc.call("agent.wait", &params, 2 * PATIENCE).unwrap()
    };
    // All tools are known before there is no process to learn them with.
    assert_eq!(run("ok")["text"], "hello");
    // Counted once a second, and ended with the figure.
    run("counted");
    eventually("the counted bomb is ended", PATIENCE, || {
        let ps = rpc.call("ps", &json!({}), PATIENCE).unwrap();
        !ps["instances"].as_array().unwrap().iter().any(|one| one["server"] == "counted")
    });
    station.assert_logs("processes of 20 allowed");
    run("bomb");
    eventually("no process is to be had", PATIENCE, || {
        #[expect(clippy::disallowed_methods, reason = "asks the kernel for a process")]
        let tried = Command::new("true").spawn();
        match tried {
            Ok(mut child) => {
                child.wait().unwrap();
                false
            }
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        }
    });
    rpc.call("status", &json!({}), PATIENCE).unwrap();
    let refused = run("ok");
    let said = refused["text"].as_str().unwrap_or_default();
    assert!(said.contains("Resource temporarily unavailable"), "{refused:#}");
    // The guard program is as good as before: a lack of processes says nothing about it.
    assert!(!station.log().contains("containment is degraded"), "{}", station.log());
    let stopped = rpc.call("mcp.stop", &json!({ "name": "bomb" }), PATIENCE).unwrap();
    assert_eq!(stopped["ended"][0]["provenEmpty"], true, "{stopped:#}");
    rpc.call("mcp.restart", &json!({ "name": "ok" }), PATIENCE).unwrap();
    let again = run("ok");
    assert!(again["text"].as_str().unwrap().starts_with("hello"), "{again:#}\n{}", station.log());
    station.assert_flat();
}
