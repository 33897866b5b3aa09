//! Starts: shared, cancelled, failing, panicking, invalidated.

use std::time::Duration;

use wrasse_lease::{AcquireError, FalseStarts, LeaseOptions, Retry, Whose};
use wrasse_scope::clock;
use wrasse_types::GoneReason;

use crate::fake::{Act, Fate, POINTS};
use crate::reef::{Reef, acting, claim, of, options, until};

// failure mode D4: fifty claims on one key, one start.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_claims_share_one_start() {
    let reef = Reef::new().await;
    let tasks: Vec<_> = (0..50).map(|_| reef.spawn(claim())).collect();
    let mut leases = Vec::new();
    for task in tasks {
        leases.push(task.await.unwrap().unwrap());
    }
    assert_eq!(reef.fake.starts(), 1);
    assert!(leases.iter().all(|lease| lease.instance() == leases[0].instance()));
    assert_eq!(reef.view()[0].leases.len(), 50);
    drop(leases);
    reef.until_gone().await;
    reef.end().await;
}

// failure modes C1, H7: the only holder ends at each point of a start.
#[tokio::test]
async fn a_start_nobody_waits_for_is_ended_at_every_point() {
    let reef = Reef::new().await;
    for act in [Act::Wait, Act::Deaf] {
        for point in 0..POINTS {
            reef.fake.reached.send_replace(None);
            let acquiring = reef.acquire(acting(point, act));
            tokio::select! {
                outcome = acquiring => panic!("{outcome:?}"),
                () = reef.fake.at(point) => {}
            }
            // The future is dropped: its claim is, too.
            reef.until_gone().await;
        }
    }
    let lease = reef.acquire(claim()).await.unwrap();
    assert_eq!(lease.handle().call(), Ok(lease.instance()));
    assert!(lease.release().await.unwrap().proven_empty);
    reef.end().await;
}

#[tokio::test]
async fn a_cancelled_token_ends_the_wait_and_the_start() {
    let reef = Reef::new().await;
    let task = reef.spawn(acting(10, Act::Wait));
    reef.fake.at(10).await;
    reef.token.cancel();
    assert_eq!(task.await.unwrap().unwrap_err(), AcquireError::Cancelled);
    reef.until_gone().await;
    assert_eq!(reef.fake.world().fates.len(), 1);
    reef.end().await;
}

#[tokio::test]
async fn a_start_goes_on_for_those_who_still_wait() {
    let reef = Reef::new().await;
    let mut gives_up = Box::pin(reef.acquire(acting(10, Act::Wait)));
    tokio::select! {
        outcome = &mut gives_up => panic!("{outcome:?}"),
        () = reef.fake.at(10) => {}
    }
    let stays = reef.spawn(claim());
    until("the second claim is in", || reef.view()[0].leases.len() == 2).await;
    drop(gives_up);
    until("the first claim is gone", || reef.view()[0].leases.len() == 1).await;
    assert_eq!(reef.fake.living(), 1, "still starting for the other");
    reef.leases.owner_ended("o", GoneReason::SessionEnded).await;
    let refused = stays.await.unwrap().unwrap_err();
    assert_eq!(refused, AcquireError::Stopped { reason: GoneReason::SessionEnded });
    reef.end().await;
}

// failure mode B7: a fault or a panic at every point between spawn and registration.
#[tokio::test]
async fn a_start_that_fails_or_panics_at_any_point_leaves_nothing() {
    let reef = Reef::new().await;
    for point in 0..POINTS {
        for act in [Act::Fail(Retry::MayHelp), Act::Panic] {
            let refused = reef.acquire(acting(point, act)).await.unwrap_err();
            let AcquireError::StartFailed(fault) = refused else { panic!("{refused}") };
            if act == Act::Panic {
                assert_eq!(fault.whose, Whose::Us);
                assert!(fault.message.contains(&format!("told to panic at {point}")), "{fault}");
            } else {
                assert_eq!(fault.stderr_tail, vec![String::from("boom")]);
            }
            reef.until_gone().await;
            reef.leases.reset_breaker(&claim().key.server);
        }
    }
    reef.end().await;
}

