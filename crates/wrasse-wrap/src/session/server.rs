//! What the server says.

use serde_json::Value;
use wrasse_scope::clock::BootInstant;

use super::{Own, Pending, Session, Stage, TASK_WITHIN, What, text};
use crate::catalogue::{Answer, Entry};
use crate::envelope::{self, Envelope, Id, Kind};

impl Session {
    /// Takes a line of the server.
    pub fn server_line(&mut self, line: Vec<u8>, now: BootInstant) {
        let batch = envelope::messages(&line);
        if let [std::borrow::Cow::Borrowed(_)] = batch.as_slice() {
            drop(batch);
            return self.server_message(line, now);
        }
        let parts: Vec<Vec<u8>> = batch.into_iter().map(std::borrow::Cow::into_owned).collect();
        for part in parts {
            self.server_message(part, now);
        }
    }

    fn server_message(&mut self, line: Vec<u8>, now: BootInstant) {
        enum Step {
            Asks(Id),
            Says(String),
            Answers(Id),
            Bad,
        }
        let step = Envelope::read(&line).map_or(Step::Bad, |envelope| match envelope.kind() {
            Kind::Request { id, .. } => Step::Asks(id),
            Kind::Notification { method } => Step::Says(method.to_owned()),
            Kind::Response { id } => Step::Answers(id),
            Kind::Bad => Step::Bad,
        });
        match step {
            Step::Asks(id) => self.server_asks(id, line, now),
            Step::Says(method) => self.server_says(&method, line, now),
            Step::Answers(id) => self.server_answers(&id, line, now),
            Step::Bad => {
                self.counts.bad_server_lines += 1;
                if self.counts.bad_server_lines == 1 {
                    let shown = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
                    self.say(format!(
                        "{} wrote a line that is no message; it is left out: {shown:?}",
                        self.options.name
                    ));
                }
            }
        }
    }

    fn server_asks(&mut self, id: Id, line: Vec<u8>, now: BootInstant) {
        if self.stage == Stage::Stopping {
            // It is being ended, and would not hear the answer.
            return;
        }
        if !self.stale.contains(&id) && !self.asked.contains_key(&id) {
            self.asked.insert(id.clone(), (id, now));
            return self.tell_host(line);
        }
        // An earlier server asked under this id and its answer may still come: the host gets another id.
        let fresh = self.own_id();
        if let Some(line) = envelope::with_id(&line, &fresh) {
            self.asked.insert(fresh, (id, now));
            self.tell_host(line);
        }
    }

    fn server_says(&mut self, method: &str, line: Vec<u8>, now: BootInstant) {
        let envelope = Envelope::read(&line);
        let param = |name: &str| envelope.as_ref().and_then(|envelope| envelope.param(name));
        let mut swallow = false;
        let mut changed = None;
        match method {
            "notifications/tools/list_changed" => changed = Some("tools"),
            "notifications/prompts/list_changed" => changed = Some("prompts"),
            "notifications/resources/list_changed" => changed = Some("resources"),
            "notifications/cancelled" => {
                if let Some(id) = param("requestId") {
                    let id = Id::of(&envelope::raw(&id));
                    let known = self.asked.iter().find(|(_, (own, _))| *own == id);
                    if let Some(known) = known.map(|(known, _)| known.clone()) {
                        self.asked.remove(&known);
                        if known != id {
                            swallow = true;
                            let asked =
                                serde_json::from_str(known.as_json()).unwrap_or(Value::Null);
                            let params = serde_json::json!({ "requestId": asked });
                            self.tell_host(envelope::notification(method, Some(&params)));
                        }
                    }
                }
            }
            "notifications/tasks/status" => {
                let id = param("taskId").and_then(|id| id.as_str().map(ToOwned::to_owned));
                let status = param("status");
                if let (Some(id), Some(status)) = (id, status) {
                    self.task_is(&id, &status, now);
                }
            }
            "notifications/subscriptions/acknowledged" => {
                swallow = self.acknowledged_again(param("_meta"));
            }
            _ => {}
        }
        if !swallow {
            self.tell_host(line);
        }
        if let Some(capability) = changed {
            self.learn_again(capability);
        }
    }

