//! Servers that fail to start, or to stay up.

use std::time::Duration;

use wrasse_lease::{
    AcquireError, BreakerOptions, BreakerPosition, Claim, Key, LeaseOptions, Retry, Whose,
};
use wrasse_types::{GoneReason, ServerName};

use crate::fake::{Act, Spec};
use crate::reef::{Reef, claim, key, of, options, until};

fn server() -> ServerName {
    ServerName::new("s")
}

/// Fails twice, so that the breaker is open.
async fn open(reef: &Reef) {
    reef.fake.world().always = Some((6, Act::Fail(Retry::MayHelp)));
    for owner in ["a", "b"] {
        let refused = reef.acquire(of("s", owner)).await.unwrap_err();
        assert!(matches!(refused, AcquireError::StartFailed(_)), "{refused}");
    }
}

/// Where no pause ends in the time of a test.
async fn patient() -> Reef {
    let pause = Duration::from_secs(60);
    let breaker = BreakerOptions { floor: pause, cap: pause, ..BreakerOptions::default() };
    Reef::with(LeaseOptions { breaker, ..options() }).await
}

async fn until_probe_allowed(reef: &Reef) {
    until("the pause is over", || match reef.leases.breaker(&server()).unwrap().position {
        BreakerPosition::Open { until } => until <= wrasse_types::UnixMillis::now(),
        BreakerPosition::Closed | BreakerPosition::Probing | BreakerPosition::Broken => false,
    })
    .await;
    // The two clocks are read one after the other.
    tokio::time::sleep(Duration::from_millis(5)).await;
}

// failure mode C3: a server that exits at once is not started again and again, by whomever.
#[tokio::test]
async fn repeated_failures_open_the_breaker_for_all_owners() {
    let reef = patient().await;
    open(&reef).await;
    for owner in ["a", "b", "c", "d"] {
        let refused = reef.acquire(of("s", owner)).await.unwrap_err();
        let AcquireError::BackingOff { failures, ref last, retry_in, .. } = refused else {
            panic!("{refused}")
        };
        assert_eq!((failures, last.whose), (2, Whose::Server));
        assert!(retry_in <= Duration::from_secs(60));
        assert!(refused.to_string().contains("exit code 1"), "{refused}");
        assert_eq!(refused.help().unwrap(), "wrasse doctor");
    }
    assert_eq!(reef.fake.starts(), 2);
    let view = reef.leases.breaker(&server()).unwrap();
    assert!(matches!(view.position, BreakerPosition::Open { .. }));
    reef.acquire(of("healthy", "a")).await.unwrap_err();
    assert_eq!(reef.fake.starts(), 3, "another server has a breaker of its own");
    reef.end().await;
}

// failure mode C4: when the cause is gone, the next call of every session succeeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_probe_that_succeeds_closes_it_for_all() {
    let reef = Reef::new().await;
    open(&reef).await;
    reef.fake.world().always = None;
    until_probe_allowed(&reef).await;
    let tasks: Vec<_> = (0..10).map(|n| reef.spawn(of("s", &format!("o{n}")))).collect();
    let mut leases = Vec::new();
    for task in tasks {
        leases.push(task.await.unwrap().unwrap());
    }
    assert_eq!(reef.fake.starts(), 12);
    drop(leases[0].begin_call());
    drop(leases);
    reef.until_gone().await;
    assert_eq!(reef.leases.breaker(&server()), None, "a success forgets the failures");
    reef.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_probe_that_fails_costs_one_start() {
    let reef = Reef::new().await;
    open(&reef).await;
    until_probe_allowed(&reef).await;
    let tasks: Vec<_> = (0..10).map(|n| reef.spawn(of("s", &format!("o{n}")))).collect();
    for task in tasks {
        task.await.unwrap().unwrap_err();
    }
    assert_eq!(reef.fake.starts(), 3);
    reef.end().await;
}

#[tokio::test]
async fn a_probe_nobody_waits_for_leaves_room_for_the_next() {
    let reef = Reef::new().await;
    open(&reef).await;
    until_probe_allowed(&reef).await;
    reef.fake.world().always = Some((9, Act::Wait));
    reef.fake.reached.send_replace(None);
    let probe = reef.spawn(of("s", "a"));
    reef.fake.at(9).await;
    assert_eq!(reef.leases.breaker(&server()).unwrap().position, BreakerPosition::Probing);
    let waits = reef.spawn(of("s", "b"));
    reef.fake.world().always = None;
    reef.leases.owner_ended("a", GoneReason::SessionEnded).await;
    probe.await.unwrap().unwrap_err();
    waits.await.unwrap().unwrap().release().await.unwrap();
    reef.end().await;
}

#[tokio::test]
async fn what_needs_a_person_is_not_tried_again_until_something_changes() {
    let reef = Reef::new().await;
    reef.fake.world().always = Some((2, Act::Fail(Retry::NeedsPerson)));
    let refused = reef.acquire(claim()).await.unwrap_err();
    assert_eq!(refused.retry(), Retry::NeedsPerson);
    reef.fake.world().always = None;
    let refused = reef.acquire(claim()).await.unwrap_err();
    assert!(matches!(refused, AcquireError::Broken { .. }), "{refused}");
    assert_eq!(reef.fake.starts(), 1);

    let changed = Key { fingerprint: String::from("f2"), ..key("s", "o") };
    let lease = reef.acquire(Claim { key: changed, ..claim() }).await.unwrap();
    lease.release().await.unwrap();

    reef.fake.world().always = Some((2, Act::Fail(Retry::NeedsPerson)));
    reef.acquire(claim()).await.unwrap_err();
    reef.fake.world().always = None;
    reef.leases.reset_breaker(&server());
    reef.acquire(claim()).await.unwrap().release().await.unwrap();
    reef.end().await;
}

#[tokio::test]
async fn a_server_that_keeps_dying_after_its_start_is_held_back() {
    let reef = patient().await;
    for _ in 0..2 {
        let lease = reef.acquire(claim()).await.unwrap();
        lease.handle().exit("crashed");
        lease.lost().cancelled().await;
        assert_eq!(lease.release().await.map(|ended| ended.reason), Some(GoneReason::Exited));
        reef.until_gone().await;
    }
    let refused = reef.acquire(claim()).await.unwrap_err();
    assert!(matches!(refused, AcquireError::BackingOff { .. }), "{refused}");
    assert!(refused.to_string().contains("after it was ready"), "{refused}");
    reef.end().await;
}

#[tokio::test]
async fn a_start_that_its_caller_gave_up_says_nothing_about_the_server() {
    let reef = Reef::new().await;
    for _ in 0..5 {
        reef.fake.reached.send_replace(None);
        let spec = Spec { at: Some((9, Act::Wait)), ..Spec::default() };
        let task = reef.spawn(Claim { spec, ..claim() });
        reef.fake.at(9).await;
        reef.leases.owner_ended("o", GoneReason::SessionEnded).await;
        task.await.unwrap().unwrap_err();
    }
    assert_eq!(reef.leases.breaker(&server()), None);
    reef.acquire(claim()).await.unwrap().release().await.unwrap();
    reef.end().await;
}
