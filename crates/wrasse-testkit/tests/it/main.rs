//! The fixtures misbehave as they say: a fixture that conforms by mistake would prove nothing.
#![expect(clippy::unwrap_used, reason = "a test stops where it stands")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use wrasse_testkit::station::{eventually, free_port};
use wrasse_testkit::{processes, signals};

const PATIENCE: Duration = Duration::from_secs(20);

/// A fixture that is spoken to directly; killed when dropped.
struct Spoken {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

#[expect(clippy::disallowed_methods, reason = "the kit's own programs")]
fn fixture(args: &[&str]) -> Command {
    signals::heed();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wrasse-fixture"));
    command.args(args).stderr(Stdio::null());
    command
}

impl Spoken {
    fn start(args: &[&str]) -> Self {
        let mut child = fixture(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, stdin, lines: BufReader::new(stdout) }
    }

    fn say(&mut self, method: &str, params: &Value) {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        writeln!(self.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).ok()
    }

    fn call(&mut self, tool: &str) {
        self.say("tools/call", &json!({ "name": tool, "arguments": { "text": "hello" } }));
    }

    fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Spoken {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn every_server_that_serves_answers_initialize() {
    for mode in [
        "f-ok",
        "f-npx",
        "f-shc",
        "f-eof-deaf",
        "f-term-deaf",
        "f-term-deadlock",
        "f-eof-spin",
        "f-stderr-flood",
        "f-stdout-flood",
        "f-notify-flood",
        "f-stdin-stop",
        "f-counter",
        "f-bg",
        "f-zombie",
        "f-listchg",
        "f-comet",
        "f-stop-guardian",
        "f-killall",
        "f-fork-bomb",
    ] {
        let mut server = Spoken::start(&[mode]);
        server.say("initialize", &json!({ "protocolVersion": "2025-11-25" }));
        let answer = server.hear().unwrap_or_else(|| panic!("{mode} says nothing"));
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25", "{mode}: {answer}");
        // What ignores EOF and SIGTERM behind a shell is ended by its shell's death or by EOF.
        for child in processes::descendants(server.child.id()) {
            kill(child.pid);
        }
    }
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).unwrap();
    // It may be gone already.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// Those that could hurt others say no, and stay servers.
#[test]
fn the_dangerous_ones_refuse_here() {
    // Never `f-killall 1` here: below a Wrasse that is PID 1 a single condition would be left that refuses.
    for args in [&["f-killall"][..], &["f-stop-guardian"]] {
        let mut server = Spoken::start(args);
        server.call("echo");
        let answer = server.hear().unwrap();
        assert_eq!(answer["result"]["content"][0]["text"], "hello", "{args:?}");
    }
}

#[test]
fn eof_is_ignored_or_spun_on() {
    for mode in ["f-eof-deaf", "f-eof-spin"] {
        let mut server = Spoken::start(&[mode]);
        server.say("ping", &json!({}));
        server.hear().unwrap();
        drop(server.stdin.take());
        let pid = server.child.id();
        if mode == "f-eof-spin" {
            // Its pipes break when nobody reads them any more.
            server.lines = BufReader::new(
                fixture(&["f-exit-now"])
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
                    .stdout
                    .take()
                    .unwrap(),
            );
            eventually("it burns CPU", PATIENCE, || ticks(pid) > 30);
        }
        assert!(server.lives(), "{mode}");
    }
}

/// User and system time in clock ticks.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn sigterm_ends_in_a_deadlock() {
    let mut server = Spoken::start(&["f-term-deadlock"]);
    server.say("ping", &json!({}));
    server.hear().unwrap();
    let leader = server.child.id();
    let pid = i32::try_from(leader).ok().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    server.say("ping", &json!({}));
    server.hear().unwrap();
    assert!(server.lives());
    for child in processes::descendants(leader) {
        kill(child.pid);
    }
    eventually("the joined loop's end lets it go", PATIENCE, || !server.lives());
}

#[test]
fn reading_stops_in_the_middle_of_a_call() {
    let mut server = Spoken::start(&["f-stdin-stop"]);
    server.say("ping", &json!({}));
    server.hear().unwrap();
    let mut stdin = server.stdin.take().unwrap();
    let big =
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": "x".repeat(1 << 20) });
    let written = std::thread::spawn(move || writeln!(stdin, "{big}"));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!written.is_finished(), "it still reads");
    server.child.kill().unwrap();
    assert!(written.join().unwrap().is_err());
}

#[test]
fn a_lock_and_a_port_are_held() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock").display().to_string();
    let port = free_port().to_string();
    for args in [["f-lock", path.as_str()], ["f-port", port.as_str()]] {
        let mut first = Spoken::start(&args);
        first.say("ping", &json!({}));
        first.hear().unwrap();
        let second = fixture(&args).stdin(Stdio::null()).output().unwrap();
        assert_eq!(second.status.code(), Some(1), "{args:?}");
    }
}

