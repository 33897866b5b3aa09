//! The guardian, spoken to by the protocol.

use std::{fs, os::unix::process::ExitStatusExt, path::Path, process::ExitStatus};

use rustix::process::Signal;
use wrasse_guard::{
    Limits, Spec,
    protocol::{Event, Order, Stage},
};

use crate::{
    harness::{Guarded, image, itself},
    witness::{eventually, kill, lives},
};

const KILLED: Option<i32> = Some(9);

fn for_each_guard(scenario: impl Fn(&Path)) {
    scenario(image());
    scenario(&itself());
}

#[test]
fn a_server_runs_as_told_and_its_status_comes_back() {
    for_each_guard(|program| {
        let mut guarded = Guarded::new(program);
        guarded.send_spec("/bin/sh", &["the-name", "-c", "echo $0 $A; pwd; exit 7"], &["A=b c"]);
        assert!(matches!(guarded.event(), Some(Event::Ready { .. })));
        guarded.send(Order::Ping);
        assert_eq!(guarded.event(), Some(Event::Pong));
        guarded.send(Order::Go);
        assert!(matches!(guarded.event(), Some(Event::Started { .. })));
        guarded.wait_for("the-name b c");
        let folder = guarded.folder.path().to_str().unwrap().to_owned();
        guarded.wait_for(&folder);
        let (status, reaped) = guarded.finish();
        assert_eq!(ExitStatus::from_raw(status.unwrap()).code(), Some(7));
        assert_eq!(reaped, 1);
    });
}

#[test]
fn the_server_inherits_nothing_but_its_stdio() {
    let (mut guarded, pid) = Guarded::shell(image(), "echo up; exec sleep 1000");
    guarded.wait_for("up");
    eventually("sleep has opened and closed its libraries", || {
        (fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() == 3).then_some(())
    });
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for set in ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"] {
        assert!(status.contains(set), "{status}");
    }
    let guardian = guarded.guardian.id();
    assert_eq!(fs::read_link(format!("/proc/{guardian}/cwd")).unwrap(), Path::new("/"));
    let name = fs::read_to_string(format!("/proc/{guardian}/comm")).unwrap();
    assert_eq!(name, "wrasse-guardian\n");
    guarded.send(Order::Kill);
    assert_eq!(guarded.finish().0, KILLED);
}

// failure mode G7
#[test]
fn a_guardian_is_small() {
    let (mut guarded, _) = Guarded::shell(image(), "exec sleep 1000");
    let rollup =
        fs::read_to_string(format!("/proc/{}/smaps_rollup", guarded.guardian.id())).unwrap();
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    let kibibytes: u32 = pss.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kibibytes <= 64, "{kibibytes} KiB");
    guarded.send(Order::Kill);
    guarded.finish();
}

// failure modes A4, A6, A17
#[test]
fn a_daemon_ends_with_the_server_that_left_it() {
    for_each_guard(|program| {
        let script = "(setsid sh -c 'trap \"\" HUP TERM; echo up; sleep 1000' &); read line";
        let (mut guarded, _) = Guarded::shell(program, script);
        guarded.wait_for("up");
        assert!(guarded.witness().carriers().len() >= 3);
        guarded.stdin = None;
        let (status, reaped) = guarded.finish();
        assert_eq!(ExitStatus::from_raw(status.unwrap()).code(), Some(1));
        // The shell may still reap its sleep as both are killed.
        assert!(reaped >= 2, "{reaped}");
    });
}

// failure modes A2, A8
#[test]
fn term_reaches_the_group_and_kill_whoever_is_deaf() {
    let script = "sh -c 'trap \"echo heard; exit\" TERM; echo > ready; \
                  while :; do sleep 0.1; done' & \
                  while [ ! -e ready ]; do :; done; trap '' TERM; echo up; wait; sleep 1000";
    let (mut guarded, pid) = Guarded::shell(image(), script);
    guarded.wait_for("up");
    guarded.send(Order::Term);
    guarded.wait_for("heard");
    assert!(lives(pid));
    guarded.send(Order::Kill);
    assert_eq!(guarded.finish().0, KILLED);
}

