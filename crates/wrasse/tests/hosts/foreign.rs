//! Servers as the hosts start and leave them: `wrasse reap --foreign` finds them, says which are of no use to anybody
//! any more, and ends those and nothing else.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::processes::Process;
use wrasse_testkit::station::{PATIENCE, text};

use crate::model::Call;
use crate::openclaw::{Look, OpenClaw, Version, report_calls};
use crate::table;

/// Exit code: found something, changed nothing.
const FOUND: i32 = 3;
const SIGKILL: i32 = 9;

/// One set of a report, as `--json` has it.
#[derive(Debug)]
struct Set {
    class: String,
    pids: BTreeSet<u32>,
    servers: usize,
    all: Value,
}

/// `reap --foreign`, kept to this station: what else runs on the machine is not the suite's to end.
fn reap(host: &OpenClaw, more: &[&str]) -> std::process::Output {
    let below = host.station.oracle.pid().to_string();
    host.station.cli(&[&["reap", "--foreign", "--below", &below], more].concat())
}

/// What it finds.
fn listed(host: &OpenClaw, exit: i32) -> Vec<Set> {
    let output = reap(host, &["--json"]);
    let said = format!("{}\n{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(exit), "{said}");
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    let sets = report["sets"].as_array().unwrap_or_else(|| panic!("no sets: {said}"));
    let set = |set: &Value| Set {
        class: set["class"].as_str().unwrap().to_owned(),
        pids: pids(set),
        servers: set["servers"].as_array().unwrap().len(),
        all: set.clone(),
    };
    sets.iter().map(set).collect()
}

/// Lets it end what may be ended; returns what it said.
fn ended(host: &OpenClaw, more: &[&str]) -> String {
    let output = reap(host, &[&["--yes"], more].concat());
    let said = format!("{}\n{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}");
    said
}

/// The processes of a set: those of each of its servers.
fn pids(set: &Value) -> BTreeSet<u32> {
    let servers = set["servers"].as_array().unwrap().iter();
    let processes = servers.flat_map(|server| server["processes"].as_array().unwrap());
    processes.map(|pid| u32::try_from(pid.as_u64().unwrap()).unwrap()).collect()
}

/// The sets of one class, and how many processes they have together.
fn of<'a>(sets: &'a [Set], class: &str) -> (Vec<&'a Set>, usize) {
    let found: Vec<_> = sets.iter().filter(|set| set.class == class).collect();
    let processes = found.iter().map(|set| set.pids.len()).sum();
    (found, processes)
}

/// Servers and their relays: a number alone may have become somebody else's.
fn identities(look: &Look) -> BTreeSet<(u32, u64)> {
    let all = look.servers.iter().chain(&look.relays);
    all.map(|process| (process.pid, process.start)).collect()
}

/// Those of these numbers.
fn among(look: &Look, pids: &BTreeSet<u32>) -> BTreeSet<(u32, u64)> {
    identities(look).into_iter().filter(|(pid, _)| pids.contains(pid)).collect()
}

