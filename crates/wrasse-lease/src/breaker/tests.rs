use proptest::prelude::*;

use super::*;
use crate::backend::Whose;

fn at(ms: u64) -> BootInstant {
    BootInstant::from_boot(Duration::from_millis(ms))
}

fn fault(retry: Retry) -> StartFault {
    StartFault {
        whose: Whose::Server,
        retry,
        message: String::from("exit code 1"),
        stderr_tail: Vec::new(),
        help: None,
    }
}

fn options() -> BreakerOptions {
    BreakerOptions {
        tolerance: 1,
        floor: Duration::from_secs(1),
        cap: Duration::from_secs(60),
        jitter_percent: 20,
        window: Duration::from_secs(600),
        ..BreakerOptions::default()
    }
}

fn open_until(breaker: &Breaker) -> BootInstant {
    match breaker.position() {
        Position::Open { until } => *until,
        other => panic!("{other:?}"),
    }
}

// failure mode C3
#[test]
fn opens_beyond_the_tolerance_and_doubles_up_to_the_cap() {
    let mut breaker = Breaker::new(options());
    assert_eq!(breaker.admit(1, "f", at(0)), Verdict::Start);
    breaker.failed(1, "f", fault(Retry::MayHelp), at(0));
    assert_eq!(breaker.admit(2, "f", at(0)), Verdict::Start, "one failure costs nothing");
    let mut now = at(0);
    let mut pauses = Vec::new();
    for start in 2..12 {
        breaker.failed(start, "f", fault(Retry::MayHelp), now);
        let until = open_until(&breaker);
        assert!(matches!(breaker.admit(99, "f", now), Verdict::Wait { .. }));
        pauses.push(until.since(now));
        now = until;
        assert_eq!(breaker.admit(start + 1, "f", now), Verdict::Start);
    }
    assert!(pauses[0] >= Duration::from_secs(1) && pauses[0] <= Duration::from_millis(1200));
    assert!(pauses[1] >= Duration::from_secs(2) && pauses[1] <= Duration::from_millis(2400));
    assert_eq!(*pauses.last().unwrap(), Duration::from_secs(60));
}

// failure mode C4
#[test]
fn a_single_probe_closes_it_and_success_forgets() {
    let mut breaker = Breaker::new(options());
    breaker.failed(1, "f", fault(Retry::MayHelp), at(0));
    breaker.failed(2, "f", fault(Retry::MayHelp), at(0));
    let until = open_until(&breaker);
    assert_eq!(breaker.admit(3, "f", until), Verdict::Start);
    assert_eq!(breaker.admit(4, "f", until), Verdict::Busy, "one probe at a time");
    breaker.ready();
    assert_eq!(breaker.admit(4, "f", until), Verdict::Start);
    breaker.settled();
    assert!(breaker.is_clear());
}

#[test]
fn a_probe_given_up_leaves_room_for_the_next() {
    let mut breaker = Breaker::new(options());
    breaker.failed(1, "f", fault(Retry::MayHelp), at(0));
    breaker.failed(2, "f", fault(Retry::MayHelp), at(0));
    let until = open_until(&breaker);
    assert_eq!(breaker.admit(3, "f", until), Verdict::Start);
    breaker.failed(2, "f", fault(Retry::MayHelp), until);
    assert_eq!(breaker.admit(4, "f", until), Verdict::Busy, "a straggler decides nothing");
    breaker.abandoned(7, until);
    assert_eq!(breaker.admit(4, "f", until), Verdict::Busy, "only the probe can give up");
    breaker.abandoned(3, until);
    assert_eq!(breaker.admit(4, "f", until), Verdict::Start);
}

#[test]
fn what_needs_a_person_waits_for_another_definition() {
    let mut breaker = Breaker::new(options());
    breaker.failed(1, "old", fault(Retry::NeedsPerson), at(0));
    assert!(matches!(breaker.admit(2, "old", at(9_000_000)), Verdict::Broken { .. }));
    assert_eq!(breaker.admit(3, "new", at(1)), Verdict::Start);
    breaker.ready();
    assert_eq!(breaker.admit(4, "new", at(1)), Verdict::Start);
}

#[test]
fn old_failures_do_not_count() {
    let mut breaker = Breaker::new(options());
    breaker.failed(1, "f", fault(Retry::MayHelp), at(0));
    breaker.failed(2, "f", fault(Retry::MayHelp), at(700_000));
    assert_eq!(breaker.position(), &Position::Closed);
    assert_eq!(breaker.tally(at(700_000)), 1);
}

proptest! {
    /// Whatever happens: a pause is between floor and cap, and at most one probe is under way.
    #[test]
    fn pauses_are_bounded_and_probes_single(steps in prop::collection::vec((0_u8..5, 0_u64..90_000), 1..200)) {
        let mut breaker = Breaker::new(options());
        let (mut now, mut start, mut probe) = (at(0), 0, None);
        for (what, wait_ms) in steps {
            now = now + Duration::from_millis(wait_ms);
            start += 1;
            match what {
                0 => {
                    let before = breaker.position().clone();
                    let verdict = breaker.admit(start, "f", now);
                    if matches!(before, Position::Probing { .. }) {
                        prop_assert_eq!(verdict, Verdict::Busy);
                    } else if matches!(breaker.position(), Position::Probing { .. }) {
                        probe = Some(start);
                    }
                }
                1 => breaker.failed(probe.take().unwrap_or(start), "f", fault(Retry::MayHelp), now),
                2 => { breaker.ready(); probe = None; }
                3 => { breaker.settled(); probe = None; }
                _ => { breaker.abandoned(probe.take().unwrap_or(start), now); }
            }
            if what == 1 && let Position::Open { until } = breaker.position() {
                let pause = until.since(now);
                prop_assert!(pause >= Duration::from_secs(1) && pause <= Duration::from_secs(60));
            }
        }
    }
}
