//! The bounded, ordered queue between those who use the ledger and its one writer.
//!
//! When it is full the oldest event goes first, then the oldest write-behind row: the caller is never held up. What is
//! lost is counted, and said once in a while. Writes that somebody waits for are never dropped but refused.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use wrasse_types::{Holder, InstanceId, LeaseId, UnixMillis};

use super::{GuardianIdentity, InstanceEnd, NewInstance};
use crate::StoreError;

/// How many entries wait at most.
const CAPACITY: usize = 4096;
/// How many more, if somebody waits for them.
const AWAITED_RESERVE: usize = 256;
/// How many entries are written in one transaction.
const BATCH: usize = 256;
/// How long a flush is waited for.
pub(super) const FLUSH_DEADLINE: Duration = Duration::from_secs(5);

/// A write.
#[derive(Debug)]
pub(super) enum Entry {
    Begin {
        new: NewInstance,
        at: UnixMillis,
        done: oneshot::Sender<Result<InstanceId, StoreError>>,
    },
    Spawning {
        id: InstanceId,
        guardian: GuardianIdentity,
        done: oneshot::Sender<Result<(), StoreError>>,
    },
    /// Nothing to write: answered when everything before it is committed.
    Flush {
        done: oneshot::Sender<()>,
    },
    Behind(Behind),
}

/// A write nobody waits for.
#[derive(Debug)]
pub(super) enum Behind {
    Running { id: InstanceId, pid: u32, start_ticks: u64, at: UnixMillis },
    Ended { id: InstanceId, end: InstanceEnd, at: UnixMillis },
    LeaseBegan { id: LeaseId, instance: InstanceId, holder: Holder, reason: String, at: UnixMillis },
    LeaseEnded { id: LeaseId, reason: String, at: UnixMillis },
    Event { id: InstanceId, text: String, at: UnixMillis },
}

