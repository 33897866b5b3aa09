//! Runs: one row per turn of an agent, kept after its end.

use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use wrasse_types::{AgentId, EndReason, JobId, RunId, SessionId, SessionKey, UnixMillis};

use crate::rows::{Columns, bad, limit, signed};
use crate::{Store, StoreError};

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunState {
    /// It waits for its lane.
    Queued,
    /// It works.
    Running,
    /// It waits for its children or a person, and holds nothing it is not using.
    Waiting,
    /// It is over.
    Ended,
}

impl RunState {
    const ALL: [Self; 4] = [Self::Queued, Self::Running, Self::Waiting, Self::Ended];

    /// The word the store and `--json` use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Ended => "ended",
        }
    }

    /// Reads the word back.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// Its session.
    pub session_key: SessionKey,
    /// The span of the session it writes to.
    pub session_id: SessionId,
    /// Its agent.
    pub agent: AgentId,
    /// The run that spawned it.
    pub parent: Option<RunId>,
    /// The run at the top of its tree; itself when nobody spawned it.
    pub root: RunId,
    /// What started it, in words: `cron "daily"`, `message`, `spawn`.
    pub cause: String,
    /// The job that woke it.
    pub job: Option<JobId>,
    /// How many spawns lie above it.
    pub depth: u32,
    /// How far it is.
    pub state: RunState,
    /// When it was accepted.
    pub started_at: UnixMillis,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// Why it ended; absent also when a newer version wrote a reason this one does not know.
    pub end: Option<EndReason>,
    /// What went wrong.
    pub error: Option<String>,
    /// Its final text.
    pub result: Option<String>,
    /// Tokens sent.
    pub usage_in: u64,
    /// Tokens received.
    pub usage_out: u64,
    /// Tool calls made.
    pub calls: u32,
    /// Model turns taken.
    pub turns: u32,
    /// Runs it spawned.
    pub children: u32,
    /// What became of its result.
    pub delivery: Option<String>,
    /// A name for people.
    pub label: Option<String>,
    /// Whether its session is deleted after it.
    pub cleanup_delete: bool,
    /// What it released at its end.
    pub released: Option<Value>,
}

/// What a run starts with.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// Its session.
    pub session_key: SessionKey,
    /// The span of the session it writes to.
    pub session_id: SessionId,
    /// Its agent.
    pub agent: AgentId,
    /// The run that spawns it.
    pub parent: Option<RunId>,
    /// The run at the top of its tree; itself when nobody spawns it.
    pub root: RunId,
    /// What starts it, in words.
    pub cause: String,
    /// The job that wakes it.
    pub job: Option<JobId>,
    /// How many spawns lie above it.
    pub depth: u32,
    /// How far it is.
    pub state: RunState,
    /// When it was accepted.
    pub started_at: UnixMillis,
    /// A name for people.
    pub label: Option<String>,
    /// Whether its session is to be deleted after it.
    pub cleanup_delete: bool,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct RunEnd {
    /// When.
    pub at: UnixMillis,
    /// Why.
    pub reason: EndReason,
    /// What went wrong.
    pub error: Option<String>,
    /// Its final text.
    pub result: Option<String>,
    /// Tokens sent.
    pub usage_in: u64,
    /// Tokens received.
    pub usage_out: u64,
    /// Tool calls made.
    pub calls: u32,
    /// Model turns taken.
    pub turns: u32,
    /// Runs it spawned.
    pub children: u32,
    /// What became of its result.
    pub delivery: Option<String>,
}

/// Which runs to list. The default is all of them.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only those of this session.
    pub session: Option<SessionKey>,
    /// Only those spawned by this run.
    pub parent: Option<RunId>,
    /// Only those of the tree below this run, itself included.
    pub root: Option<RunId>,
    /// Only those woken by this job.
    pub job: Option<JobId>,
    /// Only those not ended.
    pub active: bool,
    /// At most so many.
    pub limit: Option<u32>,
}

