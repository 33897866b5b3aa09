//! The circumstances a gateway is launched in: by whom, with which signals, descriptors and limits. In each it works,
//! and its death as well as its orderly end leaves nothing.

use serde_json::json;
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::hosted::Hosted;
use wrasse_testkit::processes::{self, Process};
use wrasse_testkit::station::{AFTER_DEATH, GONE, PATIENCE, Station, eventually, has};

use crate::hygiene::{configure, hold, look, named, open_files};

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
const SIGSTOP: i32 = 19;
const SIGCHLD_BIT: u64 = 1 << 16;

/// A launcher that runs a line of python; the station's HOME may hide what a version manager put on the PATH.
#[expect(clippy::disallowed_methods, reason = "asks the test machine's own python")]
pub(crate) fn python(script: &str) -> [String; 3] {
    let asked = std::process::Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .unwrap();
    let program = String::from_utf8(asked.stdout).unwrap().trim().to_owned();
    [program, "-c".to_owned(), script.to_owned()]
}

/// A station whose server outlives its pipes.
fn deaf_station() -> Station {
    let station = Station::new();
    configure(&station, station.fixture(Mode::Daemon), json!({}));
    station
}

/// One run works; then SIGKILL of the gateway, and after another start `gateway stop`, leave nothing.
fn holds_under(launcher: &[&str]) {
    let mut station = deaf_station();
    station.set_launcher(launcher);
    station.start();
    look(&station);
    station.assert_no_servers(GONE);
    hold(&station);
    let gateway = station.gateway();
    let warden = station.warden.take().unwrap();
    assert_eq!(station.oracle.signal(&[gateway], SIGKILL), 1);
    let left = station.oracle.wait_until(AFTER_DEATH, <[_]>::is_empty);
    assert!(left.is_ok(), "{launcher:?}: {left:#?}\n{}", station.log());
    assert_eq!(station.oracle.exit_code(warden, PATIENCE), Some(128 + SIGKILL));
    station.start();
    look(&station);
    hold(&station);
    let warden = station.warden.unwrap();
    station.assert_flat();
    assert_eq!(station.oracle.exit_code(warden, PATIENCE), Some(0), "{}", station.log());
}

#[test]
fn under_setsid() {
    holds_under(&["setsid"]);
}

/// A set of signals, from a process's status.
fn signals(status: &str, key: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    u64::from_str_radix(set.trim(), 16).unwrap()
}

fn status(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap()
}

