//! The gateway's death, seen from the tree. The gateway is this test program, executed again.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use rustix::process::Signal;

use crate::{
    harness::{Guarded, image, itself},
    witness::{Mark, eventually},
};

const PROGRAM: &str = "WRASSE_GUARD_TEST_PROGRAM";
const REPORT: &str = "WRASSE_GUARD_TEST_REPORT";

/// Not a test by itself: what the second process runs.
#[test]
fn gateway_role() {
    let (Some(program), Some(report)) = (env::var_os(PROGRAM), env::var_os(REPORT)) else { return };
    let script = "(setsid sleep 1000 &); sleep 1000 & echo up; wait";
    let (mut guarded, _) = Guarded::shell(&PathBuf::from(program), script);
    guarded.wait_for("up");
    let report = PathBuf::from(report);
    let text = format!("{} {}", guarded.mark, guarded.folder.path().display());
    fs::write(report.with_extension("part"), text).unwrap();
    fs::rename(report.with_extension("part"), report).unwrap();
    loop {
        std::thread::park();
    }
}

fn killed(program: PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let mut gateway = Command::new(env::current_exe().unwrap())
        .args(["--exact", "owner::gateway_role", "--nocapture"])
        .env(PROGRAM, program)
        .env(REPORT, &report)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let text = eventually("the tree is up", || fs::read_to_string(&report).ok());
    let (mark, leftover) = text.split_once(' ').unwrap();
    let witness = Mark::Limit(mark.parse().unwrap());
    assert!(witness.carriers().len() >= 4);
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    witness.assert_gone();
    fs::remove_dir_all(leftover).unwrap();
}

// failure mode F1
#[test]
fn sigkill_of_the_gateway_ends_the_tree() {
    killed(image().to_owned());
    killed(itself());
}

// failure modes F1, G10
#[test]
fn a_leaked_socket_does_not_keep_the_tree_when_the_gateway_dies() {
    // The pidfd fires although a copy of the gateway's end lives on, here in a process that
    // inherited it on purpose.
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let mut gateway = Command::new(env::current_exe().unwrap())
        .args(["--exact", "owner::leaky_gateway_role", "--nocapture"])
        .env(PROGRAM, image())
        .env(REPORT, &report)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let text = eventually("the tree is up", || fs::read_to_string(&report).ok());
    let mut words = text.split(' ');
    let witness = Mark::Limit(words.next().unwrap().parse().unwrap());
    let holder: u32 = words.next().unwrap().parse().unwrap();
    let leftover = words.next().unwrap();
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    witness.assert_gone();
    assert!(crate::witness::lives(holder));
    crate::witness::kill(holder, Signal::KILL);
    fs::remove_dir_all(leftover).unwrap();
}

/// Not a test by itself: what the second process runs.
#[test]
fn leaky_gateway_role() {
    let (Some(program), Some(report)) = (env::var_os(PROGRAM), env::var_os(REPORT)) else { return };
    let (mut guarded, _) =
        Guarded::shell(&PathBuf::from(program), "setsid sleep 1000 & echo up; wait");
    guarded.wait_for("up");
    let copy = guarded.socket.as_ref().unwrap().try_clone().unwrap();
    let mut holder = Command::new("sleep").arg("1000").stdin(copy).spawn().unwrap();
    let report = PathBuf::from(report);
    let text = format!("{} {} {}", guarded.mark, holder.id(), guarded.folder.path().display());
    fs::write(report.with_extension("part"), text).unwrap();
    fs::rename(report.with_extension("part"), report).unwrap();
    holder.wait().unwrap();
}
