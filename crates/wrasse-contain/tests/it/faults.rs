//! Guardians that die or hang.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use wrasse_contain::{Ladder, LeaderExit};
use wrasse_testkit::pulse::Pulse;
use wrasse_types::StopRung;

use crate::held::Held;
use crate::support::{PATIENCE, Tag, containment, launch, shell, signal, stat_fields, until};

const PATIENT: Ladder = Ladder { eof: PATIENCE, term: PATIENCE };
/// A leader deaf to everything, a child of it, a daemon, and a daemon with an empty environment.
const STUBBORN: &str = "trap '' TERM HUP INT; \
    setsid sh -c '(sleep 300.$TAG &)' & setsid sh -c 'env -i sleep 301.$TAG &' & \
    while :; do sleep 302.$TAG; done";
const STUBBORN_COUNT: usize = 4;

// guarantee G4; failure modes J1, L2: a guardian dies, and the gateway ends its tree
#[tokio::test]
async fn a_killed_guardians_tree_is_ended() {
    let tag = Tag::new();
    let bystander = Tag::new();
    let other = launch(&containment(), shell(&bystander, "exec cat")).await;
    let tree = launch(&containment(), shell(&tag, STUBBORN)).await;
    let watch = tree.exited();
    until("the tree is complete", || tag.count() == STUBBORN_COUNT).await;
    signal(tree.guardian().pid, Signal::KILL);
    assert_eq!(watch.wait().await, LeaderExit::GuardianLost);
    until("the tree is gone", || tag.count() == 0).await;
    let outcome = tree.stop(PATIENT).await;
    assert_eq!(outcome.rung, StopRung::AlreadyGone);
    assert_eq!(outcome.leader, Some(LeaderExit::GuardianLost));
    assert!(outcome.proven_empty && outcome.survivors == 0, "{outcome:?}");
    assert_eq!(bystander.count(), 1, "nobody else was touched");
    assert_eq!(other.stop(PATIENT).await.rung, StopRung::Stdin);
}

// guarantee G4: it is found out by its silence alone, since it is neither stopped nor asked to kill
#[tokio::test]
async fn a_guardian_that_is_silent_for_a_second_is_replaced() {
    let tag = Tag::new();
    let tree = launch(&containment(), shell(&tag, STUBBORN)).await;
    until("the tree is complete", || tag.count() == STUBBORN_COUNT).await;
    let guardian = tree.guardian().pid;
    let held = Held::still(guardian);
    until("it is held, and not stopped", || stat_fields(guardian).unwrap()[0] == "t").await;
    let began = Instant::now();
    let empty = async {
        let mut pulse = Pulse::new();
        loop {
            let missed = pulse.beat();
            if tag.count() == 0 {
                return began.elapsed().saturating_sub(missed);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // The rungs would take a minute, and no other order is given before their end.
    let (outcome, _) = tokio::join!(tree.stop(PATIENT), async {
        let took = empty.await;
        assert!(began.elapsed() >= Duration::from_secs(1), "it had its second: {took:?}");
        assert!(took <= Duration::from_secs(3), "{took:?}");
    });
    drop(held);
    assert_eq!(outcome.rung, StopRung::Kill);
    assert_eq!(outcome.leader, Some(LeaderExit::GuardianLost));
    assert!(outcome.proven_empty, "{outcome:?}");
}

// One that is stopped has not even that second. On a loaded machine it may take longer all the same; but silence alone
// never ends a tree before it, so one that ended sooner shows that the guardian was seen to be stopped.
#[tokio::test]
async fn a_guardian_that_is_stopped_is_replaced_sooner() {
    for _ in 0..20 {
        let tag = Tag::new();
        let tree = launch(&containment(), shell(&tag, STUBBORN)).await;
        until("the tree is complete", || tag.count() == STUBBORN_COUNT).await;
        let guardian = tree.guardian().pid;
        signal(guardian, Signal::STOP);
        until("the guardian is stopped", || stat_fields(guardian).unwrap()[0] == "T").await;
        let outcome = tree.stop(PATIENT).await;
        assert_eq!(outcome.rung, StopRung::Kill);
        assert!(outcome.proven_empty, "{outcome:?}");
        assert_eq!(tag.count(), 0);
        assert!(outcome.took < PATIENCE, "{outcome:?}");
        if outcome.took < Duration::from_secs(1) {
            return;
        }
    }
    panic!("it was waited for, every time");
}

#[tokio::test]
async fn a_dropped_tree_ends_even_under_a_stopped_guardian() {
    let tag = Tag::new();
    let tree = launch(&containment(), shell(&tag, STUBBORN)).await;
    until("the tree is complete", || tag.count() == STUBBORN_COUNT).await;
    signal(tree.guardian().pid, Signal::STOP);
    drop(tree);
    until("the tree is gone", || tag.count() == 0).await;
}

#[tokio::test]
async fn a_guardian_killed_in_the_middle_of_a_stop() {
    let tag = Tag::new();
    let tree = launch(&containment(), shell(&tag, STUBBORN)).await;
    until("the tree is complete", || tag.count() == STUBBORN_COUNT).await;
    let guardian = tree.guardian().pid;
    let stopping = tree.stop(PATIENT);
    let killing = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        signal(guardian, Signal::KILL);
    };
    let (outcome, ()) = tokio::join!(stopping, killing);
    assert_eq!(outcome.rung, StopRung::Kill);
    assert!(outcome.proven_empty, "{outcome:?}");
    assert_eq!(tag.count(), 0);
}

// A tree that refills every slot that is freed.
#[tokio::test]
async fn a_respawning_tree_converges_after_its_guardian_died() {
    let tag = Tag::new();
    let script = "for n in 1 2 3 4; do \
        setsid sh -c 'while :; do setsid sh -c \"sleep 0.01\" & wait; done' & done; exec cat";
    let tree = launch(&containment(), shell(&tag, script)).await;
    until("it respawns", || tag.count() >= 8).await;
    signal(tree.guardian().pid, Signal::KILL);
    until("the tree is gone", || tag.count() == 0).await;
    assert!(tree.kill().await.proven_empty);
}

// A guardian hears of the end of the thread that started it, which is not the end of the gateway.
#[tokio::test]
async fn a_tree_outlives_the_thread_that_started_it() {
    let tag = Tag::new();
    // Its threads are registered with this runtime, which stays.
    let containment = containment();
    let spec = shell(&tag, "setsid sleep 300.$TAG & exec cat");
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(launch(&containment, spec))
    });
    let tree = thread.join().unwrap();
    until("the tree is complete", || tag.count() == 2).await;
    // Time enough for a signal to be heeded.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(tag.count(), 2);
    assert!(tree.exited().now().is_none());
    assert!(tree.kill().await.proven_empty);
    assert_eq!(tag.count(), 0);
}
