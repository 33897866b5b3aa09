//! From an order to start to a server that can be asked.

use std::time::Duration;

use serde_json::Value;
use wrasse_scope::clock::BootInstant;

use super::{Backoff, Opening, Output, Own, Session, Stage, What, text};
use crate::catalogue::{Answer, Entry};
use crate::envelope::{self, Envelope};

const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

impl Session {
    /// The server process runs.
    pub fn started(&mut self, now: BootInstant) {
        if !matches!(self.stage, Stage::Starting { .. }) {
            return;
        }
        self.used(now);
        self.calls_here = 0;
        self.answered_here = false;
        self.opened_by_host = false;
        self.told_initialized = false;
        self.learnt.begin();
        let hosts_own =
            self.waiting.iter().any(|waiting| matches!(waiting.what, What::Opening { .. }));
        match &self.opening {
            Some(Opening::Handshake { params, .. }) if !hosts_own => {
                let params = params.clone();
                let id = self.ask_server("initialize", Some(&params), Own::Open);
                self.stage = Stage::Opening { id, since: now };
            }
            Some(Opening::Handshake { .. } | Opening::Stateless { .. }) | None => {
                self.stage = Stage::Ready;
                self.relisten();
                self.flush_waiting(now);
                if !hosts_own {
                    self.learn_all(now);
                }
            }
        }
    }

    /// The server answered our own `initialize`.
    pub(super) fn opened(&mut self, envelope: &Envelope<'_>, now: BootInstant) {
        if !matches!(self.stage, Stage::Opening { .. }) {
            return;
        }
        let Some(result) = envelope.result else {
            let error = envelope.error.map_or("no result", |error| error.get()).to_owned();
            return self.start_failed(&format!("it refused to initialize: {error}"), now);
        };
        let opening = Answer::Result(result.to_owned());
        match &mut self.entry {
            Some(entry) => {
                if entry.opening != opening {
                    let version = |answer: &Answer| match answer {
                        Answer::Result(result) => envelope::member(result, "protocolVersion"),
                        Answer::Error(_) => None,
                    };
                    let (old, new) = (version(&entry.opening), version(&opening));
                    entry.opening = opening;
                    if old != new {
                        let unknown = Value::Null;
                        self.say(format!(
                            "{} now speaks protocol version {}; this host was told {}, and hears of it at its next start",
                            self.options.name,
                            new.as_ref().unwrap_or(&unknown),
                            old.as_ref().unwrap_or(&unknown),
                        ));
                    }
                    self.learnt.dirty = true;
                }
            }
            None => {
                self.entry = Some(Entry::new(&self.options.name, opening));
                self.learnt.dirty = true;
            }
        }
        self.backoff = None;
        self.stage = Stage::Ready;
        self.tell_server(envelope::notification("notifications/initialized", None));
        self.replay();
        self.relisten();
        self.flush_waiting(now);
        self.learn_all(now);
    }

    /// Tells a fresh server what the host told an earlier one.
    fn replay(&mut self) {
        if let Some(level) = self.log_level.clone()
            && self.declares("logging")
        {
            self.ask_server("logging/setLevel", Some(&level), Own::Replay);
        }
        if self.roots_changed {
            self.tell_server(envelope::notification("notifications/roots/list_changed", None));
        }
        for uri in self.subscriptions.clone() {
            let params = envelope::raw(&serde_json::json!({ "uri": uri }));
            self.ask_server("resources/subscribe", Some(&params), Own::Replay);
        }
    }

    /// The server could not be started, or not be talked to. `fault` is a sentence that says why.
    pub fn start_failed(&mut self, fault: &str, now: BootInstant) {
        let failures = self.backoff.as_ref().map_or(0, |backoff| backoff.failures) + 1;
        let pause = BACKOFF_MIN * 2_u32.saturating_pow((failures - 1).min(6));
        let pause = pause.min(BACKOFF_MAX);
        let fault = self.fault(fault);
        self.backoff = Some(Backoff { until: now + pause, failures, fault: fault.clone() });
        let running = matches!(self.stage, Stage::Opening { .. });
        self.stage = Stage::Absent;
        if running {
            self.stage = Stage::Stopping;
            self.outputs.push_back(Output::Stop);
        }
        self.own.clear();
        self.refuse_waiting(&text::cannot_start(&fault));
        self.say(fault);
    }

    pub(super) fn fault(&self, why: &str) -> String {
        format!("the MCP server {} cannot be started: {why}", self.options.name)
    }

    pub(super) fn start_timed_out(&mut self, now: BootInstant) {
        if matches!(self.stage, Stage::Starting { .. }) {
            // The process is still being made; whoever makes it is told to end it.
            self.outputs.push_back(Output::Stop);
        }
        self.start_failed("it did not come up within 5 minutes", now);
    }

    /// Why no start is made now, if so.
    pub(super) fn refusal(&self, now: BootInstant) -> Option<String> {
        let backoff = self.backoff.as_ref().filter(|backoff| backoff.until > now)?;
        let left = backoff.until.since(now).as_secs() + 1;
        Some(format!("{}; the next try is in {left} s", backoff.fault))
    }
}
