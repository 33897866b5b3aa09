//! The chain where the kernel lacks something that it uses: each lack is made, the links are killed, and what remains
//! of the guarantee holds; or the refusal says what is missing and what helps.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use wrasse_testkit::station::{AFTER_DEATH, PATIENCE, Station, text};

use super::chain::{busy_in, guardians};
use super::hygiene;

const SIGKILL: i32 = 9;

/// The command line that takes something away from what follows: its name, then its path.
fn refuse(rules: &[&str]) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wrasse-testkit/refuse.py");
    let [python, ..] = super::host::python("");
    let mut words = vec![python, script.display().to_string()];
    words.extend(rules.iter().map(|rule| (*rule).to_owned()));
    words.extend(["--".to_owned(), "wrasse".to_owned()]);
    words
}

fn without(rules: &[&str]) -> Station {
    let mut station = Station::new();
    let launcher = refuse(rules);
    station.set_launcher(&launcher.iter().map(String::as_str).collect::<Vec<_>>());
    station
}

/// A command of the program, with something taken away from it too.
#[expect(clippy::disallowed_methods, reason = "the command line is a program under test")]
fn command(station: &Station, rules: &[&str], args: &[&str]) -> std::process::Output {
    let words = refuse(rules);
    Command::new(&words[0])
        .args(&words[1..])
        .arg(station.wrasse())
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("WRASSE_STATE_DIR", station.path("state"))
        .current_dir(station.path("work"))
        .output()
        .unwrap()
}

fn left_after(station: &mut Station, what: &str) {
    let left = station.oracle.wait_until(AFTER_DEATH, <[_]>::is_empty);
    assert!(left.is_ok(), "{what}: {left:#?}\n{}", station.log());
}

/// The warden, which is not the launched process where that stays to read paths.
fn warden(station: &mut Station) -> u32 {
    let seen = station.oracle.list();
    let named = seen.iter().find(|process| process.name.starts_with("wrasse-warden"));
    named.unwrap_or_else(|| panic!("no warden: {seen:#?}")).pid
}

/// Kills each link and pair of links, and stops in order.
fn every_link(rules: &[&str]) {
    // The gateway alone.
    let mut station = busy_in(without(rules), "auto");
    let gateway = station.gateway();
    station.warden = None;
    station.oracle.signal(&[gateway], SIGKILL);
    left_after(&mut station, "gateway");
    // Gateway and guardians.
    let mut station = busy_in(without(rules), "auto");
    let gateway = station.gateway();
    station.warden = None;
    let victims = [vec![gateway], guardians(&station.oracle.list())].concat();
    station.kill_at_once(&victims);
    left_after(&mut station, "gateway and guardians");
    // Gateway and warden.
    let mut station = busy_in(without(rules), "auto");
    let (gateway, warden_pid) = (station.gateway(), warden(&mut station));
    station.warden = None;
    station.kill_at_once(&[warden_pid, gateway]);
    left_after(&mut station, "gateway and warden");
    // The guardians alone: the gateway ends their trees and lives.
    let mut station = busy_in(without(rules), "auto");
    let all = guardians(&station.oracle.list());
    station.oracle.signal(&all, SIGKILL);
    station.assert_no_servers(AFTER_DEATH);
    station.assert_logs("a guardian died above a living tree");
    // The warden alone: the gateway ends every tree and itself.
    let warden_pid = warden(&mut station);
    station.warden = None;
    station.oracle.signal(&[warden_pid], SIGKILL);
    left_after(&mut station, "warden");
    // And an orderly end.
    let mut station = busy_in(without(rules), "auto");
    station.assert_flat();
}

#[test]
fn without_pidfds_every_link_may_die() {
    every_link(&["--errno", "pidfd_open=ENOSYS", "--errno", "pidfd_send_signal=ENOSYS"]);
}

#[test]
fn without_lists_of_children_every_link_may_die() {
    every_link(&["--hide", "/children"]);
}

#[test]
fn without_the_limit_as_a_mark_every_link_may_die() {
    every_link(&["--errno", "prlimit64:1=10,2!=0=EPERM", "--errno", "close_range=ENOSYS"]);
}

