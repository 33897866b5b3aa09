//! Transactions that leave nothing behind.
//!
//! sqlx counts nested transactions itself. When SQLite ends one by its own decision, as it does on a full disk
//! (<https://www.sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction>), that count stays one too high:
//! later "commits" only release a savepoint inside a transaction that never ends, and nobody else sees what they wrote.
//! So begin and commit are plain statements here, and a connection whose transaction was not committed is closed, which
//! rolls back whatever is open, and replaced.

use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, SqliteConnection, SqlitePool};

use crate::StoreError;

/// A write transaction. Dropped without [`Transaction::commit`], it leaves no trace.
pub(crate) struct Transaction {
    /// INVARIANT: present until the transaction is over.
    connection: Option<PoolConnection<Sqlite>>,
}

impl Transaction {
    /// Begins, taking the write lock at once, so that no later statement can find it taken.
    pub(crate) async fn begin(pool: &SqlitePool) -> Result<Self, StoreError> {
        let mut transaction = Self { connection: Some(pool.acquire().await?) };
        sqlx::query("BEGIN IMMEDIATE").execute(transaction.connection()?).await?;
        Ok(transaction)
    }

    /// The connection to write through.
    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.connection.as_deref_mut().ok_or(StoreError::Closed)
    }

    /// Commits and gives the connection back for others to use.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        sqlx::query("COMMIT").execute(self.connection()?).await?;
        drop(self.connection.take());
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // Its thread closes it; the pool opens another when one is asked for.
            drop(connection.detach());
        }
    }
}