#[test]
fn a_stopped_server_sees_term() {
    let (mut guarded, pid) = Guarded::shell(image(), "trap 'exit 3' TERM; echo up; read line");
    guarded.wait_for("up");
    kill(pid, Signal::STOP);
    eventually("it is stopped", || (crate::witness::state(pid) == Some('T')).then_some(()));
    guarded.send(Order::Term);
    assert_eq!(guarded.finish().0, Some(3 << 8));
}

#[test]
fn a_closed_socket_ends_the_tree() {
    for_each_guard(|program| {
        let script = "setsid sleep 1000 & sleep 1000 & echo up; wait";
        let (mut guarded, _) = Guarded::shell(program, script);
        guarded.wait_for("up");
        guarded.socket = None;
        assert!(guarded.guardian.wait().unwrap().success());
        guarded.witness().assert_gone();
    });
}

#[test]
fn before_go_kill_or_eof_just_end_the_guardian() {
    for_each_guard(|program| {
        let mut told = Guarded::new(program);
        told.send_spec("/bin/sh", &["sh"], &[]);
        assert!(matches!(told.event(), Some(Event::Ready { .. })));
        told.send(Order::Kill);
        assert_eq!(told.finish(), (None, 0));

        let mut left = Guarded::new(program);
        left.send_spec("/bin/sh", &["sh"], &[]);
        assert!(matches!(left.event(), Some(Event::Ready { .. })));
        left.socket = None;
        assert!(left.guardian.wait().unwrap().success());
        left.witness().assert_gone();
    });
}

#[test]
fn a_start_that_fails_says_where_and_why() {
    const ENOENT: i32 = 2;
    let mut guarded = Guarded::new(image());
    guarded.send_spec("/nowhere/server", &["server"], &[]);
    assert!(matches!(guarded.event(), Some(Event::Ready { .. })));
    guarded.send(Order::Go);
    assert_eq!(guarded.event(), Some(Event::Failed { stage: Stage::Exec, errno: ENOENT }));
    assert_eq!(guarded.finish(), (None, 1));

    let mut elsewhere = Guarded::new(image());
    elsewhere.send_body(&Spec {
        gateway_pid: std::process::id(),
        mark: elsewhere.mark,
        name: b"test",
        cwd: b"/nowhere",
        program: b"/bin/sh",
        leaf: b"",
        limits: Limits::default(),
        argv: &[b"sh"],
        env: &[],
    });
    assert!(matches!(elsewhere.event(), Some(Event::Ready { .. })));
    elsewhere.send(Order::Go);
    assert_eq!(elsewhere.event(), Some(Event::Failed { stage: Stage::Chdir, errno: ENOENT }));
    assert_eq!(elsewhere.finish(), (None, 1));
}

#[test]
fn a_guardian_of_somebody_else_refuses() {
    let mut guarded = Guarded::new(image());
    guarded.send_body(&Spec {
        gateway_pid: 1,
        mark: 0,
        name: b"test",
        cwd: b"/",
        program: b"/bin/sh",
        leaf: b"",
        limits: Limits::default(),
        argv: &[b"sh"],
        env: &[],
    });
    assert!(matches!(guarded.event(), Some(Event::Failed { stage: Stage::Spec, .. })));
    assert_eq!(guarded.finish(), (None, 0));
}

