//! The store itself: its connections, and how it is closed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::SqlitePool;
use tokio::task::JoinSet;
use wrasse_types::UnixMillis;

use crate::ledger::{Ledger, Queue};
use crate::{Role, StoreError};

/// How long closing waits for the ledger's queue, and then again for the connections.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// The database of one state directory.
///
/// A cheap handle: clones share one writing connection and two for reading. Call [`Store::close`] before the last
/// one goes, or the last few write-behind rows of the ledger are lost.
///
/// Cancel safety: a dropped future of any method either did the whole of its work or, unless its documentation says
/// otherwise, nothing of it.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// What the clones of a [`Store`] share.
pub(crate) struct Inner {
    pub(crate) role: Role,
    /// One connection, so that writers queue here instead of meeting SQLite's "busy".
    pub(crate) writer: Option<SqlitePool>,
    pub(crate) readers: SqlitePool,
    pub(crate) ledger: Arc<Queue>,
    pub(crate) secret: [u8; 32],
    /// Holds the ledger's writer, and nothing else, so that it has an owner who joins it.
    pub(crate) tasks: Mutex<JoinSet<()>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("role", &self.inner.role).finish_non_exhaustive()
    }
}

impl Store {
    /// The ledger of instances and leases.
    pub fn ledger(&self) -> Ledger {
        Ledger::new(self.clone())
    }

    /// A random secret of this database, for fingerprints that cover secrets.
    pub fn fingerprint_secret(&self) -> [u8; 32] {
        self.inner.secret
    }

    /// Writes what the ledger still holds, then closes every connection; bounded by a few seconds whatever the disk does.
    ///
    /// Afterwards every operation answers [`StoreError::Closed`], except that the ledger's write-behind calls go on doing
    /// nothing.
    pub async fn close(&self) {
        self.inner.ledger.close();
        let mut tasks = {
            let mut held = self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *held)
        };
        let joined = tokio::time::timeout(CLOSE_DEADLINE, tasks.join_next()).await;
        match joined {
            Ok(Some(Err(error))) => tracing::error!(%error, "the ledger's writer failed"),
            Ok(Some(Ok(())) | None) => {}
            Err(_) => {
                tracing::warn!("the ledger could not be written in time; its last rows are lost");
            }
        }
        tasks.abort_all();
        let connections = async {
            self.inner.readers.close().await;
            if let Some(writer) = &self.inner.writer {
                writer.close().await;
            }
        };
        if tokio::time::timeout(CLOSE_DEADLINE, connections).await.is_err() {
            tracing::warn!("the database did not close in time");
        }
    }

    pub(crate) fn reader(&self) -> &SqlitePool {
        &self.inner.readers
    }

    pub(crate) fn writer(&self) -> Result<&SqlitePool, StoreError> {
        self.inner.writer.as_ref().ok_or(StoreError::ReadOnly)
    }

    /// The wall clock, as rows are stamped with it.
    pub(crate) fn now() -> UnixMillis {
        UnixMillis::now()
    }
}
