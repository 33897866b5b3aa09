//! Scheduled jobs: their definitions, and how their last firing went.

use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use wrasse_types::{AgentId, JobId, RunId, UnixMillis};

use crate::rows::{Columns, signed};
use crate::{Store, StoreError};

/// One job: first its definition, from `next_due_at` on its state.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    /// Its id.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Whether it fires.
    pub enabled: bool,
    /// The agent it wakes.
    pub agent: AgentId,
    /// When it fires.
    pub schedule: Value,
    /// The session it wakes: `isolated`, `main`, …
    pub target: String,
    /// What it says to the session.
    pub payload: Value,
    /// What becomes of the result.
    pub delivery: String,
    /// Its time limit.
    pub timeout_ms: Option<u64>,
    /// Whether it is removed after it has fired.
    pub delete_after_run: bool,
    /// `config` or `cli`.
    pub origin: String,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When its definition last changed.
    pub updated_at: UnixMillis,
    /// When it is due next.
    pub next_due_at: Option<UnixMillis>,
    /// The run it woke that has not ended.
    pub running_run: Option<RunId>,
    /// When it last fired.
    pub last_run_at: Option<UnixMillis>,
    /// How that went.
    pub last_status: Option<String>,
    /// What went wrong.
    pub last_error: Option<String>,
    /// Failed firings in a row.
    pub consecutive_errors: u32,
}

impl JobRow {
    /// The part that firings change.
    pub fn state(&self) -> JobState {
        JobState {
            next_due_at: self.next_due_at,
            running_run: self.running_run.clone(),
            last_run_at: self.last_run_at,
            last_status: self.last_status.clone(),
            last_error: self.last_error.clone(),
            consecutive_errors: self.consecutive_errors,
        }
    }
}

/// The part of a job that firings change; the fields are those of [`JobRow`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobState {
    /// When it is due next.
    pub next_due_at: Option<UnixMillis>,
    /// The run it woke that has not ended.
    pub running_run: Option<RunId>,
    /// When it last fired.
    pub last_run_at: Option<UnixMillis>,
    /// How that went.
    pub last_status: Option<String>,
    /// What went wrong.
    pub last_error: Option<String>,
    /// Failed firings in a row.
    pub consecutive_errors: u32,
}

impl Store {
    /// Adds a job, or replaces its definition: an existing one keeps `created_at` and its state.
    pub async fn upsert_job(&self, job: &JobRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO jobs (id, name, enabled, agent, schedule, target, payload, delivery, timeout_ms,
                               delete_after_run, origin, created_at, updated_at, next_due_at, running_run,
                               last_run_at, last_status, last_error, consecutive_errors)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE
             SET name = excluded.name, enabled = excluded.enabled, agent = excluded.agent,
                 schedule = excluded.schedule, target = excluded.target, payload = excluded.payload,
                 delivery = excluded.delivery, timeout_ms = excluded.timeout_ms,
                 delete_after_run = excluded.delete_after_run, origin = excluded.origin,
                 updated_at = excluded.updated_at",
        )
        .bind(job.id.as_str())
        .bind(&job.name)
        .bind(job.enabled)
        .bind(job.agent.as_str())
        .bind(job.schedule.to_string())
        .bind(&job.target)
        .bind(job.payload.to_string())
        .bind(&job.delivery)
        .bind(job.timeout_ms.map(signed))
        .bind(job.delete_after_run)
        .bind(&job.origin)
        .bind(job.created_at.get())
        .bind(job.updated_at.get())
        .bind(job.next_due_at.map(UnixMillis::get))
        .bind(job.running_run.as_ref().map(RunId::as_str))
        .bind(job.last_run_at.map(UnixMillis::get))
        .bind(&job.last_status)
        .bind(&job.last_error)
        .bind(job.consecutive_errors)
        .execute(self.writer()?)
        .await?;
        Ok(())
    }

    /// Finds a job.
    pub async fn job(&self, id: &JobId) -> Result<Option<JobRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM jobs WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(job_row).transpose()
    }

    /// Lists every job, by name.
    pub async fn jobs(&self) -> Result<Vec<JobRow>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM jobs ORDER BY name, id").fetch_all(self.reader()).await?;
        rows.iter().map(job_row).collect()
    }

    /// Removes a job; its firings stay until they are pruned. False when there was none.
    pub async fn delete_job(&self, id: &JobId) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM jobs WHERE id = ?")
            .bind(id.as_str())
            .execute(self.writer()?)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Switches a job on or off; false when there is none.
    pub async fn set_job_enabled(&self, id: &JobId, enabled: bool) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE jobs SET enabled = ?, updated_at = ? WHERE id = ?")
            .bind(enabled)
            .bind(Self::now().get())
            .bind(id.as_str())
            .execute(self.writer()?)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Replaces the state of a job; false when there is none.
    pub async fn save_job_state(&self, id: &JobId, state: &JobState) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE jobs
             SET next_due_at = ?, running_run = ?, last_run_at = ?, last_status = ?, last_error = ?,
                 consecutive_errors = ?
             WHERE id = ?",
        )
        .bind(state.next_due_at.map(UnixMillis::get))
        .bind(state.running_run.as_ref().map(RunId::as_str))
        .bind(state.last_run_at.map(UnixMillis::get))
        .bind(&state.last_status)
        .bind(&state.last_error)
        .bind(state.consecutive_errors)
        .bind(id.as_str())
        .execute(self.writer()?)
        .await?;
        Ok(done.rows_affected() > 0)
    }
}

fn job_row(row: &SqliteRow) -> Result<JobRow, StoreError> {
    Ok(JobRow {
        id: JobId::new(row.text("id")?),
        name: row.text("name")?,
        enabled: row.flag("enabled")?,
        agent: AgentId::new(row.text("agent")?),
        schedule: row.json("schedule")?,
        target: row.text("target")?,
        payload: row.json("payload")?,
        delivery: row.text("delivery")?,
        timeout_ms: row.maybe_number("timeout_ms")?,
        delete_after_run: row.flag("delete_after_run")?,
        origin: row.text("origin")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        next_due_at: row.maybe_time("next_due_at")?,
        running_run: row.maybe_text("running_run")?.map(RunId::new),
        last_run_at: row.maybe_time("last_run_at")?,
        last_status: row.maybe_text("last_status")?,
        last_error: row.maybe_text("last_error")?,
        consecutive_errors: row.number("consecutive_errors")?,
    })
}
