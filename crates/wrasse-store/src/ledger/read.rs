//! Reading the ledger back. Each question first lets the queue be written, so that it answers with what was noted before.

use sqlx::sqlite::SqliteRow;
use wrasse_types::{
    AgentId, GoneReason, Holder, HolderKind, InstanceId, LeaseId, ServerName, SessionKey, StopRung,
    UnixMillis,
};

use super::{
    GuardianIdentity, InstanceEnd, InstanceEvent, InstanceRow, LeaseRow, Ledger, LostRecords,
};
use crate::StoreError;
use crate::rows::{Columns, bad, signed};
use crate::transaction::Transaction;

impl Ledger {
    /// Lists the instances that have not ended, oldest first.
    pub async fn open_instances(&self) -> Result<Vec<InstanceRow>, StoreError> {
        self.flush().await;
        let rows = sqlx::query("SELECT * FROM instances WHERE ended_at IS NULL ORDER BY id")
            .fetch_all(self.store.reader())
            .await?;
        rows.iter().map(instance_row).collect()
    }

    /// Lists the leases that have not ended, oldest first.
    pub async fn open_leases(&self) -> Result<Vec<LeaseRow>, StoreError> {
        self.flush().await;
        let rows = sqlx::query("SELECT * FROM leases WHERE ended_at IS NULL ORDER BY id")
            .fetch_all(self.store.reader())
            .await?;
        rows.iter().map(lease_row).collect()
    }

    /// Lists the last instances, newest first.
    pub async fn recent_instances(&self, limit: u32) -> Result<Vec<InstanceRow>, StoreError> {
        self.flush().await;
        let rows = sqlx::query("SELECT * FROM instances ORDER BY id DESC LIMIT ?")
            .bind(limit)
            .fetch_all(self.store.reader())
            .await?;
        rows.iter().map(instance_row).collect()
    }

    /// Finds an instance, with its events and leases.
    pub async fn instance(&self, id: InstanceId) -> Result<Option<InstanceRow>, StoreError> {
        self.flush().await;
        let row = sqlx::query("SELECT * FROM instances WHERE id = ?")
            .bind(signed(id.number()))
            .fetch_optional(self.store.reader())
            .await?;
        self.complete(row).await
    }

    /// Finds the newest instance whose leader or guardian had this process number, with its events and leases.
    pub async fn instance_by_pid(&self, pid: u32) -> Result<Option<InstanceRow>, StoreError> {
        self.flush().await;
        let row = sqlx::query(
            "SELECT * FROM instances WHERE pid = ?1 OR guardian_pid = ?1 ORDER BY id DESC LIMIT 1",
        )
        .bind(pid)
        .fetch_optional(self.store.reader())
        .await?;
        self.complete(row).await
    }

    /// Ends whatever a gateway that died left open: for the start, after the sweep, before anything new begins.
    pub async fn close_lost(&self, now: UnixMillis) -> Result<LostRecords, StoreError> {
        let mut transaction = Transaction::begin(self.store.writer()?).await?;
        let instances = sqlx::query(
            "UPDATE instances SET ended_at = ?, end_reason = ?, end_detail = 'the gateway died'
             WHERE ended_at IS NULL",
        )
        .bind(now.get())
        .bind(GoneReason::Swept.name())
        .execute(transaction.connection()?)
        .await?;
        let leases = sqlx::query(
            "UPDATE leases SET ended_at = ?, end_reason = 'gateway died' WHERE ended_at IS NULL",
        )
        .bind(now.get())
        .execute(transaction.connection()?)
        .await?;
        transaction.commit().await?;
        Ok(LostRecords { instances: instances.rows_affected(), leases: leases.rows_affected() })
    }

