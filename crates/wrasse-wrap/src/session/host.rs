//! What the host says.

use serde_json::Value;
use serde_json::value::RawValue;
use wrasse_scope::clock::BootInstant;

use super::{HELD_MAX, Opening, Output, Pending, Session, Stage, Waiting, What, text};
use crate::catalogue::{Answer, LISTS};
use crate::envelope::{self, Envelope, Id, Kind};

impl Session {
    /// Takes a line of the host.
    pub fn host_line(&mut self, line: Vec<u8>, now: BootInstant) {
        for message in envelope::messages(&line) {
            let Some(envelope) = Envelope::read(&message) else {
                self.counts.bad_host_lines += 1;
                continue;
            };
            match envelope.kind() {
                Kind::Request { id, method } => {
                    self.host_request(&id, method, &envelope, &message, now);
                }
                Kind::Notification { method } => self.host_says(method, &envelope, &message, now),
                Kind::Response { id } => self.host_answers(&id, &message, now),
                Kind::Bad => self.counts.bad_host_lines += 1,
            }
        }
    }

    fn host_request(
        &mut self,
        id: &Id,
        method: &str,
        envelope: &Envelope<'_>,
        line: &[u8],
        now: BootInstant,
    ) {
        self.note_stateless(envelope);
        let what = match method {
            "initialize" => {
                let params =
                    envelope.params.map_or_else(|| RawValue::NULL.to_owned(), ToOwned::to_owned);
                let key = text::handshake_key(&params);
                let known = self.open(Opening::Handshake { params, key: key.clone() });
                if let Some(answer) = known
                    && self.opens_it_ourselves()
                {
                    self.told_from_catalogue = true;
                    return self.answer(id, &answer);
                }
                What::Opening { key }
            }
            "server/discover" => {
                let key = text::discover_key(envelope.params);
                // A refusal is kept as well: a server of the older era says one before every `initialize`.
                let known = self.shelf.load(&key).map(|entry| entry.opening);
                if let Some(answer) = known {
                    self.told_from_catalogue = true;
                    return self.answer(id, &answer);
                }
                What::Opening { key }
            }
            "ping" if self.stage != Stage::Ready => return self.answer_empty(id),
            "ping" => What::Ping,
            "logging/setLevel" => {
                self.log_level = envelope.params.map(ToOwned::to_owned);
                if self.stage != Stage::Ready && self.declares("logging") {
                    return self.answer_empty(id);
                }
                What::Other
            }
            "resources/subscribe" => What::Subscribe { uri: text::uri(envelope) },
            "resources/unsubscribe" => {
                let uri = text::uri(envelope);
                if self.stage == Stage::Absent && self.subscriptions.remove(&uri) {
                    return self.answer_empty(id);
                }
                What::Unsubscribe { uri }
            }
            "subscriptions/listen" => return self.host_listens(id, envelope, line, now),
            "tools/call" => What::Call { task: envelope.param("task").is_some() },
            list if LISTS.iter().any(|(known, _, _)| *known == list) => {
                if envelope.param("cursor").is_none_or(|cursor| cursor.is_null()) {
                    if self.stage != Stage::Ready
                        && let Some(answer) = self.known_list(list)
                    {
                        self.told_from_catalogue = true;
                        return self.answer(id, &answer);
                    }
                    What::List { method: list.to_owned() }
                } else {
                    What::Other
                }
            }
            _ => What::Other,
        };
        self.forward(id.clone(), what, line.to_vec(), now);
    }

    /// Remembers the opening; its answer, when it is known.
    fn open(&mut self, opening: Opening) -> Option<Answer> {
        self.entry = self.shelf.load(opening.key());
        self.opening = Some(opening);
        self.entry.as_ref().map(|entry| entry.opening.clone())
    }

    /// Whether the next server, or the one that is being started, gets an `initialize` of our own. One that was started
    /// for another opening of the host must see the host's.
    fn opens_it_ourselves(&self) -> bool {
        let hosts_own =
            self.waiting.iter().any(|waiting| matches!(waiting.what, What::Opening { .. }));
        match self.stage {
            Stage::Absent | Stage::Stopping | Stage::Starting { .. } => !hosts_own,
            Stage::Opening { .. } => true,
            Stage::Ready => false,
        }
    }

    /// A request that says all about itself opens, where nothing else did.
    fn note_stateless(&mut self, envelope: &Envelope<'_>) {
        if self.opening.is_some() {
            return;
        }
        let Some(meta) = text::stateless_meta(envelope.params) else { return };
        let key = text::discover_key(envelope.params);
        self.entry = self.shelf.load(&key);
        let refused = |answer: &Answer| matches!(answer, Answer::Error(_));
        if self.entry.as_ref().is_some_and(|entry| refused(&entry.opening)) {
            // A server of the older era: what follows is its `initialize`.
            self.entry = None;
            return;
        }
        self.opening = Some(Opening::Stateless { meta, key });
    }