/// The queue, and the two numbers that are kept in memory.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    /// Something was pushed, or the queue was closed.
    changed: Notify,
    next_lease: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(next_lease: u64) -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            changed: Notify::new(),
            next_lease: AtomicU64::new(next_lease),
            lost: AtomicU64::new(0),
        })
    }

    pub(super) fn next_lease(&self) -> LeaseId {
        LeaseId::new(self.next_lease.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Queues a write that somebody waits for.
    pub(super) fn push_awaited(&self, entry: Entry) -> Result<(), StoreError> {
        let mut waiting = self.waiting();
        if waiting.closed {
            return Err(StoreError::Closed);
        }
        if waiting.entries.len() >= CAPACITY + AWAITED_RESERVE {
            return Err(StoreError::Congested);
        }
        waiting.entries.push_back(entry);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Queues a write that nobody waits for, dropping an older one if need be.
    pub(super) fn push_behind(&self, entry: Behind) {
        let mut waiting = self.waiting();
        if waiting.closed {
            drop(waiting);
            self.count_lost(1, "the store is closed");
            return;
        }
        let full = waiting.entries.len() >= CAPACITY;
        let dropped = if full { drop_oldest(&mut waiting.entries) } else { None };
        waiting.entries.push_back(Entry::Behind(entry));
        drop(waiting);
        self.changed.notify_one();
        if dropped.is_some() {
            self.count_lost(1, "its queue is full");
        }
    }

    /// Takes the next entries, waiting for one; `None` when the queue is closed and empty.
    ///
    /// Cancel safety: nothing is taken when the future is dropped.
    pub(super) async fn take(&self) -> Option<Vec<Entry>> {
        loop {
            let changed = self.changed.notified();
            {
                let mut waiting = self.waiting();
                if !waiting.entries.is_empty() {
                    let count = waiting.entries.len().min(BATCH);
                    return Some(waiting.entries.drain(..count).collect());
                }
                if waiting.closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// Puts back, in front and in order, what could not be written now.
    pub(super) fn put_back(&self, entries: Vec<Behind>) {
        let mut waiting = self.waiting();
        for entry in entries.into_iter().rev() {
            waiting.entries.push_front(Entry::Behind(entry));
        }
        let mut dropped = 0;
        while waiting.entries.len() > CAPACITY && drop_oldest(&mut waiting.entries).is_some() {
            dropped += 1;
        }
        drop(waiting);
        if dropped > 0 {
            self.count_lost(dropped, "its queue is full");
        }
    }

    /// Waits until something is pushed or the queue is closed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Refuses whatever comes from now on; what is queued is still written.
    pub(crate) fn close(&self) {
        self.waiting().closed = true;
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting().closed
    }

    /// Refuses everything, the queued too: whoever waits for one of these learns that the store is closed.
    pub(super) fn abandon(&self) {
        let entries = {
            let mut waiting = self.waiting();
            waiting.closed = true;
            std::mem::take(&mut waiting.entries)
        };
        let lost = entries.iter().filter(|entry| matches!(entry, Entry::Behind(_))).count();
        if lost > 0 {
            self.count_lost(lost, "its writer has ended");
        }
    }

    pub(super) fn count_lost(&self, lost: usize, why: &str) {
        let lost = u64::try_from(lost).unwrap_or(u64::MAX);
        let before = self.lost.fetch_add(lost, Ordering::Relaxed);
        let total = before + lost;
        // Once for the first, then once per thousand: a storm of losses must not become a storm of lines.
        if before == 0 || before / 1000 != total / 1000 {
            tracing::warn!(
                total,
                why,
                "rows of the ledger are lost; what runs and ends is not affected"
            );
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes out the oldest event, or else the oldest write-behind entry.
fn drop_oldest(entries: &mut VecDeque<Entry>) -> Option<Entry> {
    let event = entries.iter().position(|e| matches!(e, Entry::Behind(Behind::Event { .. })));
    let oldest = || entries.iter().position(|entry| matches!(entry, Entry::Behind(_)));
    let at = event.or_else(oldest)?;
    entries.remove(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: u64) -> Behind {
        Behind::Event { id: InstanceId::new(n), text: String::new(), at: UnixMillis::new(0) }
    }

    fn lease_ended(n: u64) -> Behind {
        Behind::LeaseEnded { id: LeaseId::new(n), reason: String::new(), at: UnixMillis::new(0) }
    }

    #[tokio::test]
    async fn a_full_queue_drops_the_oldest_event_first_and_never_an_awaited_write() {
        let queue = Queue::new(1);
        let (done, answer) = oneshot::channel();
        queue.push_awaited(Entry::Flush { done }).unwrap();
        queue.push_behind(lease_ended(0));
        queue.push_behind(event(0));
        for n in 0..u64::try_from(CAPACITY).unwrap() {
            queue.push_behind(lease_ended(n + 1));
        }
        assert_eq!(queue.lost(), 3, "the event, then the two oldest ends");
        let first = queue.take().await.unwrap();
        assert!(matches!(first[0], Entry::Flush { .. }), "still at its place");
        let Entry::Behind(Behind::LeaseEnded { id, .. }) = &first[1] else { panic!("{first:?}") };
        assert_eq!(id.number(), 2);
        drop(first);
        assert!(answer.await.is_err());
    }

    #[tokio::test]
    async fn awaited_writes_are_refused_at_the_reserve() {
        let queue = Queue::new(1);
        let mut answers = Vec::new();
        for _ in 0..CAPACITY + AWAITED_RESERVE {
            let (done, answer) = oneshot::channel();
            queue.push_awaited(Entry::Flush { done }).unwrap();
            answers.push(answer);
        }
        let (done, _answer) = oneshot::channel();
        let refused = queue.push_awaited(Entry::Flush { done });
        assert!(matches!(refused, Err(StoreError::Congested)));
        queue.push_behind(event(1));
        assert_eq!(queue.lost(), 0, "nothing to drop, and still the caller is not held up");
    }

    #[tokio::test]
    async fn what_is_put_back_comes_first_and_in_order() {
        let queue = Queue::new(1);
        queue.push_behind(event(3));
        queue.put_back(vec![event(1), event(2)]);
        let taken = queue.take().await.unwrap();
        let numbers: Vec<u64> = taken
            .iter()
            .map(|entry| match entry {
                Entry::Behind(Behind::Event { id, .. }) => id.number(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(numbers, [1, 2, 3]);
    }
}