    async fn complete(&self, row: Option<SqliteRow>) -> Result<Option<InstanceRow>, StoreError> {
        let Some(row) = row else { return Ok(None) };
        let mut instance = instance_row(&row)?;
        let id = signed(instance.id.number());
        let events = sqlx::query(
            "SELECT at, text FROM instance_events WHERE instance = ? ORDER BY at, rowid",
        )
        .bind(id)
        .fetch_all(self.store.reader())
        .await?;
        for row in events {
            instance.events.push(InstanceEvent { at: row.time("at")?, text: row.text("text")? });
        }
        let leases = sqlx::query("SELECT * FROM leases WHERE instance = ? ORDER BY id")
            .bind(id)
            .fetch_all(self.store.reader())
            .await?;
        instance.leases = leases.iter().map(lease_row).collect::<Result<_, _>>()?;
        Ok(Some(instance))
    }
}

/// The word the store uses for a kind of holder.
pub(super) const fn kind_name(kind: HolderKind) -> &'static str {
    match kind {
        HolderKind::Run => "run",
        HolderKind::Session => "session",
        HolderKind::Job => "job",
        HolderKind::Door => "door",
        HolderKind::Catalogue => "catalogue",
        HolderKind::Operator => "operator",
    }
}

fn kind_from(name: &str) -> Option<HolderKind> {
    const ALL: [HolderKind; 6] = [
        HolderKind::Run,
        HolderKind::Session,
        HolderKind::Job,
        HolderKind::Door,
        HolderKind::Catalogue,
        HolderKind::Operator,
    ];
    ALL.into_iter().find(|kind| kind_name(*kind) == name)
}

fn instance_row(row: &SqliteRow) -> Result<InstanceRow, StoreError> {
    Ok(InstanceRow {
        id: InstanceId::new(row.number("id")?),
        kind: row.text("kind")?,
        server: ServerName::new(row.text("server")?),
        scope: row.text("scope")?,
        session_key: row.maybe_text("session_key")?.map(SessionKey::from_store),
        fingerprint: row.text("fingerprint")?,
        command: row.text("command")?,
        origin: row.text("origin")?,
        began_at: row.time("began_at")?,
        guardian: guardian(row)?,
        running_at: row.maybe_time("running_at")?,
        pid: row.maybe_number("pid")?,
        start_ticks: row.maybe_number("start_ticks")?,
        ended_at: row.maybe_time("ended_at")?,
        end: end(row)?,
        events: Vec::new(),
        leases: Vec::new(),
    })
}

fn guardian(row: &SqliteRow) -> Result<Option<GuardianIdentity>, StoreError> {
    let Some(pid) = row.maybe_number("guardian_pid")? else { return Ok(None) };
    Ok(Some(GuardianIdentity {
        pid,
        start_ticks: row.number("guardian_start_ticks")?,
        boot_id: row.text("guardian_boot_id")?,
    }))
}

fn end(row: &SqliteRow) -> Result<Option<InstanceEnd>, StoreError> {
    let Some(reason) = row.maybe_text("end_reason")?.and_then(|name| GoneReason::from_name(&name))
    else {
        return Ok(None);
    };
    Ok(Some(InstanceEnd {
        reason,
        detail: row.maybe_text("end_detail")?.unwrap_or_default(),
        rung: row.maybe_text("end_rung")?.and_then(|name| StopRung::from_name(&name)),
        took_ms: row.maybe_number("end_took_ms")?.unwrap_or(0),
        processes: row.maybe_number("end_processes")?.unwrap_or(0),
        survivors: row.maybe_number("end_survivors")?.unwrap_or(0),
        proven_empty: row.maybe_number::<i64>("end_proven_empty")?.unwrap_or(0) != 0,
    }))
}

fn lease_row(row: &SqliteRow) -> Result<LeaseRow, StoreError> {
    let kind = row.text("holder_kind")?;
    Ok(LeaseRow {
        id: LeaseId::new(row.number("id")?),
        instance: InstanceId::new(row.number("instance")?),
        holder: Holder {
            kind: kind_from(&kind).ok_or_else(|| bad("leases.holder_kind", kind))?,
            id: row.text("holder_id")?,
            session_key: row.maybe_text("holder_session_key")?.map(SessionKey::from_store),
            agent: row.maybe_text("holder_agent")?.map(AgentId::new),
        },
        reason: row.text("reason")?,
        began_at: row.time("began_at")?,
        ended_at: row.maybe_time("ended_at")?,
        end_reason: row.maybe_text("end_reason")?,
    })
}
