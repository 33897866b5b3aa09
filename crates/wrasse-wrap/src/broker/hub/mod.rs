//! Several shims and one server that takes them for one client, as a pure state machine: lines in, lines out.
//!
//! What makes that safe:
//! - every request goes on under an id of our own, every progress token likewise, so none can be mixed up;
//! - the opening is made once and its answer given to all, which have the same version, capabilities and name;
//! - a cancellation reaches the server only for a request of whoever cancels;
//! - an update goes to who subscribed, progress to who called, a task's state to who began it;
//! - a question of the server (roots, sampling, elicitation) goes to a shim only when no other can be meant: exactly one
//!   call is in flight, and nobody else has left one behind. Else it is refused, and said.
//!
//! What it cannot do is keep apart what the server itself keeps in memory. Whoever shares says that this is right.

mod caller;
mod level;
mod server;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use serde_json::value::RawValue;
use wrasse_scope::clock::BootInstant;

use crate::catalogue::Answer;
use crate::envelope::{self, Id};
use level::Level;

/// How long a question to a caller counts as open while no call is in flight.
const QUESTION_WITHIN: Duration = Duration::from_secs(600);

/// How long a task that never ends keeps the server.
const TASK_WITHIN: Duration = Duration::from_secs(3600);

/// How many tasks are remembered: whose they are, even when they are over.
const TASKS_MAX: usize = 4096;

/// One attached shim.
pub(super) type CallerId = u64;

/// What the hub orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// A message for one caller, without its end.
    To(CallerId, Vec<u8>),
    /// A message for the server, without its end.
    ToServer(Vec<u8>),
    /// Something for whoever reads the stderr of any caller.
    SayAll(String),
}

#[derive(Debug)]
struct Caller {
    /// How long its host lets an unused server stay.
    idle: Option<Duration>,
    level: Option<Level>,
}

/// Whether the server was opened.
#[derive(Debug)]
enum Opening {
    Not,
    /// One caller's request is out; others that wait for the same answer.
    Asked(Vec<(CallerId, Id)>),
    Known(Answer),
}

/// What a request is, where that matters.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Opening,
    /// It may make the server ask something, or begin a task.
    Call,
    Subscribe(String),
    /// It stays open for as long as somebody listens.
    Listen,
    /// A list, a level: it asks nobody anything.
    Plain,
    /// Whether it is there.
    Ping,
    /// Of our own: nobody waits for it.
    Own,
}

impl What {
    /// Whether it is a use of the server, as a session sees it. `// failure mode E9`
    fn is_use(&self) -> bool {
        match self {
            Self::Opening | Self::Call | Self::Subscribe(_) => true,
            Self::Listen | Self::Plain | Self::Ping | Self::Own => false,
        }
    }
}

/// A request that the server has.
#[derive(Debug)]
struct Call {
    caller: CallerId,
    id: Id,
    what: What,
    progress_token: Option<Box<RawValue>>,
    /// Since when it is cancelled. The server may go on with it all the same, and need not answer.
    cancelled: Option<BootInstant>,
}

impl Call {
    /// Whether the server may still be at work on it, as far as anybody can say.
    fn may_go_on(&self, now: BootInstant) -> bool {
        self.cancelled.is_none_or(|since| since + QUESTION_WITHIN > now)
    }
}

/// What the server works on behind a call.
#[derive(Debug)]
struct Task {
    owner: CallerId,
    /// Until when it may still be at work; `None` when it is over.
    until: Option<BootInstant>,
    /// When it was begun.
    since: BootInstant,
}

impl Task {
    fn is_at_work(&self, now: BootInstant) -> bool {
        self.until.is_some_and(|until| until > now)
    }
}

/// A question of the server that a caller has.
#[derive(Debug)]
struct Question {
    caller: CallerId,
    /// The server's own id for it.
    id: Id,
    since: BootInstant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Hub {
    name: String,
    outputs: VecDeque<Output>,
    callers: BTreeMap<CallerId, Caller>,
    opening: Opening,
    next: u64,
    calls: HashMap<Id, Call>,
    questions: HashMap<Id, Question>,
    subscriptions: BTreeMap<String, BTreeSet<CallerId>>,
    tasks: HashMap<String, Task>,
    level: Option<Level>,
    refused: bool,
    tool_calls: u64,
    used_at: BootInstant,
}

impl Hub {
    /// Nobody is attached, and the server is not opened.
    pub(super) fn new(name: &str, now: BootInstant) -> Self {
        Self {
            name: name.to_owned(),
            outputs: VecDeque::new(),
            callers: BTreeMap::new(),
            opening: Opening::Not,
            next: 0,
            calls: HashMap::new(),
            questions: HashMap::new(),
            subscriptions: BTreeMap::new(),
            tasks: HashMap::new(),
            level: None,
            refused: false,
            tool_calls: 0,
            used_at: now,
        }
    }

    /// The next order, if there is one.
    pub(super) fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// A shim comes.
    pub(super) fn attach(&mut self, caller: CallerId, idle: Option<Duration>, now: BootInstant) {
        self.used_at = now;
        self.callers.insert(caller, Caller { idle, level: None });
    }

