//! What the server says.

use serde_json::Value;
use wrasse_scope::clock::BootInstant;

use super::{
    Call, CallerId, Hub, Level, Opening, Output, Question, TASK_WITHIN, TASKS_MAX, Task, What,
};
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

    /// A line of the server was too long to be passed on.
    pub(in crate::broker) fn left_out(&mut self) {
        let text = format!("{} wrote a line of more than 32 MiB; it is left out", self.name);
        self.outputs.push_back(Output::SayAll(text));
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
            None => self.only_caller(now),
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
    fn only_caller(&self, now: BootInstant) -> Option<CallerId> {
        let calls = self.calls.values();
        let mut calls = calls.filter(|call| call.what == What::Call && call.may_go_on(now));
        let call = calls.clone().find(|call| call.cancelled.is_none())?;
        let one = calls.clone().filter(|call| call.cancelled.is_none()).count() == 1;
        let caller = call.caller;
        let alone = calls.all(|call| call.caller == caller)
            && self.tasks.values().all(|task| !task.is_at_work(now) || task.owner == caller);
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
                let about = self.subscriptions.iter().filter(|(known, _)| is_within(&uri, known));
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
        if call.what.is_use() {
            self.used_at = now;
        }
        let Call { caller, id, what, cancelled, .. } = call;
        match what {
            What::Own => return,
            What::Opening => return self.opened(envelope),
            What::Subscribe(uri) => {
                if envelope.error.is_none()
                    && cancelled.is_none()
                    && self.callers.contains_key(&caller)
                {
                    self.subscriptions.entry(uri).or_default().insert(caller);
                }
            }
            What::Call => self.note_task(caller, envelope, now),
            What::Listen | What::Plain | What::Ping => {}
        }
        if cancelled.is_none()
            && let Some(line) = rewrite::put(line, &[("id", id.as_json())])
        {
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
        self.forget_a_task(now);
        let task = Task { owner: caller, until: Some(now + TASK_WITHIN), since: now };
        self.tasks.entry(id.clone()).or_insert(task);
        self.task_is(&id, status.as_str());
    }

    /// Makes room for one more: of those that are not at work the oldest goes. Whose it was is no longer known then, which
    /// is why it is not done before there are many.
    fn forget_a_task(&mut self, now: BootInstant) {
        if self.tasks.len() < TASKS_MAX {
            return;
        }
        let over = self.tasks.iter().filter(|(_, task)| !task.is_at_work(now));
        let oldest = over.min_by_key(|(_, task)| task.since).map(|(id, _)| id.clone());
        if let Some(oldest) = oldest {
            self.tasks.remove(&oldest);
        }
    }

    fn task_is(&mut self, task: &str, status: Option<&str>) {
        if matches!(status, Some("completed" | "failed" | "cancelled"))
            && let Some(task) = self.tasks.get_mut(task)
        {
            task.until = None;
        }
    }
}

/// Whether an address is the one that somebody subscribed to, or below it.
fn is_within(uri: &str, known: &str) -> bool {
    let rest = uri.strip_prefix(known);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || known.ends_with('/'))
}

fn stream_of(envelope: &Envelope<'_>) -> Option<Id> {
    let meta = envelope.params.and_then(|params| rewrite::member(params, "_meta"))?;
    rewrite::member(&meta, SUBSCRIPTION).map(|id| Id::of(&id))
}

fn related_task(envelope: &Envelope<'_>) -> Option<String> {
    let meta = envelope.param("_meta")?;
    meta.get(RELATED_TASK)?.get("taskId")?.as_str().map(str::to_owned)
}
