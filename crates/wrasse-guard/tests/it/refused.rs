//! What the floor does where the kernel lacks something. Each lack is made, and a tree with daemons must end all the
//! same, or must never begin.

use std::{
    fs,
    process::{Command, Stdio},
};

use rustix::process::Signal;
use wrasse_guard::protocol::{Degraded, Event, Order, Stage, VERSION};

use crate::{
    harness::{Guarded, image, itself, refusing},
    witness::{Mark, eventually, kill, lives},
};

/// Daemons in sessions of their own, one with an empty environment, one below another, and a chain.
const DAEMONS: &str = "for i in 1 2 3; do (setsid sh -c 'trap \"\" HUP TERM; sleep 1000 & sleep 1000; :' &); done; \
    (setsid env -i sleep 1000 &); sh -c 'sh -c \"sleep 1000; :\"; :' & echo up; wait";
/// The server, three daemons of three, one, and a chain of three.
const DAEMONS_COUNT: usize = 14;
const MARK: &str = "WRASSE_GUARD_TEST_MARK";

fn complete(witness: &Mark) {
    eventually("the tree is complete", || {
        (witness.carriers().len() >= DAEMONS_COUNT).then_some(())
    });
}

#[test]
fn without_pidfds_a_tree_ends() {
    for program in [image().to_owned(), itself()] {
        for refused in ["pidfd_open=ENOSYS", "pidfd_open=EPERM"] {
            let guarded = Guarded::refusing(&program, &["--errno", refused]);
            let (mut guarded, _) = guarded.run(DAEMONS, Degraded(Degraded::PIDFD));
            complete(&guarded.witness());
            guarded.send(Order::Kill);
            guarded.finish();
        }
    }
}

#[test]
fn a_refused_signal_through_a_pidfd_is_not_taken_for_sent() {
    // Opened, but of no use: everything is still ended by what needs none.
    let guarded = Guarded::refusing(image(), &["--errno", "pidfd_send_signal=EPERM"]);
    let (mut guarded, _) = guarded.run(DAEMONS, Degraded::default());
    complete(&guarded.witness());
    guarded.send(Order::Kill);
    guarded.finish();
}

#[test]
fn without_pidfds_the_gateway_s_death_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let mut gateway = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "refused::leaky_gateway_role", "--nocapture"])
        .env("WRASSE_GUARD_TEST_REPORT", &report)
        .env(MARK, "role")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let text = eventually("the tree is up", || fs::read_to_string(&report).ok());
    let words: Vec<&str> = text.split(' ').collect();
    let witness = Mark::Limit(words[0].parse().unwrap());
    complete(&witness);
    let holder: u32 = words[1].parse().unwrap();
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    witness.assert_gone();
    // It still holds the gateway's end of the socket, which therefore never closed.
    assert!(lives(holder));
    kill(holder, Signal::KILL);
    fs::remove_dir_all(words[2]).unwrap();
}

/// Not a test by itself: a gateway whose socket somebody else holds too.
#[test]
fn leaky_gateway_role() {
    let (Some(_), Some(report)) =
        (std::env::var_os(MARK), std::env::var_os("WRASSE_GUARD_TEST_REPORT"))
    else {
        return;
    };
    let guarded = Guarded::refusing(image(), &["--errno", "pidfd_open=ENOSYS"]);
    let (mut guarded, _) = guarded.run(DAEMONS, Degraded(Degraded::PIDFD));
    guarded.wait_for("up");
    let copy = guarded.socket.as_ref().unwrap().try_clone().unwrap();
    let mut holder = Command::new("sleep").arg("1000").stdin(copy).spawn().unwrap();
    let report = std::path::PathBuf::from(report);
    let text = format!("{} {} {}", guarded.mark, holder.id(), guarded.folder.path().display());
    fs::write(report.with_extension("part"), text).unwrap();
    fs::rename(report.with_extension("part"), report).unwrap();
    holder.wait().unwrap();
}

