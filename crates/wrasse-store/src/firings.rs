//! Firings: one row for each due time of a job that was acted on. The primary key is what makes it once.

use sqlx::sqlite::SqliteRow;
use wrasse_types::{JobId, RunId, UnixMillis};

use crate::rows::{Columns, limit};
use crate::{Store, StoreError};

/// One firing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FiringRow {
    /// The job.
    pub job: JobId,
    /// The due time it answers.
    pub due_at: UnixMillis,
    /// The run it woke.
    pub run: Option<RunId>,
    /// When it began.
    pub started_at: UnixMillis,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// `running`, then what [`FiringEnd::status`] says.
    pub status: String,
    /// What went wrong.
    pub error: Option<String>,
    /// The result, shortened.
    pub summary: Option<String>,
    /// What became of the result.
    pub delivered: String,
}

/// How a firing ended.
#[derive(Debug, Clone)]
pub struct FiringEnd {
    /// The run it woke, if it came to that.
    pub run: Option<RunId>,
    /// `ok`, `error`, `skipped`, …
    pub status: String,
    /// What went wrong.
    pub error: Option<String>,
    /// The result, shortened.
    pub summary: Option<String>,
    /// What became of the result.
    pub delivered: String,
}

impl Store {
    /// Claims a due time of a job; false when it has been claimed before, by whomever.
    pub async fn begin_firing(&self, job: &JobId, due: UnixMillis) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO firings (job, due_at, started_at, status, delivered)
             VALUES (?, ?, ?, 'running', '')
             ON CONFLICT (job, due_at) DO NOTHING",
        )
        .bind(job.as_str())
        .bind(due.get())
        .bind(Self::now().get())
        .execute(self.writer()?)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Notes the run that a firing woke.
    pub async fn set_firing_run(
        &self,
        job: &JobId,
        due: UnixMillis,
        run: &RunId,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE firings SET run = ? WHERE job = ? AND due_at = ?")
            .bind(run.as_str())
            .bind(job.as_str())
            .bind(due.get())
            .execute(self.writer()?)
            .await?;
        Ok(())
    }

    /// Ends a firing once; false when it had ended already, or never began.
    pub async fn end_firing(
        &self,
        job: &JobId,
        due: UnixMillis,
        end: FiringEnd,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE firings
             SET run = coalesce(?, run), ended_at = ?, status = ?, error = ?, summary = ?, delivered = ?
             WHERE job = ? AND due_at = ? AND ended_at IS NULL",
        )
        .bind(end.run.as_ref().map(RunId::as_str))
        .bind(Self::now().get())
        .bind(&end.status)
        .bind(&end.error)
        .bind(&end.summary)
        .bind(&end.delivered)
        .bind(job.as_str())
        .bind(due.get())
        .execute(self.writer()?)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Ends, as errors, the firings that a gateway which died left open; says how many.
    pub async fn close_lost_firings(&self, now: UnixMillis) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "UPDATE firings SET ended_at = ?, status = 'error', error = 'the gateway died'
             WHERE ended_at IS NULL",
        )
        .bind(now.get())
        .execute(self.writer()?)
        .await?;
        Ok(done.rows_affected())
    }

    /// Lists the firings of a job, newest first.
    pub async fn firings(
        &self,
        job: &JobId,
        last: Option<u32>,
    ) -> Result<Vec<FiringRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM firings WHERE job = ? ORDER BY due_at DESC LIMIT ?")
            .bind(job.as_str())
            .bind(limit(last))
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(firing_row).collect()
    }
}

fn firing_row(row: &SqliteRow) -> Result<FiringRow, StoreError> {
    Ok(FiringRow {
        job: JobId::new(row.text("job")?),
        due_at: row.time("due_at")?,
        run: row.maybe_text("run")?.map(RunId::new),
        started_at: row.time("started_at")?,
        ended_at: row.maybe_time("ended_at")?,
        status: row.text("status")?,
        error: row.maybe_text("error")?,
        summary: row.maybe_text("summary")?,
        delivered: row.text("delivered")?,
    })
}
