//! What must come of starts and sessions, by hand and by every way there is to hand them out.

use proptest::prelude::*;

use super::super::openclaw::{Ending, Span};
use super::*;

fn session(fate: Fate, spans: &[(i64, i64)]) -> Session {
    Session {
        id: String::new(),
        key: String::new(),
        label: None,
        fate,
        outcome: None,
        last: None,
        spans: spans
            .iter()
            .map(|(from, to)| Span { begins: Begins::Recorded, from: *from, to: *to })
            .collect(),
    }
}

fn check(starts: &[i64], sessions: &[Session], want: &[Verdict]) {
    let starts: Vec<UnixMillis> = starts.iter().map(|at| UnixMillis::new(*at)).collect();
    assert_eq!(verdicts(&starts, sessions), want);
}

const OVER: Fate = Fate::Over(Ending::CronRun);

#[test]
fn what_only_one_session_can_have_is_its() {
    let sessions = [session(OVER, &[(0, 10)]), session(Fate::Open, &[(20, 30)])];
    check(&[5, 25, 15], &sessions, &[Verdict::Over(0), Verdict::Open(1), Verdict::Nobody]);
}

#[test]
fn a_session_that_has_its_own_has_no_second() {
    let sessions = [session(OVER, &[(0, 10)]), session(Fate::Open, &[(5, 30)])];
    check(&[7, 25], &sessions, &[Verdict::Over(0), Verdict::Open(1)]);
    check(&[7], &sessions, &[Verdict::Either]);
    check(&[7, 8], &sessions, &[Verdict::Either, Verdict::Either]);
}

#[test]
fn more_than_there_can_be_says_nothing_about_any() {
    let sessions = [session(OVER, &[(0, 10)]), session(OVER, &[(100, 110)])];
    check(
        &[3, 4, 105],
        &sessions,
        &[Verdict::Contradiction, Verdict::Contradiction, Verdict::Over(1)],
    );
}

#[test]
fn among_sessions_that_are_all_over_it_does_not_matter_whose_it_is() {
    let sessions = [session(OVER, &[(0, 10)]), session(OVER, &[(5, 15)])];
    check(&[6, 7], &sessions, &[Verdict::Over(0), Verdict::Over(1)]);
    let sessions = [session(Fate::Open, &[(0, 10)]), session(Fate::Open, &[(5, i64::MAX)])];
    check(&[6, 700], &sessions, &[Verdict::Open(0), Verdict::Open(1)]);
}

#[test]
fn what_may_be_of_a_session_that_is_over_is_not_for_that_over() {
    let mut guessed = session(OVER, &[(0, 10)]);
    guessed.spans[0].begins = Begins::Guessed;
    check(&[5], &[guessed.clone()], &[Verdict::Either]);
    // The sure one takes it, if the other has its own.
    guessed.spans.push(Span { begins: Begins::Recorded, from: 20, to: 30 });
    let sessions = [session(OVER, &[(4, 6)]), guessed];
    check(&[5, 25], &sessions, &[Verdict::Over(0), Verdict::Over(1)]);
}

#[test]
fn many_are_decided_soon() {
    let sessions: Vec<Session> = (0..300)
        .map(|at| session(if at % 2 == 0 { OVER } else { Fate::Open }, &[(at * 10, at * 10 + 9)]))
        .collect();
    let starts: Vec<UnixMillis> = (0..300).map(|at| UnixMillis::new(at * 10 + 5)).collect();
    let found = verdicts(&starts, &sessions);
    assert!(found.iter().enumerate().all(|(at, verdict)| match verdict {
        Verdict::Over(session) => *session == at && at % 2 == 0,
        Verdict::Open(session) => *session == at && at % 2 == 1,
        Verdict::Either | Verdict::Nobody | Verdict::Contradiction => false,
    }));
}

/// Every way to give each start a session of its own whose span holds it.
fn all_ways(starts: &[UnixMillis], sessions: &[Session]) -> Vec<Vec<usize>> {
    let Some((first, rest)) = starts.split_last() else { return vec![Vec::new()] };
    let mut ways = Vec::new();
    for way in all_ways(rest, sessions) {
        for (at, session) in sessions.iter().enumerate() {
            if !way.contains(&at) && session.spans.iter().any(|span| span.holds(*first)) {
                ways.push([&way[..], &[at]].concat());
            }
        }
    }
    ways
}

/// The starts that share sessions with one, directly or through others.
fn group(of: usize, starts: &[UnixMillis], sessions: &[Session]) -> Vec<usize> {
    let can_be = |start: usize, session: &Session| {
        session.spans.iter().any(|span| span.holds(starts[start]))
    };
    let mut group = vec![of];
    loop {
        let joins = |at: &usize| {
            !group.contains(at)
                && sessions.iter().any(|session| {
                    can_be(*at, session) && group.iter().any(|other| can_be(*other, session))
                })
        };
        let Some(next) = (0..starts.len()).find(joins) else { return group };
        group.push(next);
    }
}

