//! What limits the server alone: niceness, the kernel's order of killing, address space, the leaf.

use std::{
    fs,
    path::{Path, PathBuf},
};

use wrasse_guard::{
    Limits, Spec,
    protocol::{Degraded, Event, Order},
};

use crate::{
    harness::{Guarded, image},
    witness::{eventually, kill},
};

const ALL: Limits = Limits { nice: 7, oom_score_adj: 450, data_max: 1 << 30, descriptors: 77 };

fn send(guarded: &mut Guarded, script: &str, limits: Limits, leaf: &Path) {
    let spec = Spec {
        gateway_pid: std::process::id(),
        mark: guarded.mark,
        name: b"test",
        cwd: b"/",
        program: b"/bin/sh",
        leaf: leaf.as_os_str().as_encoded_bytes(),
        limits,
        argv: &[b"sh", b"-c", script.as_bytes()],
        env: &[b"PATH=/usr/bin:/bin"],
    };
    guarded.send_body(&spec);
}

/// Starts a script; returns what was refused, by the guardian and by the server's child, and the pid.
fn start(guarded: &mut Guarded) -> (Degraded, Degraded, u32) {
    let Some(Event::Ready { degraded, .. }) = guarded.event() else { panic!("not ready") };
    guarded.send(Order::Go);
    match guarded.event() {
        Some(Event::Started { pid }) => (degraded, Degraded::default(), pid),
        Some(Event::Refused { what }) => {
            let Some(Event::Started { pid }) = guarded.event() else { panic!("not started") };
            (degraded, what, pid)
        }
        other => panic!("{other:?}"),
    }
}

fn niceness(pid: u32) -> i32 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    text.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap().parse().unwrap()
}

fn oom(pid: u32) -> i32 {
    fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse().unwrap()
}

/// The soft limits of data and of descriptors.
fn soft_limits(pid: u32) -> [String; 2] {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    ["Max data size", "Max open files"].map(|name| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    })
}

#[test]
fn limits_are_the_servers_and_not_the_guardians() {
    let own = std::process::id();
    let (own_nice, own_oom, own_soft) = (niceness(own), oom(own), soft_limits(own));
    let mut guarded = Guarded::new(image());
    send(&mut guarded, "sleep 1000 & echo up; wait", ALL, Path::new(""));
    let (at_ready, refused, pid) = start(&mut guarded);
    assert_eq!((at_ready.0, refused.0), (0, 0));
    guarded.wait_for("up");
    for pid in guarded.witness().carriers() {
        if pid == guarded.guardian.id() {
            assert_eq!((niceness(pid), oom(pid)), (own_nice, own_oom));
            assert_eq!(soft_limits(pid), own_soft);
        } else {
            assert_eq!((niceness(pid), oom(pid)), (own_nice.max(7), own_oom.max(450)));
            assert_eq!(soft_limits(pid), [(1_u64 << 30).to_string(), "77".to_owned()]);
        }
    }
    assert!(guarded.witness().carriers().contains(&pid));
    guarded.send(Order::Kill);
    guarded.finish();
}

#[test]
fn without_limits_everything_is_inherited() {
    let mut guarded = Guarded::new(image());
    send(&mut guarded, "echo up; exec sleep 1000", Limits::default(), Path::new(""));
    let (_, refused, pid) = start(&mut guarded);
    guarded.wait_for("up");
    let own = std::process::id();
    assert_eq!(refused.0, 0);
    assert_eq!(
        (niceness(pid), oom(pid), soft_limits(pid)),
        (niceness(own), oom(own), soft_limits(own))
    );
    guarded.send(Order::Kill);
    guarded.finish();
}

// A layer never breaks a start.
#[test]
fn a_leaf_that_is_none_is_said_and_done_without() {
    for leaf in ["/nowhere/at/all", "/tmp"] {
        let mut guarded = Guarded::new(image());
        send(&mut guarded, "setsid sleep 1000 & echo up; wait", Limits::default(), Path::new(leaf));
        let (at_ready, refused, _) = start(&mut guarded);
        assert!(at_ready.has(Degraded::LEAF) && refused.is_none(), "{leaf}");
        guarded.wait_for("up");
        guarded.send(Order::Kill);
        guarded.finish();
    }
}

#[expect(clippy::print_stderr, reason = "a test that cannot be made here says so by name")]
fn skipped(error: &std::io::Error) {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("skipped {name}: no cgroup v2 leaf can be made here: {error}");
}

/// A cgroup v2 directory of ours, where one may be made.
fn leaf() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let parent = PathBuf::from(format!("{}{own}", mount.split(' ').nth(1)?));
    let leaf = parent.join(format!("wrasse-guard-test-{:x}", crate::harness::fresh_mark()));
    match fs::create_dir(&leaf) {
        Ok(()) => Some(leaf),
        Err(error) => {
            skipped(&error);
            None
        }
    }
}

