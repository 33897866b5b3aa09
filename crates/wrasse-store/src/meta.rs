//! Single values that belong to the database as a whole.

use sqlx::SqliteConnection;

use crate::rows::Columns;
use crate::{Store, StoreError};

/// Under which name the secret for keyed fingerprints is kept.
const FINGERPRINT_SECRET: &str = "fingerprint_secret";
/// Under which name it is kept when the database last proved that it can be written.
const PROOF: &str = "written_at";

impl Store {
    /// Reads a value.
    pub async fn get_meta(&self, name: &str) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT value FROM meta WHERE name = ?")
            .bind(name)
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(|row| row.text("value")).transpose()
    }

    /// Writes a value.
    pub async fn set_meta(&self, name: &str, value: &str) -> Result<(), StoreError> {
        sqlx::query("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)")
            .bind(name)
            .bind(value)
            .execute(self.writer()?)
            .await?;
        Ok(())
    }
}

impl Store {
    /// Commits a small row, to see whether the next one would be.
    pub async fn prove_writable(&self) -> Result<(), StoreError> {
        self.set_meta(PROOF, &Self::now().to_string()).await
    }
}

/// Reads the secret for keyed fingerprints, if it has been made.
pub(crate) async fn read_secret(
    connection: &mut SqliteConnection,
) -> Result<Option<[u8; 32]>, StoreError> {
    let row = sqlx::query("SELECT value FROM meta WHERE name = ?")
        .bind(FINGERPRINT_SECRET)
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(crate::token::from_hex(&row.text("value")?))
}

/// Makes the secret for keyed fingerprints.
pub(crate) async fn make_secret(connection: &mut SqliteConnection) -> Result<[u8; 32], StoreError> {
    let secret = crate::token::random();
    sqlx::query("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)")
        .bind(FINGERPRINT_SECRET)
        .bind(crate::token::to_hex(&secret))
        .execute(connection)
        .await?;
    Ok(secret)
}
