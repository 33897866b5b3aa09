//! The one writer of the ledger.
//!
//! It takes what is queued, in order, and commits it in one transaction per batch. A row that the database refuses for its
//! own sake (an instance that is not known) is dropped and the rest goes on. A failure of the machine (full disk, locked
//! file) fails those who wait, and keeps the rest for another try.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::oneshot;
use wrasse_types::{AgentId, GoneReason, Holder, InstanceId, LeaseId, SessionKey, UnixMillis};

use super::queue::{Behind, Entry, Queue};
use super::{GuardianIdentity, InstanceEnd, NewInstance};
use crate::rows::{Columns, signed};
use crate::transaction::Transaction;
use crate::{Store, StoreError};

/// How long to leave the disk alone after a first failure, unless something new comes in; doubled with each.
const RETRY_FLOOR: Duration = Duration::from_millis(500);
const RETRY_CAP: Duration = Duration::from_secs(30);

pub(crate) struct Writer {
    queue: Arc<Queue>,
    database: SqlitePool,
}

/// What came of one entry.
enum Outcome {
    Written,
    Began(InstanceId),
    Refused(StoreError),
}

impl Drop for Writer {
    /// However the writer ends, nobody goes on waiting for it.
    fn drop(&mut self) {
        self.queue.abandon();
    }
}

impl Writer {
    pub(crate) fn new(queue: Arc<Queue>, database: SqlitePool) -> Self {
        Self { queue, database }
    }

    /// Writes until the queue is closed and empty.
    pub(crate) async fn run(self) {
        let mut pause = RETRY_FLOOR;
        while let Some(batch) = self.queue.take().await {
            match self.write(&batch).await {
                Ok(outcomes) => {
                    self.answer(batch, outcomes);
                    pause = RETRY_FLOOR;
                }
                Err(fault) => {
                    if pause == RETRY_FLOOR {
                        tracing::warn!(error = %fault, "the ledger cannot be written; it is tried again");
                    }
                    self.refuse(batch, &fault);
                    if self.queue.is_closed() {
                        break;
                    }
                    // Whether it was woken or slept, it tries again.
                    drop(tokio::time::timeout(pause, self.queue.changed()).await);
                    pause = (pause * 2).min(RETRY_CAP);
                }
            }
        }
    }

    /// Commits a batch. An error means that nothing of it was written and that a later try may do better.
    async fn write(&self, batch: &[Entry]) -> Result<Vec<Outcome>, StoreError> {
        let mut transaction = Transaction::begin(&self.database).await?;
        let mut outcomes = Vec::with_capacity(batch.len());
        for entry in batch {
            outcomes.push(match write_entry(transaction.connection()?, entry).await {
                Ok(outcome) => outcome,
                Err(error) if error.retry_may_help() => return Err(error),
                Err(error) => Outcome::Refused(error),
            });
        }
        transaction.commit().await?;
        Ok(outcomes)
    }

    fn answer(&self, batch: Vec<Entry>, outcomes: Vec<Outcome>) {
        for (entry, outcome) in batch.into_iter().zip(outcomes) {
            match (entry, outcome) {
                (Entry::Begin { done, .. }, Outcome::Began(id)) => {
                    if done.send(Ok(id)).is_err() {
                        self.queue.push_behind(never_used(id));
                    }
                }
                (Entry::Begin { done, .. }, Outcome::Refused(error)) => reply(done, Err(error)),
                (Entry::Spawning { done, .. }, Outcome::Refused(error)) => reply(done, Err(error)),
                (Entry::Spawning { done, .. }, Outcome::Written | Outcome::Began(_)) => {
                    reply(done, Ok(()));
                }
                (Entry::Flush { done }, Outcome::Written) => reply(done, ()),
                (Entry::Behind(entry), Outcome::Refused(error)) => {
                    tracing::debug!(?entry, %error, "a row of the ledger was refused");
                    self.queue.count_lost(1, "the database refused a row");
                }
                (Entry::Behind(_), Outcome::Written | Outcome::Began(_))
                | (Entry::Begin { .. }, Outcome::Written)
                | (Entry::Flush { .. }, Outcome::Began(_) | Outcome::Refused(_)) => {}
            }
        }
    }

    /// Fails those who wait and keeps the rest.
    fn refuse(&self, batch: Vec<Entry>, fault: &StoreError) {
        let mut kept = Vec::new();
        for entry in batch {
            match entry {
                Entry::Begin { done, .. } => reply(done, Err(fault.clone())),
                Entry::Spawning { done, .. } => reply(done, Err(fault.clone())),
                // Dropping it says that the flush did not come about.
                Entry::Flush { done } => drop(done),
                Entry::Behind(entry) => kept.push(entry),
            }
        }
        self.queue.put_back(kept);
    }
}

/// Whoever asked may have stopped waiting.
fn reply<T>(done: oneshot::Sender<T>, value: T) {
    drop(done.send(value));
}

