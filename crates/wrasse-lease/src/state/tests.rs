use std::time::Duration;

use super::*;
use crate::claim::Retention;

mod invariants;

pub(super) fn at(ms: u64) -> BootInstant {
    BootInstant::from_boot(Duration::from_millis(ms))
}

const NOW_MS: u64 = 10_000;
const KEEP: Duration = Duration::from_secs(1);

fn used(calls: u32, last_use_ms: u64) -> Usage {
    Usage { calls, last_use: at(last_use_ms) }
}

/// Every kind of state, where its data decides something in each of its kinds.
fn states() -> Vec<State> {
    let why = GoneReason::Idle;
    let stopping = |stage, waiting| State::Stopping { why, stage, waiting };
    vec![
        State::Absent,
        State::Gone { why },
        State::Backoff { until: at(NOW_MS), tally: 2 },
        State::Backoff { until: at(NOW_MS + 1), tally: 2 },
        State::Broken { why: String::from("x") },
        State::Starting { claims: 1 },
        State::Starting { claims: 2 },
        State::Handshaking { claims: 1 },
        State::Handshaking { claims: 2 },
        State::Ready { leases: 1, usage: used(0, 9_500) },
        State::Ready { leases: 1, usage: used(0, 9_000) },
        State::Ready { leases: 1, usage: used(1, 1_000) },
        State::Ready { leases: 2, usage: used(1, 9_500) },
        State::Draining { usage: used(0, 9_000), until: Some(at(NOW_MS)) },
        State::Draining { usage: used(0, 9_500), until: Some(at(10_500)) },
        State::Draining { usage: used(1, 1_000), until: None },
        stopping(Stage::CancellingStart, 0),
        stopping(Stage::CancellingStart, 1),
        stopping(Stage::Ladder, 0),
        stopping(Stage::Ladder, 1),
        State::Rundown { why, survivors: None, waiting: 0 },
        State::Rundown { why, survivors: None, waiting: 1 },
        State::Rundown { why, survivors: Some(3), waiting: 0 },
        State::Rundown { why, survivors: Some(3), waiting: 1 },
    ]
}

/// Every kind of event.
fn events() -> Vec<(&'static str, Event)> {
    let wait = Admission::Wait { until: at(20_000), tally: 3 };
    let broken = Admission::Broken { why: String::from("y") };
    let stop = |followers| Event::StopAsked { why: GoneReason::SessionEnded, followers };
    vec![
        ("claim", Event::Claimed { admission: Admission::Start }),
        ("claim/wait", Event::Claimed { admission: wait.clone() }),
        ("claim/broken", Event::Claimed { admission: broken.clone() }),
        ("unclaim", Event::ClaimDropped),
        ("spawned", Event::Spawned),
        ("started", Event::Started),
        ("failed", Event::StartFailed { next: Admission::Start }),
        ("failed/wait", Event::StartFailed { next: wait }),
        ("failed/broken", Event::StartFailed { next: broken }),
        ("release", Event::LeaseEnded),
        ("call", Event::CallBegan),
        ("moved", Event::CallMoved),
        ("called", Event::CallEnded),
        ("exit", Event::Exited { why: GoneReason::Exited }),
        ("stop/refuse", stop(Followers::Refuse)),
        ("stop/keep", stop(Followers::Keep)),
        ("done 0", Event::StopDone { survivors: 0 }),
        ("done 2", Event::StopDone { survivors: 2 }),
        ("left 0", Event::Recounted { survivors: 0 }),
        ("left 1", Event::Recounted { survivors: 1 }),
        ("tick", Event::Tick),
    ]
}

