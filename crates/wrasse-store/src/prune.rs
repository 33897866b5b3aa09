//! Forgetting: what keeps ten thousand runs from growing without bound.

use std::time::Duration;

use wrasse_types::UnixMillis;

use crate::rows::Columns;
use crate::{Store, StoreError};

const DAY: Duration = Duration::from_secs(86_400);

/// How much of the past is kept. Nothing that is still open is ever forgotten.
#[derive(Debug, Clone)]
pub struct Retain {
    /// For how long ended instances, with their leases and events.
    pub ledger: Duration,
    /// How many firings of each job.
    pub firings_per_job: u32,
    /// For how long firings of jobs that have been removed.
    pub orphan_firings: Duration,
    /// For how long ended runs.
    pub runs: Duration,
    /// How many ended runs at most.
    pub runs_max: u32,
    /// For how long the sessions of isolated firings (`agent:…:cron:…:run:…`), transcripts included; `None` is for ever.
    pub cron_sessions: Option<Duration>,
}

impl Default for Retain {
    fn default() -> Self {
        Self {
            ledger: 7 * DAY,
            firings_per_job: 2000,
            orphan_firings: 30 * DAY,
            runs: 30 * DAY,
            runs_max: 20_000,
            cron_sessions: Some(DAY),
        }
    }
}

/// How many rows were forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Instances; their leases and events went with them.
    pub instances: u64,
    /// Firings.
    pub firings: u64,
    /// Runs.
    pub runs: u64,
    /// Sessions of isolated firings; their transcripts went with them.
    pub sessions: u64,
}

impl Store {
    /// Forgets what is older than is to be kept, table by table.
    ///
    /// Cancel safety: what was forgotten so far stays forgotten.
    pub async fn prune(&self, now: UnixMillis, retain: &Retain) -> Result<Pruned, StoreError> {
        Ok(Pruned {
            instances: self.prune_ledger(before(now, retain.ledger)).await?,
            firings: self.prune_firings(now, retain).await?,
            runs: self.prune_runs(before(now, retain.runs), retain.runs_max).await?,
            sessions: match retain.cron_sessions {
                Some(kept) => self.prune_cron_sessions(before(now, kept)).await?,
                None => 0,
            },
        })
    }

    async fn prune_ledger(&self, before: i64) -> Result<u64, StoreError> {
        let done = sqlx::query("DELETE FROM instances WHERE ended_at < ?")
            .bind(before)
            .execute(self.writer()?)
            .await?;
        Ok(done.rows_affected())
    }

    async fn prune_firings(&self, now: UnixMillis, retain: &Retain) -> Result<u64, StoreError> {
        let mut surplus = 0;
        let crowded = sqlx::query("SELECT job FROM firings GROUP BY job HAVING count(*) > ?")
            .bind(retain.firings_per_job)
            .fetch_all(self.reader())
            .await?;
        for row in crowded {
            let done = sqlx::query(
                "DELETE FROM firings
                 WHERE job = ?1 AND ended_at IS NOT NULL
                   AND due_at <= (SELECT due_at FROM firings WHERE job = ?1
                                  ORDER BY due_at DESC LIMIT 1 OFFSET ?2)",
            )
            .bind(row.text("job")?)
            .bind(retain.firings_per_job)
            .execute(self.writer()?)
            .await?;
            surplus += done.rows_affected();
        }
        let orphans = sqlx::query(
            "DELETE FROM firings WHERE ended_at < ? AND job NOT IN (SELECT id FROM jobs)",
        )
        .bind(before(now, retain.orphan_firings))
        .execute(self.writer()?)
        .await?;
        Ok(surplus + orphans.rows_affected())
    }

    async fn prune_runs(&self, before: i64, max: u32) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "DELETE FROM runs
             WHERE state = 'ended'
               AND (ended_at < ?1
                    OR started_at < (SELECT started_at FROM runs WHERE state = 'ended'
                                     ORDER BY started_at DESC LIMIT 1 OFFSET ?2 - 1))",
        )
        .bind(before)
        .bind(max.max(1))
        .execute(self.writer()?)
        .await?;
        Ok(done.rows_affected())
    }

    async fn prune_cron_sessions(&self, before: i64) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "DELETE FROM sessions
             WHERE updated_at < ? AND key GLOB 'agent:*:cron:*:run:*'
               AND NOT EXISTS (SELECT 1 FROM runs
                               WHERE runs.session_key = sessions.key AND runs.state <> 'ended')",
        )
        .bind(before)
        .execute(self.writer()?)
        .await?;
        Ok(done.rows_affected())
    }
}

fn before(now: UnixMillis, kept: Duration) -> i64 {
    now.get().saturating_sub(i64::try_from(kept.as_millis()).unwrap_or(i64::MAX))
}
