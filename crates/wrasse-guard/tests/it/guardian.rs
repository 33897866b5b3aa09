//! The guardian, spoken to by the protocol.

use std::{
    fs,
    os::unix::{fs::MetadataExt as _, process::ExitStatusExt as _},
    path::Path,
    process::ExitStatus,
};

use rustix::process::{Resource, Signal};
use wrasse_guard::{
    Limits, Spec,
    protocol::{Event, Order, Stage},
};

use crate::{
    harness::{Guarded, image, itself, skipped},
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
    let field = |file: &str, name: &str| -> u32 {
        let path = format!("/proc/{}/{file}", guarded.guardian.id());
        let text = fs::read_to_string(path).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        value.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let (kibibytes, page) = (field("smaps_rollup", "Pss:"), field("smaps", "KernelPageSize:"));
    // 64 KiB where pages are the usual ones.
    assert!(kibibytes <= 16 * page, "{kibibytes} KiB in pages of {page} KiB");
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
    let count = spare_processes().min(1600);
    if count < 300 {
        return skipped("a_tree_of_1600_ends", &format!("{count} processes are to be had"));
    }
    let script =
        format!("i=0; while [ $i -lt {count} ]; do sleep 1000 & i=$((i + 1)); done; echo up; wait");
    let (mut guarded, _) = Guarded::shell(image(), &script);
    guarded.wait_for("up");
    kill(guarded.guardian.id(), Signal::TERM);
    guarded.send(Order::Kill);
    let (status, reaped) = guarded.finish();
    assert_eq!(status, KILLED);
    // The shell, woken in its wait, may still reap some as they are killed.
    assert!(u64::from(reaped) > count - 100, "{reaped} of {count}");
}

/// How many processes we may start, and leave a few to whatever else runs here.
fn spare_processes() -> u64 {
    let read = |path: String| fs::read_to_string(path).unwrap_or_default();
    let number = |text: String| text.trim().parse::<u64>().ok();
    let mut spare = vec![];
    // Every folder above may have a limit of its own; of version 1 or 2, where they are usually mounted.
    for line in read("/proc/self/cgroup".to_owned()).lines() {
        let Some((controllers, own)) =
            line.split_once(':').and_then(|(_, line)| line.split_once(':'))
        else {
            continue;
        };
        let mount = if controllers == "pids" { "/sys/fs/cgroup/pids" } else { "/sys/fs/cgroup" };
        for folder in Path::new(own).ancestors() {
            let file = |name: &str| format!("{mount}{}/{name}", folder.display());
            if let Some(max) = number(read(file("pids.max"))) {
                spare.push(max.saturating_sub(number(read(file("pids.current"))).unwrap_or(0)));
            }
        }
    }
    // Void for root.
    if !rustix::process::geteuid().is_root() {
        let limit = rustix::process::getrlimit(Resource::Nproc).current;
        spare.extend(limit.map(|limit| limit.saturating_sub(threads_of_ours())));
    }
    spare.into_iter().min().unwrap_or(u64::MAX).saturating_sub(200)
}

/// How many threads our user has, as far as we see.
fn threads_of_ours() -> u64 {
    let own = rustix::process::getuid().as_raw();
    let is_ours = |path: &Path| fs::metadata(path).is_ok_and(|it| it.uid() == own);
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let threads = processes
        .filter(|path| is_ours(path))
        .map(|path| fs::read_dir(path.join("task")).map_or(0, |tasks| tasks.count() as u64));
    threads.sum()
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
