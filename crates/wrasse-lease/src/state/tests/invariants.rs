//! Random events against a model of the world: trees, starts under way, holders.

use std::time::Duration;

use proptest::prelude::*;

use super::super::*;
use super::at;
use crate::claim::Retention;

/// What the world outside of the state machine looks like.
#[derive(Debug)]
struct World {
    state: State,
    retention: Retention,
    now_ms: u64,
    /// A start was ordered and has not come out.
    starting: bool,
    /// Processes may exist.
    tree: bool,
    /// A stop was ordered and is not done.
    ladder: bool,
    claims: u32,
    leases: u32,
    calls: u32,
    starts: u32,
    closes: u32,
}

impl World {
    fn new(retention: Retention) -> Self {
        Self {
            state: State::Absent,
            retention,
            now_ms: 0,
            starting: false,
            tree: false,
            ladder: false,
            claims: 0,
            leases: 0,
            calls: 0,
            starts: 0,
            closes: 0,
        }
    }

    /// Gives an event if the world allows it now.
    fn offer(&mut self, choice: u8, verdict: u8) -> Result<(), TestCaseError> {
        let admission = match verdict {
            0 => Admission::Wait { until: at(self.now_ms + 500), tally: 1 },
            1 => Admission::Broken { why: String::from("no such command") },
            _ => Admission::Start,
        };
        let followers = if verdict == 0 { Followers::Keep } else { Followers::Refuse };
        let event = match choice {
            0..=3 => {
                self.claims += 1;
                Event::Claimed { admission }
            }
            4 if self.claims > 0 => {
                self.claims -= 1;
                Event::ClaimDropped
            }
            5 if self.starting => {
                self.tree = true;
                Event::Spawned
            }
            6 | 7 if self.starting => {
                (self.starting, self.tree) = (false, true);
                Event::Started
            }
            8 if self.starting => {
                // The contract of a backend: its tree is gone when a start fails.
                (self.starting, self.tree) = (false, false);
                Event::StartFailed { next: admission }
            }
            9 | 10 if self.leases > 0 => {
                self.leases -= 1;
                Event::LeaseEnded
            }
            11 if self.leases > 0 => {
                self.calls += 1;
                Event::CallBegan
            }
            12 if self.calls > 0 => Event::CallMoved,
            13 if self.calls > 0 => {
                self.calls -= 1;
                Event::CallEnded
            }
            14 if self.usable() => Event::Exited { why: GoneReason::Exited },
            15 => Event::StopAsked { why: GoneReason::SessionEnded, followers },
            16 | 17 if self.ladder => {
                let survivors = u32::from(verdict == 0);
                (self.ladder, self.tree) = (false, survivors > 0);
                Event::StopDone { survivors }
            }
            18 if matches!(self.state, State::Rundown { survivors: Some(_), .. }) => {
                let survivors = u32::from(verdict == 0);
                self.tree = survivors > 0;
                Event::Recounted { survivors }
            }
            19 => {
                self.now_ms += 400;
                Event::Tick
            }
            _ => return Ok(()),
        };
        self.give(event)
    }

    fn usable(&self) -> bool {
        self.state.usage().is_some()
    }

    fn give(&mut self, event: Event) -> Result<(), TestCaseError> {
        let rested = self.state.at_rest();
        let (claimed, in_flight) = (matches!(event, Event::Claimed { .. }), self.calls);
        let state = std::mem::replace(&mut self.state, State::Absent);
        let (next, actions) = step(state, event, at(self.now_ms), self.retention);
        self.state = next;
        prop_assert!(!rested || claimed || actions.is_empty(), "an action without a claim at rest");
        for action in actions {
            self.perform(action, in_flight)?;
        }
        if !self.usable() {
            self.calls = 0;
        }
        self.check()
    }

