//! `subscriptions/listen`: a request of the stateless era that stays open for as long as the host listens.
//!
//! It outlives the servers that answer it. While there is none, and only lists are listened to, it is acknowledged
//! here; every server that is started gets it again.

use serde_json::{Value, json};
use wrasse_scope::clock::BootInstant;

use super::{Pending, Session, Stage, What};
use crate::catalogue::Answer;
use crate::envelope::{self, Envelope, Id};

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
const LISTS: [(&str, &str); 3] = [
    ("tools", "toolsListChanged"),
    ("prompts", "promptsListChanged"),
    ("resources", "resourcesListChanged"),
];

/// One open stream.
#[derive(Debug)]
pub(super) struct Listen {
    pub(super) id: Id,
    line: Vec<u8>,
    wanted: Value,
    /// It asks for updates of resources, which only a living server sees.
    pub(super) needs_server: bool,
    acknowledged: bool,
    /// It was given to no server yet, and needs one.
    waits: bool,
}

impl Session {
    pub(super) fn host_listens(
        &mut self,
        id: &Id,
        envelope: &Envelope<'_>,
        line: &[u8],
        now: BootInstant,
    ) {
        let wanted = envelope.param("notifications").unwrap_or_default();
        let resources = wanted["resourceSubscriptions"].as_array();
        let needs_server = resources.is_some_and(|uris| !uris.is_empty());
        let known = self.entry.is_some();
        let mut listen = Listen {
            id: id.clone(),
            line: line.to_vec(),
            wanted,
            needs_server,
            acknowledged: false,
            waits: false,
        };
        if self.stage == Stage::Ready {
            self.send(id.clone(), What::Listen, line.to_vec(), now);
        } else if known && !needs_server {
            listen.acknowledged = true;
            self.acknowledge(&listen);
        } else {
            listen.waits = true;
            if self.stage != Stage::Absent {
                return self.listens.push(listen);
            }
            if let Some(fault) = self.refusal(now) {
                return self.answer(id, &super::text::cannot_start(&fault));
            }
            // The stream is given to the server with all others when it runs.
            self.start(now);
        }
        self.listens.push(listen);
    }

    fn acknowledge(&mut self, listen: &Listen) {
        let capabilities = self.entry.as_ref().map(crate::catalogue::Entry::capabilities);
        let capabilities = capabilities.unwrap_or_default();
        let mut granted = json!({});
        for (capability, wish) in LISTS {
            if listen.wanted[wish] == true && capabilities[capability]["listChanged"] == true {
                granted[wish] = Value::Bool(true);
            }
        }
        let params =
            json!({ "_meta": { SUBSCRIPTION: id_value(&listen.id) }, "notifications": granted });
        self.tell_host(envelope::notification(
            "notifications/subscriptions/acknowledged",
            Some(&params),
        ));
    }

    /// Gives a fresh server every stream that is open.
    pub(super) fn relisten(&mut self) {
        let open: Vec<_> = self
            .listens
            .iter_mut()
            .map(|listen| {
                listen.waits = false;
                (listen.id.clone(), listen.line.clone())
            })
            .collect();
        for (id, line) in open {
            self.pending.insert(id, Pending { what: What::Listen, cancelled: false });
            self.tell_server(line);
        }
    }

    /// Whether a stream waits for a server.
    pub(super) fn listens_wait(&self) -> bool {
        self.listens.iter().any(|listen| listen.waits)
    }

    /// Refuses every stream that was never acknowledged.
    pub(super) fn refuse_listens(&mut self, answer: &Answer) {
        let (kept, refused) = std::mem::take(&mut self.listens)
            .into_iter()
            .partition::<Vec<_>, _>(|listen| listen.acknowledged);
        self.listens = kept;
        for listen in refused {
            self.answer(&listen.id, answer);
        }
    }

    /// Whether the host has this acknowledgement already.
    pub(super) fn acknowledged_again(&mut self, meta: Option<Value>) -> bool {
        let Some(id) = meta.as_ref().and_then(|meta| meta.get(SUBSCRIPTION)) else { return false };
        let id = Id::of(&envelope::raw(id));
        let listen = self.listens.iter_mut().find(|listen| listen.id == id);
        listen.is_some_and(|listen| std::mem::replace(&mut listen.acknowledged, true))
    }

    pub(super) fn announce_to_listeners(&mut self, notification: &str, capability: &str) {
        let wish = LISTS.iter().find(|(of, _)| *of == capability).map_or("", |(_, wish)| wish);
        let listening = self.listens.iter().filter(|listen| listen.wanted[wish] == true);
        let lines: Vec<_> = listening
            .map(|listen| {
                let params = json!({ "_meta": { SUBSCRIPTION: id_value(&listen.id) } });
                envelope::notification(notification, Some(&params))
            })
            .collect();
        for line in lines {
            self.tell_host(line);
        }
    }
}

fn id_value(id: &Id) -> Value {
    serde_json::from_str(id.as_json()).unwrap_or(Value::Null)
}
