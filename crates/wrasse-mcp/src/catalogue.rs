//! What servers offer, remembered per fingerprint: in memory, and in the store for the next start.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use wrasse_store::{CatalogueRow, Store};
use wrasse_types::{ServerName, UnixMillis};

use crate::connection::{Introduction, ToolEntry, entries};

/// One server's entry.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) tools: Arc<Vec<ToolEntry>>,
    pub(crate) fetched_at: UnixMillis,
}

/// Every entry that was asked for.
pub(crate) struct Catalogue {
    store: Store,
    known: Mutex<HashMap<String, Entry>>,
}

impl Catalogue {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, known: Mutex::default() }
    }

    /// What a fingerprint is known to offer. A store that cannot be read is no reason to fail: the server
    /// is asked instead.
    pub(crate) async fn get(&self, fingerprint: &str) -> Option<Entry> {
        let known =
            self.known.lock().unwrap_or_else(PoisonError::into_inner).get(fingerprint).cloned();
        if known.is_some() {
            return known;
        }
        let row = match self.store.catalogue(fingerprint).await {
            Ok(row) => row?,
            Err(error) => {
                tracing::warn!(%error, "the catalogue cannot be read; servers are asked instead");
                return None;
            }
        };
        let entry = Entry { tools: Arc::new(entries(&row.tools)?), fetched_at: row.fetched_at };
        self.remember(fingerprint, &entry);
        Some(entry)
    }

    /// Keeps what a server just said.
    pub(crate) async fn put(
        &self,
        server: &ServerName,
        fingerprint: &str,
        introduction: &Introduction,
        tools: Arc<Vec<ToolEntry>>,
    ) {
        let entry = Entry { tools, fetched_at: UnixMillis::now() };
        self.remember(fingerprint, &entry);
        let row = CatalogueRow {
            fingerprint: fingerprint.to_owned(),
            server: server.to_string(),
            protocol: introduction.protocol.clone(),
            server_info: introduction.server_info.clone(),
            instructions: introduction.instructions.clone(),
            tools: serde_json::to_value(&*entry.tools).unwrap_or(Value::Array(Vec::new())),
            fetched_at: entry.fetched_at,
        };
        if let Err(error) = self.store.put_catalogue(&row).await {
            tracing::warn!(%server, %error, "the catalogue cannot be written; it is asked for again after a restart");
        }
    }

    /// Forgets an entry: the next offer asks the server.
    pub(crate) async fn forget(&self, fingerprint: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(fingerprint);
        if let Err(error) = self.store.drop_catalogue(fingerprint).await {
            tracing::warn!(%error, "a catalogue entry cannot be dropped");
        }
    }

    fn remember(&self, fingerprint: &str, entry: &Entry) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(fingerprint.to_owned(), entry.clone());
    }
}
