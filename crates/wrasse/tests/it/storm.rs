//! A hundred rounds of the storm: whoever of the chain is SIGKILLed, at whatever instant, nothing is left and nobody
//! else is hit. `cargo xtask storm` plays as many as one likes.

use std::time::Duration;

use wrasse_testkit::storm::{Kill, Options, Plant, run};

const ROUNDS: u64 = 100;

/// failure mode A5, A6, A9, A10, D11, F1, F3, F7, G2, H2, J1, K3: every class of kill, every fixture, in mid-start,
/// mid-handshake and mid-call, beside bystanders with the same command lines, a second Wrasse and children from before
/// the warden. Whether they were there to be met is part of what holds.
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

/// What is done in a round that Wrasse must not do, and what the judge says: survivors, strangers, broken.
type Deed = (Plant, Kill, [usize; 3]);

/// The judge of all this can fail: each deed is found, and called what it is.
#[test]
fn a_planted_survivor_or_victim_is_reported() {
    let mut deeds: Vec<Deed> =
        Kill::ALL.into_iter().map(|kill| (Plant::Survivor, kill, [1, 0, 0])).collect();
    deeds.extend([
        (Plant::BystanderKilled, Kill::Gateway, [0, 1, 0]),
        (Plant::BystanderKilled, Kill::Leader, [0, 1, 0]),
        (Plant::SecondStopped, Kill::GatewayWarden, [0, 1, 0]),
        (Plant::ChildSignalled, Kill::AllThree, [0, 1, 0]),
        (Plant::SiblingEnded, Kill::Guardian, [0, 0, 1]),
        (Plant::SiblingEnded, Kill::Leader, [0, 0, 1]),
        (Plant::LeaderEnded, Kill::Member, [0, 0, 1]),
    ]);
    for some in deeds.chunks(5) {
        std::thread::scope(|scope| {
            some.iter().for_each(|deed| drop(scope.spawn(|| assert_found(*deed))));
        });
    }
}

fn assert_found((plant, kill, expected): Deed) {
    let servers = ["f-eof-deaf", "f-daemon", "f-ok"].map(str::to_owned).to_vec();
    let found = run(Options {
        rounds: 1,
        seed: 1,
        jobs: 1,
        only: vec![kill],
        servers,
        plant: Some(plant),
        ..Options::default()
    });
    let [survivors, strangers, broken] = expected;
    // A survivor may break more: who waits for the tree waits in vain.
    let broken_fits = found.broken == broken || plant == Plant::Survivor;
    assert_eq!(
        (found.survivors, found.strangers, broken_fits),
        (survivors, strangers, true),
        "{plant:?} {kill:?}: {found}"
    );
}
