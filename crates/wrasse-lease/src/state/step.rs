//! The transitions, one function for each kind of state.

use std::time::Duration;

use wrasse_scope::clock::BootInstant;
use wrasse_types::GoneReason;

use super::{Action, Admission, Event, Followers, Refusal, Stage, State, Usage};
use crate::claim::Retention;

/// The next state and what has to be done. An event that means nothing in a state leaves it as it is.
pub fn step(
    state: State,
    event: Event,
    now: BootInstant,
    retention: Retention,
) -> (State, Vec<Action>) {
    match state {
        State::Absent | State::Gone { .. } | State::Backoff { .. } | State::Broken { .. } => {
            at_rest(state, event, now)
        }
        State::Starting { claims } => coming_up(claims, Phase::Starting, event, now),
        State::Handshaking { claims } => coming_up(claims, Phase::Handshaking, event, now),
        State::Ready { leases, usage } => ready(leases, usage, event, now, retention),
        State::Draining { usage, until } => draining(usage, until, event, now, retention),
        State::Stopping { why, stage, waiting } => stopping(why, stage, waiting, event),
        State::Rundown { why, survivors, waiting } => rundown(why, survivors, waiting, event),
    }
}

fn at_rest(state: State, event: Event, now: BootInstant) -> (State, Vec<Action>) {
    match event {
        Event::Claimed { admission } => match admission {
            Admission::Start => (State::Starting { claims: 1 }, vec![Action::Start]),
            Admission::Wait { until, tally } => (
                State::Backoff { until, tally },
                vec![Action::Refuse { refusal: Refusal::BackingOff }],
            ),
            Admission::Broken { why } => {
                (State::Broken { why }, vec![Action::Refuse { refusal: Refusal::Broken }])
            }
        },
        Event::Tick => match state {
            State::Backoff { until, .. } if until <= now => (State::Absent, Vec::new()),
            State::Absent
            | State::Starting { .. }
            | State::Handshaking { .. }
            | State::Ready { .. }
            | State::Draining { .. }
            | State::Stopping { .. }
            | State::Rundown { .. }
            | State::Gone { .. }
            | State::Backoff { .. }
            | State::Broken { .. } => (state, Vec::new()),
        },
        Event::ClaimDropped
        | Event::Spawned
        | Event::Started
        | Event::StartFailed { .. }
        | Event::LeaseEnded
        | Event::CallBegan
        | Event::CallMoved
        | Event::CallEnded
        | Event::Exited { .. }
        | Event::StopAsked { .. }
        | Event::StopDone { .. }
        | Event::Recounted { .. } => (state, Vec::new()),
    }
}

#[derive(Clone, Copy)]
enum Phase {
    Starting,
    Handshaking,
}

impl Phase {
    fn with(self, claims: u32) -> State {
        match self {
            Self::Starting => State::Starting { claims },
            Self::Handshaking => State::Handshaking { claims },
        }
    }
}

fn coming_up(claims: u32, phase: Phase, event: Event, now: BootInstant) -> (State, Vec<Action>) {
    let cancelled = |why| State::Stopping { why, stage: Stage::CancellingStart, waiting: 0 };
    match event {
        Event::Claimed { .. } => (phase.with(claims + 1), Vec::new()),
        Event::ClaimDropped if claims > 1 => (phase.with(claims - 1), Vec::new()),
        Event::ClaimDropped => (cancelled(GoneReason::Released), vec![Action::CancelStart]),
        Event::Spawned => (State::Handshaking { claims }, Vec::new()),
        Event::Started => (
            State::Ready { leases: claims, usage: Usage { calls: 0, last_use: now } },
            vec![Action::Grant],
        ),
        Event::StartFailed { next } => {
            let after = match next {
                Admission::Start => State::Gone { why: GoneReason::StartFailed },
                Admission::Wait { until, tally } => State::Backoff { until, tally },
                Admission::Broken { why } => State::Broken { why },
            };
            let refuse = Action::Refuse { refusal: Refusal::StartFailed };
            (after, vec![refuse, Action::Close { why: GoneReason::StartFailed }])
        }
        Event::StopAsked { why, followers: Followers::Refuse | Followers::Keep } => {
            let refuse = Action::Refuse { refusal: Refusal::Stopped { why } };
            (cancelled(why), vec![refuse, Action::CancelStart])
        }
        Event::LeaseEnded
        | Event::CallBegan
        | Event::CallMoved
        | Event::CallEnded
        | Event::Exited { .. }
        | Event::StopDone { .. }
        | Event::Recounted { .. }
        | Event::Tick => (phase.with(claims), Vec::new()),
    }
}