/// The end of an instance whose start was given up before its number arrived.
fn never_used(id: InstanceId) -> Behind {
    let end = InstanceEnd {
        reason: GoneReason::StartFailed,
        detail: "given up before anything was started".to_owned(),
        rung: None,
        took_ms: 0,
        processes: 0,
        survivors: 0,
        proven_empty: true,
    };
    Behind::Ended { id, end, at: Store::now() }
}

async fn write_entry(
    connection: &mut SqliteConnection,
    entry: &Entry,
) -> Result<Outcome, StoreError> {
    match entry {
        Entry::Begin { new, at, .. } => begin(connection, new, *at).await.map(Outcome::Began),
        Entry::Spawning { id, guardian, .. } => {
            spawning(connection, *id, guardian).await.map(|()| Outcome::Written)
        }
        Entry::Flush { .. } => Ok(Outcome::Written),
        Entry::Behind(entry) => behind(connection, entry).await.map(|()| Outcome::Written),
    }
}

async fn behind(connection: &mut SqliteConnection, entry: &Behind) -> Result<(), StoreError> {
    match entry {
        Behind::Running { id, pid, start_ticks, at } => {
            sqlx::query(
                "UPDATE instances SET running_at = ?, pid = ?, start_ticks = ? WHERE id = ?",
            )
            .bind(at.get())
            .bind(pid)
            .bind(signed(*start_ticks))
            .bind(signed(id.number()))
            .execute(connection)
            .await?;
        }
        Behind::Ended { id, end, at } => ended(connection, *id, end, *at).await?,
        Behind::LeaseBegan { id, instance, holder, reason, at } => {
            lease_began(connection, (*id, *instance), holder, reason, *at).await?;
        }
        Behind::LeaseEnded { id, reason, at } => {
            sqlx::query(
                "UPDATE leases SET ended_at = ?, end_reason = ? WHERE id = ? AND ended_at IS NULL",
            )
            .bind(at.get())
            .bind(reason)
            .bind(signed(id.number()))
            .execute(connection)
            .await?;
        }
        Behind::Event { id, text, at } => {
            sqlx::query("INSERT INTO instance_events (instance, at, text) VALUES (?, ?, ?)")
                .bind(signed(id.number()))
                .bind(at.get())
                .bind(text)
                .execute(connection)
                .await?;
        }
    }
    Ok(())
}

async fn begin(
    connection: &mut SqliteConnection,
    new: &NewInstance,
    at: UnixMillis,
) -> Result<InstanceId, StoreError> {
    let row = sqlx::query(
        "INSERT INTO instances (kind, server, scope, session_key, fingerprint, command, origin, began_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)
         RETURNING id",
    )
    .bind(&new.kind)
    .bind(new.server.as_str())
    .bind(&new.scope)
    .bind(new.session_key.as_ref().map(SessionKey::as_str))
    .bind(&new.fingerprint)
    .bind(&new.command)
    .bind(&new.origin)
    .bind(at.get())
    .fetch_one(connection)
    .await?;
    row.number("id").map(InstanceId::new)
}

async fn spawning(
    connection: &mut SqliteConnection,
    id: InstanceId,
    guardian: &GuardianIdentity,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "UPDATE instances SET guardian_pid = ?, guardian_start_ticks = ?, guardian_boot_id = ? WHERE id = ?",
    )
    .bind(guardian.pid)
    .bind(signed(guardian.start_ticks))
    .bind(&guardian.boot_id)
    .bind(signed(id.number()))
    .execute(connection)
    .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::NotFound { what: "instance", id: id.to_string() });
    }
    Ok(())
}

async fn ended(
    connection: &mut SqliteConnection,
    id: InstanceId,
    end: &InstanceEnd,
    at: UnixMillis,
) -> Result<(), StoreError> {
    // The first end stands.
    sqlx::query(
        "UPDATE instances
         SET ended_at = ?, end_reason = ?, end_detail = ?, end_rung = ?, end_took_ms = ?, end_processes = ?,
             end_survivors = ?, end_proven_empty = ?
         WHERE id = ? AND ended_at IS NULL",
    )
    .bind(at.get())
    .bind(end.reason.name())
    .bind(&end.detail)
    .bind(end.rung.map(|rung| rung.name()))
    .bind(signed(end.took_ms))
    .bind(end.processes)
    .bind(end.survivors)
    .bind(end.proven_empty)
    .bind(signed(id.number()))
    .execute(connection)
    .await?;
    Ok(())
}

async fn lease_began(
    connection: &mut SqliteConnection,
    (id, instance): (LeaseId, InstanceId),
    holder: &Holder,
    reason: &str,
    at: UnixMillis,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO leases (id, instance, holder_kind, holder_id, holder_session_key, holder_agent, reason, began_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(signed(id.number()))
    .bind(signed(instance.number()))
    .bind(super::read::kind_name(holder.kind))
    .bind(&holder.id)
    .bind(holder.session_key.as_ref().map(SessionKey::as_str))
    .bind(holder.agent.as_ref().map(AgentId::as_str))
    .bind(reason)
    .bind(at.get())
    .execute(connection)
    .await?;
    Ok(())
}