    fn known_list(&self, method: &str) -> Option<Answer> {
        let entry = self.entry.as_ref()?;
        if let Some(answer) = entry.lists.get(method) {
            return Some(answer.clone());
        }
        let (_, _, capability) = LISTS.iter().find(|(known, _, _)| *known == method)?;
        let declared = !entry.capabilities()[*capability].is_null();
        (!declared).then(|| {
            let message = format!("Method not found: the server declares no {capability}");
            Answer::Error(envelope::raw(&serde_json::json!({ "code": -32601, "message": message })))
        })
    }

    pub(super) fn declares(&self, capability: &str) -> bool {
        self.entry.as_ref().is_some_and(|entry| !entry.capabilities()[capability].is_null())
    }

    pub(super) fn answer(&mut self, id: &Id, answer: &Answer) {
        let line = match answer {
            Answer::Result(result) => envelope::result(id, result),
            Answer::Error(error) => envelope::error(id, error),
        };
        self.tell_host(line);
    }

    pub(super) fn answer_empty(&mut self, id: &Id) {
        self.answer(id, &Answer::Result(envelope::raw(&serde_json::json!({}))));
    }

    /// Gives a request to the server, now or when there is one.
    pub(super) fn forward(&mut self, id: Id, what: What, line: Vec<u8>, now: BootInstant) {
        if self.stage == Stage::Ready {
            return self.send(id, what, line, now);
        }
        if self.stage == Stage::Absent {
            if let Some(fault) = self.refusal(now) {
                return self.answer(&id, &text::cannot_start(&fault));
            }
            self.start(now);
        }
        self.waiting_bytes += line.len();
        self.waiting.push_back(Waiting { id, what, line });
    }

    pub(super) fn send(&mut self, id: Id, what: What, line: Vec<u8>, now: BootInstant) {
        if what.is_use() {
            self.used(now);
        }
        if matches!(what, What::Call { .. }) {
            self.calls_here += 1;
            self.counts.calls += 1;
        }
        if let What::Opening { .. } = what {
            self.opened_by_host = true;
        }
        self.pending.insert(id, Pending { what, cancelled: false });
        self.tell_server(line);
    }

    fn host_says(&mut self, method: &str, envelope: &Envelope<'_>, line: &[u8], now: BootInstant) {
        let ready = self.stage == Stage::Ready;
        match method {
            "notifications/initialized" => {
                self.host_ready = true;
                if ready && self.opened_by_host {
                    self.told_initialized = true;
                    self.tell_server(line.to_vec());
                    self.learn_all(now);
                }
            }
            "notifications/cancelled" => {
                let id = envelope.params.and_then(|params| text::raw_member(params, "requestId"));
                if let Some(id) = id {
                    self.host_cancels(&id, line, now);
                }
            }
            "notifications/roots/list_changed" => {
                self.roots_changed = true;
                if ready {
                    self.tell_server(line.to_vec());
                }
            }
            _ if ready => self.tell_server(line.to_vec()),
            _ => {
                // It wakes nobody, and is not lost on the next server.
                if self.held.len() == HELD_MAX {
                    self.held.pop_front();
                }
                self.held.push_back(line.to_vec());
            }
        }
    }

    fn host_cancels(&mut self, id: &Id, line: &[u8], now: BootInstant) {
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.id == *id) {
            if let Some(gone) = self.waiting.remove(at) {
                self.waiting_bytes -= gone.line.len();
            }
            return;
        }
        self.listens.retain(|listen| listen.id != *id);
        if let Some(pending) = self.pending.get_mut(id) {
            pending.cancelled = true;
            self.used(now);
            if self.stage == Stage::Ready {
                self.tell_server(line.to_vec());
            }
        }
    }

    fn host_answers(&mut self, id: &Id, line: &[u8], now: BootInstant) {
        if let Some((own, _)) = self.asked.remove(id) {
            self.used(now);
            let line = if own == *id { Some(line.to_vec()) } else { envelope::with_id(line, &own) };
            if let Some(line) = line {
                self.tell_server(line);
            }
        } else {
            self.stale.remove(id);
            self.counts.stray_answers += 1;
        }
    }

    /// Gives the server everything that waited for it.
    pub(super) fn flush_waiting(&mut self, now: BootInstant) {
        for line in std::mem::take(&mut self.held) {
            self.tell_server(line);
        }
        self.waiting_bytes = 0;
        for Waiting { id, what, line } in std::mem::take(&mut self.waiting) {
            self.send(id, what, line, now);
        }
    }

    /// Refuses everything that waits, the first word of a stream included.
    pub(super) fn refuse_waiting(&mut self, answer: &Answer) {
        self.waiting_bytes = 0;
        for waiting in std::mem::take(&mut self.waiting) {
            self.answer(&waiting.id, answer);
        }
        self.refuse_listens(answer);
    }

    pub(super) fn start(&mut self, now: BootInstant) {
        self.stage = Stage::Starting { since: now };
        self.counts.starts += 1;
        self.outputs.push_back(Output::Start);
    }

    /// Any JSON of the host's opening parameters, for whoever shows it.
    pub fn host_info(&self) -> Option<Value> {
        match self.opening.as_ref()? {
            Opening::Handshake { params, .. } => envelope::member(params, "clientInfo"),
            Opening::Stateless { meta, .. } => {
                envelope::member(meta, "io.modelcontextprotocol/clientInfo")
            }
        }
    }
}