    fn perform(&mut self, action: Action, in_flight: u32) -> Result<(), TestCaseError> {
        match action {
            Action::Start => {
                prop_assert!(!self.starting && !self.tree && !self.ladder, "two trees");
                self.starting = true;
                self.starts += 1;
            }
            Action::CancelStart => prop_assert!(self.starting),
            Action::Stop { why } => {
                prop_assert!(self.tree && !self.ladder && !self.starting);
                prop_assert!(why != GoneReason::Idle || in_flight <= 1, "idle during a call");
                prop_assert!(why != GoneReason::Idle || self.calls == 0, "idle during a call");
                self.ladder = true;
            }
            Action::Grant => {
                prop_assert!(self.claims > 0);
                self.leases += std::mem::take(&mut self.claims);
            }
            Action::Refuse { refusal: _ } => self.claims = 0,
            Action::Revoke { why: _ } => self.leases = 0,
            Action::Close { why: _ } => {
                self.closes += 1;
                prop_assert_eq!(self.closes, self.starts, "one closed event for each start");
            }
            Action::Resubmit => {
                for again in 1..=std::mem::take(&mut self.claims) {
                    self.claims = again;
                    self.give(Event::Claimed { admission: Admission::Start })?;
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let (claims, leases) = match &self.state {
            State::Starting { claims } | State::Handshaking { claims } => {
                prop_assert!(*claims > 0 && self.starting);
                (*claims, 0)
            }
            State::Ready { leases, usage } => {
                prop_assert!(*leases > 0 && self.tree);
                prop_assert_eq!(usage.calls, self.calls);
                (0, *leases)
            }
            State::Draining { usage, until } => {
                prop_assert!(self.retention != Retention::Run, "kept by nobody");
                prop_assert_eq!(usage.calls, self.calls);
                prop_assert!(usage.calls == 0 || until.is_none(), "a timer during a call");
                (0, 0)
            }
            State::Stopping { waiting, .. } | State::Rundown { waiting, .. } => (*waiting, 0),
            State::Absent | State::Gone { .. } | State::Backoff { .. } | State::Broken { .. } => {
                prop_assert!(!self.tree && !self.starting && !self.ladder, "gone before empty");
                prop_assert_eq!(self.closes, self.starts, "a start without its closed event");
                (0, 0)
            }
        };
        prop_assert_eq!(claims, self.claims);
        prop_assert_eq!(leases, self.leases);
        Ok(())
    }

    /// Every holder ends, and the world does what was ordered of it.
    fn wind_down(&mut self) -> Result<(), TestCaseError> {
        while self.claims > 0 {
            self.offer(4, 2)?;
        }
        while self.calls > 0 {
            self.offer(13, 2)?;
        }
        while self.leases > 0 {
            self.offer(9, 2)?;
        }
        self.now_ms += 10_000;
        self.give(Event::Tick)?;
        for choice in [8, 16, 18] {
            self.offer(choice, 2)?;
        }
        Ok(())
    }
}

fn retentions() -> impl Strategy<Value = Retention> {
    prop_oneof![
        Just(Retention::Run),
        Just(Retention::For(Duration::from_millis(1000))),
        Just(Retention::UntilOwnerEnds),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn invariants_hold(
        retention in retentions(),
        choices in prop::collection::vec((0_u8..20, 0_u8..6), 0..80),
    ) {
        let mut world = World::new(retention);
        for (choice, verdict) in choices {
            world.offer(choice, verdict)?;
        }
        world.wind_down()?;
        match retention {
            Retention::Run | Retention::For(_) => {
                prop_assert!(world.state.at_rest(), "held by nobody and still {:?}", world.state);
            }
            Retention::UntilOwnerEnds => {
                let why = GoneReason::SessionEnded;
                world.give(Event::StopAsked { why, followers: Followers::Refuse })?;
                world.offer(16, 2)?;
                prop_assert!(world.state.at_rest(), "its owner ended and still {:?}", world.state);
            }
        }
    }
}