impl Store {
    /// Records a run that was accepted.
    pub async fn insert_run(&self, new: &NewRun) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO runs (id, session_key, session_id, agent, parent, root, cause, job, depth, state,
                               started_at, label, cleanup_delete)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(new.id.as_str())
        .bind(new.session_key.as_str())
        .bind(new.session_id.as_str())
        .bind(new.agent.as_str())
        .bind(new.parent.as_ref().map(RunId::as_str))
        .bind(new.root.as_str())
        .bind(&new.cause)
        .bind(new.job.as_ref().map(JobId::as_str))
        .bind(new.depth)
        .bind(new.state.name())
        .bind(new.started_at.get())
        .bind(&new.label)
        .bind(new.cleanup_delete)
        .execute(self.writer()?)
        .await?;
        Ok(())
    }

    /// Moves a run that has not ended; false when it has, or never was.
    pub async fn set_run_state(&self, id: &RunId, state: RunState) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE runs SET state = ? WHERE id = ? AND state <> 'ended'")
            .bind(state.name())
            .bind(id.as_str())
            .execute(self.writer()?)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Ends a run once; false when it had ended already, or never was: the first end stands.
    pub async fn end_run(&self, id: &RunId, end: RunEnd) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE runs
             SET state = 'ended', ended_at = ?, end_reason = ?, error = ?, result = ?, usage_in = ?, usage_out = ?,
                 calls = ?, turns = ?, children = ?, delivery = coalesce(?, delivery)
             WHERE id = ? AND state <> 'ended'",
        )
        .bind(end.at.get())
        .bind(end.reason.name())
        .bind(&end.error)
        .bind(&end.result)
        .bind(signed(end.usage_in))
        .bind(signed(end.usage_out))
        .bind(end.calls)
        .bind(end.turns)
        .bind(end.children)
        .bind(&end.delivery)
        .bind(id.as_str())
        .execute(self.writer()?)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Notes what a run released at its end.
    pub async fn set_run_released(&self, id: &RunId, released: &Value) -> Result<(), StoreError> {
        sqlx::query("UPDATE runs SET released = ? WHERE id = ?")
            .bind(released.to_string())
            .bind(id.as_str())
            .execute(self.writer()?)
            .await?;
        Ok(())
    }

    /// Notes what became of a run's result.
    pub async fn set_run_delivery(&self, id: &RunId, delivery: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE runs SET delivery = ? WHERE id = ?")
            .bind(delivery)
            .bind(id.as_str())
            .execute(self.writer()?)
            .await?;
        Ok(())
    }

    /// Finds a run.
    pub async fn run(&self, id: &RunId) -> Result<Option<RunRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM runs WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(run_row).transpose()
    }

    /// Lists runs, newest first.
    pub async fn runs(&self, filter: RunFilter) -> Result<Vec<RunRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM runs
             WHERE (?1 IS NULL OR session_key = ?1)
               AND (?2 IS NULL OR parent = ?2)
               AND (?3 IS NULL OR root = ?3)
               AND (?4 IS NULL OR job = ?4)
               AND (NOT ?5 OR state <> 'ended')
             ORDER BY started_at DESC, rowid DESC
             LIMIT ?6",
        )
        .bind(filter.session.as_ref().map(SessionKey::as_str))
        .bind(filter.parent.as_ref().map(RunId::as_str))
        .bind(filter.root.as_ref().map(RunId::as_str))
        .bind(filter.job.as_ref().map(JobId::as_str))
        .bind(filter.active)
        .bind(limit(filter.limit))
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(run_row).collect()
    }

    /// Lists the runs that have not ended, oldest first: after a crash, those it interrupted.
    pub async fn open_runs(&self) -> Result<Vec<RunRow>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM runs WHERE state <> 'ended' ORDER BY started_at, rowid")
                .fetch_all(self.reader())
                .await?;
        rows.iter().map(run_row).collect()
    }
}

fn run_row(row: &SqliteRow) -> Result<RunRow, StoreError> {
    let state = row.text("state")?;
    Ok(RunRow {
        id: RunId::new(row.text("id")?),
        session_key: SessionKey::from_store(row.text("session_key")?),
        session_id: SessionId::new(row.text("session_id")?),
        agent: AgentId::new(row.text("agent")?),
        parent: row.maybe_text("parent")?.map(RunId::new),
        root: RunId::new(row.text("root")?),
        cause: row.text("cause")?,
        job: row.maybe_text("job")?.map(JobId::new),
        depth: row.number("depth")?,
        state: RunState::from_name(&state).ok_or_else(|| bad("runs.state", state))?,
        started_at: row.time("started_at")?,
        ended_at: row.maybe_time("ended_at")?,
        end: row.maybe_text("end_reason")?.and_then(|name| EndReason::from_name(&name)),
        error: row.maybe_text("error")?,
        result: row.maybe_text("result")?,
        usage_in: row.number("usage_in")?,
        usage_out: row.number("usage_out")?,
        calls: row.number("calls")?,
        turns: row.number("turns")?,
        children: row.number("children")?,
        delivery: row.maybe_text("delivery")?,
        label: row.maybe_text("label")?,
        cleanup_delete: row.flag("cleanup_delete")?,
        released: row.maybe_json("released")?,
    })
}
