//! The end of a server, expected or not.

use wrasse_scope::clock::BootInstant;

use super::{Past, Pending, Session, Stage, What, text};
use crate::envelope;

/// What a person can do about a server that ends instead of coming up.
const CURE: &str =
    "run its command line in a shell, and give it what it asks for in the host's entry for it";

/// How a server ended. Its tree is empty, or somebody goes on ending it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What became of it, as in "the server …": "exited with code 1", "was killed by signal 9".
    pub how: String,
    /// Its last words on stderr.
    pub last_words: String,
}

impl Session {
    /// The server is gone.
    pub fn ended(&mut self, ended: &Ended, now: BootInstant) {
        let stage = std::mem::replace(&mut self.stage, Stage::Absent);
        let words = if ended.last_words.is_empty() {
            String::new()
        } else {
            format!("; its last words: {}", ended.last_words)
        };
        self.own.clear();
        self.tasks.clear();
        self.forget_questions();
        let fault = format!("it {}{words} → {CURE}", ended.how);
        let in_flight = self.fail_pending(&format!("{}{words}", ended.how), &fault);
        let was_opening = matches!(stage, Stage::Starting { .. } | Stage::Opening { .. });
        if was_opening || (stage == Stage::Ready && !self.answered_here) {
            self.start_failed(&fault, now);
        } else if self.calls_here > 0 {
            let why = match stage {
                Stage::Stopping => {
                    let idle = self.options.idle.unwrap_or_default();
                    let idle = wrasse_types::format_duration(idle);
                    format!("it had been ended after {idle} without a call")
                }
                Stage::Ready | Stage::Absent | Stage::Starting { .. } | Stage::Opening { .. } => {
                    format!("the one before it {}", ended.how)
                }
            };
            self.past = Some(Past { why });
        }
        if stage == Stage::Ready && self.answered_here {
            self.say(format!(
                "{} {} ({in_flight} requests in flight){words}",
                self.options.name, ended.how
            ));
        }
        self.calls_here = 0;
        if !self.waiting.is_empty() || self.listens_wait() {
            match self.refusal(now) {
                Some(fault) => self.refuse_waiting(&text::cannot_start(&fault)),
                None => self.start(now),
            }
        }
    }

    /// Answers what the server had and did not answer; how many that were.
    fn fail_pending(&mut self, why: &str, fault: &str) -> usize {
        let pending: Vec<_> = std::mem::take(&mut self.pending).into_iter().collect();
        let unknown = text::outcome_unknown(&self.options.name, why);
        let never_up = text::cannot_start(&self.fault(fault));
        let mut failed = 0;
        for (id, Pending { what, cancelled }) in pending {
            let answer = match what {
                // A stream of notifications goes on with the next server.
                What::Listen => continue,
                // Without a server we are who is asked.
                What::Ping if !cancelled => {
                    self.answer_empty(&id);
                    continue;
                }
                What::Opening { .. } => &never_up,
                What::List { .. }
                | What::Call { .. }
                | What::Subscribe { .. }
                | What::Unsubscribe { .. }
                | What::Ping
                | What::Other => &unknown,
            };
            if !cancelled {
                failed += 1;
                self.answer(&id, answer);
            }
        }
        failed
    }

    /// Takes back what the server asked the host.
    fn forget_questions(&mut self) {
        for (id, _) in std::mem::take(&mut self.asked) {
            let asked = serde_json::from_str(id.as_json()).unwrap_or(serde_json::Value::Null);
            let params =
                serde_json::json!({ "requestId": asked, "reason": "the server has ended" });
            self.tell_host(envelope::notification("notifications/cancelled", Some(&params)));
            self.stale.insert(id);
        }
    }
}
