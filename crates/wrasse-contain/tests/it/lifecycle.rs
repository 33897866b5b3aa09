//! Trees from start to proven end.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use wrasse_contain::{Ladder, LeaderExit, SpawnError};
use wrasse_types::StopRung;

use crate::support::{PATIENCE, Tag, containment, launch, shell, until};

/// Rungs long enough that only the right one can be the one that worked.
const PATIENT: Ladder = Ladder { eof: PATIENCE, term: PATIENCE };

#[tokio::test]
async fn a_server_talks_over_its_pipes() {
    let tag = Tag::new();
    let script = "echo to-stderr >&2; while read -r line; do echo \"got $line\"; done";
    let mut tree = launch(&containment(), shell(&tag, script)).await;
    let mut stdin = tree.take_stdin().unwrap();
    assert!(tree.take_stdin().is_none(), "once");
    let mut stdout = BufReader::new(tree.take_stdout().unwrap());
    let mut stderr = tree.take_stderr().unwrap();
    stdin.write_all(b"hello\n").await.unwrap();
    let mut line = String::new();
    stdout.read_line(&mut line).await.unwrap();
    assert_eq!(line, "got hello\n");
    assert_eq!(tag.pids(), [tree.pid()]);

    drop(stdin);
    let outcome = tree.stop(PATIENT).await;
    assert_eq!(outcome.rung, StopRung::Stdin);
    assert!(outcome.proven_empty);
    assert_eq!((outcome.processes, outcome.survivors), (1, 0));
    let mut text = String::new();
    stderr.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "to-stderr\n", "nobody else holds the write end");
}

// failure mode L1: a server that heeds the end of its input is not signalled
#[tokio::test]
async fn closing_stdin_is_enough_for_a_good_server() {
    let tag = Tag::new();
    let tree = launch(&containment(), shell(&tag, "exec cat")).await;
    let watch = tree.exited();
    assert_eq!(watch.now(), None);
    let outcome = tree.stop(PATIENT).await;
    assert_eq!(outcome.rung, StopRung::Stdin);
    assert_eq!(outcome.leader, Some(LeaderExit::Code(0)));
    assert_eq!(watch.wait().await, LeaderExit::Code(0));
    assert_eq!(tag.count(), 0);
}

// failure mode K1
#[tokio::test]
async fn a_server_deaf_to_the_end_of_its_input_gets_sigterm() {
    let tag = Tag::new();
    let tree = launch(&containment(), shell(&tag, "while :; do sleep 300; done")).await;
    until("the server sleeps", || tag.count() == 2).await;
    let outcome = tree.stop(Ladder { eof: Duration::from_millis(50), term: PATIENCE }).await;
    assert_eq!(outcome.rung, StopRung::Term);
    assert_eq!(outcome.leader, Some(LeaderExit::Signal(15)));
    assert!(outcome.proven_empty);
    assert_eq!(tag.count(), 0);
}

// failure mode A8
#[tokio::test]
async fn a_server_deaf_to_everything_is_killed() {
    let tag = Tag::new();
    let script = "trap '' TERM; echo deaf; while :; do sleep 300; done";
    let mut tree = launch(&containment(), shell(&tag, script)).await;
    let mut line = String::new();
    BufReader::new(tree.take_stdout().unwrap()).read_line(&mut line).await.unwrap();
    let rung = Duration::from_millis(50);
    let outcome = tree.stop(Ladder { eof: rung, term: rung }).await;
    assert_eq!(outcome.rung, StopRung::Kill);
    assert_eq!(outcome.leader, Some(LeaderExit::Signal(9)));
    assert!(outcome.proven_empty);
    assert_eq!(tag.count(), 0);
}

#[tokio::test]
async fn kill_is_at_once() {
    let tag = Tag::new();
    let tree = launch(&containment(), shell(&tag, "while :; do sleep 300; done")).await;
    let outcome = tree.kill().await;
    assert_eq!(outcome.rung, StopRung::Kill);
    assert!(outcome.proven_empty);
    assert_eq!(tag.count(), 0);
}

