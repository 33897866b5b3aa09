//! Whether the gateway takes work: it is not on its way out, no part of it failed, and its store commits.

use std::time::Duration;

use tokio::sync::Mutex;
use wrasse_scope::clock::{self, BootInstant};
use wrasse_store::Store;

use crate::core::Core;

/// How long an answer of the store counts: whoever asks must not be able to keep the disk busy.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// How long the store may take. Whoever asks wants an answer while the disk hangs, too.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Whether the gateway takes work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Whether it does.
    pub ready: bool,
    /// What keeps it from it.
    pub failing: Vec<String>,
}

/// What the store last said, and when.
#[derive(Debug, Default)]
pub(crate) struct StoreProbe(Mutex<Option<(BootInstant, Option<String>)>>);

impl StoreProbe {
    /// What keeps the store from committing. Asked by many at once, it is tried once.
    async fn fault(&self, store: &Store) -> Option<String> {
        let mut last = self.0.lock().await;
        if let Some((at, fault)) = &*last
            && at.elapsed() < FRESH_FOR
        {
            return fault.clone();
        }
        let fault = match clock::timeout(ANSWER_WITHIN, store.prove_writable()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("the store cannot commit: {error}")),
            Err(_) => {
                Some(format!("the store did not commit within {} s", ANSWER_WITHIN.as_secs()))
            }
        };
        *last = Some((clock::now(), fault.clone()));
        fault
    }
}

impl Core {
    /// Whether the gateway takes work. Bounded by a few seconds whatever the disk does.
    pub(crate) async fn readiness(&self) -> Readiness {
        let fault = if self.draining().is_some() {
            Some("shutting down".to_owned())
        } else if self.scope.is_cancelled() {
            Some("a part of the gateway failed; its log has the cause".to_owned())
        } else {
            self.store_probe.fault(&self.store).await
        };
        Readiness { ready: fault.is_none(), failing: fault.into_iter().collect() }
    }
}
