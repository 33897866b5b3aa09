//! However host, shim or guardian end, the server ends.

use std::time::Instant;

use serde_json::json;
use wrasse_testkit::hosted::Hosted;
use wrasse_testkit::processes::Process;
use wrasse_testkit::station::{PATIENCE, Station, eventually};

use super::{AFTER_HOST, assert_flat, fixture, pid_of, row, rows, wrap};

const KILL: i32 = 9;
const TERM: i32 = 15;
/// Every way in which a server outlives others.
const SERVERS: [&str; 6] =
    ["f-ok", "f-eof-deaf", "f-term-deaf", "f-daemon", "f-npx", "f-leader-dies"];

/// A wrapped server that has served a call, with the number of processes it is.
fn called(station: &mut Station, flags: &[&str], server: &str) -> (Hosted, u32) {
    let mut host = wrap(station, flags, &[server]);
    host.initialize(&json!({}));
    assert_eq!(host.call_text("echo", &json!({ "text": "x" })), "x");
    let shim = host.shim(station);
    (host, shim)
}

// failure mode F1: the host is killed and its servers live on
#[test]
fn a_killed_host_leaves_nothing() {
    for server in SERVERS {
        for flags in [&["--idle", "off"][..], &["--transparent"], &["--in-process"]] {
            let mut station = Station::new();
            let (host, _) = called(&mut station, flags, server);
            assert_eq!(station.oracle.signal(&[host.pid], KILL), 1);
            let left = station.oracle.wait_until(AFTER_HOST, <[_]>::is_empty);
            assert!(left.is_ok(), "{server} {flags:?}: {left:#?}\n{}", station.log());
            assert_flat(&mut station);
        }
    }
}

#[test]
fn a_killed_shim_leaves_no_process_and_the_next_one_tidies_its_row() {
    for server in SERVERS {
        let mut station = Station::new();
        let (host, shim) = called(&mut station, &[], server);
        assert_eq!(station.oracle.signal(&[shim], KILL), 1);
        assert_eq!(host.end(&mut station), 255);
        let left = station.oracle.wait_until(AFTER_HOST, <[_]>::is_empty);
        assert!(left.is_ok(), "{server}: {left:#?}\n{}", station.log());
        assert_eq!(rows(&station).len(), 1, "nobody was left to remove it");
        // A shim sweeps while it serves, and does not wait for it for long at its own end.
        let mut next = wrap(&mut station, &[], &[server]);
        next.initialize(&json!({}));
        station.eventually("its own row alone is left", || rows(&station).len() == 1);
        assert_eq!(next.end(&mut station), 0);
        assert_flat(&mut station);
    }
}

/// The guardian dies: the shim ends what it was above, says so, and starts anew.
#[test]
fn a_killed_guardian_costs_one_instance() {
    for server in ["f-ok", "f-daemon"] {
        let mut station = Station::new();
        let (mut host, _) = called(&mut station, &["--idle", "off"], server);
        let guardian = pid_of(&row(&station)["instances"][0]["guardian"]);
        assert_eq!(station.oracle.signal(&[guardian], KILL), 1);
        // What is called before the shim knows would be in flight.
        eventually("the shim knows", PATIENCE, || station.log().contains("requests in flight"));
        host.wait_servers(&mut station, 0, PATIENCE);
        let next = host.call_text("echo", &json!({ "text": "again" }));
        assert!(next.starts_with("again") && next.contains("restarted"), "{next}");
        assert_eq!(host.end(&mut station), 0);
        assert_flat(&mut station);
    }
}

/// Nobody of ours lives to end the tree: the next shim proves what it is, and ends that alone.
#[test]
fn what_a_shim_and_its_guardian_leave_is_swept_and_nothing_else() {
    let mut station = Station::new();
    let (mut living, _) = called(&mut station, &["--idle", "off"], "f-daemon");
    let living_row = row(&station);
    let (host, shim) = called(&mut station, &["--idle", "off"], "f-daemon");
    let bystander = station.spawn(&fixture(&station, &["sleeper"]));
    let below = host.below(&mut station);
    let guardian =
        below.iter().find(|process| process.name.starts_with("wrasse-guardian")).unwrap().pid;
    station.kill_at_once(&[shim, guardian]);
    assert_eq!(host.end(&mut station), 255);
    let daemons = |seen: &[Process]| {
        seen.iter().filter(|process| process.cmdline.ends_with("sleeper")).count()
    };
    let seen = station.oracle.wait_until(PATIENCE, |seen| daemons(seen) == 3);
    assert!(seen.is_ok(), "the daemon is an orphan: {seen:#?}");

    let (next, _) = called(&mut station, &[], "f-ok");
    let seen = station.oracle.wait_until(PATIENCE, |seen| daemons(seen) == 2);
    assert!(seen.is_ok(), "{seen:#?}\n{}", station.log());
    // The host was served meanwhile.
    eventually("the shim says so", PATIENCE, || {
        station.log().contains("a dead shim had left behind")
    });
    assert_eq!(living.call_text("echo", &json!({ "text": "still" })), "still");
    assert!(seen.unwrap().iter().any(|process| process.pid == bystander));
    let server = pid_of(&living_row["instances"][0]["server"]);
    assert!(station.oracle.list().iter().any(|process| process.pid == server));
    assert_eq!(next.end(&mut station), 0);
    assert_eq!(living.end(&mut station), 0);
    assert_eq!(station.oracle.signal(&[bystander], KILL), 1);
    assert_flat(&mut station);
}