// failure mode A6: daemons in sessions of their own, one of them with an empty environment
#[tokio::test]
async fn daemons_end_with_their_tree() {
    let tag = Tag::new();
    let script = "setsid sh -c '(sleep 300.$TAG &)' & \
                  setsid sh -c 'env -i sleep 301.$TAG &' & \
                  exec cat";
    let tree = launch(&containment(), shell(&tag, script)).await;
    let guardian = tree.guardian();
    let names = || {
        let below = containment().processes(guardian.pid).into_iter();
        // The leader does not wait for its children, so their zombies stay.
        let living = below.filter(|process| !process.zombie);
        let mut names: Vec<_> = living.map(|process| process.name).collect();
        names.sort();
        names
    };
    until("both daemons run and no shell is left", || names() == ["cat", "sleep", "sleep"]).await;
    let below = containment().processes(guardian.pid);
    assert!(below.iter().all(|process| process.start_ticks >= guardian.start_ticks));
    assert!(containment().leftovers().iter().all(|left| !tag.pids().contains(&left.pid)));
    let outcome = tree.stop(PATIENT).await;
    assert_eq!(outcome.rung, StopRung::Stdin);
    assert!(outcome.proven_empty);
    assert!(outcome.processes >= 3, "{outcome:?}");
    assert_eq!(tag.count(), 0);
}

// failure mode A13: a grandchild that holds stdout does not hide the leader's death
#[tokio::test]
async fn the_leaders_exit_is_known_and_ends_the_tree() {
    let tag = Tag::new();
    let mut tree = launch(&containment(), shell(&tag, "setsid sleep 300 & read x; exit 7")).await;
    let watch = tree.exited();
    until("the grandchild runs", || tag.count() == 2).await;
    let mut stdin = tree.take_stdin().unwrap();
    stdin.write_all(b"\n").await.unwrap();
    assert_eq!(watch.wait().await, LeaderExit::Code(7));
    drop(stdin);
    until("the tree is gone without being told to", || tag.count() == 0).await;
    let outcome = tree.stop(PATIENT).await;
    assert_eq!(outcome.rung, StopRung::AlreadyGone);
    assert!(outcome.proven_empty);
}

// failure mode D3
#[tokio::test]
async fn a_dropped_tree_ends() {
    let tag = Tag::new();
    let containment = containment();
    let before = containment.dropped_trees();
    let tree = launch(&containment, shell(&tag, "setsid sleep 300 & sleep 301")).await;
    let watch = tree.exited();
    until("the tree is complete", || tag.count() == 3).await;
    drop(tree);
    until("the tree is gone", || tag.count() == 0).await;
    assert_eq!(watch.wait().await, LeaderExit::Signal(9));
    assert!(containment.dropped_trees() > before);
}

#[tokio::test]
async fn a_dropped_stop_still_ends_the_tree() {
    let tag = Tag::new();
    let tree =
        launch(&containment(), shell(&tag, "trap '' TERM; while :; do sleep 300; done")).await;
    until("the tree is complete", || tag.count() == 2).await;
    let stopping = tree.stop(PATIENT);
    assert!(tokio::time::timeout(Duration::from_millis(50), stopping).await.is_err());
    until("the tree is gone", || tag.count() == 0).await;
}

#[tokio::test]
async fn a_prepared_tree_that_is_let_go_of_ends() {
    let tag = Tag::new();
    let containment = containment();
    let prepared = containment.prepare(shell(&tag, "exec cat")).await.unwrap();
    let guardian = prepared.guardian().pid;
    assert_eq!(tag.count(), 0, "the server is not started before go");
    prepared.abandon().await;
    assert!(!std::path::Path::new(&format!("/proc/{guardian}")).exists(), "ended and reaped");

    let prepared = containment.prepare(shell(&tag, "exec cat")).await.unwrap();
    let guardian = prepared.guardian().pid;
    drop(prepared);
    let path = format!("/proc/{guardian}");
    until("the guardian is gone", || !std::path::Path::new(&path).exists()).await;
}