/// The verdict by its definition: what is the same in every way to hand out the group.
fn by_definition(start: usize, starts: &[UnixMillis], sessions: &[Session]) -> Verdict {
    if !sessions.iter().any(|session| session.spans.iter().any(|span| span.holds(starts[start]))) {
        return Verdict::Nobody;
    }
    let group = group(start, starts, sessions);
    let of_group: Vec<UnixMillis> = group.iter().map(|at| starts[*at]).collect();
    // It is the first of its group.
    let owners: Vec<usize> = all_ways(&of_group, sessions).iter().map(|way| way[0]).collect();
    let surely_over = |owner: &usize| {
        let session = &sessions[*owner];
        let sure = |span: &Span| span.begins == Begins::Recorded && span.holds(starts[start]);
        matches!(session.fate, Fate::Over(_)) && session.spans.iter().any(sure)
    };
    let open = |owner: &usize| sessions[*owner].fate == Fate::Open;
    match &owners[..] {
        [] => Verdict::Contradiction,
        [first, ..] if owners.iter().all(surely_over) => Verdict::Over(*first),
        [first, ..] if owners.iter().all(open) => Verdict::Open(*first),
        [..] => Verdict::Either,
    }
}

/// Sessions whose spans overlap as often as not.
fn any_session() -> impl Strategy<Value = Session> {
    let span = (0..40_i64, 0..15_i64, any::<bool>(), 0..8_u8);
    (any::<bool>(), proptest::collection::vec(span, 0..3)).prop_map(|(over, spans)| {
        let mut session = session(if over { OVER } else { Fate::Open }, &[]);
        session.spans = spans
            .into_iter()
            .map(|(from, length, guessed, kind)| Span {
                begins: if guessed { Begins::Guessed } else { Begins::Recorded },
                from,
                to: if kind == 0 { i64::MAX } else { from + length },
            })
            .collect();
        session
    })
}

/// What an example of a session is named by does not matter, only what it is.
fn kind(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Over(_) => "over",
        Verdict::Open(_) => "open",
        Verdict::Either => "either",
        Verdict::Nobody => "nobody",
        Verdict::Contradiction => "contradiction",
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_verdict_is_what_every_way_to_hand_out_agrees_on(
        sessions in proptest::collection::vec(any_session(), 0..6),
        starts in proptest::collection::vec(0..60_i64, 0..6),
    ) {
        let starts: Vec<UnixMillis> = starts.into_iter().map(UnixMillis::new).collect();
        for (at, found) in verdicts(&starts, &sessions).into_iter().enumerate() {
            let expected = by_definition(at, &starts, &sessions);
            prop_assert_eq!(kind(found), kind(expected), "start {}", at);
            if let Verdict::Over(session) | Verdict::Open(session) = found {
                prop_assert!(sessions[session].spans.iter().any(|span| span.holds(starts[at])));
                let is_over = matches!(sessions[session].fate, Fate::Over(_));
                prop_assert_eq!(is_over, matches!(found, Verdict::Over(_)));
            }
        }
    }

    /// As it happens: sessions start their servers while others do, some servers end by themselves, and whatever the
    /// records leave open, none of a session that can be continued is called over.
    #[test]
    fn no_server_of_a_session_that_can_be_continued_is_called_over(
        happened in proptest::collection::vec(
            (any_session(), proptest::option::of((any::<proptest::sample::Index>(), 0..15_i64))),
            1..12,
        ),
    ) {
        let sessions: Vec<Session> = happened.iter().map(|(session, _)| session.clone()).collect();
        let (mut starts, mut owners) = (Vec::new(), Vec::new());
        for (owner, (session, started)) in happened.iter().enumerate() {
            let Some((span, after)) = started else { continue };
            if session.spans.is_empty() {
                continue;
            }
            let span = span.get(&session.spans);
            starts.push(UnixMillis::new((span.from + after).min(span.to)));
            owners.push(owner);
        }
        for (at, found) in verdicts(&starts, &sessions).into_iter().enumerate() {
            let truth = sessions[owners[at]].fate;
            match found {
                Verdict::Over(_) => prop_assert_ne!(truth, Fate::Open),
                Verdict::Open(_) => prop_assert_eq!(truth, Fate::Open),
                Verdict::Either => {}
                Verdict::Nobody | Verdict::Contradiction => {
                    prop_assert!(false, "the records account for all: {found:?}");
                }
            }
        }
    }
}
