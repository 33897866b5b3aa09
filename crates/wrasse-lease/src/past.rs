//! Remembers that an instance somebody used is gone, so that the next one can say that its state is, too.

use std::collections::{HashMap, VecDeque};

use wrasse_types::{GoneReason, InstanceId, ServerName, UnixMillis};

use crate::claim::Key;

/// Owners come and go for as long as the gateway lives; beyond this many the oldest is forgotten, and its
/// next instance says nothing.
const PASTS_MAX: usize = 1024;

/// An instance that was called and is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Past {
    pub(crate) why: GoneReason,
    pub(crate) ended_at: UnixMillis,
    pub(crate) instance: InstanceId,
}

type Whom = (String, ServerName);

#[derive(Debug, Default)]
pub(crate) struct Pasts {
    by_owner: HashMap<Whom, Past>,
    order: VecDeque<Whom>,
}

impl Pasts {
    pub(crate) fn remember(&mut self, key: &Key, past: Past) {
        let whom = (key.owner.clone(), key.server.clone());
        if self.by_owner.insert(whom.clone(), past).is_none() {
            self.order.push_back(whom);
        }
        if self.by_owner.len() > PASTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_owner.remove(&oldest);
        }
    }

    pub(crate) fn take(&mut self, key: &Key) -> Option<Past> {
        let whom = (key.owner.clone(), key.server.clone());
        let past = self.by_owner.remove(&whom)?;
        self.order.retain(|other| *other != whom);
        Some(past)
    }

    /// The owner starts anew: what it knew of its servers is gone with it.
    pub(crate) fn forget(&mut self, owner: &str) {
        self.by_owner.retain(|(whose, _), _| whose != owner);
        self.order.retain(|(whose, _)| whose != owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(owner: usize) -> Key {
        Key {
            server: ServerName::new("memory"),
            owner: owner.to_string(),
            fingerprint: String::from("f"),
        }
    }

    #[test]
    fn is_bounded_and_forgets_the_oldest() {
        let mut pasts = Pasts::default();
        let past = Past {
            why: GoneReason::Idle,
            ended_at: UnixMillis::new(1),
            instance: InstanceId::new(1),
        };
        for owner in 0..=PASTS_MAX {
            pasts.remember(&key(owner), past.clone());
            pasts.remember(&key(owner), past.clone());
        }
        assert_eq!(pasts.take(&key(0)), None);
        assert_eq!(pasts.take(&key(1)), Some(past));
        assert_eq!(pasts.take(&key(1)), None);
        pasts.forget("2");
        assert_eq!(pasts.take(&key(2)), None);
        assert_eq!(pasts.by_owner.len(), pasts.order.len());
    }
}
