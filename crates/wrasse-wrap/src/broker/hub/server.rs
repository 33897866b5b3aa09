//! What the server says.

use serde_json::Value;
use wrasse_scope::clock::BootInstant;

use super::{Call, CallerId, Hub, Level, Opening, Output, Question, TASK_WITHIN, Task, What};
use crate::catalogue::Answer;
use crate::envelope::{self, Envelope, Id, Kind};
use crate::rewrite;

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";

impl Hub {
    /// Takes a line of the server.
    pub(in crate::broker) fn server_line(&mut self, line: &[u8], now: BootInstant) {
        for message in envelope::messages(line) {
            let Some(envelope) = Envelope::read(&message) else { continue };
            match envelope.kind() {
                Kind::Request { id, method } => {
                    self.server_asks(id, method, &envelope, &message, now);
                }
                Kind::Notification { method } => self.server_says(method, &envelope, &message, now),
                Kind::Response { id } => self.server_answers(&id, &envelope, &message, now),
                Kind::Bad => {}
            }
        }
    }

    fn server_asks(
        &mut self,
        id: Id,
        method: &str,
        envelope: &Envelope<'_>,
        line: &[u8],
        now: BootInstant,
    ) {
        if method == "ping" {
            let empty = envelope::raw(&serde_json::json!({}));
            return self.tell_server(envelope::result(&id, &empty));
        }
        let task = related_task(envelope);
        let meant = match task.and_then(|task| self.tasks.get(&task).map(|task| task.owner)) {
            Some(owner) => self.callers.contains_key(&owner).then_some(owner),
            None => self.only_caller(),
        };
        let Some(caller) = meant else {
            let sessions = self.callers.len();
            let why = format!(
                "{method} has no certain addressee: {sessions} sessions share this server and {} calls are in \
                 flight; wrap it with --scope private",
                self.in_flight()
            );
            self.refuse_question(&id, &why);
            if !std::mem::replace(&mut self.refused, true) {
                let name = &self.name;
                self.outputs.push_back(Output::SayAll(format!("{name}: refused: {why}")));
            }
            return;
        };
        let own = self.fresh_id();
        if let Some(line) = rewrite::put(line, &[("id", own.as_json())]) {
            self.questions.insert(own, Question { caller, id, since: now });
            self.tell(caller, line);
        }
    }

    /// Who is meant by a question that names nobody: whoever has the one call in flight, if nobody else can have
    /// anything at work in the server.
    fn only_caller(&self) -> Option<CallerId> {
        let mut calls = self.calls.values().filter(|call| call.what == What::Call);
        let call = calls.clone().find(|call| !call.cancelled)?;
        let one = calls.clone().filter(|call| !call.cancelled).count() == 1;
        let caller = call.caller;
        let alone = calls.all(|call| call.caller == caller)
            && self.tasks.values().all(|task| task.until.is_none() || task.owner == caller);
        (one && alone && self.callers.contains_key(&caller)).then_some(caller)
    }

    fn server_says(
        &mut self,
        method: &str,
        envelope: &Envelope<'_>,
        line: &[u8],
        now: BootInstant,
    ) {
        let text =
            |name: &str| envelope.param(name).and_then(|value| value.as_str().map(str::to_owned));
        if let Some(stream) = stream_of(envelope) {
            return self.on_stream(&stream, line);
        }
        match method {
            "notifications/progress" => self.progress(envelope, line, now),
            "notifications/message" => {
                let level = text("level").and_then(|name| Level::of(&name));
                let heard = self.callers.iter().filter(|(_, caller)| caller.level <= level);
                let heard: Vec<CallerId> = heard.map(|(id, _)| *id).collect();
                for caller in heard {
                    self.tell(caller, line.to_vec());
                }
            }
            "notifications/resources/updated" => {
                let uri = text("uri").unwrap_or_default();
                let about = self.subscriptions.iter().filter(|(known, _)| uri.starts_with(*known));
                let heard: std::collections::BTreeSet<CallerId> =
                    about.flat_map(|(_, callers)| callers.iter().copied()).collect();
                for caller in heard {
                    self.tell(caller, line.to_vec());
                }
            }
            "notifications/tasks/status" => {
                let task = text("taskId").unwrap_or_default();
                if let Some(owner) = self.tasks.get(&task).map(|task| task.owner) {
                    self.tell(owner, line.to_vec());
                    self.task_is(&task, text("status").as_deref());
                }
            }
            "notifications/cancelled" => {
                let id = envelope.params.and_then(|params| rewrite::member(params, "requestId"));
                let id = id.map(|id| Id::of(&id));
                let asked = self.questions.iter().find(|(_, asked)| Some(&asked.id) == id.as_ref());
                if let Some((own, caller)) = asked.map(|(own, asked)| (own.clone(), asked.caller)) {
                    self.questions.remove(&own);
                    if let Some(line) =
                        rewrite::put_deep(line, &["params", "requestId"], own.as_json())
                    {
                        self.tell(caller, line);
                    }
                }
            }
            all if all.ends_with("/list_changed") => self.tell_all(line),
            // Nobody knows whose it is.
            _ if self.callers.len() > 1 => {}
            _ => self.tell_all(line),
        }
    }

