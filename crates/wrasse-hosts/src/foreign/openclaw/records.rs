//! What a host's records say about its sessions: when servers of each may have been started, and whether it can ever
//! be run again. Read only, and never more certain than the records are.

use wrasse_types::UnixMillis;

/// How far the clocks of records and processes may differ: both are the wall clock, one read in ticks of 10 ms.
pub(super) const SLACK_MS: i64 = 50;

/// A span of time in which a session may have started its servers: from when its turn may have begun to when its first
/// message was written, which is after its servers were up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// How sure its beginning is.
    pub begins: Begins,
    /// Milliseconds since 1970.
    pub from: i64,
    /// The same; `i64::MAX` while it is not over.
    pub to: i64,
}

impl Span {
    /// A span widened by what clocks may differ.
    pub(super) fn around(begins: Begins, from: i64, to: i64) -> Self {
        Self { begins, from: from.saturating_sub(SLACK_MS), to: to.saturating_add(SLACK_MS) }
    }

    /// Whether an instant lies in it.
    pub fn holds(&self, at: UnixMillis) -> bool {
        (self.from..=self.to).contains(&at.get())
    }
}

/// How sure the beginning of a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// A record says when the turn was asked for.
    Recorded,
    /// None does: it reaches back as far as a turn's set-up may take, over what may be another's.
    Guessed,
}

/// Whether a session can be run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Never: the records say so.
    Over(Ending),
    /// It can be continued, or is being run, or the records do not say.
    Open,
}

/// Why a session is never run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// An isolated firing of a job, which ended.
    CronRun,
    /// A sub-agent for one run, which ended and was announced.
    SubAgent,
    /// Deleted.
    Deleted,
    /// Reset: another session took its key.
    Replaced,
}

impl Ending {
    /// What happened, for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::CronRun => "an isolated cron run that ended",
            Self::SubAgent => "a sub-agent for one run that ended",
            Self::Deleted => "a session that was deleted",
            Self::Replaced => "a session that was reset",
        }
    }
}

/// One session: one conversation under one id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id, which a reset changes.
    pub id: String,
    /// Its key, as far as the records still have it.
    pub key: String,
    /// What people call it.
    pub label: Option<String>,
    /// Whether it can be run again.
    pub fate: Fate,
    /// How its last run ended, where the records say: `ok`, `error`, `done` …
    pub outcome: Option<String>,
    /// When its last run ended, or when it was written to last.
    pub last: Option<UnixMillis>,
    /// When its servers may have been started.
    pub spans: Vec<Span>,
}

/// Everything the records of one host say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// Every session that may have servers.
    pub sessions: Vec<Session>,
    /// Records that could not be read. While there are any, nothing is said to be over.
    pub unreadable: Vec<String>,
    /// The version that the records name as their writer.
    pub version: Option<String>,
}

impl Records {
    /// Adds what another layout of the same host says. Of a session that both know, what is open wins.
    pub(super) fn merge(&mut self, other: Self) {
        for session in other.sessions {
            match self.sessions.iter_mut().find(|known| known.id == session.id) {
                Some(known) => {
                    known.spans.extend(session.spans);
                    if session.fate == Fate::Open {
                        known.fate = Fate::Open;
                    }
                    if known.key.is_empty() {
                        known.key = session.key;
                    }
                }
                None => self.sessions.push(session),
            }
        }
        self.unreadable.extend(other.unreadable);
        self.version = self.version.take().or(other.version);
    }

    /// Takes back every certainty when something could not be read.
    pub(super) fn doubted(mut self) -> Self {
        if !self.unreadable.is_empty() {
            for session in &mut self.sessions {
                session.fate = Fate::Open;
            }
        }
        self
    }
}

/// A text field of a record.
pub(super) fn text<'a>(value: &'a serde_json::Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// A time in milliseconds.
pub(super) fn millis(value: &serde_json::Value, key: &str) -> Option<i64> {
    let value = value.get(key)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "milliseconds since 1970 fit a double exactly"
    )]
    let rounded = |number: f64| number.is_finite().then_some(number as i64);
    value.as_i64().or_else(|| value.as_f64().and_then(rounded))
}

/// Whether a key is that of an isolated firing, and of which session.
pub(super) fn is_cron_run(key: &str, session: &str) -> bool {
    key.contains(":cron:") && key.ends_with(&format!(":run:{session}"))
}

/// Whether a key is that of a sub-agent.
pub(super) fn is_subagent(key: &str) -> bool {
    key.contains(":subagent:")
}