/// The ladder: a living host that closes stdin gives the server its time.
#[test]
fn a_closed_stdin_is_the_ladder() {
    for (server, least_ms) in
        [("f-ok", 0), ("f-daemon", 0), ("f-eof-deaf", 2000), ("f-term-deaf", 5000)]
    {
        let mut station = Station::new();
        let (host, _) = called(&mut station, &[], server);
        let began = Instant::now();
        assert_eq!(host.end(&mut station), 0);
        assert!(began.elapsed().as_millis() >= least_ms, "{server} had no time");
        assert_flat(&mut station);
    }
}

/// The host closes stdin, and dies while the ladder waits: then nobody waits any more.
#[test]
fn a_host_that_dies_during_the_ladder_ends_it() {
    let mut station = Station::new();
    let (mut host, _) = called(&mut station, &[], "f-term-deaf");
    host.close();
    assert_eq!(station.oracle.signal(&[host.pid], KILL), 1);
    let left = station.oracle.wait_until(AFTER_HOST, <[_]>::is_empty);
    assert!(left.is_ok(), "{left:#?}\n{}", station.log());
    assert_flat(&mut station);
}

#[test]
fn a_signal_is_the_ladder_and_a_second_one_is_not() {
    let mut station = Station::new();
    let (host, shim) = called(&mut station, &[], "f-daemon");
    assert_eq!(station.oracle.signal(&[shim], TERM), 1);
    assert_eq!(host.end(&mut station), 0);
    assert_flat(&mut station);

    let (host, shim) = called(&mut station, &[], "f-term-deaf");
    station.oracle.signal(&[shim], TERM);
    station.oracle.signal(&[shim], 2);
    // The host waits for it only when the test is done: it stays as a zombie until then.
    let lives = |process: &Process| process.pid == shim && process.state != 'Z';
    // The whole ladder takes 5 s.
    let left = station.oracle.wait_until(AFTER_HOST, |seen| !seen.iter().any(lives));
    assert!(left.is_ok(), "{left:#?}\n{}", station.log());
    assert_eq!(host.end(&mut station), 0);
    assert_flat(&mut station);
}

/// A host that says everything at once and closes: what it asked is answered, as it is without a shim.
#[test]
fn a_host_that_does_not_wait_gets_its_answers() {
    let mut station = Station::new();
    let scopes: [&[&str]; 4] = [&[], &[], &["--scope", "shared"], &["--scope", "shared"]];
    for options in scopes {
        let mut host = wrap(&mut station, options, &["protocol"]);
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {} });
        let opened = host.ask("initialize", &params);
        host.notify("notifications/initialized", &json!({}));
        let called = host.ask("tools/call", &json!({ "name": "state", "arguments": {} }));
        host.close();
        assert!(host.answer(opened)["result"].is_object());
        assert!(host.answer(called).to_string().contains("tools/call"));
        assert_eq!(host.end(&mut station), 0);
    }
    assert_flat(&mut station);
}

/// The server reads nothing and the host has more to say: its end is noticed all the same.
#[test]
fn a_full_pipe_does_not_hide_the_end_of_the_host() {
    let mut station = Station::new();
    let mut host = wrap(&mut station, &[], &["f-stdin-stop"]);
    host.initialize(&json!({}));
    host.ask("tools/call", &json!({ "name": "echo", "arguments": { "text": "x" } }));
    // More than the shim takes from a host that its server does not hear; the rest fits into the pipe.
    for bytes in [1200 << 10, 30 << 10] {
        host.notify("notifications/custom", &json!({ "text": "x".repeat(bytes) }));
    }
    assert_eq!(host.end(&mut station), 0);
    assert_flat(&mut station);
}

/// `nohup` means it.
#[test]
fn an_ignored_hangup_stays_ignored() {
    let mut station = Station::new();
    let mut argv = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"].map(ToOwned::to_owned).to_vec();
    argv.extend([station.wrasse().display().to_string(), "wrap".to_owned(), "--".to_owned()]);
    argv.extend(fixture(&station, &["f-ok"]));
    let mut host = Hosted::start(&mut station, &argv);
    host.initialize(&json!({}));
    let shim = host.shim(&mut station);
    assert_eq!(station.oracle.signal(&[shim], 1), 1);
    assert_eq!(host.call_text("echo", &json!({ "text": "here" })), "here");
    assert_eq!(host.end(&mut station), 0);
    assert_flat(&mut station);
}

/// A host that never speaks, and one that leaves before the server is up.
#[test]
fn hosts_that_leave_early_leave_nothing() {
    for server in ["f-ok", "f-slow-init"] {
        let mut station = Station::new();
        let silent = wrap(&mut station, &[], &[server]);
        assert_eq!(silent.end(&mut station), 0);
        let mut hasty = wrap(&mut station, &[], &[server]);
        hasty.ask("initialize", &json!({ "protocolVersion": "2025-11-25", "capabilities": {} }));
        assert_eq!(hasty.end(&mut station), 0);
        assert_flat(&mut station);
    }
}
