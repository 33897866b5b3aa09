//! What a shim says.

use serde_json::{Value, json};
use wrasse_scope::clock::BootInstant;

use super::{Call, CallerId, Hub, Level, Opening, What};
use crate::catalogue::Answer;
use crate::envelope::{self, Envelope, Id, Kind};
use crate::rewrite;
use crate::session::text::NOT_STARTED;

impl Hub {
    /// Takes a message of a shim.
    pub(in crate::broker) fn caller_line(
        &mut self,
        caller: CallerId,
        line: &[u8],
        now: BootInstant,
    ) {
        let Some(envelope) = Envelope::read(line) else { return };
        match envelope.kind() {
            Kind::Request { id, method } => {
                self.caller_asks(caller, id, method, &envelope, line, now);
            }
            Kind::Notification { method } => self.caller_says(caller, method, &envelope, line, now),
            Kind::Response { id } => self.caller_answers(caller, &id, line, now),
            Kind::Bad => {}
        }
    }

    /// Takes a message of a shim for a server that is being ended: it never gets there, and whoever asked may ask again.
    /// What is no use of a server, the shim's session settles itself when it hears of the end.
    pub(in crate::broker) fn caller_too_late(&mut self, caller: CallerId, line: &[u8]) {
        let Some(envelope) = Envelope::read(line) else { return };
        let Kind::Request { id, method } = envelope.kind() else { return };
        if method != "initialize" && method != "subscriptions/listen" && !asks_nobody(method) {
            let answer = not_started(&self.name);
            self.answer(caller, &id, &answer);
        }
    }

    fn caller_asks(
        &mut self,
        caller: CallerId,
        id: Id,
        method: &str,
        envelope: &Envelope<'_>,
        line: &[u8],
        now: BootInstant,
    ) {
        let text =
            |name: &str| envelope.param(name).and_then(|value| value.as_str().map(str::to_owned));
        let what = match method {
            "initialize" => return self.caller_opens(caller, id, line, now),
            "logging/setLevel" => {
                let level = text("level").and_then(|name| Level::of(&name));
                let Some(level) = level else {
                    return self.send(caller, id, What::Plain, envelope, line, now);
                };
                if let Some(known) = self.callers.get_mut(&caller) {
                    known.level = Some(level);
                }
                self.settle_level();
                return self.answer(caller, &id, &empty());
            }
            "resources/subscribe" => What::Subscribe(text("uri").unwrap_or_default()),
            "resources/unsubscribe" => {
                let uri = text("uri").unwrap_or_default();
                if !self.unsubscribe(caller, &uri) {
                    // Somebody else still wants to hear of it.
                    return self.answer(caller, &id, &empty());
                }
                What::Plain
            }
            "tasks/list" => {
                let why = "the server is shared, and its list of tasks would show those of other sessions";
                return self.answer(caller, &id, &refusal(&self.name, why));
            }
            tasks if tasks.starts_with("tasks/") => {
                let task = text("taskId").unwrap_or_default();
                if self.tasks.get(&task).is_some_and(|task| task.owner != caller) {
                    let why = "the server is shared, and this task is of another session";
                    return self.answer(caller, &id, &refusal(&self.name, why));
                }
                What::Call
            }
            "subscriptions/listen" => What::Listen,
            "tools/call" => {
                self.tool_calls += 1;
                What::Call
            }
            "ping" => What::Ping,
            plain if asks_nobody(plain) => What::Plain,
            _ => What::Call,
        };
        self.send(caller, id, what, envelope, line, now);
    }