fn ready(
    leases: u32,
    usage: Usage,
    event: Event,
    now: BootInstant,
    retention: Retention,
) -> (State, Vec<Action>) {
    match event {
        Event::Claimed { .. } => (State::Ready { leases: leases + 1, usage }, vec![Action::Grant]),
        Event::LeaseEnded if leases > 1 => (State::Ready { leases: leases - 1, usage }, Vec::new()),
        Event::LeaseEnded => unheld(usage, now, retention),
        Event::CallBegan => (State::Ready { leases, usage: usage.began(now) }, Vec::new()),
        Event::CallMoved => (State::Ready { leases, usage: usage.moved(now) }, Vec::new()),
        Event::CallEnded => (State::Ready { leases, usage: usage.ended(now) }, Vec::new()),
        Event::Exited { why } => (dead(why), vec![Action::Revoke { why }, Action::Stop { why }]),
        Event::StopAsked { why, followers: Followers::Refuse | Followers::Keep } => {
            (told_to_stop(why), vec![Action::Revoke { why }, Action::Stop { why }])
        }
        Event::ClaimDropped
        | Event::Spawned
        | Event::Started
        | Event::StartFailed { .. }
        | Event::StopDone { .. }
        | Event::Recounted { .. }
        | Event::Tick => (State::Ready { leases, usage }, Vec::new()),
    }
}

fn draining(
    usage: Usage,
    until: Option<BootInstant>,
    event: Event,
    now: BootInstant,
    retention: Retention,
) -> (State, Vec<Action>) {
    match event {
        Event::Claimed { .. } => (State::Ready { leases: 1, usage }, vec![Action::Grant]),
        Event::CallBegan => unheld(usage.began(now), now, retention),
        Event::CallMoved => unheld(usage.moved(now), now, retention),
        Event::CallEnded => unheld(usage.ended(now), now, retention),
        Event::Exited { why } => (dead(why), vec![Action::Stop { why }]),
        Event::StopAsked { why, followers: Followers::Refuse | Followers::Keep } => {
            (told_to_stop(why), vec![Action::Stop { why }])
        }
        Event::Tick => match until {
            Some(at) if at <= now => idle(),
            Some(_) | None => (State::Draining { usage, until }, Vec::new()),
        },
        Event::ClaimDropped
        | Event::Spawned
        | Event::Started
        | Event::StartFailed { .. }
        | Event::LeaseEnded
        | Event::StopDone { .. }
        | Event::Recounted { .. } => (State::Draining { usage, until }, Vec::new()),
    }
}

fn stopping(why: GoneReason, stage: Stage, waiting: u32, event: Event) -> (State, Vec<Action>) {
    let same = |waiting| State::Stopping { why, stage, waiting };
    match event {
        Event::Claimed { .. } => (same(waiting + 1), Vec::new()),
        Event::ClaimDropped => (same(waiting.saturating_sub(1)), Vec::new()),
        Event::StopAsked { why: asked, followers } => {
            let (left, actions) = after_stop_asked(waiting, asked, followers);
            (same(left), actions)
        }
        Event::Started => match stage {
            Stage::CancellingStart => {
                (State::Stopping { why, stage: Stage::Ladder, waiting }, vec![Action::Stop { why }])
            }
            Stage::Ladder => (same(waiting), Vec::new()),
        },
        Event::StartFailed { .. } => match stage {
            Stage::CancellingStart => gone(why, waiting, Record::Close),
            Stage::Ladder => (same(waiting), Vec::new()),
        },
        Event::StopDone { survivors } => match stage {
            Stage::CancellingStart => (same(waiting), Vec::new()),
            Stage::Ladder => after_ladder(why, survivors, waiting),
        },
        Event::Spawned
        | Event::LeaseEnded
        | Event::CallBegan
        | Event::CallMoved
        | Event::CallEnded
        | Event::Exited { .. }
        | Event::Recounted { .. }
        | Event::Tick => (same(waiting), Vec::new()),
    }
}