fn members(leaf: &Path) -> Vec<u32> {
    let text = fs::read_to_string(leaf.join("cgroup.procs")).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn a_leaf_holds_the_tree_and_dies_with_it() {
    let Some(leaf) = leaf() else { return };
    let mut guarded = Guarded::new(image());
    let script = "(setsid sh -c 'trap \"\" HUP TERM; echo up; sleep 1000; :' &); read line";
    send(&mut guarded, script, Limits::default(), &leaf);
    let (at_ready, refused, pid) = start(&mut guarded);
    assert_eq!((at_ready.0, refused.0), (0, 0));
    guarded.wait_for("up");
    // The daemon says "up" before it starts its child.
    let inside = eventually("leader, daemon and its child are in the leaf", || {
        Some(members(&leaf)).filter(|inside| inside.len() >= 3)
    });
    assert!(inside.contains(&pid), "{inside:?}");
    assert!(!inside.contains(&guarded.guardian.id()));
    guarded.send(Order::Kill);
    guarded.finish();
    // The gateway lives, so the leaf is its own to remove.
    assert!(members(&leaf).is_empty());
    fs::remove_dir(leaf).unwrap();
}

#[test]
fn without_its_gateway_a_guardian_removes_its_leaf() {
    let Some(leaf) = leaf() else { return };
    let mut guarded = Guarded::new(image());
    send(&mut guarded, "echo up; sleep 1000", Limits::default(), &leaf);
    start(&mut guarded);
    guarded.wait_for("up");
    guarded.socket = None;
    assert!(guarded.guardian.wait().unwrap().success());
    assert!(!leaf.exists());
}

// A frozen or stopped member is killed by the layer as by the floor.
#[test]
fn a_stopped_tree_in_a_leaf_ends() {
    let Some(leaf) = leaf() else { return };
    let mut guarded = Guarded::new(image());
    send(&mut guarded, "sleep 1000 & echo up; wait", Limits::default(), &leaf);
    let (_, _, pid) = start(&mut guarded);
    guarded.wait_for("up");
    kill(pid, rustix::process::Signal::STOP);
    eventually("it is stopped", || (crate::witness::state(pid) == Some('T')).then_some(()));
    guarded.send(Order::Kill);
    guarded.finish();
    fs::remove_dir(leaf).unwrap();
}

/// Waits for the event that is wanted; whatever else comes must not be "empty".
fn before_empty(guarded: &Guarded, wanted: impl Fn(Event) -> bool) {
    loop {
        let event = guarded.event().expect("the guardian goes on");
        if wanted(event) {
            return;
        }
        assert!(!matches!(event, Event::Empty { .. }), "{event:?}");
    }
}

// guarantee G2: a tree is not told to be empty while the kernel says that somebody is in its leaf
#[test]
fn a_tree_is_not_empty_before_its_leaf_is() {
    // Plain files stand for a member that does not end, however often it is killed.
    let leaf = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(leaf.path().join(name), text).unwrap();
    write("cgroup.procs", "");
    write("cgroup.kill", "");
    write("cgroup.events", "populated 1\nfrozen 0\n");
    let mut guarded = Guarded::new(image());
    send(&mut guarded, "echo up; read line", Limits::default(), leaf.path());
    start(&mut guarded);
    guarded.wait_for("up");
    write("cgroup.procs", "4711\n4712\n");
    guarded.send(Order::Kill);
    before_empty(&guarded, |event| matches!(event, Event::Exited { .. }));
    before_empty(&guarded, |event| event == Event::Stuck { left: 2 });
    assert_eq!(fs::read_to_string(leaf.path().join("cgroup.kill")).unwrap(), "1");
    guarded.send(Order::Ping);
    before_empty(&guarded, |event| event == Event::Pong);
    write("cgroup.events", "populated 0\nfrozen 0\n");
    guarded.finish();
}

// A member that is not below the guardian was moved here, and goes with the tree.
#[test]
#[expect(clippy::disallowed_methods, reason = "a process that is nobody's tree")]
fn who_was_moved_into_a_leaf_ends_with_it() {
    let Some(leaf) = leaf() else { return };
    let mut moved = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let mut guarded = Guarded::new(image());
    send(&mut guarded, "echo up; read line", Limits::default(), &leaf);
    start(&mut guarded);
    guarded.wait_for("up");
    fs::write(leaf.join("cgroup.procs"), moved.id().to_string()).unwrap();
    guarded.send(Order::Kill);
    guarded.finish();
    assert!(members(&leaf).is_empty());
    assert!(!moved.wait().unwrap().success());
    fs::remove_dir(leaf).unwrap();
}