    /// Gives a request to the server under our own id and progress token.
    fn send(
        &mut self,
        caller: CallerId,
        id: Id,
        what: What,
        envelope: &Envelope<'_>,
        line: &[u8],
        now: BootInstant,
    ) {
        if what.is_use() {
            self.used_at = now;
        }
        let own = self.fresh_id();
        let meta = envelope.params.and_then(|params| rewrite::member(params, "_meta"));
        let token = meta.and_then(|meta| rewrite::member(&meta, "progressToken"));
        let mut sent = rewrite::put(line, &[("id", own.as_json())]);
        if token.is_some() {
            let path = ["params", "_meta", "progressToken"];
            sent = sent.and_then(|line| rewrite::put_deep(&line, &path, own.as_json()));
        }
        let Some(sent) = sent else {
            return self.answer(caller, &id, &refusal(&self.name, "this is no message"));
        };
        self.calls.insert(own, Call { caller, id, what, progress_token: token, cancelled: None });
        self.tell_server(sent);
    }

    fn caller_opens(&mut self, caller: CallerId, id: Id, line: &[u8], now: BootInstant) {
        self.used_at = now;
        match &mut self.opening {
            Opening::Known(answer) => {
                let answer = answer.clone();
                self.answer(caller, &id, &answer);
            }
            Opening::Asked(waiting) => waiting.push((caller, id)),
            Opening::Not => {
                let own = self.fresh_id();
                let Some(sent) = rewrite::put(line, &[("id", own.as_json())]) else { return };
                self.opening = Opening::Asked(vec![(caller, id.clone())]);
                let what = What::Opening;
                self.calls
                    .insert(own, Call { caller, id, what, progress_token: None, cancelled: None });
                self.tell_server(sent);
            }
        }
    }

    fn caller_says(
        &mut self,
        caller: CallerId,
        method: &str,
        envelope: &Envelope<'_>,
        line: &[u8],
        now: BootInstant,
    ) {
        match method {
            // Said by us, once.
            "notifications/initialized" => {}
            "notifications/cancelled" => {
                let params = envelope.params;
                let id = params.and_then(|params| rewrite::member(params, "requestId"));
                let id = id.map(|id| Id::of(&id));
                let own = self.calls_of(caller).find(|(_, call)| Some(&call.id) == id.as_ref());
                if let Some(own) = own.map(|(own, _)| own.clone()) {
                    let reason = envelope.param("reason");
                    let reason = reason.as_ref().and_then(Value::as_str).unwrap_or("cancelled");
                    self.cancel(&own, reason, now);
                }
            }
            // Whose roots? A server that asks is told when it can be known.
            "notifications/roots/list_changed" if self.callers.len() > 1 => {}
            // Progress of what the server asked: under its own token, which is nobody else's.
            _ => self.tell_server(line.to_vec()),
        }
    }

    fn caller_answers(&mut self, caller: CallerId, id: &Id, line: &[u8], now: BootInstant) {
        // Nobody answers for another.
        if self.questions.get(id).is_none_or(|question| question.caller != caller) {
            return;
        }
        self.used_at = now;
        if let Some(question) = self.questions.remove(id)
            && let Some(line) = rewrite::put(line, &[("id", question.id.as_json())])
        {
            self.tell_server(line);
        }
    }
}

/// Whether a request asks a server only whether it is there, or what it offers.
fn asks_nobody(method: &str) -> bool {
    matches!(
        method,
        "ping"
            | "tools/list"
            | "resources/list"
            | "resources/templates/list"
            | "prompts/list"
            | "server/discover"
    )
}

fn not_started(name: &str) -> Answer {
    let message = format!(
        "the MCP server {name} was being ended when this request came, and did not get it; ask again, which starts \
         the server anew"
    );
    Answer::Error(envelope::raw(&json!({
        "code": NOT_STARTED,
        "message": message,
        "data": { "wrasse": { "outcome": "not started" } },
    })))
}

fn empty() -> Answer {
    Answer::Result(envelope::raw(&json!({})))
}

fn refusal(name: &str, why: &str) -> Answer {
    let message = format!("{name}: {why}; wrap it with --scope private");
    Answer::Error(envelope::raw(&json!({ "code": -32603, "message": message })))
}