    /// A shim is gone: what it asked is cancelled, what it listened to is no longer listened to.
    pub(super) fn detach(&mut self, caller: CallerId, now: BootInstant) {
        if self.callers.remove(&caller).is_none() {
            return;
        }
        self.used_at = now;
        if let Opening::Asked(waiting) = &mut self.opening {
            waiting.retain(|(waits, _)| *waits != caller);
        }
        let own: Vec<Id> = self.calls_of(caller).map(|(id, _)| id.clone()).collect();
        for id in own {
            self.cancel(&id, "the session that asked is over", now);
        }
        let left: Vec<String> = self
            .subscriptions
            .iter()
            .filter(|(_, callers)| callers.contains(&caller))
            .map(|(uri, _)| uri.clone())
            .collect();
        for uri in left {
            if self.unsubscribe(caller, &uri) {
                let params = envelope::raw(&serde_json::json!({ "uri": uri }));
                self.ask_server(caller, "resources/unsubscribe", &params);
            }
        }
        let asked: Vec<Id> = self
            .questions
            .iter()
            .filter(|(_, question)| question.caller == caller)
            .map(|(id, _)| id.clone())
            .collect();
        for id in asked {
            if let Some(question) = self.questions.remove(&id) {
                self.refuse_question(&question.id, "the session that was asked is over");
            }
        }
        self.settle_level();
    }

    /// How long an unused server stays: for as long as any caller allows; `None` for as long as there are callers.
    pub(super) fn idle(&self) -> Option<Duration> {
        let mut idle = Duration::ZERO;
        for caller in self.callers.values() {
            idle = idle.max(caller.idle?);
        }
        Some(idle)
    }

    /// When the server has been idle for as long as any caller allows; `None` while it is in use.
    pub(super) fn idle_at(&self, now: BootInstant) -> Option<BootInstant> {
        let idle = self.idle()?;
        let busy = self.calls.values().any(|call| match call.what {
            What::Listen | What::Own | What::Ping => false,
            What::Opening | What::Call | What::Subscribe(_) | What::Plain => {
                call.cancelled.is_none()
            }
        });
        let open = |question: &Question| question.since + QUESTION_WITHIN > now;
        let asked = self.questions.values().any(open);
        let at_work = self.tasks.values().any(|task| task.is_at_work(now));
        let followed = !self.subscriptions.is_empty() || at_work;
        let in_use = busy || asked || followed;
        (!in_use).then(|| self.used_at + idle)
    }

    /// How many tool calls the server was given.
    pub(super) fn tool_calls(&self) -> u64 {
        self.tool_calls
    }

    /// How many requests are in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.calls
            .values()
            .filter(|call| call.cancelled.is_none() && call.what == What::Call)
            .count()
    }

    fn calls_of(&self, caller: CallerId) -> impl Iterator<Item = (&Id, &Call)> {
        self.calls.iter().filter(move |(_, call)| call.caller == caller)
    }

    fn fresh_id(&mut self) -> Id {
        self.next += 1;
        Id::text(&format!("wrasse-{}", self.next))
    }

    fn tell(&mut self, caller: CallerId, line: Vec<u8>) {
        self.outputs.push_back(Output::To(caller, line));
    }

    fn tell_all(&mut self, line: &[u8]) {
        let callers: Vec<CallerId> = self.callers.keys().copied().collect();
        for caller in callers {
            self.tell(caller, line.to_vec());
        }
    }

    fn tell_server(&mut self, line: Vec<u8>) {
        self.outputs.push_back(Output::ToServer(line));
    }

    fn answer(&mut self, caller: CallerId, id: &Id, answer: &Answer) {
        let line = match answer {
            Answer::Result(result) => envelope::result(id, result),
            Answer::Error(error) => envelope::error(id, error),
        };
        self.tell(caller, line);
    }

    /// A request of our own on behalf of somebody, whose answer is of no interest.
    fn ask_server(&mut self, caller: CallerId, method: &str, params: &RawValue) {
        let id = self.fresh_id();
        self.tell_server(envelope::request(&id, method, Some(params)));
        let own =
            Call { caller, id: id.clone(), what: What::Own, progress_token: None, cancelled: None };
        self.calls.insert(id, own);
    }

    /// Tells the server to give a request up. It may go on with it, and need not say so.
    fn cancel(&mut self, id: &Id, reason: &str, now: BootInstant) {
        // Here is where they would pile up: a server rightly never answers them.
        self.calls.retain(|_, call| call.may_go_on(now));
        let Some(call) = self.calls.get_mut(id).filter(|call| call.cancelled.is_none()) else {
            return;
        };
        if matches!(call.what, What::Opening | What::Own) {
            return;
        }
        call.cancelled = Some(now);
        let id: serde_json::Value = serde_json::from_str(id.as_json()).unwrap_or_default();
        let params = serde_json::json!({ "requestId": id, "reason": reason });
        self.tell_server(envelope::notification("notifications/cancelled", Some(&params)));
    }

    /// Whether nobody is left who subscribed.
    fn unsubscribe(&mut self, caller: CallerId, uri: &str) -> bool {
        let Some(callers) = self.subscriptions.get_mut(uri) else { return false };
        callers.remove(&caller);
        let none = callers.is_empty();
        if none {
            self.subscriptions.remove(uri);
        }
        none
    }

    /// Tells the server the level that suits all, if that has changed.
    fn settle_level(&mut self) {
        let wanted = self.callers.values().filter_map(|caller| caller.level).min();
        if let Some(level) = wanted.filter(|wanted| Some(*wanted) != self.level) {
            self.level = Some(level);
            let params = envelope::raw(&serde_json::json!({ "level": level.name() }));
            self.ask_server(0, "logging/setLevel", &params);
        }
    }

    fn refuse_question(&mut self, id: &Id, why: &str) {
        let message = format!("refused by wrasse: {why}");
        let error = serde_json::json!({ "code": -32603, "message": message });
        self.tell_server(envelope::error(id, &envelope::raw(&error)));
    }
}
