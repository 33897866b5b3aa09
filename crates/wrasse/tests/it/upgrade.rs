//! The programs are replaced or removed, under a running gateway and between two: what is executed then.

use serde_json::json;
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::station::{AFTER_DEATH, GONE, Station, install, install_other};

use super::hygiene::{configure, hold, link, look, station};

const SIGKILL: i32 = 9;

/// Replaces the program under a running gateway: it goes on, and a restart runs the new one.
fn upgrade(guard: &str) {
    let mut station = Station::new();
    configure(
        &station,
        station.fixture(Mode::TermDeaf),
        json!({ "containment": { "guard": guard } }),
    );
    let original = station.wrasse();
    let installed = station.path("wrasse");
    install(&original, &installed);
    station.use_program(installed.clone());
    let warden = station.start();
    let old = station.gateway();
    let next = station.path("next");
    install_other(&original, &next, "another build");
    std::fs::rename(&next, &installed).unwrap();
    assert!(link(old, "exe").display().to_string().ends_with("(deleted)"));
    // The old one still starts servers, by a guard program that may have been itself.
    look(&station);
    hold(&station);
    station.ok(&["gateway", "restart"]);
    station.wait_ready();
    let new = station.gateway();
    assert_ne!(old, new);
    assert_eq!(link(new, "exe"), installed.canonicalize().unwrap(), "{}", station.log());
    assert!(station.oracle.list().iter().any(|process| process.pid == warden));
    station.assert_no_servers(GONE);
    look(&station);
    hold(&station);
    station.warden = None;
    station.oracle.signal(&[new], SIGKILL);
    let left = station.oracle.wait_until(AFTER_DEATH, <[_]>::is_empty);
    assert!(left.is_ok(), "{guard}: {left:#?}\n{}", station.log());
    station.start();
    station.assert_flat();
}

/// failure mode D11: upgrade in place.
#[test]
fn an_executable_replaced_under_a_running_gateway() {
    for guard in ["auto", "self"] {
        upgrade(guard);
    }
}

/// The program is removed altogether: the gateway still starts servers, by a guard that may be itself, and the warden
/// still has it open, and restarts what it has.
#[test]
fn an_executable_removed_under_a_running_gateway() {
    for guard in ["auto", "self"] {
        let mut station = Station::new();
        let server = station.fixture(Mode::Daemon);
        configure(&station, server, json!({ "containment": { "guard": guard } }));
        let installed = station.path("wrasse");
        install(&station.wrasse(), &installed);
        let original = station.wrasse();
        station.use_program(installed.clone());
        station.start();
        std::fs::remove_file(&installed).unwrap();
        station.use_program(original);
        look(&station);
        hold(&station);
        station.ok(&["gateway", "restart"]);
        station.wait_ready();
        station.assert_no_servers(GONE);
        look(&station);
        station.assert_flat();
    }
}

/// A guard program in the state dir that is not ours, of an older version or tampered with, is never executed.
#[test]
fn a_wrong_guard_program_is_replaced() {
    let mut station = station();
    station.start();
    let folder = station.path("state").join("bin");
    let guard = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    station.ok(&["gateway", "stop"]);
    station.warden = None;
    let right = std::fs::read(&guard).unwrap();
    let touched = station.path("touched").display().to_string();
    std::fs::remove_file(&guard).unwrap();
    std::fs::write(&guard, format!("#!/bin/sh\ntouch {touched}\n")).unwrap();
    std::fs::set_permissions(&guard, std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap();
    station.start();
    look(&station);
    assert!(std::fs::read(&guard).unwrap() == right, "the guard program was not replaced");
    assert!(!std::path::Path::new(&touched).exists());
    station.assert_flat();
}
