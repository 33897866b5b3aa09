//! How often each rule has matched in each session.

use std::collections::HashMap;

/// More sessions than this are not remembered: cron runs make a new one each time.
const SESSIONS_MAX: usize = 1024;

/// Counts by session and rule. When full, the session used longest ago is forgotten.
#[derive(Debug, Default)]
pub(super) struct Counts {
    sessions: HashMap<String, Used>,
    clock: u64,
}

#[derive(Debug, Default)]
struct Used {
    at: u64,
    by_rule: HashMap<usize, u32>,
}

impl Counts {
    /// Counts one match; false, and not counted, if the rule has matched `times` times in the session.
    pub(super) fn take(&mut self, session: &str, rule: usize, times: u32) -> bool {
        self.clock += 1;
        if !self.sessions.contains_key(session) {
            self.make_room();
        }
        let used = self.sessions.entry(String::from(session)).or_default();
        used.at = self.clock;
        let count = used.by_rule.entry(rule).or_default();
        let free = *count < times;
        *count += u32::from(free);
        free
    }

    fn make_room(&mut self) {
        if self.sessions.len() < SESSIONS_MAX {
            return;
        }
        let oldest = self.sessions.iter().min_by_key(|(_, used)| used.at);
        if let Some(oldest) = oldest.map(|(session, _)| session.clone()) {
            self.sessions.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_per_session_and_rule_and_stays_bounded() {
        let mut counts = Counts::default();
        assert!(counts.take("a", 0, 2) && counts.take("a", 0, 2));
        assert!(!counts.take("a", 0, 2));
        assert!(counts.take("a", 1, 1) && counts.take("b", 0, 1));
        assert!(!counts.take("a", 2, 0));
        for number in 0..2 * SESSIONS_MAX {
            assert!(counts.take(&format!("cron-{number}"), 0, 1));
        }
        assert_eq!(counts.sessions.len(), SESSIONS_MAX);
    }
}