/// What is missing is shown, with what is done instead, by the gateway's log and by doctor.
#[test]
fn doctor_shows_what_is_missing() {
    let station = hygiene::station();
    for (rules, missing) in [
        (vec!["--errno", "pidfd_open=ENOSYS"], "no pidfd: "),
        (vec!["--hide", "/children"], "no lists of children: "),
        (vec!["--errno", "prlimit64:1=10,2!=0=EPERM"], "no resource limit mark: "),
        (vec!["--errno", "close_range=ENOSYS"], "no close_range: "),
        (vec!["--no-exec", "/bin/wrasse-guard-"], "no executable state dir: "),
        (vec!["--hide", "/proc/1/stat"], "no visible processes: "),
        (vec!["--no-exec", "/bin/wrasse-guard-"], "guard program from memfd: "),
        (
            vec!["--no-exec", "/bin/wrasse-guard-", "--errno", "memfd_create=EACCES"],
            "guard program from self: ",
        ),
    ] {
        let output = command(&station, &rules, &["doctor", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
        let findings = report["findings"].as_array().unwrap();
        let of = |grade: &str, start: &str| {
            let matches = |finding: &&Value| {
                finding["grade"] == grade && finding["text"].as_str().unwrap().starts_with(start)
            };
            findings.iter().filter(matches).count()
        };
        assert_eq!(of("note", missing), 1, "{missing}{report:#}");
        // The chain was tried, with a daemon and a server deaf to SIGTERM, and held.
        assert_eq!(of("ok", "floor"), 1, "{missing}{report:#}");
        assert_eq!(of("fail", ""), 0, "{missing}{report:#}");
    }
    let output = command(&station, &["--errno", "clone3=ENOSYS"], &["doctor"]);
    let out = text(&output.stdout);
    let line = out.lines().find(|line| line.contains("works here: subreaper")).unwrap();
    for name in [
        "lists of children",
        "pidfd",
        "resource limit mark",
        "close_range",
        "visible processes",
        "executable state dir",
    ] {
        assert!(line.contains(name), "{out}");
    }
}

/// Nothing is started where a daemon would escape, and the refusal names the cure.
#[test]
fn without_a_subreaper_no_gateway_starts() {
    let mut station = hygiene::station();
    let rules = ["--errno", "prctl:0=36=EPERM"];
    let output = command(&station, &rules, &["gateway", "run"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(70), "{said}");
    for word in
        ["subreaper", "daemons of servers escape", "PR_SET_CHILD_SUBREAPER", "wrasse doctor"]
    {
        assert!(said.contains(word), "{word}: {said}");
    }
    let output = command(&station, &rules, &["doctor"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("PR_SET_CHILD_SUBREAPER"), "{}", text(&output.stdout));
    station.assert_empty();
}

/// Each place to execute the guard from that is refused, and the one that is asked for by name.
#[test]
fn where_the_guard_cannot_be_executed() {
    let file = ["--no-exec", "/bin/wrasse-guard-"];
    let both = ["--no-exec", "/bin/wrasse-guard-", "--no-exec", "/proc/self/fd/"];
    for (rules, source) in [(&file[..], "memfd"), (&both[..], "self")] {
        let mut station = without(rules);
        hygiene::configure(
            &station,
            station.fixture(wrasse_testkit::fixture::Mode::Daemon),
            json!({}),
        );
        station.start();
        hygiene::hold(&station);
        station.assert_logs(&format!("guard program from {source}: "));
        let gateway = station.gateway();
        station.warden = None;
        station.oracle.signal(&[gateway], SIGKILL);
        left_after(&mut station, source);
    }
    for (guard, rules) in [("file", &file[..]), ("memfd", &["--errno", "memfd_create=EACCES"][..])]
    {
        let mut station = Station::new();
        let server = station.fixture(wrasse_testkit::fixture::Mode::Ok);
        hygiene::configure(&station, server, json!({ "containment": { "guard": guard } }));
        let output = command(&station, rules, &["gateway", "run"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(70), "{said}");
        assert!(
            said.contains(&format!("{guard}: ")) && said.contains("containment.guard"),
            "{said}"
        );
        station.assert_empty();
    }
}

/// The guard program was replaced by one of another version under a running gateway: a refusal that names both, nothing
/// left, and a restart that puts it right.
#[test]
fn a_guard_of_another_version_is_refused() {
    let mut station = Station::new();
    let mut server = station.fixture(wrasse_testkit::fixture::Mode::Ok);
    server["lifecycle"]["idle"] = json!("run");
    hygiene::configure(&station, server, json!({ "containment": { "guard": "file" } }));
    station.start();
    hygiene::look(&station);
    let folder = station.path("state").join("bin");
    let guard: PathBuf = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let right = std::fs::read(&guard).unwrap();
    let [python, ..] = super::host::python("");
    // It speaks version 99: reads a spec, says so, and that nothing is left.
    let other = format!(
        "#!{python}\nimport os,socket\ns=socket.socket(fileno=0)\ns.recv(65536)\n\
         for packet in (b'\\x89\\x63', b'\\x83\\x01\\x47\\0\\0\\0', b'\\x86\\0\\0\\0\\0'): s.send(packet)\n"
    );
    let next = folder.join("next");
    std::fs::write(&next, other).unwrap();
    std::fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap();
    std::fs::rename(&next, &guard).unwrap();
    let output = station.cli(&["agent", "-m", "look", "--session-key", "other"]);
    let said = text(&output.stdout) + &text(&output.stderr) + &station.log();
    assert!(said.contains("version 99 of the protocol"), "{said}");
    let ours = format!("this gateway version {}", wrasse_guard_version());
    assert!(said.contains(&ours), "{said}");
    assert!(said.contains("wrasse gateway restart"), "{said}");
    station.assert_no_servers(PATIENCE);
    station.ok(&["gateway", "restart"]);
    station.wait_ready();
    hygiene::look(&station);
    assert!(std::fs::read(&guard).unwrap() == right, "the guard program was not put right");
    station.assert_flat();
}

/// What the guard program says that it speaks.
fn wrasse_guard_version() -> u8 {
    const PROTOCOL: &str = include_str!("../../../wrasse-guard/src/protocol.rs");
    let line = PROTOCOL.lines().find_map(|line| line.strip_prefix("pub const VERSION: u8 = "));
    line.unwrap().trim_end_matches(';').parse().unwrap()
}