fn rundown(
    why: GoneReason,
    survivors: Option<u32>,
    waiting: u32,
    event: Event,
) -> (State, Vec<Action>) {
    let same = |waiting| State::Rundown { why, survivors, waiting };
    match event {
        Event::Claimed { .. } => (same(waiting + 1), Vec::new()),
        Event::ClaimDropped => (same(waiting.saturating_sub(1)), Vec::new()),
        Event::StopAsked { why: asked, followers } => {
            let (left, actions) = after_stop_asked(waiting, asked, followers);
            (same(left), actions)
        }
        Event::StopDone { survivors: left } => match survivors {
            None => after_ladder(why, left, waiting),
            Some(_) => (same(waiting), Vec::new()),
        },
        Event::Recounted { survivors: left } => match survivors {
            Some(_) if left == 0 => gone(why, waiting, Record::Closed),
            Some(_) => (State::Rundown { why, survivors: Some(left), waiting }, Vec::new()),
            None => (same(waiting), Vec::new()),
        },
        Event::Spawned
        | Event::Started
        | Event::StartFailed { .. }
        | Event::LeaseEnded
        | Event::CallBegan
        | Event::CallMoved
        | Event::CallEnded
        | Event::Exited { .. }
        | Event::Tick => (same(waiting), Vec::new()),
    }
}

impl Usage {
    fn began(self, now: BootInstant) -> Self {
        Self { calls: self.calls + 1, last_use: now }
    }

    fn moved(self, now: BootInstant) -> Self {
        if self.calls == 0 { self } else { Self { last_use: now, ..self } }
    }

    fn ended(self, now: BootInstant) -> Self {
        if self.calls == 0 { self } else { Self { calls: self.calls - 1, last_use: now } }
    }
}

/// Usable and held by nobody: what retention makes of it.
fn unheld(usage: Usage, now: BootInstant, retention: Retention) -> (State, Vec<Action>) {
    match retention {
        Retention::Run => {
            let why = GoneReason::Released;
            (told_to_stop(why), vec![Action::Stop { why }])
        }
        Retention::UntilOwnerEnds => (State::Draining { usage, until: None }, Vec::new()),
        Retention::For(_) if usage.calls > 0 => {
            (State::Draining { usage, until: None }, Vec::new())
        }
        Retention::For(keep) => {
            let until = ends_at(usage, keep);
            if until <= now {
                idle()
            } else {
                (State::Draining { usage, until: Some(until) }, Vec::new())
            }
        }
    }
}

fn ends_at(usage: Usage, keep: Duration) -> BootInstant {
    usage.last_use + keep
}

fn idle() -> (State, Vec<Action>) {
    let why = GoneReason::Idle;
    (told_to_stop(why), vec![Action::Stop { why }])
}

fn told_to_stop(why: GoneReason) -> State {
    State::Stopping { why, stage: Stage::Ladder, waiting: 0 }
}

/// It ended without having been asked: what it left behind still has to be ended.
fn dead(why: GoneReason) -> State {
    State::Rundown { why, survivors: None, waiting: 0 }
}

fn after_stop_asked(waiting: u32, why: GoneReason, followers: Followers) -> (u32, Vec<Action>) {
    match followers {
        Followers::Refuse if waiting > 0 => {
            (0, vec![Action::Refuse { refusal: Refusal::Stopped { why } }])
        }
        Followers::Refuse | Followers::Keep => (waiting, Vec::new()),
    }
}

fn after_ladder(why: GoneReason, survivors: u32, waiting: u32) -> (State, Vec<Action>) {
    if survivors == 0 {
        return gone(why, waiting, Record::Close);
    }
    (State::Rundown { why, survivors: Some(survivors), waiting }, vec![Action::Close { why }])
}

#[derive(Clone, Copy)]
enum Record {
    Close,
    Closed,
}

fn gone(why: GoneReason, waiting: u32, record: Record) -> (State, Vec<Action>) {
    let mut actions = match record {
        Record::Close => vec![Action::Close { why }],
        Record::Closed => Vec::new(),
    };
    if waiting > 0 {
        actions.push(Action::Resubmit);
    }
    (State::Gone { why }, actions)
}