    fn progress(&mut self, envelope: &Envelope<'_>, line: &[u8], now: BootInstant) {
        let token = envelope.params.and_then(|params| rewrite::member(params, "progressToken"));
        let Some(call) = token.and_then(|token| self.calls.get(&Id::of(&token))) else { return };
        let Some(own) = &call.progress_token else { return };
        let caller = call.caller;
        if let Some(line) = rewrite::put_deep(line, &["params", "progressToken"], own.get()) {
            self.used_at = now;
            self.tell(caller, line);
        }
    }

    /// A notification that names the open request it belongs to.
    fn on_stream(&mut self, stream: &Id, line: &[u8]) {
        let Some(call) = self.calls.get(stream) else { return };
        let (caller, id) = (call.caller, call.id.clone());
        let path = ["params", "_meta", SUBSCRIPTION];
        if let Some(line) = rewrite::put_deep(line, &path, id.as_json()) {
            self.tell(caller, line);
        }
    }

    fn server_answers(&mut self, id: &Id, envelope: &Envelope<'_>, line: &[u8], now: BootInstant) {
        let Some(call) = self.calls.remove(id) else { return };
        self.used_at = now;
        let Call { caller, id, what, cancelled, .. } = call;
        match what {
            What::Own => return,
            What::Opening => return self.opened(envelope),
            What::Subscribe(uri) => {
                if envelope.error.is_none() && !cancelled && self.callers.contains_key(&caller) {
                    self.subscriptions.entry(uri).or_default().insert(caller);
                }
            }
            What::Call => self.note_task(caller, envelope, now),
            What::Listen | What::Plain => {}
        }
        if !cancelled && let Some(line) = rewrite::put(line, &[("id", id.as_json())]) {
            self.tell(caller, line);
        }
    }

    /// The answer to the one opening, for everybody who waits for it.
    fn opened(&mut self, envelope: &Envelope<'_>) {
        let result = envelope.result.map(|result| Answer::Result(result.to_owned()));
        let answer = result.or_else(|| envelope.error.map(|error| Answer::Error(error.to_owned())));
        let Some(answer) = answer else { return };
        let worked = matches!(answer, Answer::Result(_));
        let next = if worked { Opening::Known(answer.clone()) } else { Opening::Not };
        let before = std::mem::replace(&mut self.opening, next);
        if worked {
            self.tell_server(envelope::notification("notifications/initialized", None));
        }
        if let Opening::Asked(waiting) = before {
            for (caller, id) in waiting {
                self.answer(caller, &id, &answer);
            }
        }
    }

    /// Whether a result says that a task was begun, or how one fares.
    fn note_task(&mut self, caller: CallerId, envelope: &Envelope<'_>, now: BootInstant) {
        let task = envelope.in_result("task");
        let member = |name: &str| match &task {
            Some(task) => task.get(name).cloned(),
            None => envelope.in_result(name),
        };
        let (Some(Value::String(id)), Some(status)) = (member("taskId"), member("status")) else {
            return;
        };
        let task = Task { owner: caller, until: Some(now + TASK_WITHIN) };
        self.tasks.entry(id.clone()).or_insert(task);
        self.task_is(&id, status.as_str());
    }

    fn task_is(&mut self, task: &str, status: Option<&str>) {
        if matches!(status, Some("completed" | "failed" | "cancelled"))
            && let Some(task) = self.tasks.get_mut(task)
        {
            task.until = None;
        }
    }
}

fn stream_of(envelope: &Envelope<'_>) -> Option<Id> {
    let meta = envelope.params.and_then(|params| rewrite::member(params, "_meta"))?;
    rewrite::member(&meta, SUBSCRIPTION).map(|id| Id::of(&id))
}

fn related_task(envelope: &Envelope<'_>) -> Option<String> {
    let meta = envelope.param("_meta")?;
    meta.get(RELATED_TASK)?.get("taskId")?.as_str().map(str::to_owned)
}
