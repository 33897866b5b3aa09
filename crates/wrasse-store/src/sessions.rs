//! Sessions: records of conversations, found by their key. They hold no process.

use sqlx::sqlite::SqliteRow;
use wrasse_types::{AgentId, SessionId, SessionKey, UnixMillis};

use crate::rows::{Columns, limit};
use crate::transaction::Transaction;
use crate::{Store, StoreError};

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Its key.
    pub key: SessionKey,
    /// The span since the last reset; transcripts hang on it.
    pub session_id: SessionId,
    /// Its agent.
    pub agent: AgentId,
    /// A name a person or a parent gave it.
    pub label: Option<String>,
    /// The session whose run spawned it.
    pub spawned_by: Option<SessionKey>,
    /// How many spawns lie above it.
    pub depth: u32,
    /// When the key was first used.
    pub created_at: UnixMillis,
    /// When anything was last written to it.
    pub updated_at: UnixMillis,
    /// When somebody last spoke to it.
    pub last_interaction_at: UnixMillis,
    /// How often it was reset.
    pub reset_count: u32,
    /// The model chosen for it, if one was.
    pub model: Option<String>,
}

/// What a new session starts with.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Its key.
    pub key: SessionKey,
    /// Its agent.
    pub agent: AgentId,
    /// A name for people.
    pub label: Option<String>,
    /// The session whose run spawns it.
    pub spawned_by: Option<SessionKey>,
    /// How many spawns lie above it.
    pub depth: u32,
    /// The model chosen for it.
    pub model: Option<String>,
}

/// Which sessions to list. The default is all of them.
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    /// Only those of this agent.
    pub agent: Option<AgentId>,
    /// Only those whose key begins so.
    pub prefix: Option<String>,
    /// At most so many, the last written first.
    pub limit: Option<u32>,
}

/// What a session is touched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// Somebody spoke to it: moves `last_interaction_at` too.
    Interaction,
    /// Something of its own was written.
    Activity,
}

impl Store {
    /// Finds a session by its key.
    pub async fn session(&self, key: &SessionKey) -> Result<Option<SessionRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM sessions WHERE key = ?")
            .bind(key.as_str())
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(session_row).transpose()
    }

    /// Finds the session whose present span has this id.
    pub async fn session_by_id(&self, id: &SessionId) -> Result<Option<SessionRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM sessions WHERE session_id = ?")
            .bind(id.as_str())
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(session_row).transpose()
    }

    /// Finds a session or makes it; an existing one is left as it is.
    pub async fn ensure_session(&self, new: NewSession) -> Result<SessionRow, StoreError> {
        let now = Self::now().get();
        let mut transaction = Transaction::begin(self.writer()?).await?;
        sqlx::query(
            "INSERT INTO sessions (key, session_id, agent, label, spawned_by, depth, model,
                                   created_at, updated_at, last_interaction_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?8)
             ON CONFLICT (key) DO NOTHING",
        )
        .bind(new.key.as_str())
        .bind(new_session_id())
        .bind(new.agent.as_str())
        .bind(&new.label)
        .bind(new.spawned_by.as_ref().map(SessionKey::as_str))
        .bind(new.depth)
        .bind(&new.model)
        .bind(now)
        .execute(transaction.connection()?)
        .await?;
        let row = sqlx::query("SELECT * FROM sessions WHERE key = ?")
            .bind(new.key.as_str())
            .fetch_one(transaction.connection()?)
            .await?;
        transaction.commit().await?;
        session_row(&row)
    }

    /// Notes that a session was used; false when there is none.
    pub async fn touch_session(&self, key: &SessionKey, touch: Touch) -> Result<bool, StoreError> {
        let sql = match touch {
            Touch::Interaction => {
                "UPDATE sessions SET updated_at = ?1, last_interaction_at = ?1 WHERE key = ?2"
            }
            Touch::Activity => "UPDATE sessions SET updated_at = ?1 WHERE key = ?2",
        };
        let done = sqlx::query(sql)
            .bind(Self::now().get())
            .bind(key.as_str())
            .execute(self.writer()?)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Names a session; false when there is none.
    pub async fn set_session_label(
        &self,
        key: &SessionKey,
        label: Option<&str>,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE sessions SET label = ? WHERE key = ?")
            .bind(label)
            .bind(key.as_str())
            .execute(self.writer()?)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Chooses the model of a session; false when there is none.
    pub async fn set_session_model(
        &self,
        key: &SessionKey,
        model: Option<&str>,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE sessions SET model = ? WHERE key = ?")
            .bind(model)
            .bind(key.as_str())
            .execute(self.writer()?)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Starts a new span of a session: a new id and an empty transcript; the old transcript is kept.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such session.
    pub async fn reset_session(&self, key: &SessionKey) -> Result<SessionRow, StoreError> {
        let row = sqlx::query(
            "UPDATE sessions
             SET session_id = ?1, reset_count = reset_count + 1, updated_at = ?2, last_interaction_at = ?2
             WHERE key = ?3
             RETURNING *",
        )
        .bind(new_session_id())
        .bind(Self::now().get())
        .bind(key.as_str())
        .fetch_optional(self.writer()?)
        .await?;
        let row = row.ok_or_else(|| no_session(key))?;
        session_row(&row)
    }

    /// Deletes a session and all its transcripts; false when there was none.
    pub async fn delete_session(&self, key: &SessionKey) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM sessions WHERE key = ?")
            .bind(key.as_str())
            .execute(self.writer()?)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Lists sessions, the last written first.
    pub async fn sessions(&self, filter: SessionFilter) -> Result<Vec<SessionRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM sessions
             WHERE (?1 IS NULL OR agent = ?1)
               AND (?2 IS NULL OR substr(key, 1, length(?2)) = ?2)
             ORDER BY updated_at DESC, key
             LIMIT ?3",
        )
        .bind(filter.agent.as_ref().map(AgentId::as_str))
        .bind(&filter.prefix)
        .bind(limit(filter.limit))
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(session_row).collect()
    }

    /// Counts all sessions.
    pub async fn count_sessions(&self) -> Result<u64, StoreError> {
        let row =
            sqlx::query("SELECT count(*) AS n FROM sessions").fetch_one(self.reader()).await?;
        row.number("n")
    }
}

pub(crate) fn no_session(key: &SessionKey) -> StoreError {
    StoreError::NotFound { what: "session", id: key.to_string() }
}

fn new_session_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn session_row(row: &SqliteRow) -> Result<SessionRow, StoreError> {
    Ok(SessionRow {
        key: SessionKey::from_store(row.text("key")?),
        session_id: SessionId::new(row.text("session_id")?),
        agent: AgentId::new(row.text("agent")?),
        label: row.maybe_text("label")?,
        spawned_by: row.maybe_text("spawned_by")?.map(SessionKey::from_store),
        depth: row.number("depth")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        last_interaction_at: row.time("last_interaction_at")?,
        reset_count: row.number("reset_count")?,
        model: row.maybe_text("model")?,
    })
}
