use std::future::{pending, ready};
use std::time::Duration;

use wrasse_scope::clock::{self, Elapsed};

#[tokio::test]
async fn time_goes_forward_and_sleep_reaches_its_end() {
    let start = clock::now();
    let until = start + Duration::from_millis(30);
    assert!(!until.has_passed());
    clock::sleep_until(until).await;
    assert!(until.has_passed());
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(until.remaining(), Duration::ZERO);
    assert_eq!(start.since(until), Duration::ZERO);
}

#[tokio::test]
async fn timeout_gives_the_value_or_says_the_limit() {
    assert_eq!(clock::timeout(Duration::ZERO, ready(7)).await, Ok(7));
    let limit = Duration::from_millis(20);
    let late = clock::timeout(limit, pending::<()>()).await;
    assert_eq!(late, Err(Elapsed(limit)));
    assert_eq!(Elapsed(Duration::from_secs(2)).to_string(), "the time limit of 2s passed");
}

#[test]
fn far_instants_do_not_overflow() {
    let far = clock::now() + Duration::MAX;
    assert!(far > clock::now());
    assert!(!far.has_passed());
}

/// A nap must not depend on the runtime's own clock: with that clock paused the deadline is still the real one.
#[tokio::test(start_paused = true)]
async fn a_sleep_asks_the_real_clock_again() {
    let start = clock::now();
    clock::sleep(Duration::from_millis(20)).await;
    assert!(start.elapsed() >= Duration::from_millis(20));
}
