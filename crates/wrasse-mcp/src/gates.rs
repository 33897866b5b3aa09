//! Locks by name, one holder each; a name that nobody holds or waits for is forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as Lock, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

/// What opens the gate again when it is dropped.
pub(crate) type Pass = OwnedMutexGuard<()>;

#[derive(Default)]
pub(crate) struct Gates {
    known: Mutex<HashMap<String, Weak<Lock<()>>>>,
}

impl Gates {
    /// Waits until nobody else holds the name; `None` when the token is cancelled first.
    pub(crate) async fn wait(&self, name: &str, token: &CancellationToken) -> Option<Pass> {
        let lock = self.lock(name);
        tokio::select! {
            biased;
            () = token.cancelled() => None,
            pass = lock.lock_owned() => Some(pass),
        }
    }

    fn lock(&self, name: &str) -> Arc<Lock<()>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = known.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        known.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        known.insert(name.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_nothing_is_kept() {
        let (gates, token) = (Gates::default(), CancellationToken::new());
        let first = gates.wait("a", &token).await;
        drop(gates.wait("b", &token).await);
        let waiting = gates.wait("a", &token);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(first);
        assert!(waiting.await.is_some());
        drop(gates.wait("c", &token).await);
        assert_eq!(gates.known.lock().unwrap().len(), 1);
        let _held = gates.wait("c", &token).await;
        token.cancel();
        assert!(gates.wait("c", &token).await.is_none());
    }
}