#[test]
fn a_spec_may_take_many_packets() {
    let large: Vec<String> =
        (0..20).map(|index| format!("V{index}={}", "x".repeat(10 * 1024))).collect();
    let mut env: Vec<&str> = large.iter().map(String::as_str).collect();
    env.push("PATH=/usr/bin:/bin");
    let mut guarded = Guarded::new(image());
    let script = "echo ${#V0} ${#V19}; exit 0";
    guarded.send_spec("/bin/sh", &["sh", "-c", script], &env);
    assert!(matches!(guarded.event(), Some(Event::Ready { .. })));
    guarded.send(Order::Go);
    assert!(matches!(guarded.event(), Some(Event::Started { .. })));
    guarded.wait_for("10240 10240");
    assert_eq!(guarded.finish(), (Some(0), 1));
}

// failure modes A1, A6
#[test]
fn fifty_daemons_and_a_deep_chain_end() {
    let script = "for i in $(seq 50); do (setsid sleep 1000 &); done; \
                  f() { if [ $1 = 0 ]; then echo up; sleep 1000; else (f $(($1 - 1)); :); fi; }; f 40";
    let (mut guarded, _) = Guarded::shell(image(), script);
    guarded.wait_for("up");
    eventually("all are there", || (guarded.witness().carriers().len() > 90).then_some(()));
    guarded.send(Order::Kill);
    let (status, reaped) = guarded.finish();
    assert_eq!(status, KILLED);
    // Members of the chain may still reap each other as they are killed.
    assert!(reaped > 50, "{reaped}");
}

#[test]
fn a_tree_of_1600_ends() {
    let script = "i=0; while [ $i -lt 1600 ]; do sleep 1000 & i=$((i + 1)); done; echo up; wait";
    let (mut guarded, _) = Guarded::shell(image(), script);
    guarded.wait_for("up");
    kill(guarded.guardian.id(), Signal::TERM);
    guarded.send(Order::Kill);
    let (status, reaped) = guarded.finish();
    assert_eq!(status, KILLED);
    // The shell, woken in its wait, may still reap some as they are killed.
    assert!(reaped > 1500, "{reaped}");
}

#[test]
fn comets_and_respawners_do_not_get_away() {
    for_each_guard(|program| {
        let folder = tempfile::tempdir().unwrap();
        // Each life is a new session and a new parent; the file is the test's own emergency brake.
        let comet = folder.path().join("comet");
        fs::write(&comet, "[ -e \"$0.stop\" ] || setsid sh \"$0\" &\n").unwrap();
        let script = format!(
            "for i in 1 2 3 4; do sh {0}; done; \
             setsid sh -c 'while [ ! -e {0}.stop ]; do setsid sleep 1000 & sleep 0.01; done' & \
             echo up; read line",
            comet.display()
        );
        let (mut guarded, _) = Guarded::shell(program, &script);
        guarded.wait_for("up");
        eventually("the respawner is busy", || {
            (guarded.witness().carriers().len() > 12).then_some(())
        });
        guarded.send(Order::Kill);
        let (status, _) = guarded.finish();
        assert_eq!(status, KILLED);
        fs::write(folder.path().join("comet.stop"), "").unwrap();
    });
}

#[test]
fn a_stopped_member_that_wakes_by_its_leaders_death_starts_nobody() {
    let script = "setsid sh -c 'sh -c \"trap \\\"setsid sleep 1000 &\\\" HUP CONT; echo up; \
                  kill -STOP \\$\\$; while :; do sleep 1; done\" & wait' & read line";
    let (mut guarded, _) = Guarded::shell(image(), script);
    guarded.wait_for("up");
    let stopped = |pid: &u32| crate::witness::state(*pid) == Some('T');
    eventually("it is stopped", || guarded.witness().carriers().iter().any(stopped).then_some(()));
    guarded.send(Order::Kill);
    assert_eq!(guarded.finish().0, KILLED);
}

#[test]
fn a_server_dies_with_its_guardian() {
    let (mut guarded, pid) = Guarded::shell(image(), "exec sleep 1000");
    guarded.guardian.kill().unwrap();
    guarded.guardian.wait().unwrap();
    eventually("the server is gone", || (!lives(pid)).then_some(()));
}
