//! Wrasse as PID 1 of a PID namespace, and process numbers that are used again. Where the machine permits no such
//! namespace, the tests say so and pass.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::namespace::{AS_ANYBODY, AS_ROOT, permits};
use wrasse_testkit::processes::{self, Process};
use wrasse_testkit::station::{PATIENCE, Station, eventually};

use crate::hygiene::{configure, hold, look, named};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
/// Trees that are ended beside strangers, and how often each is looked at.
const ROUNDS: usize = 5;
const LOOKS: usize = 10;
/// Set for the test program itself when it runs inside a namespace.
const INSIDE: &str = "WRASSE_TEST_INSIDE";

/// Whether the machine lets us make such a namespace.
fn permitted(test: &str, launcher: &[&str]) -> bool {
    let permitted = permits(launcher);
    if let Err(why) = &permitted {
        eprintln!("SKIPPED {test} under {}: {why}", launcher.join(" "));
    }
    permitted.is_ok()
}

/// The process that is PID 1 in there, by its number out here.
fn pid_one(station: &mut Station) -> u32 {
    named(&station.oracle.list(), "wrasse-warden")[0].pid
}

/// TERM to PID 1 in mid-call drains, as a container's stop does; KILL of the gateway ends the container.
#[test]
fn pid_one_ends_everything() {
    for launcher in [&AS_ROOT[..], &AS_ANYBODY[..]] {
        if !permitted("pid_one_ends_everything", launcher) {
            continue;
        }
        let mut station = Station::new();
        configure(&station, station.fixture(Mode::Daemon), json!({}));
        station.set_launcher(launcher);
        for end in ["term", "kill"] {
            station.start();
            hold(&station);
            let init = pid_one(&mut station);
            let seen = station.oracle.list();
            let gateway = seen.iter().find(|process| process.ppid == init).unwrap().pid;
            let launched = station.warden.take().unwrap();
            let (victim, signal, code) =
                if end == "term" { (init, SIGTERM, 0) } else { (gateway, SIGKILL, 137) };
            assert_eq!(station.oracle.signal(&[victim], signal), 1);
            let got = station.oracle.exit_code(launched, PATIENCE);
            assert_eq!(got, Some(code), "{end}\n{}", station.log());
            station.assert_empty();
        }
        station.set_launcher(&[]);
        station.start();
        station.assert_flat();
    }
}

/// A gateway in a session that was made outside its PID namespace, as by `nsenter` or a container's exec, and with what
/// is left of another warden in its environment.
#[test]
fn a_session_from_outside_the_namespace_is_no_wardens() {
    for launcher in [&AS_ROOT[..], &AS_ANYBODY[..]] {
        if !permitted("a_session_from_outside_the_namespace_is_no_wardens", launcher) {
            continue;
        }
        let mut station = Station::new();
        configure(&station, station.fixture(Mode::Daemon), json!({}));
        station.set_launcher(launcher);
        station.set_env("WRASSE_WARDEN", "1");
        station.start();
        look(&station);
        station.assert_flat();
    }
}

/// Runs one test of this program again as PID 1 of a namespace of its own.
#[expect(clippy::disallowed_methods, reason = "starts itself in a namespace")]
fn inside(test: &str) {
    let launcher = if permitted(test, &AS_ROOT) { &AS_ROOT[..] } else { &AS_ANYBODY[..] };
    if !permitted(test, launcher) {
        return;
    }
    let mut child = Command::new(launcher[0])
        .args(&launcher[1..])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1", test])
        .env(INSIDE, "1")
        .spawn()
        .unwrap();
    let end = Instant::now() + 3 * PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() >= end {
            // What it made the namespace for goes with it.
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{test} inside: {status}");
}

fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Not there without CONFIG_CHECKPOINT_RESTORE.
const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// The next process to be made gets this number, unless it is taken.
fn next_pid(pid: u32) {
    std::fs::write(LAST_PID, (pid - 1).to_string()).unwrap();
}

/// guarantee G5; failure mode J5: every number of a dead gateway, its warden, guardian and servers belongs to somebody else by
/// the next start, with the same command lines. None of them is signalled.
#[test]
fn strangers_that_have_the_numbers_of_the_dead_live() {
    if is_inside() {
        if let Err(error) = std::fs::metadata(LAST_PID) {
            eprintln!("SKIPPED strangers_that_have_the_numbers_of_the_dead_live: {error}");
            return;
        }
        strangers_with_the_numbers_of(Dead::Everybody);
        strangers_with_the_numbers_of(Dead::AllButTheDaemon);
    } else {
        inside("pid_one::strangers_that_have_the_numbers_of_the_dead_live");
    }
}

/// Who dies with the gateway, its warden and its guardians.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dead {
    Everybody,
    /// A daemon of the server's lives on, for the next start to end.
    AllButTheDaemon,
}