    fn server_answers(&mut self, id: &Id, line: Vec<u8>, now: BootInstant) {
        if let Some(own) = self.own.remove(id) {
            return self.own_answered(own, &line, now);
        }
        let Some(pending) = self.pending.remove(id) else {
            self.counts.stray_answers += 1;
            return;
        };
        self.answered_here = true;
        let Some(envelope) = Envelope::read(&line) else { return };
        let failed = envelope.error.is_some();
        let Pending { what, .. } = pending;
        if what.is_use() {
            self.used(now);
        }
        match what {
            What::Opening { key } => {
                let answer = answer_of(&envelope);
                if let Some(answer) = answer {
                    self.opening_answered(key, answer, now);
                }
            }
            What::List { method } => {
                // A refusal is worth keeping too: some hosts ask every server for every list.
                if failed && let Some(answer) = answer_of(&envelope) {
                    self.remember_refused(&method, answer);
                }
            }
            What::Call { task } => {
                if task || envelope.in_result("resultType").is_some_and(|kind| kind == "task") {
                    self.task_began(&envelope, now);
                }
                if let Some(line) = self.with_past(&line) {
                    return self.tell_host(line);
                }
            }
            What::Subscribe { uri } => {
                if !failed {
                    self.subscriptions.insert(uri);
                }
            }
            What::Unsubscribe { uri } => {
                self.subscriptions.remove(&uri);
            }
            What::Listen => {
                if self.stage == Stage::Stopping {
                    // The stream goes on with the next server.
                    return;
                }
                self.listens.retain(|listen| listen.id != *id);
            }
            What::Ping => {}
            What::Other => {
                let task = envelope.in_result("taskId");
                let status = envelope.in_result("status");
                if let (Some(Value::String(task)), Some(status)) = (task, status) {
                    self.task_is(&task, &status, now);
                }
            }
        }
        self.tell_host(line);
    }

    /// The host's own opening was answered.
    fn opening_answered(&mut self, key: String, answer: Answer, now: BootInstant) {
        let entry = Entry::new(&self.options.name, answer);
        let worked = matches!(entry.opening, Answer::Result(_));
        let discover = key.starts_with("[\"stateless\"");
        if !worked && !discover {
            // A refused handshake may be of the moment.
            return;
        }
        self.save(&key, &entry);
        let current = self.opening.as_ref().is_some_and(|opening| opening.key() == key);
        if !worked {
            if current {
                self.opening = None;
            }
            return;
        }
        if current {
            self.entry = Some(entry);
            self.backoff = None;
            if discover {
                self.learn_all(now);
            } else if self.host_ready && !self.told_initialized {
                // A host that did not wait for the answer said so while there was nobody to hear it.
                self.told_initialized = true;
                self.tell_server(envelope::notification("notifications/initialized", None));
                self.learn_all(now);
            }
        }
    }

    pub(super) fn save(&mut self, key: &str, entry: &Entry) {
        if let Err(error) = self.shelf.save(key, entry) {
            if !self.learnt.save_failed {
                self.say(format!(
                    "the catalogue cannot be written, so the next start will ask again: {error}"
                ));
            }
            self.learnt.save_failed = true;
        }
    }

    /// The line of a first result after a restart, with what the model has to know.
    fn with_past(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        let past = self.past.as_ref()?;
        let note = format!(
            "[wrasse] The MCP server {} was restarted for this call: {}. Whatever it kept in memory from earlier \
             calls is gone.",
            self.options.name, past.why
        );
        let noted = text::with_note(line, &note)?;
        self.past = None;
        Some(noted)
    }

    fn task_began(&mut self, envelope: &Envelope<'_>, now: BootInstant) {
        let task = envelope.in_result("task").or_else(|| {
            let id = envelope.in_result("taskId")?;
            let ttl = envelope.in_result("ttlMs").or_else(|| envelope.in_result("ttl"));
            Some(serde_json::json!({ "taskId": id, "ttl": ttl }))
        });
        let Some(task) = task else { return };
        let Some(id) = task["taskId"].as_str() else { return };
        let ttl = task["ttl"].as_u64().map_or(TASK_WITHIN, std::time::Duration::from_millis);
        self.tasks.insert(id.to_owned(), now + ttl.min(TASK_WITHIN));
    }

    fn task_is(&mut self, id: &str, status: &Value, now: BootInstant) {
        self.used(now);
        if matches!(status.as_str(), Some("completed" | "failed" | "cancelled")) {
            self.tasks.remove(id);
        }
    }

    fn own_answered(&mut self, own: Own, line: &[u8], now: BootInstant) {
        let Some(envelope) = Envelope::read(line) else { return };
        match own {
            Own::Open => self.opened(&envelope, now),
            Own::Learn(learning) => self.learnt(*learning, &envelope, now),
            Own::Replay => {}
        }
    }
}

/// The answer that a response holds.
pub(super) fn answer_of(envelope: &Envelope<'_>) -> Option<Answer> {
    let result = envelope.result.map(|result| Answer::Result(result.to_owned()));
    result.or_else(|| envelope.error.map(|error| Answer::Error(error.to_owned())))
}
