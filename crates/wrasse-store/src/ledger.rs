//! The ledger: the durable record of instances and leases, and of why each began and ended.
//!
//! Two writes come before a process exists and are waited for: the instance's row, and the guardian that is about to
//! start it. Everything later is written behind the caller's back by one writer (`ledger/writer.rs`) fed by one ordered
//! queue (`ledger/queue.rs`), because ending a tree must never wait for a disk.

mod queue;
mod read;
mod writer;

use wrasse_types::{
    GoneReason, Holder, InstanceId, LeaseId, ServerName, SessionKey, StopRung, UnixMillis,
};

pub(crate) use queue::Queue;
pub(crate) use writer::Writer;

use crate::{Role, Store, StoreError};
use queue::{Behind, Entry};

/// What an instance starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInstance {
    /// What it is: `server`.
    pub kind: String,
    /// The server's name.
    pub server: ServerName,
    /// Its scope: `session`.
    pub scope: String,
    /// The session it is private to.
    pub session_key: Option<SessionKey>,
    /// The keyed hash of its definition.
    pub fingerprint: String,
    /// What is executed, secrets taken out.
    pub command: String,
    /// Who asked for it, in words.
    pub origin: String,
}

/// The guardian of an instance, told apart from any later process of the same number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardianIdentity {
    /// Its process.
    pub pid: u32,
    /// When it started, in ticks after boot.
    pub start_ticks: u64,
    /// The boot it belongs to.
    pub boot_id: String,
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceEnd {
    /// Why.
    pub reason: GoneReason,
    /// More about it, in words; may be empty.
    pub detail: String,
    /// The rung of the ladder that emptied its tree.
    pub rung: Option<StopRung>,
    /// How long stopping took.
    pub took_ms: u64,
    /// Processes reaped in all.
    pub processes: u32,
    /// Processes left.
    pub survivors: u32,
    /// Whether the tree was proven empty.
    pub proven_empty: bool,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRow {
    /// Its id.
    pub id: InstanceId,
    /// What it is: `server`.
    pub kind: String,
    /// The server's name.
    pub server: ServerName,
    /// Its scope: `session`.
    pub scope: String,
    /// The session it is private to.
    pub session_key: Option<SessionKey>,
    /// The keyed hash of its definition.
    pub fingerprint: String,
    /// What was executed, secrets taken out.
    pub command: String,
    /// Who asked for it, in words.
    pub origin: String,
    /// When its row was made.
    pub began_at: UnixMillis,
    /// Its guardian, once there was one.
    pub guardian: Option<GuardianIdentity>,
    /// When its leader was known to run.
    pub running_at: Option<UnixMillis>,
    /// Its leader.
    pub pid: Option<u32>,
    /// When the leader started, in ticks after boot.
    pub start_ticks: Option<u64>,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// How it ended; absent while it is open, and when a newer version wrote a reason this one does not know.
    pub end: Option<InstanceEnd>,
    /// What happened to it; filled by [`Ledger::instance`] and [`Ledger::instance_by_pid`] only.
    pub events: Vec<InstanceEvent>,
    /// Its leases; filled by [`Ledger::instance`] and [`Ledger::instance_by_pid`] only.
    pub leases: Vec<LeaseRow>,
}

/// Something that happened to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceEvent {
    /// When.
    pub at: UnixMillis,
    /// What, in words.
    pub text: String,
}

/// One lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// Its id.
    pub id: LeaseId,
    /// What it is on.
    pub instance: InstanceId,
    /// Who holds it.
    pub holder: Holder,
    /// What for.
    pub reason: String,
    /// Since when.
    pub began_at: UnixMillis,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// Why it ended.
    pub end_reason: Option<String>,
}

/// What a gateway that died left open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LostRecords {
    /// Instances.
    pub instances: u64,
    /// Leases.
    pub leases: u64,
}

/// Whether the queue was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushOutcome {
    /// All that was queued before is committed.
    Written,
    /// The database refused or did not answer in time; it is tried again later.
    Behind,
}

/// The record of instances and leases. A cheap handle.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Store,
}

impl Ledger {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Makes the row of an instance, committed when this returns, and gives its number.
    ///
    /// Cancel safety: when the future is dropped and the row was made all the same, the row is ended at once.
    pub async fn begin_instance(&self, new: NewInstance) -> Result<InstanceId, StoreError> {
        let (done, answer) = tokio::sync::oneshot::channel();
        self.ask(Entry::Begin { new, at: Store::now(), done })?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Notes the guardian that is about to start an instance, committed when this returns: call it before "go".
    ///
    /// # Errors
    /// An instance that is not known, or any failure to write: then the start must not go on.
    pub async fn spawning(
        &self,
        id: InstanceId,
        guardian: GuardianIdentity,
    ) -> Result<(), StoreError> {
        let (done, answer) = tokio::sync::oneshot::channel();
        self.ask(Entry::Spawning { id, guardian, done })?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Notes that the leader runs. Never blocks or fails.
    pub fn running(&self, id: InstanceId, pid: u32, start_ticks: u64) {
        self.tell(Behind::Running { id, pid, start_ticks, at: Store::now() });
    }

    /// Notes that an instance is gone. Never blocks or fails.
    pub fn ended(&self, id: InstanceId, end: InstanceEnd) {
        self.tell(Behind::Ended { id, end, at: Store::now() });
    }

    /// Notes a lease and gives it its number. Never blocks or fails.
    pub fn lease_began(&self, instance: InstanceId, holder: &Holder, reason: &str) -> LeaseId {
        let id = self.store.inner.ledger.next_lease();
        let (holder, reason) = (holder.clone(), reason.to_owned());
        self.tell(Behind::LeaseBegan { id, instance, holder, reason, at: Store::now() });
        id
    }

    /// Notes that a lease is over. Never blocks or fails.
    pub fn lease_ended(&self, id: LeaseId, reason: &str) {
        self.tell(Behind::LeaseEnded { id, reason: reason.to_owned(), at: Store::now() });
    }

    /// Notes something that happened to an instance. Never blocks or fails.
    pub fn event(&self, instance: InstanceId, text: &str) {
        self.tell(Behind::Event { id: instance, text: text.to_owned(), at: Store::now() });
    }

    /// Waits, for a few seconds at most, until all that was noted before is committed.
    pub async fn flush(&self) -> FlushOutcome {
        if self.store.inner.role == Role::Reader {
            return FlushOutcome::Written;
        }
        let (done, answer) = tokio::sync::oneshot::channel();
        if self.ask(Entry::Flush { done }).is_err() {
            return FlushOutcome::Behind;
        }
        match tokio::time::timeout(queue::FLUSH_DEADLINE, answer).await {
            Ok(Ok(())) => FlushOutcome::Written,
            Ok(Err(_)) | Err(_) => FlushOutcome::Behind,
        }
    }

    /// How many write-behind rows were lost to a full queue or a database that refused them, since the store was opened.
    pub fn lost_rows(&self) -> u64 {
        self.store.inner.ledger.lost()
    }

    fn ask(&self, entry: Entry) -> Result<(), StoreError> {
        match self.store.inner.role {
            Role::Reader => Err(StoreError::ReadOnly),
            Role::Gateway => self.store.inner.ledger.push_awaited(entry),
        }
    }

    fn tell(&self, entry: Behind) {
        match self.store.inner.role {
            Role::Reader => {}
            Role::Gateway => self.store.inner.ledger.push_behind(entry),
        }
    }
}
