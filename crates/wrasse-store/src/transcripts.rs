//! Transcripts: the messages of a session's spans, appended as they happen.

use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use wrasse_types::{RunId, SessionId, SessionKey, UnixMillis};

use crate::rows::{Columns, limit};
use crate::sessions::no_session;
use crate::transaction::Transaction;
use crate::{Store, StoreError};

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub struct TranscriptEntry {
    /// Its number; rises within a span, with gaps.
    pub seq: u64,
    /// The span it belongs to.
    pub session_id: SessionId,
    /// The run that wrote it.
    pub run: Option<RunId>,
    /// When it was written.
    pub at: UnixMillis,
    /// `user`, `assistant` or `tool`.
    pub role: String,
    /// The message.
    pub body: Value,
}

impl Store {
    /// Appends a message, committed when this returns, and gives its number.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the session has been deleted.
    pub async fn append_entry(
        &self,
        key: &SessionKey,
        session_id: &SessionId,
        run: Option<&RunId>,
        role: &str,
        body: &Value,
    ) -> Result<u64, StoreError> {
        let now = Self::now().get();
        let mut transaction = Transaction::begin(self.writer()?).await?;
        let touched = sqlx::query("UPDATE sessions SET updated_at = ? WHERE key = ?")
            .bind(now)
            .bind(key.as_str())
            .execute(transaction.connection()?)
            .await?;
        if touched.rows_affected() == 0 {
            return Err(no_session(key));
        }
        let row = sqlx::query(
            "INSERT INTO transcript (session_key, session_id, run, at, role, body)
             VALUES (?, ?, ?, ?, ?, ?)
             RETURNING seq",
        )
        .bind(key.as_str())
        .bind(session_id.as_str())
        .bind(run.map(RunId::as_str))
        .bind(now)
        .bind(role)
        .bind(body.to_string())
        .fetch_one(transaction.connection()?)
        .await?;
        transaction.commit().await?;
        row.number("seq")
    }

    /// Reads the messages of a span in order: all of them, or the last so many.
    pub async fn transcript(
        &self,
        session_id: &SessionId,
        last: Option<u32>,
    ) -> Result<Vec<TranscriptEntry>, StoreError> {
        let mut rows =
            sqlx::query("SELECT * FROM transcript WHERE session_id = ? ORDER BY seq DESC LIMIT ?")
                .bind(session_id.as_str())
                .bind(limit(last))
                .fetch_all(self.reader())
                .await?;
        rows.reverse();
        rows.iter().map(entry).collect()
    }
}

fn entry(row: &SqliteRow) -> Result<TranscriptEntry, StoreError> {
    Ok(TranscriptEntry {
        seq: row.number("seq")?,
        session_id: SessionId::new(row.text("session_id")?),
        run: row.maybe_text("run")?.map(RunId::new),
        at: row.time("at")?,
        role: row.text("role")?,
        body: row.json("body")?,
    })
}