/// The status of a program that a launcher executes: what the gateway is given, before it changes any of it.
#[expect(clippy::disallowed_methods, reason = "a program in the gateway's place")]
fn launched(launcher: &[&str]) -> String {
    let mut command = std::process::Command::new(launcher[0]);
    let output = command.args(&launcher[1..]).args(["cat", "/proc/self/status"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// What was ignored at the start stays so, in warden and gateway, and is not passed on. TERM still drains.
fn ignores(launcher: &[&str], signal: i32) {
    let mut station = deaf_station();
    station.set_launcher(launcher);
    let warden = station.start();
    hold(&station);
    let gateway = station.gateway();
    for pid in [warden, gateway] {
        let status = status(pid);
        let ignored = signals(&status, "SigIgn:");
        assert!(ignored & (1 << (signal - 1)) != 0, "{launcher:?} {pid}: {status}");
        station.oracle.signal(&[pid], signal);
    }
    assert_eq!(station.gateway(), gateway);
    look(&station);
    // A restart executes it anew, below the same warden.
    station.ok(&["gateway", "restart"]);
    station.wait_ready();
    let gateway = station.gateway();
    station.oracle.signal(&[gateway], signal);
    look(&station);
    assert_eq!(station.gateway(), gateway);
    station.warden = None;
    station.oracle.signal(&[warden], SIGTERM);
    assert_eq!(station.oracle.exit_code(warden, PATIENCE), Some(0), "{}", station.log());
    station.assert_flat();
}

#[test]
fn under_nohup() {
    holds_under(&["nohup"]);
    ignores(&["nohup"], SIGHUP);
}

/// As a shell without job control starts what is to run in the background: Ctrl-C is not meant for it.
#[test]
fn in_the_background_of_a_script() {
    ignores(&["sh", "-c", "trap '' INT QUIT; exec \"$@\"", "sh"], SIGINT);
}

/// A launcher that is a line of python, which executes what follows.
fn after(line: &str) -> [String; 3] {
    python(&format!("import os, signal, sys\n{line}\nos.execvp(sys.argv[1], sys.argv[1:])"))
}

/// Neither ours nor a server.
fn assert_nobody_ignores_sigchld(station: &mut Station) {
    let seen = station.oracle.list();
    assert!(!named(&seen, "wrasse-guardian").is_empty(), "{seen:#?}");
    for process in seen {
        // What has ended since has none.
        let Ok(has) = std::fs::read_to_string(format!("/proc/{}/status", process.pid)) else {
            continue;
        };
        assert_eq!(signals(&has, "SigIgn:") & SIGCHLD_BIT, 0, "{process:?}: {has}");
    }
}

/// An ignored SIGCHLD would let the kernel reap our children, with their statuses and numbers. A shell cannot make one:
/// many have a handler for it whatever they were told, which an exec resets.
#[test]
fn with_sigchld_ignored() {
    let launcher = after("signal.signal(signal.SIGCHLD, signal.SIG_IGN)");
    let launcher = launcher.each_ref().map(String::as_str);
    let given = launched(&launcher);
    assert!(signals(&given, "SigIgn:") & SIGCHLD_BIT != 0, "{given}");
    holds_under(&launcher);
    let mut station = deaf_station();
    station.set_launcher(&launcher);
    station.start();
    hold(&station);
    assert_nobody_ignores_sigchld(&mut station);
    station.assert_flat();
    // Above a shim there is no warden that would have put it right before.
    let mut argv = launcher.map(str::to_owned).to_vec();
    let (wrasse, fixture) = (station.wrasse(), station.program("wrasse-fixture"));
    argv.extend([wrasse.display().to_string(), "wrap".to_owned(), "--".to_owned()]);
    argv.extend([fixture.display().to_string(), Mode::Daemon.name().to_owned()]);
    let mut host = Hosted::start(&mut station, &argv);
    host.initialize(&json!({}));
    assert_eq!(host.call_text("echo", &json!({ "text": "here" })), "here");
    assert_nobody_ignores_sigchld(&mut station);
    assert_eq!(host.end(&mut station), 0, "{}", station.log());
    station.assert_empty();
}

#[test]
fn with_everything_blocked() {
    let launcher = after("signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))");
    let launcher = launcher.each_ref().map(String::as_str);
    let given = launched(&launcher);
    // All but the two that nobody can block, and the two that the C library keeps for itself.
    let kept = [SIGKILL, SIGSTOP, 32, 33].map(|signal| 1 << (signal - 1)).iter().sum::<u64>();
    assert_eq!(signals(&given, "SigBlk:") | kept, u64::MAX, "{given}");
    holds_under(&launcher);
}

#[test]
fn with_descriptors_0_to_2_closed() {
    holds_under(&["sh", "-c", "exec \"$@\" <&- >&- 2>&-", "sh"]);
}

/// failure mode G10: what the caller left open reaches neither guardians nor servers.
#[test]
fn with_more_descriptors_open() {
    let launcher = ["sh", "-c", "exec 5</etc/passwd 8</etc/hosts; exec \"$@\"", "sh"];
    holds_under(&launcher);
    let mut station = deaf_station();
    station.set_launcher(&launcher);
    station.start();
    hold(&station);
    let gateway = station.gateway();
    for process in processes::descendants(gateway) {
        let open = open_files(process.pid);
        assert!(!open.iter().any(|(_, path)| path.starts_with("/etc/")), "{process:?} {open:?}");
    }
    station.assert_flat();
}

/// No mark can be set any more: it degrades, says so, and the floor holds without it.
#[test]
fn with_the_mark_lowered_out_of_reach() {
    if !has("prlimit") {
        eprintln!("SKIPPED with_the_mark_lowered_out_of_reach: no prlimit");
        return;
    }
    holds_under(&["prlimit", "--locks=1000:1000"]);
    // Low enough for one who may not raise it, and not so low that no mark fits.
    holds_under(&["prlimit", "--locks=1152921504606846976:1152921504606846976"]);
}

/// A child from before, which starts another one when told; it writes down every signal that it gets.
const SIBLING: &str = r#"
(
  for s in 1 2 3 10 12 15 18; do trap "echo $s >>'$0.signals'" $s; done
  while [ ! -e "$0.go" ]; do sleep 0.05; done
  # Its own child loses its parent while the warden is there.
  (sh -c "for s in 1 2 3 10 12 15 18; do trap \"echo \$s >>'$0.signals'\" \$s; done
    echo \$\$ >'$0.orphan.new'; mv '$0.orphan.new' '$0.orphan'
    while [ ! -e '$0.end' ]; do sleep 0.05; done" &)
  while [ ! -e "$0.end" ]; do sleep 0.05; done
) &
echo $! >"$0.sibling"
exec "$@"
"#;

fn pid_in(path: &std::path::Path) -> u32 {
    let text = std::fs::read_to_string(path).unwrap();
    text.trim().parse().unwrap()
}

/// `redis & exec wrasse …`: the sibling and its orphans live through everything and are never signalled.
/// guarantee G5; failure mode J6
#[test]
fn by_exec_from_a_shell_that_had_children() {
    for end in ["kill", "stop", "restart", "warden"] {
        let mut station = deaf_station();
        let base = station.path("sibling").display().to_string();
        station.set_launcher(&["sh", "-c", SIBLING, &base]);
        let warden = station.start();
        std::fs::write(format!("{base}.go"), "").unwrap();
        let orphan_file = station.path("sibling.orphan");
        eventually("the sibling's child is there", PATIENCE, || orphan_file.exists());
        let who = [pid_in(&station.path("sibling.sibling")), pid_in(&orphan_file)];
        let before: Vec<Process> = who.iter().map(|pid| processes::read(*pid).unwrap()).collect();
        assert_eq!(before[0].ppid, warden, "{before:#?}");
        let orphaned = || processes::read(who[1]).is_some_and(|process| process.ppid == warden);
        eventually("the warden has the sibling's orphan", PATIENCE, orphaned);
        hold(&station);
        let gateway = station.gateway();
        station.warden = None;
        match end {
            "kill" => drop(station.oracle.signal(&[gateway], SIGKILL)),
            "warden" => drop(station.oracle.signal(&[warden], SIGKILL)),
            "restart" => {
                station.ok(&["gateway", "restart"]);
                station.ok(&["gateway", "stop"]);
            }
            _ => drop(station.ok(&["gateway", "stop"])),
        }
        // Each of the two may have a `sleep` of its own.
        let theirs = |process: &Process| {
            process.name == "sleep"
                || before.iter().any(|p| (p.pid, p.start) == (process.pid, process.start))
        };
        let rest = station.oracle.wait_until(PATIENCE, |seen| seen.iter().all(theirs));
        let rest = rest.unwrap_or_else(|left| panic!("{end}: {left:#?}\n{}", station.log()));
        for process in &before {
            assert!(
                rest.iter().any(|p| p.pid == process.pid && p.start == process.start),
                "{end}: {rest:#?}"
            );
        }
        let signals = std::fs::read_to_string(format!("{base}.signals")).unwrap_or_default();
        assert_eq!(signals, "", "{end}: a sibling was signalled");
        std::fs::write(format!("{base}.end"), "").unwrap();
        station.assert_empty();
        station.set_launcher(&[]);
        station.start();
        station.assert_flat();
    }
}

/// A server that is a shell which runs a second gateway, with a state dir of its own, in the background.
struct Nested {
    outer: Station,
    inner: Station,
}

impl Nested {
    fn start() -> Self {
        let inner = deaf_station();
        let mut outer = Station::new();
        let mut server = outer.fixture(Mode::Ok);
        let script =
            "\"$1\" --state-dir \"$2\" gateway run </dev/null >>\"$3\" 2>&1 & exec \"$0\" f-ok";
        let (state, log) = (inner.path("state"), inner.path("gateway.log"));
        server["args"] = json!(["-c", script, server["command"], inner.wrasse(), state, log]);
        server["command"] = json!("sh");
        configure(&outer, server, json!({}));
        outer.start();
        hold(&outer);
        let mut nested = Self { outer, inner };
        nested.inner.wait_ready();
        look(&nested.inner);
        hold(&nested.inner);
        nested
    }

    /// The tree of the outer server is gone, the inner gateway with it; afterwards each starts again and is flat.
    fn flat(mut self) {
        let left = self.outer.oracle.wait_until(AFTER_DEATH, <[_]>::is_empty);
        assert!(left.is_ok(), "{left:#?}\n{}\n{}", self.outer.log(), self.inner.log());
        for mut station in [self.inner, self.outer] {
            station.warden = None;
            station.start();
            station.assert_flat();
        }
    }
}

#[test]
fn nested_gateways_are_marked_in_order() {
    let nested = Nested::start();
    let (outer, inner) = (nested.outer.gateway(), nested.inner.gateway());
    let locks = |pid: u32| -> u64 {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max file locks")).unwrap();
        line.split_whitespace().nth(3).unwrap().parse().unwrap()
    };
    assert!(locks(inner) < locks(outer), "{} {}", locks(inner), locks(outer));
    for station in [&nested.outer, &nested.inner] {
        // The first run of the inner one may still be letting its server go.
        station.eventually("one server is left", || {
            station.json(&["ps"])["instances"].as_array().map(Vec::len) == Some(1)
        });
        let ps = station.json(&["ps"]);
        assert_eq!(ps["leftovers"], json!([]), "{ps:#}");
    }
    nested.outer.ok(&["gateway", "stop"]);
    nested.flat();
}

// failure mode A7
#[test]
fn nested_gateways_end_with_the_outer_one() {
    let mut nested = Nested::start();
    let gateway = nested.outer.gateway();
    nested.outer.oracle.signal(&[gateway], SIGKILL);
    nested.flat();
}

/// The inner one ends, in order or not, and the outer call in flight does not notice.
#[test]
fn nested_gateways_end_alone() {
    for end in ["stop", "kill"] {
        let mut nested = Nested::start();
        let outer = nested.outer.gateway();
        let inner = nested.inner.gateway();
        match end {
            "stop" => drop(nested.inner.ok(&["gateway", "stop"])),
            _ => drop(nested.outer.oracle.signal(&[inner], SIGKILL)),
        }
        let inner_gone = |seen: &[Process]| {
            named(seen, "wrasse-guardian").len() == 1 && named(seen, "wrasse-warden").len() == 1
        };
        let left = nested.outer.oracle.wait_until(PATIENCE, inner_gone);
        assert!(left.is_ok(), "{end}: {left:#?}\n{}", nested.inner.log());
        assert_eq!(nested.outer.gateway(), outer);
        let runs = nested.outer.json(&["runs", "list", "--active"]);
        assert_eq!(runs["runs"].as_array().map(Vec::len), Some(1), "{runs:#}");
        nested.outer.ok(&["gateway", "stop"]);
        nested.flat();
    }
}
