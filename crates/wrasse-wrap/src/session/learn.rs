//! Learning what a server offers: every list, to its end, at every real start.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use serde_json::value::RawValue;
use wrasse_scope::clock::BootInstant;

use super::server::answer_of;
use super::{Opening, Own, Session, text};
use crate::catalogue::{Answer, LISTS};
use crate::envelope::{self, Envelope};

/// How many pages a list may have: a server that answers every cursor with another is not followed for ever.
const PAGES_MAX: usize = 1000;
/// How often a server's word of a change is acted on in the life of an instance.
const CHANGES_MAX: u32 = 1000;

/// One list that is being read.
#[derive(Debug)]
pub(super) struct Learning {
    method: &'static str,
    member: &'static str,
    items: Vec<Box<RawValue>>,
    /// The members of the first page.
    first: BTreeMap<String, Box<RawValue>>,
    pages: usize,
    last_cursor: Option<Value>,
    why: Why,
}

/// Why a list is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The server has just started: what it offers is kept.
    Start,
    /// The server says that it changed after a call: that is this session's, and not what the next one will find.
    Call,
}

/// What learning has come to in this instance.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    /// The entry differs from what is kept.
    pub(super) dirty: bool,
    /// Once is enough to say so.
    pub(super) save_failed: bool,
    /// Lists that changed since the host was told.
    changed: BTreeSet<&'static str>,
    /// Lists that the server says have changed while they were read.
    again: BTreeSet<&'static str>,
    changes: u32,
}

impl Learnt {
    /// A new instance.
    pub(super) fn begin(&mut self) {
        self.changed.clear();
        self.again.clear();
        self.changes = 0;
    }
}

impl Session {
    /// Asks for every list that the server declares.
    pub(super) fn learn_all(&mut self, now: BootInstant) {
        let lists = LISTS.iter().filter(|(_, _, capability)| self.declares(capability));
        let lists: Vec<_> = lists.map(|(method, member, _)| (*method, *member)).collect();
        for (method, member) in lists {
            self.learn(method, member, Why::Start);
        }
        self.learning_done(now);
    }

    /// The server says that something changed.
    pub(super) fn learn_again(&mut self, capability: &str) {
        self.learnt.changes += 1;
        if self.entry.is_none() || self.learnt.changes > CHANGES_MAX {
            return;
        }
        for (method, member, _) in LISTS.iter().filter(|(_, _, of)| *of == capability) {
            let busy =
                |own: &Own| matches!(own, Own::Learn(learning) if learning.method == *method);
            if self.own.values().any(busy) {
                self.learnt.again.insert(method);
            } else {
                self.learn(method, member, self.why_again());
            }
        }
    }

    fn why_again(&self) -> Why {
        if self.calls_here > 0 { Why::Call } else { Why::Start }
    }

    fn learn(&mut self, method: &'static str, member: &'static str, why: Why) {
        let learning = Learning {
            method,
            member,
            items: Vec::new(),
            first: BTreeMap::new(),
            pages: 0,
            last_cursor: None,
            why,
        };
        self.ask_page(learning);
    }

    fn ask_page(&mut self, learning: Learning) {
        let mut params = match &self.opening {
            Some(Opening::Stateless { meta, .. }) => {
                serde_json::from_str(text::only_meta(meta).get()).unwrap_or_default()
            }
            Some(Opening::Handshake { .. }) | None => serde_json::json!({}),
        };
        if let Some(cursor) = &learning.last_cursor {
            params["cursor"] = cursor.clone();
        }
        let method = learning.method;
        self.ask_server(method, Some(&envelope::raw(&params)), Own::Learn(Box::new(learning)));
    }

