//! The catalogue: what servers offer, per fingerprint; and which packages have once come up.

use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use wrasse_types::UnixMillis;

use crate::rows::Columns;
use crate::{Store, StoreError};

/// What one definition of a server offered when it was last asked.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogueRow {
    /// The keyed hash of its definition.
    pub fingerprint: String,
    /// Its name.
    pub server: String,
    /// The protocol version agreed on.
    pub protocol: String,
    /// What it calls itself.
    pub server_info: Value,
    /// What it tells the model about itself.
    pub instructions: Option<String>,
    /// Its tools.
    pub tools: Value,
    /// When it was asked.
    pub fetched_at: UnixMillis,
}

impl Store {
    /// Finds an entry.
    pub async fn catalogue(&self, fingerprint: &str) -> Result<Option<CatalogueRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM catalogue WHERE fingerprint = ?")
            .bind(fingerprint)
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(catalogue_row).transpose()
    }

    /// Keeps an entry in place of the one with the same fingerprint.
    pub async fn put_catalogue(&self, entry: &CatalogueRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT OR REPLACE INTO catalogue
                 (fingerprint, server, protocol, server_info, instructions, tools, fetched_at)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&entry.fingerprint)
        .bind(&entry.server)
        .bind(&entry.protocol)
        .bind(entry.server_info.to_string())
        .bind(&entry.instructions)
        .bind(entry.tools.to_string())
        .bind(entry.fetched_at.get())
        .execute(self.writer()?)
        .await?;
        Ok(())
    }

    /// Forgets an entry; false when there was none.
    pub async fn drop_catalogue(&self, fingerprint: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM catalogue WHERE fingerprint = ?")
            .bind(fingerprint)
            .execute(self.writer()?)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Whether a package launch, as `npx -y pkg`, has once come up on this machine.
    pub async fn first_launch_done(&self, spec: &str) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT 1 AS found FROM packages WHERE spec = ?")
            .bind(spec)
            .fetch_optional(self.reader())
            .await?;
        Ok(row.is_some())
    }

    /// Notes that a package launch has come up.
    pub async fn set_first_launch_done(&self, spec: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO packages (spec, launched_at) VALUES (?, ?) ON CONFLICT (spec) DO NOTHING",
        )
        .bind(spec)
        .bind(Self::now().get())
        .execute(self.writer()?)
        .await?;
        Ok(())
    }

    /// Forgets that a package launch has come up: it does not any more.
    pub async fn forget_first_launch(&self, spec: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM packages WHERE spec = ?")
            .bind(spec)
            .execute(self.writer()?)
            .await?;
        Ok(())
    }
}

fn catalogue_row(row: &SqliteRow) -> Result<CatalogueRow, StoreError> {
    Ok(CatalogueRow {
        fingerprint: row.text("fingerprint")?,
        server: row.text("server")?,
        protocol: row.text("protocol")?,
        server_info: row.json("server_info")?,
        instructions: row.maybe_text("instructions")?,
        tools: row.json("tools")?,
        fetched_at: row.time("fetched_at")?,
    })
}
