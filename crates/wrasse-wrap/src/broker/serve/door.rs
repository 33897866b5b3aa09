//! Who comes in to a broker, and when nobody does any more.

use std::time::Duration;

use wrasse_scope::clock;

use super::{Broker, Phase};
use crate::broker::frame::{FORMAT, Hello, Welcome, greeting};
use crate::broker::guests::Standing;
use crate::broker::hub::CallerId;

impl Broker {
    /// Whether somebody may come in: of this user, this version, this key.
    pub(super) fn greeted(&mut self, id: CallerId, line: &[u8]) {
        let own = rustix::process::geteuid().as_raw();
        let Some(guest) = self.guests.get(id) else { return };
        let uid = guest.uid();
        let hello: Option<Hello> = serde_json::from_slice(line).ok();
        let why = match &hello {
            _ if uid != Some(own) => Some(format!(
                "this broker is for uid {own}, and you are {}",
                uid.unwrap_or(u32::MAX)
            )),
            None => Some(format!("this broker speaks {FORMAT}")),
            Some(hello) if hello.format != FORMAT => {
                Some(format!("its broker is of version {FORMAT}, this shim of {}", hello.format))
            }
            Some(hello) if hello.key != self.key => {
                Some("its broker is for a server that is configured otherwise".to_owned())
            }
            Some(_) => None,
        };
        if let Some(why) = why {
            self.guests.push(id, greeting(&Welcome::Refused { why }));
            return;
        }
        guest.standing = Standing::Waiting;
        let idle = hello.and_then(|hello| hello.idle_ms).map(Duration::from_millis);
        self.hub.attach(id, idle, clock::now());
        if self.phase == Phase::Serving {
            self.welcome(id);
        }
    }

    pub(super) fn welcome(&mut self, id: CallerId) {
        if let Some(guest) = self.guests.get(id) {
            guest.standing = Standing::Attached;
            self.guests.push(id, greeting(&Welcome::Attached { pid: std::process::id() }));
        }
        self.note_guests();
    }

    pub(super) fn close_door(&mut self) {
        if self.listener.take().is_some() {
            drop(std::fs::remove_file(self.folder.socket()));
        }
    }
}