/// Ten isolated cron runs that are over and one session that can go on, on the release of the report.
#[test]
fn finished_cron_runs_of_2026_4_15_are_ended_alone() {
    let test = "finished_cron_runs_of_2026_4_15_are_ended_alone";
    let version = Version::V2026_4_15;
    let Some(mut host) = OpenClaw::new(test, version, report_calls()) else { return };
    let per_session = 3 * version.processes_per_server();
    host.configure(&host.report_servers());
    host.start();
    let gateway = host.gateway();
    let jobs = host.run_ten_jobs();
    host.agent("kept", "hello kept.");
    let look = host.look();
    table::row(test, "before", &look);
    assert_eq!(look.servers.len(), 11 * per_session, "{look:#?}");

    let sets = listed(&host, FOUND);
    let (finished, processes) = of(&sets, "finished");
    assert_eq!((finished.len(), processes), (10, 10 * per_session), "{sets:#?}");
    let (in_use, processes) = of(&sets, "in-use");
    assert_eq!((in_use.len(), processes), (1, per_session), "{sets:#?}");
    assert!(in_use[0].all.to_string().contains("agent:main:explicit:kept"), "{sets:#?}");
    assert_eq!(sets.len(), 11, "{sets:#?}");
    let kept = in_use[0].pids.clone();
    let before = among(&look, &kept);

    // Without --finished nothing of it is ended: no orphan is here.
    ended(&host, &[]);
    assert_eq!(host.look().servers.len(), 11 * per_session);
    let said = ended(&host, &["--finished"]);
    let look = host.look();
    table::row(test, "after --finished --yes", &look);
    assert_eq!(among(&look, &kept), before, "{said}");
    assert_eq!(look.servers.len(), kept.len(), "{said}");
    assert_eq!(host.gateway(), gateway);

    host.run_job(&jobs[0], 11);
    let turns = host.model.turns("look around 1\n");
    assert_eq!(turns.len(), 2, "{}", host.log());
    assert!(turns[1].result("sqlite__list_tables").contains("[]"), "{turns:#?}");
    host.agent("kept", "again kept.");
    let turns = host.model.turns("again kept.");
    assert!(turns[0].result("sqlite__list_tables").contains("[]"), "{turns:#?}");
    assert_eq!(among(&host.look(), &kept), before, "a server in use was ended");
    host.stop();
}

/// Ten sessions that can go on, on a newer release: relays and anchors are their servers' too, and nothing is touched.
/// Then the gateway dies: what is left has no host any more.
#[test]
fn sessions_of_2026_9_6_are_in_use_until_the_gateway_dies() {
    let test = "sessions_of_2026_9_6_are_in_use_until_the_gateway_dies";
    let version = Version::V2026_9_6;
    let Some(mut host) = OpenClaw::new(test, version, report_calls()) else { return };
    let per_session = 3 * version.processes_per_server();
    host.configure(&host.report_servers());
    host.start();
    for number in 1..=10 {
        host.agent(&format!("kept-{number}"), &format!("hello {number}."));
    }
    let look = host.look();
    table::row(test, "ten sessions", &look);
    let before = identities(&look);
    assert_eq!(before.len(), 10 * per_session, "{look:#?}");

    let sets = listed(&host, 0);
    let (in_use, processes) = of(&sets, "in-use");
    assert_eq!((in_use.len(), processes), (10, 10 * per_session), "{sets:#?}");
    assert!(sets.iter().all(|set| set.class == "in-use" && set.servers == 3), "{sets:#?}");
    ended(&host, &["--finished"]);
    assert_eq!(identities(&host.look()), before);
    host.stop();

    let Some(mut host) = with_a_daemon(test, version) else { return };
    let gateway = host.gateway();
    assert_eq!(host.station.oracle.signal(&[gateway], SIGKILL), 1);
    let alone = |seen: &[Process]| seen.iter().all(is_daemon) && !seen.is_empty();
    let left = host.station.oracle.wait_until(PATIENCE, alone);
    let left = left.unwrap_or_else(|seen| panic!("{seen:#?}\n{}", host.log()));
    table::row(test, "after SIGKILL of the gateway", &host.look());
    assert_eq!(left.len(), 1, "{left:#?}");
    let sets = listed(&host, FOUND);
    let (orphans, processes) = of(&sets, "orphan");
    assert_eq!((orphans.len(), processes, sets.len()), (1, 1, 1), "{sets:#?}");
    ended(&host, &[]);
    host.assert_empty();
}

fn is_daemon(process: &Process) -> bool {
    process.cmdline.contains("wrasse-fixture")
}

/// A gateway of which one session called a server that has a daemon.
fn with_a_daemon(test: &str, version: Version) -> Option<OpenClaw> {
    let call = Call { tool: "daemon__echo".to_owned(), arguments: json!({ "text": "here" }) };
    let mut host = OpenClaw::new(test, version, vec![call])?;
    let program = host.station.program("wrasse-fixture");
    host.configure(&json!({ "daemon": { "command": program, "args": [Mode::Daemon.name()] } }));
    host.start();
    host.agent("kept", "hello kept.");
    let turns = host.model.turns("hello kept.");
    assert_eq!(turns[0].result("daemon__echo"), "here", "{turns:#?}\n{}", host.log());
    Some(host)
}