#[test]
fn without_the_limit_as_a_mark_a_tree_ends() {
    let rules = ["--errno", "prlimit64:1=10,2!=0=EPERM"];
    let mut guarded = Guarded::refusing(image(), &rules);
    let mark = format!("MARK={}", guarded.mark);
    let witness = Mark::Environment(mark.clone());
    let env = ["PATH=/usr/bin:/bin", mark.as_str()];
    guarded.send_spec("/bin/sh", &["sh", "-c", DAEMONS], &env);
    let degraded = Degraded(Degraded::MARK);
    let pid = guarded.guardian.id();
    assert_eq!(guarded.event(), Some(Event::Ready { degraded, pid }));
    guarded.send(Order::Go);
    assert!(matches!(guarded.event(), Some(Event::Started { .. })));
    // All but the one with an empty environment.
    eventually("the tree is complete", || {
        (witness.carriers().len() >= DAEMONS_COUNT - 1).then_some(())
    });
    assert!(guarded.witness().carriers().is_empty(), "the mark was refused");
    guarded.send(Order::Kill);
    guarded.finish();
    witness.assert_gone();
}

/// A daemon would leave a guardian that is no subreaper, so it starts nothing.
#[test]
fn who_cannot_be_a_subreaper_starts_nothing() {
    const EPERM: i32 = 1;
    for program in [image().to_owned(), itself()] {
        let mut guarded = Guarded::refusing(&program, &["--errno", "prctl:0=36=EPERM"]);
        guarded.send_spec("/bin/sh", &["sh", "-c", "exit 0"], &[]);
        assert_eq!(guarded.event(), Some(Event::Failed { stage: Stage::Hold, errno: EPERM }));
        assert_eq!(guarded.finish(), (None, 0));
    }
}

#[test]
fn without_close_range_a_server_has_its_stdio_only() {
    let guarded = Guarded::refusing(image(), &["--errno", "close_range=ENOSYS"]);
    let (mut guarded, pid) = guarded.run("echo up; exec sleep 1000", Degraded::default());
    guarded.wait_for("up");
    eventually("sleep has opened and closed its libraries", || {
        (fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() == 3).then_some(())
    });
    guarded.send(Order::Kill);
    guarded.finish();
}

#[test]
fn without_clone3_a_server_starts() {
    let guarded = Guarded::refusing(image(), &["--errno", "clone3=ENOSYS"]);
    let (mut guarded, _) = guarded.run(DAEMONS, Degraded::default());
    complete(&guarded.witness());
    guarded.send(Order::Kill);
    guarded.finish();
}

/// CONFIG_PROC_CHILDREN is off: everything is found by asking every process for its parent.
#[test]
fn without_lists_of_children_a_tree_ends() {
    let status = refusing(&["--hide", "/children"])
        .arg("gateway")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "refused::without_lists_role", "--nocapture"])
        .env(MARK, "role")
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

/// Not a test by itself.
#[test]
fn without_lists_role() {
    if std::env::var_os(MARK).is_none() {
        return;
    }
    for program in [image().to_owned(), itself()] {
        let (mut guarded, _) = Guarded::new(&program).run(DAEMONS, Degraded(Degraded::LISTS));
        complete(&guarded.witness());
        guarded.send(Order::Kill);
        guarded.finish();
    }
    // The library, from a process with threads.
    let mut root =
        Command::new("sh").args(["-c", "sleep 1000 & sleep 1000 & wait"]).spawn().unwrap();
    let mut ending = wrasse_guard::walk::Ending::new(root.id()).unwrap();
    struct All;
    impl wrasse_guard::walk::Owner for All {
        fn claim(&mut self, _: wrasse_guard::walk::Child) -> wrasse_guard::walk::Claim {
            wrasse_guard::walk::Claim::Ours
        }
    }
    // The first may be met before the second is born.
    let mut killed = 0;
    eventually("both are found, and their parent ends", || {
        killed += ending.round(&mut All).killed;
        root.try_wait().unwrap()
    });
    assert!(killed >= 2, "{killed}");
}

/// A gateway of another version: refused in words, and nothing is left.
#[test]
fn a_spec_of_another_version_is_refused() {
    for program in [image().to_owned(), itself()] {
        for version in [VERSION - 1, VERSION + 1, 0, u8::MAX] {
            let mut guarded = Guarded::new(&program);
            let mut head = [0; wrasse_guard::protocol::SPEC_HEADER];
            let order = Order::Spec { flags: 0, total: 64, offset: 0, bytes: &[] };
            order.encode_head(&mut head);
            head[1] = version;
            let socket = guarded.socket.as_ref().unwrap();
            rustix::net::send(socket, &head, rustix::net::SendFlags::NOSIGNAL).unwrap();
            assert_eq!(guarded.event(), Some(Event::Unlike { version: VERSION }));
            assert!(matches!(guarded.event(), Some(Event::Failed { stage: Stage::Spec, .. })));
            assert_eq!(guarded.finish(), (None, 0));
        }
    }
}