// failure mode D5: what is deleted while it starts does not come to life.
#[tokio::test]
async fn an_owner_that_ends_while_its_instance_starts_leaves_none() {
    let reef = Reef::new().await;
    for point in [0, 4, 5, 19] {
        reef.fake.reached.send_replace(None);
        let task = reef.spawn(acting(point, Act::Wait));
        reef.fake.at(point).await;
        let ended = reef.leases.owner_ended("o", GoneReason::SessionEnded).await;
        assert_eq!(ended.len(), 1);
        assert_eq!(ended[0].reason, GoneReason::SessionEnded);
        assert_eq!(reef.fake.living(), 0, "gone when the method returns");
        let refused = task.await.unwrap().unwrap_err();
        assert_eq!(refused, AcquireError::Stopped { reason: GoneReason::SessionEnded });
    }
    let lease = reef.acquire(claim()).await.unwrap();
    lease.release().await.unwrap();
    reef.end().await;
}

// failure mode C6: no herd at the start, and a start that is given up gives back its turn.
#[tokio::test]
async fn starts_take_turns() {
    let reef = Reef::with(LeaseOptions { start_concurrency: 2, ..options() }).await;
    reef.fake.world().always = Some((7, Act::Wait));
    let held: Vec<_> = (0..2).map(|n| reef.spawn(of("s", &format!("held{n}")))).collect();
    until("both turns are taken", || reef.fake.world().starting.len() == 2).await;
    let given_up = reef.acquire(of("s", "impatient"));
    assert!(clock::timeout(Duration::from_millis(50), given_up).await.is_err());
    let waiting: Vec<_> = (0..20).map(|n| reef.spawn(of("s", &format!("o{n}")))).collect();
    reef.fake.world().always = None;
    for owner in ["held0", "held1"] {
        reef.leases.owner_ended(owner, GoneReason::SessionEnded).await;
    }
    for task in held {
        task.await.unwrap().unwrap_err();
    }
    for task in waiting {
        task.await.unwrap().unwrap().release().await.unwrap();
    }
    assert_eq!(reef.fake.world().most_starting, 2);
    assert_eq!(reef.fake.starts(), 22, "the impatient one never started");
    reef.end().await;
}

#[tokio::test]
async fn a_deaf_start_is_dropped_after_its_grace() {
    let reef = Reef::new().await;
    let task = reef.spawn(acting(8, Act::Deaf));
    reef.fake.at(8).await;
    let ended = reef.leases.owner_ended("o", GoneReason::SessionEnded).await;
    assert!(!ended[0].proven_empty, "a drop proves nothing");
    assert_eq!(reef.fake.world().fates, vec![(ended[0].instance, Fate::Killed)]);
    task.await.unwrap().unwrap_err();
    reef.end().await;
}

#[tokio::test]
async fn what_was_started_for_a_claim_and_came_to_nothing_is_noted() {
    let reef = Reef::new().await;
    let noted = FalseStarts::default();
    let token = reef.token.child_token();
    // Dropped, refused because it failed, refused because it was stopped; once each.
    let acquiring = reef.leases.acquire_noting(acting(10, Act::Wait), &token, &noted);
    tokio::select! {
        outcome = acquiring => panic!("{outcome:?}"),
        () = reef.fake.at(10) => {}
    }
    let ended = noted.ended().await;
    assert_eq!((ended.len(), ended[0].reason), (1, GoneReason::Released), "{ended:?}");
    assert!(ended[0].proven_empty && ended[0].pid.is_some(), "{ended:?}");
    assert_eq!(reef.fake.living(), 0, "it was waited for");

    let failing = acting(10, Act::Fail(Retry::MayHelp));
    reef.leases.acquire_noting(failing, &token, &noted).await.unwrap_err();
    let ended = noted.ended().await;
    assert_eq!((ended.len(), ended[0].reason), (1, GoneReason::StartFailed), "{ended:?}");

    // Before the processes exist there is no tree, and what came up speaks through its lease.
    let other = |mut claim: wrasse_lease::Claim<_>| {
        claim.key.server = wrasse_types::ServerName::new("t");
        claim
    };
    let failing = other(acting(1, Act::Fail(Retry::MayHelp)));
    reef.leases.acquire_noting(failing, &token, &noted).await.unwrap_err();
    let lease = reef.leases.acquire_noting(of("u", "o"), &token, &noted).await.unwrap();
    lease.release().await.unwrap();
    assert_eq!(noted.ended().await, []);
    reef.end().await;
}
