//! A hundred rounds of the storm: whoever of the chain is SIGKILLed, at whatever instant, nothing is left and nobody
//! else is hit. `cargo xtask storm` plays as many as one likes.

use std::time::Duration;

use wrasse_testkit::storm::{Options, run};

const ROUNDS: u64 = 100;

/// failure mode A5, A6, A9, A10, D11, F1, F3, F7, G2, H2, J1, K3: every class of kill, every fixture, in mid-start,
/// mid-handshake and mid-call, beside bystanders with the same command lines, a second Wrasse and children from before
/// the warden.
#[test]
fn a_hundred_rounds_leave_nothing_and_hit_nobody() {
    let summary = run(Options {
        rounds: ROUNDS,
        seed: 3,
        jobs: 2,
        time_max: Some(Duration::from_secs(6 * 60)),
        ..Options::default()
    });
    assert!(summary.holds(), "{summary}\n{}", summary.violations.join("\n\n"));
    assert_eq!(summary.rounds, ROUNDS, "the machine was too slow for all of them: {summary}");
}