#[tokio::test]
async fn a_dropped_prepare_leaves_nothing() {
    let tag = Tag::new();
    let mut spec = shell(&tag, "exec cat");
    spec.name = format!("dropped-{}", tag.0);
    let containment = containment();
    for _ in 0..20 {
        let preparing = containment.prepare(spec.clone());
        // Polled once, so that it is dropped somewhere in the middle.
        drop(tokio::time::timeout(Duration::ZERO, preparing).await);
    }
    until("no guardian of it is left", || tag.count() == 0).await;
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let containment = containment();
    let tag = Tag::new();
    let spec = || shell(&tag, "exec cat");

    let mut missing = spec();
    missing.program = "no-such-command".into();
    let text = containment.prepare(missing).await.unwrap_err().to_string();
    assert!(text.contains("no-such-command") && text.contains("/usr/bin:/bin"), "{text}");

    let mut no_cwd = spec();
    no_cwd.cwd = "/nonexistent/workspace".into();
    let error = containment.prepare(no_cwd).await.unwrap_err();
    assert!(matches!(&error, SpawnError::BadCwd { .. }), "{error}");
    assert!(error.to_string().contains("/nonexistent/workspace"), "{error}");

    // A directory that vanishes between the two steps is the guardian's to report.
    let dir = tempfile::tempdir().unwrap();
    let mut vanishing = spec();
    vanishing.cwd = dir.path().to_owned();
    let prepared = containment.prepare(vanishing).await.unwrap();
    dir.close().unwrap();
    let error = prepared.go().await.unwrap_err();
    assert!(matches!(&error, SpawnError::BadCwd { .. }), "{error}");

    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    std::fs::write(&script, "#!/nonexistent/interpreter\n").unwrap();
    rustix::fs::chmod(&script, rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
    let mut no_interpreter = spec();
    no_interpreter.program = script.into();
    let error = containment.prepare(no_interpreter).await.unwrap().go().await.unwrap_err();
    assert!(matches!(&error, SpawnError::Exec { .. }), "{error}");

    let mut nul = spec();
    nul.args.push("a\0b".into());
    let error = containment.prepare(nul).await.unwrap_err();
    assert!(matches!(&error, SpawnError::BadSpec { .. }), "{error}");
    assert!(!error.retry_may_help());
    assert_eq!(tag.count(), 0);
}

#[tokio::test]
async fn a_large_environment_arrives_whole() {
    let tag = Tag::new();
    let script = "printf '%s' \"$LARGE\" | wc -c; printf '%s\n' \"$0\" \"$WRASSE_MARK\"; \
        tr '\\0' '\\n' </proc/$$/environ | wc -l";
    let mut spec = shell(&tag, script);
    let instance = spec.instance;
    spec.env.push(("LARGE".into(), "x".repeat(100_000).into()));
    spec.env.extend((0..3).map(|n| (format!("L{n}").into(), "y".repeat(100_000).into())));
    spec.args.push("zero".into());
    let mut tree = launch(&containment(), spec).await;
    let mut text = String::new();
    tree.take_stdout().unwrap().read_to_string(&mut text).await.unwrap();
    let lines: Vec<&str> = text.lines().collect();
    // The tests themselves may run below a Wrasse.
    let above = std::env::var("WRASSE_MARK").map(|mark| mark + ",").unwrap_or_default();
    let mark = format!("{above}7e57:{instance}");
    // PATH, TAG, LARGE, L0-L2, WRASSE_MARK: nothing of ours, and not what the shell adds.
    assert_eq!(lines, ["100000", "zero", mark.as_str(), "7"]);
    assert!(tree.stop(PATIENT).await.proven_empty);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_at_once() {
    let tag = Tag::new();
    let containment = containment();
    let mut starting = Vec::new();
    for _ in 0..20 {
        starting.push(Box::pin(launch(&containment, shell(&tag, "setsid sleep 300 & exec cat"))));
    }
    let mut trees = Vec::new();
    for tree in starting {
        trees.push(tree.await);
    }
    until("all are complete", || tag.count() == 40).await;
    // guarantee G6; failure mode J1: ending one does not touch another
    let outcome = trees.pop().unwrap().stop(PATIENT).await;
    assert!(outcome.proven_empty);
    assert_eq!(tag.count(), 38);
    for tree in trees {
        let outcome = tree.stop(PATIENT).await;
        assert_eq!((outcome.rung, outcome.proven_empty), (StopRung::Stdin, true));
    }
    assert_eq!(tag.count(), 0);
}