fn show(state: &State) -> String {
    let ms = |at: &BootInstant| at.since_boot().as_millis();
    match state {
        State::Absent => String::from("absent"),
        State::Starting { claims } => format!("starting {claims}"),
        State::Handshaking { claims } => format!("handshaking {claims}"),
        State::Ready { leases, usage } => {
            format!("ready {leases} calls {} at {}", usage.calls, ms(&usage.last_use))
        }
        State::Draining { usage, until } => {
            let until = until.as_ref().map_or_else(|| String::from("-"), |at| ms(at).to_string());
            format!("draining {until} calls {} at {}", usage.calls, ms(&usage.last_use))
        }
        State::Stopping { why, stage, waiting } => {
            let stage = match stage {
                Stage::CancellingStart => "cancel",
                Stage::Ladder => "ladder",
            };
            format!("stopping {} {stage} {waiting}", why.name())
        }
        State::Rundown { why, survivors, waiting } => {
            let left = survivors.map_or_else(|| String::from("?"), |left| left.to_string());
            format!("rundown {} {left} {waiting}", why.name())
        }
        State::Gone { why } => format!("gone {}", why.name()),
        State::Backoff { until, tally } => format!("backoff {} {tally}", ms(until)),
        State::Broken { why } => format!("broken {why}"),
    }
}