    /// A page came.
    pub(super) fn learnt(
        &mut self,
        mut learning: Learning,
        envelope: &Envelope<'_>,
        now: BootInstant,
    ) {
        let Some(result) = envelope.result else {
            if let Some(answer) = answer_of(envelope) {
                self.remember_refused(learning.method, answer);
            }
            return self.learning_done(now);
        };
        let page: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(result.get()).unwrap_or_default();
        let items = page
            .get(learning.member)
            .and_then(|items| serde_json::from_str::<Vec<Box<RawValue>>>(items.get()).ok());
        let Some(items) = items else {
            // Nothing that could be called a list: nothing is learnt.
            return self.learning_done(now);
        };
        learning.items.extend(items);
        learning.pages += 1;
        let cursor =
            page.get("nextCursor").and_then(|cursor| serde_json::from_str(cursor.get()).ok());
        let cursor: Option<Value> = cursor.filter(|cursor: &Value| !cursor.is_null());
        if learning.pages == 1 {
            learning.first = page;
        }
        if cursor.is_some() {
            if cursor == learning.last_cursor || learning.pages >= PAGES_MAX {
                self.say(format!("{} has no end of {}", self.options.name, learning.method));
                return self.learning_done(now);
            }
            learning.last_cursor = cursor;
            return self.ask_page(learning);
        }
        self.keep_list(learning);
        self.learning_done(now);
    }

    fn keep_list(&mut self, learning: Learning) {
        let Learning { method, member, items, mut first, why, .. } = learning;
        first.remove("nextCursor");
        let items: Vec<&RawValue> = items.iter().map(AsRef::as_ref).collect();
        let items = serde_json::value::to_raw_value(&items);
        let whole = items.and_then(|items| {
            first.insert(member.to_owned(), items);
            serde_json::value::to_raw_value(&first)
        });
        let (Ok(whole), Some(entry)) = (whole, &mut self.entry) else { return };
        let answer = Answer::Result(whole);
        if entry.lists.get(method) != Some(&answer) {
            let known = entry.lists.insert(method.to_owned(), answer).is_some();
            self.learnt.dirty |= why == Why::Start;
            if known {
                self.learnt.changed.insert(method);
            }
        }
    }

    pub(super) fn remember_refused(&mut self, method: &str, answer: Answer) {
        let Some(entry) = &mut self.entry else { return };
        let Answer::Error(error) = &answer else { return };
        let lasting =
            envelope::member(error, "code").and_then(|code| code.as_i64()) == Some(-32601);
        if lasting && entry.lists.get(method) != Some(&answer) {
            entry.lists.insert(method.to_owned(), answer);
            self.learnt.dirty = true;
            if self.own.is_empty() {
                self.save_entry();
            }
        }
    }

    fn learning_done(&mut self, _now: BootInstant) {
        if self.own.values().any(|own| matches!(own, Own::Learn(_))) {
            return;
        }
        self.save_entry();
        let changed = std::mem::take(&mut self.learnt.changed);
        if self.told_from_catalogue {
            let mut said = BTreeSet::new();
            for (method, _, capability) in LISTS.iter().filter(|(m, _, _)| changed.contains(m)) {
                if said.insert(*capability) {
                    self.announce_change(method, capability);
                }
            }
        }
        for (method, member, _) in LISTS {
            if self.learnt.again.remove(method) {
                self.learn(method, member, self.why_again());
            }
        }
    }

    fn save_entry(&mut self) {
        if !std::mem::take(&mut self.learnt.dirty) {
            return;
        }
        let (Some(opening), Some(entry)) = (&self.opening, self.entry.clone()) else { return };
        let key = opening.key().to_owned();
        self.save(&key, &entry);
    }

    /// Tells the host that a list it got from the catalogue has changed, where it was told to listen.
    fn announce_change(&mut self, method: &str, capability: &str) {
        let declared = self
            .entry
            .as_ref()
            .is_some_and(|entry| entry.capabilities()[capability]["listChanged"] == true);
        let notification = format!("notifications/{capability}/list_changed");
        match &self.opening {
            Some(Opening::Handshake { .. }) if declared && self.host_ready => {
                self.tell_host(envelope::notification(&notification, None));
            }
            Some(Opening::Stateless { .. }) => {
                self.announce_to_listeners(&notification, capability);
            }
            Some(Opening::Handshake { .. }) | None => {
                self.say(format!(
                    "{}: {method} differs from what the host was told, which has no way to hear of it before its \
                     next start",
                    self.options.name
                ));
            }
        }
    }
}
