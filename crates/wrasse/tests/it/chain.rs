//! The chain warden → gateway → guardian → server, when links of it are killed together, and in each way of
//! executing the guard.

use serde_json::json;
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::processes::Process;
use wrasse_testkit::station::{AFTER_DEATH, PATIENCE, Station};

const SIGKILL: i32 = 9;

/// A gateway with one run in mid-call on each of four fixtures that outlive their pipes.
fn busy(guard: &str) -> Station {
    busy_in(Station::new(), guard)
}

/// The same in a station that was prepared.
pub(crate) fn busy_in(station: Station, guard: &str) -> Station {
    let modes = [Mode::Ok, Mode::EofDeaf, Mode::TermDeaf, Mode::Daemon];
    let mut servers = json!({});
    let mut calls = Vec::new();
    for mode in modes {
        servers[mode.name()] = station.fixture(mode);
        let started = station.path("work").join(mode.name());
        calls.push(json!({ "name": format!("{}__hold", mode.name()), "arguments": { "started": started } }));
    }
    station.configure(
        json!({ "mcp": { "servers": servers }, "containment": { "guard": guard } }),
        &json!({ "rules": [{ "when": { "last": "user" }, "reply": { "calls": calls } }],
            "otherwise": { "text": "done" } }),
    );
    let mut station = station;
    station.start();
    let params = json!({ "message": "go", "sessionKey": "main" }).to_string();
    station.ok(&["gateway", "call", "agent", "--params", &params]);
    for mode in modes {
        let started = station.path("work").join(mode.name());
        station.eventually(mode.name(), || started.exists());
    }
    station
}

pub(crate) fn guardians(seen: &[Process]) -> Vec<u32> {
    let named = |process: &&Process| process.cmdline.starts_with("wrasse-guardian");
    seen.iter().filter(named).map(|process| process.pid).collect()
}

/// Kills the chosen links in one instant; everything must be gone soon, with no restart.
fn pair(choose: impl FnOnce(u32, u32, Vec<u32>) -> Vec<u32>) {
    let mut station = busy("auto");
    let gateway = station.gateway();
    let warden = station.warden.take().unwrap();
    let guardians = guardians(&station.oracle.list());
    assert_eq!(guardians.len(), 4, "{:#?}", station.oracle.list());
    let victims = choose(warden, gateway, guardians);
    station.kill_at_once(&victims);
    let left = station.oracle.wait_until(AFTER_DEATH, <[_]>::is_empty);
    assert!(left.is_ok(), "{left:#?}\n{}", station.log());
    station.start();
    station.assert_flat();
}

/// failure mode F1.
#[test]
fn gateway_and_guardians_killed() {
    pair(|_, gateway, guardians| [vec![gateway], guardians].concat());
}

#[test]
fn gateway_and_warden_killed() {
    pair(|warden, gateway, _| vec![warden, gateway]);
}

/// All three in one instant: what is left is ended by the next start, before it serves. // failure mode D11, F7
#[test]
fn all_three_killed_and_swept_at_the_next_start() {
    let mut station = busy("auto");
    let gateway = station.gateway();
    let warden = station.warden.take().unwrap();
    let victims = [vec![warden, gateway], guardians(&station.oracle.list())].concat();
    station.kill_at_once(&victims);
    station.start();
    let own = |process: &Process| {
        process.cmdline.contains("gateway run") || process.name.starts_with("wrasse-warden")
    };
    let seen = station.oracle.list();
    assert!(seen.iter().all(own), "{seen:#?}\n{}", station.log());
    station.assert_flat();
}

#[test]
fn each_way_of_executing_the_guard_holds() {
    for guard in ["file", "memfd", "self"] {
        let mut station = busy(guard);
        let seen = station.oracle.list();
        assert_eq!(guardians(&seen).len(), 4, "{guard}: {seen:#?}");
        let gateway = station.gateway();
        let warden = station.warden.take().unwrap();
        station.oracle.signal(&[gateway], SIGKILL);
        let left = station.oracle.wait_until(AFTER_DEATH, <[_]>::is_empty);
        assert!(left.is_ok(), "{guard}: {left:#?}\n{}", station.log());
        assert_eq!(station.oracle.exit_code(warden, PATIENCE), Some(137));
    }
}

/// A second gateway of the same user, and a process with an identical command line, live through everything.
// failure mode J6
#[test]
fn bystanders_live() {
    let mut station = busy("auto");
    let fixture = wrasse_testkit::station::bins().join("wrasse-fixture").display().to_string();
    let argv = [fixture, "f-eof-deaf".to_owned()];
    let (log, cwd) = (station.path("bystander.log"), station.path("work"));
    let bystander = station.oracle.spawn(&argv, &std::collections::BTreeMap::new(), &log, &cwd);
    let mut other = busy("auto");
    let gateway = station.gateway();
    let mut victims = guardians(&wrasse_testkit::processes::descendants(gateway));
    victims.extend([gateway, station.warden.take().unwrap()]);
    station.kill(&victims);
    station.start();
    station.ok(&["gateway", "stop"]);
    station.warden = None;
    let seen = station.oracle.list();
    assert!(seen.iter().any(|process| process.pid == bystander), "{seen:#?}");
    assert_eq!(guardians(&other.oracle.list()).len(), 4);
    station.oracle.signal(&[bystander], SIGKILL);
    station.assert_flat();
    other.assert_flat();
}
