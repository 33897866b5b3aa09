//! What a guardian owes its gateway, and when it is not waited for any longer. It knows no process and asks no clock.

use std::time::{Duration, Instant};

/// A guardian that does not answer for this long is killed, and its tree adopted.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How often one that owes an answer is looked at; one that is seen stopped twice in a row is not waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A guardian that was told to kill, and has said neither "empty" nor "stuck" for this long, likewise.
pub(crate) const KILL_WITHIN: Duration = Duration::from_secs(3);

/// What the guardian owes an answer for.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    /// The oldest order without an answer.
    asked: Option<Instant>,
    /// When it was told to end its tree.
    killing: Option<Instant>,
    /// When to look next whether it is stopped, while it owes an answer.
    look: Option<Instant>,
    /// It was stopped at the last look.
    seen_stopped: bool,
}

impl Owed {
    /// It is given an order, all of which are answered.
    pub(crate) fn ask(&mut self, now: Instant) {
        if self.asked.is_none() {
            self.asked = Some(now);
            self.look = Some(now + LOOK_EVERY);
            self.seen_stopped = false;
        }
    }

    /// It is told to end its tree, once or again.
    pub(crate) fn ask_to_kill(&mut self, now: Instant) {
        self.ask(now);
        self.killing.get_or_insert(now);
    }

    /// It has said something.
    pub(crate) fn answered(&mut self) {
        self.asked = None;
        self.look = None;
    }

    /// It has said what became of its tree, or that it goes on trying: killing it would only move the work to us.
    pub(crate) fn told_of_its_tree(&mut self) {
        self.killing = None;
    }

    /// When it counts as lost for its silence.
    fn lost_at(&self) -> Option<Instant> {
        let answer = self.asked.map(|since| since + ANSWER_WITHIN);
        let killed = self.killing.map(|since| since + KILL_WITHIN);
        answer.into_iter().chain(killed).min()
    }

    /// When to ask next whether it [is lost](Self::is_lost), unless it answers before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.lost_at().into_iter().chain(self.look).min()
    }

    /// Whether it has been silent for too long, or is silent because somebody stopped it.
    pub(crate) fn is_lost(&mut self, now: Instant, is_stopped: impl FnOnce() -> bool) -> bool {
        if self.lost_at().is_some_and(|at| at <= now) {
            return true;
        }
        if self.look.is_none_or(|at| at > now) {
            return false;
        }
        // Twice, since we may have been stopped along with it, and go on before it does.
        let stopped = is_stopped();
        let before = std::mem::replace(&mut self.seen_stopped, stopped);
        self.look = Some(now + LOOK_EVERY);
        stopped && before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MOMENT: Duration = Duration::from_millis(1);

    /// Asks at every deadline, as the watcher does; how long after `since` it was lost, or `None` when nothing is owed.
    fn lost_after(
        owed: &mut Owed,
        since: Instant,
        mut is_stopped: impl FnMut(Duration) -> bool,
    ) -> Option<Duration> {
        loop {
            let now = owed.deadline()?;
            assert!(!owed.is_lost(now - MOMENT, || panic!("looked at before its time")));
            let passed = now - since;
            if owed.is_lost(now, || is_stopped(passed)) {
                return Some(passed);
            }
        }
    }

    // guarantee G4: its silence alone is enough, and a second is how long it may last
    #[test]
    fn one_that_runs_and_says_nothing_is_lost_after_a_second() {
        let (since, mut owed) = (Instant::now(), Owed::default());
        owed.ask(since);
        assert_eq!(lost_after(&mut owed, since, |_| false), Some(SECOND));

        // Further orders give it no more time.
        let mut owed = Owed::default();
        owed.ask(since);
        owed.ask(since + SECOND / 2);
        owed.ask_to_kill(since + SECOND / 2);
        assert_eq!(lost_after(&mut owed, since, |_| false), Some(SECOND));
    }

    #[test]
    fn one_that_is_stopped_is_lost_at_the_second_look() {
        let (since, mut owed) = (Instant::now(), Owed::default());
        owed.ask(since);
        assert_eq!(lost_after(&mut owed, since, |_| true), Some(LOOK_EVERY * 2));

        // Looks in a row: one that was stopped for a moment, again and again, has its whole second.
        let mut owed = Owed::default();
        let (mut looks, since) = (0, Instant::now());
        owed.ask(since);
        let now_and_then = |_| {
            looks += 1;
            looks % 2 == 0
        };
        assert_eq!(lost_after(&mut owed, since, now_and_then), Some(SECOND));

        // An answer in between makes the next look a first one.
        let mut owed = Owed::default();
        owed.ask(since);
        assert!(!owed.is_lost(since + LOOK_EVERY, || true));
        owed.answered();
        owed.ask(since + SECOND);
        assert_eq!(lost_after(&mut owed, since + SECOND, |_| true), Some(LOOK_EVERY * 2));
    }

    #[test]
    fn one_that_answers_is_waited_for_until_it_should_have_killed() {
        let (since, mut owed) = (Instant::now(), Owed::default());
        owed.ask_to_kill(since);
        owed.answered();
        assert_eq!(lost_after(&mut owed, since, |_| false), Some(SECOND * 3));

        // It is stuck, and says so.
        let mut owed = Owed::default();
        owed.ask_to_kill(since);
        owed.answered();
        owed.told_of_its_tree();
        assert_eq!(lost_after(&mut owed, since, |_| true), None);
    }

    #[test]
    fn one_that_owes_nothing_is_never_lost() {
        let (now, mut owed) = (Instant::now(), Owed::default());
        assert_eq!(owed.deadline(), None);
        assert!(!owed.is_lost(now + SECOND * 3600, || panic!("nobody asked it for anything")));
        owed.ask(now);
        owed.answered();
        assert_eq!(owed.deadline(), None);
        assert!(!owed.is_lost(now + SECOND * 3600, || panic!("it has answered")));
    }
}
