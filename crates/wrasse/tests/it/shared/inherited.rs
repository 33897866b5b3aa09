//! What a shim was started with and a broker, which outlives the shim's host, must not keep.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wrasse_testkit::hosted::Hosted;
use wrasse_testkit::station::Station;

use super::{assert_flat, broker};

/// Goes to a directory, opens a file there that it never closes, and becomes the rest.
const LEAKS: &str = r#"cd "$0" && exec 7>leaked && exec "$@""#;

fn stands_in(pid: u32) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap()
}

fn holds(pid: u32, file: &Path) -> bool {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    fds.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|open| open == file))
}

/// A host that shares the server that conforms, its shim started by this launcher.
fn launched(station: &mut Station, launcher: &[String]) -> Hosted {
    let wrasse = station.wrasse().display().to_string();
    let fixture = station.program("wrasse-fixture").display().to_string();
    let shim = [&wrasse, "wrap", "--scope", "shared", "--", &fixture, "f-ok"].map(str::to_owned);
    let mut host = Hosted::start(station, &[launcher, &shim].concat());
    host.initialize(&json!({}));
    host
}

// failure mode G10
#[test]
fn a_broker_keeps_no_directory_and_no_descriptor_of_its_first_host() {
    let mut station = Station::new();
    let work = station.path("work").canonicalize().unwrap();
    let leaked = work.join("leaked");
    let launcher = ["sh", "-c", LEAKS, work.to_str().unwrap()].map(str::to_owned);
    let mut host = launched(&mut station, &launcher);
    let own = host.call_text("self", &json!({}));
    let own: Value = serde_json::from_str(own.lines().next().unwrap()).unwrap();
    assert_eq!(own["cwd"], json!(work), "the server starts where its host wants it: {own:#}");
    let (shim, broker) = (host.shim(&mut station), broker(&mut station));
    assert!(holds(shim, &leaked), "nothing leaked, so nothing is shown");
    assert!(!holds(broker, &leaked));
    assert_eq!([stands_in(shim), stands_in(broker)], [Path::new("/"), Path::new("/")]);
    host.end(&mut station);
    assert_flat(&mut station);
}

/// Ignores the death of children, and becomes the rest.
const IGNORES: &str = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); \
                       os.execvp(sys.argv[1], sys.argv[1:])";

#[test]
fn a_shim_that_was_left_to_ignore_its_children_shares() {
    let mut station = Station::new();
    let mut host = launched(&mut station, &crate::host::python(IGNORES));
    host.call_text("self", &json!({}));
    broker(&mut station);
    let below = host.below(&mut station);
    assert_eq!(below.len(), 1, "the shim has a server of its own: {below:#?}");
    host.end(&mut station);
    assert_flat(&mut station);
}