fn strangers_with_the_numbers_of(dead: Dead) {
    let mut station = Station::new();
    configure(&station, station.fixture(Mode::Daemon), json!({}));
    station.start();
    hold(&station);
    let daemon = |process: &Process| process.cmdline.ends_with(" sleeper");
    // The server may answer before its daemon is executed.
    let one_daemon = |seen: &[Process]| seen.iter().filter(|process| daemon(process)).count() == 1;
    let before = station.oracle.wait_until(PATIENCE, one_daemon).unwrap();
    let dies = |process: &&Process| dead == Dead::Everybody || !daemon(process);
    let numbers: Vec<u32> = before.iter().filter(dies).map(|process| process.pid).collect();
    station.kill_at_once(&numbers);
    station.warden = None;
    let gone = |seen: &[Process]| !seen.iter().any(|process| numbers.contains(&process.pid));
    let left = station.oracle.wait_until(PATIENCE, gone).unwrap();
    assert_eq!(left.len(), before.len() - numbers.len(), "{left:#?}");
    let strangers = strangers_called(&mut station, &numbers);

    station.start();
    let ps = station.json(&["ps"]);
    assert_eq!(ps["leftovers"], json!([]), "{ps:#}");
    station.ok(&["reap", "--idle", "--yes"]);
    look(&station);
    station.ok(&["gateway", "stop"]);
    station.warden = None;
    let left = station.oracle.list();
    for stranger in &strangers {
        let lives =
            |process: &&Process| (process.pid, process.start) == (stranger.pid, stranger.start);
        let found = left.iter().find(lives);
        assert!(found.is_some_and(|process| process.state != 'T'), "{stranger:?}: {left:#?}");
    }
    assert_eq!(left.len(), strangers.len(), "{dead:?}: {left:#?}");
    station.oracle.signal(&numbers, SIGKILL);
    station.assert_empty();
    station.assert_ledger_closed();
}

/// Processes with these numbers and a server's command line.
fn strangers_called(station: &mut Station, numbers: &[u32]) -> Vec<Process> {
    let fixture = station.program("wrasse-fixture").display().to_string();
    let argv = [fixture, Mode::EofDeaf.name().to_owned()];
    let mut strangers = Vec::new();
    for number in numbers {
        let deadline = Instant::now() + PATIENCE;
        loop {
            next_pid(*number);
            let stranger = station.spawn(&argv);
            if stranger == *number {
                strangers.push(processes::read(stranger).unwrap());
                break;
            }
            // A thread of somebody's took the number first, and gives it back.
            station.oracle.signal(&[stranger], SIGKILL);
            assert!(Instant::now() < deadline, "{number} is not free");
        }
    }
    strangers
}

/// Starts strangers that live for a moment and whose numbers are those that were just in use; writes down each that
/// did not end by itself.
const CHURN: &str = r"
import os, subprocess, sys
base, until, hits, numbers = int(sys.argv[1]), sys.argv[2], sys.argv[3], []
while not os.path.exists(until):
    with open('/proc/sys/kernel/ns_last_pid', 'w') as last:
        last.write(str(base))
    many = [subprocess.Popen(['sleep', '0.02']) for _ in range(8)]
    for one in many:
        code = one.wait()
        numbers.append(one.pid)
        if code != 0:
            with open(hits, 'a') as file:
                file.write('%d ended with %d\n' % (one.pid, code))
with open(hits + '.new', 'w') as file:
    file.write(' '.join(map(str, numbers)))
os.rename(hits + '.new', hits + '.numbers')
";

/// guarantee G5; failure mode J5: trees that multiply and flee are ended while their numbers go to strangers at once.
#[test]
fn strangers_that_take_numbers_from_a_dying_tree_live() {
    if is_inside() {
        strangers_beside_a_dying_tree();
    } else {
        inside("pid_one::strangers_that_take_numbers_from_a_dying_tree_live");
    }
}

fn strangers_beside_a_dying_tree() {
    let mut station = Station::new();
    let mut server = station.fixture(Mode::Comet);
    server["lifecycle"]["stop"] = json!({ "eof": "50ms", "term": "50ms" });
    configure(&station, server, json!({}));
    station.start();
    let (until, hits) = (station.path("until"), station.path("hits"));
    let [python, dash_c, _] = super::host::python("");
    let base = station.oracle.list().iter().map(|process| process.pid).max().unwrap() + 20;
    let argv = [
        python,
        dash_c,
        CHURN.to_owned(),
        base.to_string(),
        until.display().to_string(),
        hits.display().to_string(),
    ];
    let churn = station.spawn(&argv);
    let theirs = |process: &Process| process.pid == churn || process.ppid == churn;
    let mut members = BTreeSet::new();
    for _ in 0..ROUNDS {
        hold(&station);
        for _ in 0..LOOKS {
            let seen = station.oracle.list();
            let comets = seen.iter().filter(|process| process.cmdline.contains(" comet "));
            members.extend(comets.map(|process| process.pid));
        }
        let gateway = station.gateway();
        station.warden = None;
        station.oracle.signal(&[gateway], SIGKILL);
        let only_theirs = |seen: &[Process]| seen.iter().all(theirs);
        let left = station.oracle.wait_until(Duration::from_secs(10), only_theirs);
        assert!(left.is_ok(), "{left:#?}\n{}", station.log());
        station.start();
    }
    station.ok(&["gateway", "stop"]);
    station.warden = None;
    std::fs::write(&until, "").unwrap();
    let numbers = station.path("hits.numbers");
    eventually("the strangers have ended", PATIENCE, || numbers.exists());
    let hit = std::fs::read_to_string(&hits).unwrap_or_default();
    assert_eq!(hit, "", "strangers were signalled");
    let numbers = std::fs::read_to_string(numbers).unwrap();
    let shared = numbers.split(' ').filter(|pid| members.contains(&pid.parse().unwrap())).count();
    assert!(shared > 0, "no number of {} was used again", members.len());
    station.assert_empty();
    station.assert_ledger_closed();
}