fn show_actions(actions: &[Action]) -> String {
    let word = |action: &Action| match action {
        Action::Start => String::from("start"),
        Action::CancelStart => String::from("cancel"),
        Action::Stop { why } => format!("stop {}", why.name()),
        Action::Grant => String::from("grant"),
        Action::Refuse { refusal } => match refusal {
            Refusal::StartFailed => String::from("refuse failed"),
            Refusal::BackingOff => String::from("refuse backoff"),
            Refusal::Broken => String::from("refuse broken"),
            Refusal::Stopped { why } => format!("refuse {}", why.name()),
        },
        Action::Revoke { why } => format!("revoke {}", why.name()),
        Action::Close { why } => format!("close {}", why.name()),
        Action::Resubmit => String::from("resubmit"),
    };
    actions.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// What every pair does that does anything: state | events → state : actions. Retention is `For(1 s)`.
const TABLE: &str = "
absent | claim → starting 1 : start
absent | claim/wait → backoff 20000 3 : refuse backoff
absent | claim/broken → broken y : refuse broken
gone idle | claim → starting 1 : start
gone idle | claim/wait → backoff 20000 3 : refuse backoff
gone idle | claim/broken → broken y : refuse broken
backoff 10000 2 | claim → starting 1 : start
backoff 10000 2 | claim/wait → backoff 20000 3 : refuse backoff
backoff 10000 2 | claim/broken → broken y : refuse broken
backoff 10000 2 | tick → absent :
backoff 10001 2 | claim → starting 1 : start
backoff 10001 2 | claim/wait → backoff 20000 3 : refuse backoff
backoff 10001 2 | claim/broken → broken y : refuse broken
broken x | claim → starting 1 : start
broken x | claim/wait → backoff 20000 3 : refuse backoff
broken x | claim/broken → broken y : refuse broken
starting 1 | claim, claim/wait, claim/broken → starting 2 :
starting 1 | unclaim → stopping released cancel 0 : cancel
starting 1 | spawned → handshaking 1 :
starting 1 | started → ready 1 calls 0 at 10000 : grant
starting 1 | failed → gone start_failed : refuse failed, close start_failed
starting 1 | failed/wait → backoff 20000 3 : refuse failed, close start_failed
starting 1 | failed/broken → broken y : refuse failed, close start_failed
starting 1 | stop/refuse, stop/keep → stopping session_ended cancel 0 : refuse session_ended, cancel
starting 2 | claim, claim/wait, claim/broken → starting 3 :
starting 2 | unclaim → starting 1 :
starting 2 | spawned → handshaking 2 :
starting 2 | started → ready 2 calls 0 at 10000 : grant
starting 2 | failed → gone start_failed : refuse failed, close start_failed
starting 2 | failed/wait → backoff 20000 3 : refuse failed, close start_failed
starting 2 | failed/broken → broken y : refuse failed, close start_failed
starting 2 | stop/refuse, stop/keep → stopping session_ended cancel 0 : refuse session_ended, cancel
handshaking 1 | claim, claim/wait, claim/broken → handshaking 2 :
handshaking 1 | unclaim → stopping released cancel 0 : cancel
handshaking 1 | started → ready 1 calls 0 at 10000 : grant
handshaking 1 | failed → gone start_failed : refuse failed, close start_failed
handshaking 1 | failed/wait → backoff 20000 3 : refuse failed, close start_failed
handshaking 1 | failed/broken → broken y : refuse failed, close start_failed
handshaking 1 | stop/refuse, stop/keep → stopping session_ended cancel 0 : refuse session_ended, cancel
handshaking 2 | claim, claim/wait, claim/broken → handshaking 3 :
handshaking 2 | unclaim → handshaking 1 :
handshaking 2 | started → ready 2 calls 0 at 10000 : grant
handshaking 2 | failed → gone start_failed : refuse failed, close start_failed
handshaking 2 | failed/wait → backoff 20000 3 : refuse failed, close start_failed
handshaking 2 | failed/broken → broken y : refuse failed, close start_failed
handshaking 2 | stop/refuse, stop/keep → stopping session_ended cancel 0 : refuse session_ended, cancel
ready 1 calls 0 at 9500 | claim, claim/wait, claim/broken → ready 2 calls 0 at 9500 : grant
ready 1 calls 0 at 9500 | release → draining 10500 calls 0 at 9500 :
ready 1 calls 0 at 9500 | call → ready 1 calls 1 at 10000 :
ready 1 calls 0 at 9500 | exit → rundown exited ? 0 : revoke exited, stop exited
ready 1 calls 0 at 9500 | stop/refuse, stop/keep → stopping session_ended ladder 0 : revoke session_ended, stop session_ended
ready 1 calls 0 at 9000 | claim, claim/wait, claim/broken → ready 2 calls 0 at 9000 : grant
ready 1 calls 0 at 9000 | release → stopping idle ladder 0 : stop idle
ready 1 calls 0 at 9000 | call → ready 1 calls 1 at 10000 :
ready 1 calls 0 at 9000 | exit → rundown exited ? 0 : revoke exited, stop exited
ready 1 calls 0 at 9000 | stop/refuse, stop/keep → stopping session_ended ladder 0 : revoke session_ended, stop session_ended
ready 1 calls 1 at 1000 | claim, claim/wait, claim/broken → ready 2 calls 1 at 1000 : grant
ready 1 calls 1 at 1000 | release → draining - calls 1 at 1000 :
ready 1 calls 1 at 1000 | call → ready 1 calls 2 at 10000 :
ready 1 calls 1 at 1000 | moved → ready 1 calls 1 at 10000 :
ready 1 calls 1 at 1000 | called → ready 1 calls 0 at 10000 :
ready 1 calls 1 at 1000 | exit → rundown exited ? 0 : revoke exited, stop exited
ready 1 calls 1 at 1000 | stop/refuse, stop/keep → stopping session_ended ladder 0 : revoke session_ended, stop session_ended
ready 2 calls 1 at 9500 | claim, claim/wait, claim/broken → ready 3 calls 1 at 9500 : grant
ready 2 calls 1 at 9500 | release → ready 1 calls 1 at 9500 :
ready 2 calls 1 at 9500 | call → ready 2 calls 2 at 10000 :
ready 2 calls 1 at 9500 | moved → ready 2 calls 1 at 10000 :
ready 2 calls 1 at 9500 | called → ready 2 calls 0 at 10000 :
ready 2 calls 1 at 9500 | exit → rundown exited ? 0 : revoke exited, stop exited
ready 2 calls 1 at 9500 | stop/refuse, stop/keep → stopping session_ended ladder 0 : revoke session_ended, stop session_ended
draining 10000 calls 0 at 9000 | claim, claim/wait, claim/broken → ready 1 calls 0 at 9000 : grant
draining 10000 calls 0 at 9000 | call → draining - calls 1 at 10000 :
draining 10000 calls 0 at 9000 | moved, called, tick → stopping idle ladder 0 : stop idle
draining 10000 calls 0 at 9000 | exit → rundown exited ? 0 : stop exited
draining 10000 calls 0 at 9000 | stop/refuse, stop/keep → stopping session_ended ladder 0 : stop session_ended
draining 10500 calls 0 at 9500 | claim, claim/wait, claim/broken → ready 1 calls 0 at 9500 : grant
draining 10500 calls 0 at 9500 | call → draining - calls 1 at 10000 :
draining 10500 calls 0 at 9500 | exit → rundown exited ? 0 : stop exited
draining 10500 calls 0 at 9500 | stop/refuse, stop/keep → stopping session_ended ladder 0 : stop session_ended
draining - calls 1 at 1000 | claim, claim/wait, claim/broken → ready 1 calls 1 at 1000 : grant
draining - calls 1 at 1000 | call → draining - calls 2 at 10000 :
draining - calls 1 at 1000 | moved → draining - calls 1 at 10000 :
draining - calls 1 at 1000 | called → draining 11000 calls 0 at 10000 :
draining - calls 1 at 1000 | exit → rundown exited ? 0 : stop exited
draining - calls 1 at 1000 | stop/refuse, stop/keep → stopping session_ended ladder 0 : stop session_ended
stopping idle cancel 0 | claim, claim/wait, claim/broken → stopping idle cancel 1 :
stopping idle cancel 0 | started → stopping idle ladder 0 : stop idle
stopping idle cancel 0 | failed, failed/wait, failed/broken → gone idle : close idle
stopping idle cancel 1 | claim, claim/wait, claim/broken → stopping idle cancel 2 :
stopping idle cancel 1 | unclaim → stopping idle cancel 0 :
stopping idle cancel 1 | started → stopping idle ladder 1 : stop idle
stopping idle cancel 1 | failed, failed/wait, failed/broken → gone idle : close idle, resubmit
stopping idle cancel 1 | stop/refuse → stopping idle cancel 0 : refuse session_ended
stopping idle ladder 0 | claim, claim/wait, claim/broken → stopping idle ladder 1 :
stopping idle ladder 0 | done 0 → gone idle : close idle
stopping idle ladder 0 | done 2 → rundown idle 2 0 : close idle
stopping idle ladder 1 | claim, claim/wait, claim/broken → stopping idle ladder 2 :
stopping idle ladder 1 | unclaim → stopping idle ladder 0 :
stopping idle ladder 1 | done 0 → gone idle : close idle, resubmit
stopping idle ladder 1 | done 2 → rundown idle 2 1 : close idle
stopping idle ladder 1 | stop/refuse → stopping idle ladder 0 : refuse session_ended
rundown idle ? 0 | claim, claim/wait, claim/broken → rundown idle ? 1 :
rundown idle ? 0 | done 0 → gone idle : close idle
rundown idle ? 0 | done 2 → rundown idle 2 0 : close idle
rundown idle ? 1 | claim, claim/wait, claim/broken → rundown idle ? 2 :
rundown idle ? 1 | unclaim → rundown idle ? 0 :
rundown idle ? 1 | done 0 → gone idle : close idle, resubmit
rundown idle ? 1 | done 2 → rundown idle 2 1 : close idle
rundown idle ? 1 | stop/refuse → rundown idle ? 0 : refuse session_ended
rundown idle 3 0 | claim, claim/wait, claim/broken → rundown idle 3 1 :
rundown idle 3 0 | left 0 → gone idle :
rundown idle 3 0 | left 1 → rundown idle 1 0 :
rundown idle 3 1 | claim, claim/wait, claim/broken → rundown idle 3 2 :
rundown idle 3 1 | unclaim → rundown idle 3 0 :
rundown idle 3 1 | left 0 → gone idle : resubmit
rundown idle 3 1 | left 1 → rundown idle 1 1 :
rundown idle 3 1 | stop/refuse → rundown idle 3 0 : refuse session_ended
";

fn cells() -> std::collections::BTreeMap<(String, String), String> {
    let mut cells = std::collections::BTreeMap::new();
    for line in TABLE.lines().filter(|line| !line.is_empty()) {
        let (state, rest) = line.split_once(" | ").unwrap();
        let (events, outcome) = rest.split_once(" → ").unwrap();
        for event in events.split(", ") {
            let outcome = outcome.trim_end_matches(':').trim().to_owned();
            let twice = cells.insert((state.to_owned(), event.to_owned()), outcome);
            assert_eq!(twice, None, "{line}");
        }
    }
    cells
}

/// Every state meets every event; what the table does not name changes nothing.
// failure mode A12
#[test]
fn every_state_meets_every_event() {
    let mut cells = cells();
    let mut wrong = Vec::new();
    for state in states() {
        for (name, event) in events() {
            let (next, actions) = step(state.clone(), event, at(NOW_MS), Retention::For(KEEP));
            let actions = show_actions(&actions);
            let found = if actions.is_empty() {
                show(&next)
            } else {
                format!("{} : {actions}", show(&next))
            };
            let cell = cells.remove(&(show(&state), name.to_owned()));
            let expected = cell.unwrap_or_else(|| show(&state));
            if found != expected {
                wrong.push(format!("{} | {name} → {found}, not {expected}", show(&state)));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(cells.into_keys().collect::<Vec<_>>(), Vec::new(), "rows of no state or event");
}

#[test]
fn retention_decides_what_the_last_release_means() {
    let last = |retention| {
        let ready = State::Ready { leases: 1, usage: used(0, NOW_MS) };
        show(&step(ready, Event::LeaseEnded, at(NOW_MS), retention).0)
    };
    assert_eq!(last(Retention::Run), "stopping released ladder 0");
    assert_eq!(last(Retention::For(KEEP)), "draining 11000 calls 0 at 10000");
    assert_eq!(last(Retention::For(Duration::ZERO)), "stopping idle ladder 0");
    assert_eq!(last(Retention::UntilOwnerEnds), "draining - calls 0 at 10000");
}

// failure mode E2: the idle clock moves on calls, not on leases.
#[test]
fn taking_and_releasing_leases_is_not_use() {
    let keep = Retention::For(KEEP);
    let mut state = State::Ready { leases: 1, usage: used(0, 0) };
    state = step(state, Event::CallBegan, at(0), keep).0;
    state = step(state, Event::CallEnded, at(100), keep).0;
    for now in [200, 700, 1_000] {
        state = step(state, Event::LeaseEnded, at(now), keep).0;
        assert_eq!(state.deadline(), Some(at(1_100)), "at {now}");
        state = step(state, Event::Claimed { admission: Admission::Start }, at(now + 50), keep).0;
    }
    let (state, actions) = step(state, Event::LeaseEnded, at(1_100), keep);
    assert_eq!(show(&state), "stopping idle ladder 0");
    assert_eq!(actions, vec![Action::Stop { why: GoneReason::Idle }]);
}

// failure mode E7: a call that begins just before the deadline completes.
#[test]
fn the_idle_clock_does_not_fire_during_a_call() {
    let keep = Retention::For(KEEP);
    let draining = State::Draining { usage: used(0, 0), until: Some(at(1_000)) };
    let state = step(draining, Event::CallBegan, at(999), keep).0;
    assert_eq!(state.deadline(), None);
    let state = step(state, Event::Tick, at(50_000), keep).0;
    let state = step(state, Event::CallEnded, at(60_000), keep).0;
    assert_eq!(state.deadline(), Some(at(61_000)));
}