#[test]
fn a_side_effect_is_committed_and_never_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("effects");
    let mut server = Spoken::start(&["f-sidefx", &path.display().to_string()]);
    server.call("echo");
    assert_eq!(server.hear(), None);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "committed\n");
    assert_eq!(server.child.wait().unwrap().code(), Some(3));
}

#[test]
fn floods_zombies_growth_and_new_tools() {
    let mut server = Spoken::start(&["f-stdout-flood"]);
    server.call("echo");
    let answer = server.hear().unwrap();
    assert!(answer["result"]["content"][0]["text"].as_str().unwrap().len() >= 2 << 20);

    let mut server = Spoken::start(&["f-notify-flood"]);
    server.say("initialize", &json!({}));
    server.hear().unwrap();
    for _ in 0..500 {
        assert_eq!(server.hear().unwrap()["method"], "notifications/message");
    }

    let mut server = Spoken::start(&["f-zombie"]);
    server.call("echo");
    server.hear().unwrap();
    let pid = server.child.id();
    eventually("three zombies", PATIENCE, || {
        processes::descendants(pid).iter().filter(|child| child.state == 'Z').count() == 3
    });

    let mut server = Spoken::start(&["f-listchg"]);
    server.call("echo");
    server.hear().unwrap();
    assert_eq!(server.hear().unwrap()["method"], "notifications/tools/list_changed");
    server.say("tools/list", &json!({}));
    assert!(server.hear().unwrap().to_string().contains("late_1"));

    let server = Spoken::start(&["f-grow", "60"]);
    let pid = server.child.id();
    eventually("it grows", PATIENCE, || processes::read(pid).unwrap().memory > 55 << 20);
}

/// failure mode A16: the container is not the client's child and outlives it; only `rm` ends it.
#[test]
fn a_fake_container_outlives_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let name = socket.display().to_string();
    let daemon = Spoken::start(&["dockerd", &name]);
    eventually("the daemon listens", PATIENCE, || UnixStream::connect(&socket).is_ok());
    let mut client = Spoken::start(&["f-docker", &name, "--label", "lease=7"]);
    client.say("initialize", &json!({ "protocolVersion": "1" }));
    assert_eq!(client.hear().unwrap()["result"]["protocolVersion"], "1");
    let docker = |words: &[&str]| {
        let output = fixture(&[&["docker", "-H", &name], words].concat()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let listed = || docker(&["ps", "-q", "--filter", "label=lease=7"]);
    drop(client);
    let id = listed();
    assert!(id.starts_with('c'), "{id:?}");
    assert_eq!(docker(&["ps", "-q", "--filter", "label=lease=8"]), "");
    assert_eq!(docker(&["rm", "-f", &id]), id);
    assert_eq!(listed(), "");
    drop(daemon);
}

/// Who asked was killed before it read the answer; what the oracle started ends nevertheless.
#[test]
#[expect(clippy::disallowed_methods, reason = "the kit's own program")]
fn an_oracle_that_nobody_hears_ends_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let mut oracle = Command::new(env!("CARGO_BIN_EXE_wrasse-oracle"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(oracle.stdout.take());
    let pid = folder.path().join("pid");
    let script = format!("echo $$ > {}; exec sleep 1000", pid.display());
    let request = json!({ "Spawn": { "argv": ["sh", "-c", script], "env": {},
        "output": folder.path().join("log"), "cwd": "/" } });
    writeln!(oracle.stdin.as_mut().unwrap(), "{request}").unwrap();
    // Its input does not end: that nobody hears it is enough.
    assert!(oracle.wait().unwrap().success());
    let started = std::fs::read_to_string(pid).unwrap_or_default();
    assert!(started.trim().parse().ok().and_then(processes::read).is_none(), "{started}");
}
