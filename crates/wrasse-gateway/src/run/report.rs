//! What is said when a run is over.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Local};
use wrasse_types::{
    AgentId, EndReason, GoneReason, JobId, RunId, SessionKey, StopRung, UnixMillis,
};

/// A server's instance that ended with a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedServer {
    /// The server.
    pub server: String,
    /// The instance.
    pub instance: String,
    /// Its leader's process id, where it had come that far.
    pub pid: Option<u32>,
    /// Why it ended.
    pub reason: GoneReason,
    /// The rung that emptied its tree; `None` where it never came up.
    pub rung: Option<StopRung>,
    /// How long that took.
    pub took: Duration,
    /// Processes reaped.
    pub processes: u32,
    /// Processes left.
    pub survivors: u32,
}

/// One run that is over, its servers released. [`fmt::Display`] is the line for people.
#[derive(Debug, Clone)]
pub struct RunReport {
    /// When it ended.
    pub at: UnixMillis,
    /// The run.
    pub run: RunId,
    /// Its session.
    pub session_key: SessionKey,
    /// Its agent.
    pub agent: AgentId,
    /// Why it ended.
    pub end: EndReason,
    /// What started it: `message`, `cron "daily"`, `spawn`.
    pub cause: String,
    /// The run that spawned it.
    pub parent: Option<RunId>,
    /// The job that woke it.
    pub job: Option<JobId>,
    /// From being admitted to its outcome.
    pub duration: Duration,
    /// Tool calls.
    pub calls: u32,
    /// Model turns.
    pub turns: u32,
    /// Runs it spawned.
    pub children: u32,
    /// Tokens read and written.
    pub tokens: (u64, u64),
    /// Servers that did not come up for it; the log names each, with its cure.
    pub servers_failed: u32,
    /// Every instance that ended with it.
    pub ended: Vec<EndedServer>,
    /// Processes of those that are left; anything but 0 is a fault of ours.
    pub left: u32,
    /// Processes of those in all.
    pub processes: u32,
    /// The fault, where it failed.
    pub error: Option<String>,
    /// What became of its result, where a delivery was asked for.
    pub delivery: Option<String>,
    /// When its job tries again, where it failed.
    pub retry_at: Option<UnixMillis>,
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.end.is_success() { "ok  " } else { "FAIL" };
        let from = match &self.parent {
            Some(parent) => parent.as_str(),
            None => &self.cause,
        };
        let (at, run, agent) = (local(self.at, "%H:%M:%S"), &self.run, &self.agent);
        write!(f, "{at} run {run} {verdict} {agent} ← {from}")?;
        if !self.end.is_success() {
            let error = self.error.as_deref().unwrap_or_else(|| self.end.text());
            write!(f, " · {}", first_line(error))?;
        }
        write!(f, " · {}", seconds(self.duration))?;
        if self.calls > 0 {
            write!(f, " · {}", count(self.calls, "call"))?;
        }
        if self.children > 0 {
            write!(f, " · {}", plural(self.children, "child", "children"))?;
        }
        if self.servers_failed > 0 {
            write!(f, " · {} did not come up", plural(self.servers_failed, "server", "servers"))?;
        }
        if self.ended.is_empty() && self.servers_failed == 0 {
            let nothing = if self.calls == 0 { "no server needed" } else { "no server to end" };
            write!(f, " · {nothing}")?;
        } else if !self.ended.is_empty() {
            f.write_str(" · ended")?;
            for ended in &self.ended {
                write!(f, " {}", ended_text(ended))?;
            }
        }
        write!(f, " · left {} of {}", self.left, self.processes)?;
        if let Some(delivery) = &self.delivery {
            write!(f, " · {delivery}")?;
        }
        if let Some(retry) = self.retry_at {
            write!(f, " · retry {}", local(retry, "%H:%M:%S"))?;
        }
        Ok(())
    }
}

fn ended_text(ended: &EndedServer) -> String {
    let rung = ended.rung.map_or("did not come up", StopRung::text);
    let pid = ended.pid.map_or_else(String::new, |pid| format!("{pid}, "));
    format!("{}({pid}{rung}, {})", ended.server, precise(ended.took))
}

fn local(time: UnixMillis, format: &str) -> String {
    DateTime::from_timestamp_millis(time.get())
        .map(|time| time.with_timezone(&Local).format(format).to_string())
        .unwrap_or_default()
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn precise(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        seconds(duration)
    }
}

fn count(number: u32, noun: &str) -> String {
    plural(number, noun, &format!("{noun}s"))
}

fn plural(number: u32, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The first line of a text, cut where a line of output would end.
pub(crate) fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(200) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> RunReport {
        RunReport {
            at: UnixMillis::new(0),
            run: RunId::new("r-8f2c"),
            session_key: SessionKey::from_store("agent:hub:main"),
            agent: AgentId::new("hub"),
            end: EndReason::Success,
            cause: "cron \"daily-digest\"".to_owned(),
            parent: None,
            job: None,
            duration: Duration::from_millis(41_200),
            calls: 6,
            turns: 3,
            servers_failed: 0,
            children: 2,
            tokens: (0, 0),
            ended: vec![EndedServer {
                server: "filesystem".to_owned(),
                instance: "i-1".to_owned(),
                pid: Some(4121),
                reason: GoneReason::Released,
                rung: Some(StopRung::Stdin),
                took: Duration::from_millis(21),
                processes: 3,
                survivors: 0,
            }],
            left: 0,
            processes: 3,
            error: None,
            delivery: None,
            retry_at: None,
        }
    }

    fn after_time(report: &RunReport) -> String {
        let line = report.to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        line.split_once(' ').unwrap().1.to_owned()
    }

    #[test]
    fn a_run_that_went_well() {
        assert_eq!(
            after_time(&report()),
            "run r-8f2c ok   hub ← cron \"daily-digest\" · 41.2 s · 6 calls · 2 children · ended \
             filesystem(4121, stdin closed, 21 ms) · left 0 of 3"
        );
    }

    #[test]
    fn a_run_that_failed_says_why_and_when_it_is_tried_again() {
        let failed = RunReport {
            end: EndReason::ModelError,
            error: Some("model timed out after 120 s (local/qwen)\nsecond line".to_owned()),
            retry_at: Some(UnixMillis::new(60_000)),
            delivery: Some("result NOT delivered".to_owned()),
            ended: Vec::new(),
            calls: 0,
            children: 0,
            processes: 0,
            ..report()
        };
        let line = after_time(&failed);
        assert!(line.starts_with(
            "run r-8f2c FAIL hub ← cron \"daily-digest\" · model timed out after 120 s (local/qwen) \
             · 41.2 s · no server needed · left 0 of 0 · result NOT delivered · retry "
        ), "{line}");
    }

    #[test]
    fn a_child_names_its_parent() {
        let child = RunReport { parent: Some(RunId::new("r-8f50")), ..report() };
        assert!(after_time(&child).starts_with("run r-8f2c ok   hub ← r-8f50 · "));
    }
}
