//! Who may run now: lanes bound how many runs are at work at once, session queues let one run at a time onto a
//! session.
//!
//! Both are held as values and freed by being dropped, so a run that ends in any way frees them. A run that waits
//! for its children gives its lane slot back first, since the children may need it. Session queues are first come
//! first served by the order in which runs were accepted, not by the order in which their tasks happen to start.
//! When a queue is full the newcomer is refused.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use wrasse_types::SessionKey;

/// The most runs that may wait for one session.
pub(crate) const QUEUE_MAX: usize = 64;

/// The lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Messages of people and what follows from them.
    Main,
    /// Spawned runs.
    Subagent,
    /// Isolated runs of jobs.
    Cron,
}

impl Lane {
    /// The name people read.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Subagent => "sub-agent",
            Self::Cron => "cron",
        }
    }
}

/// The slots of every lane.
#[derive(Debug)]
pub(crate) struct Lanes {
    main: Arc<Semaphore>,
    subagent: Arc<Semaphore>,
    cron: Arc<Semaphore>,
}

/// A slot in a lane; dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct LaneSlot {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Lanes {
    /// Makes the lanes; a width of 0 means 1.
    pub(crate) fn new(main: usize, subagent: usize, cron: usize) -> Self {
        let lane = |width: usize| Arc::new(Semaphore::new(width.clamp(1, Semaphore::MAX_PERMITS)));
        Self { main: lane(main), subagent: lane(subagent), cron: lane(cron) }
    }

    /// Waits for a slot, first come first served. Cancel-safe: dropping it gives the place in line up.
    pub(crate) async fn enter(&self, lane: Lane) -> LaneSlot {
        let semaphore = match lane {
            Lane::Main => &self.main,
            Lane::Subagent => &self.subagent,
            Lane::Cron => &self.cron,
        };
        // The semaphores are never closed, so the error arm is never taken.
        LaneSlot { _permit: Arc::clone(semaphore).acquire_owned().await.ok() }
    }
}

/// Every session's queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct SessionQueues {
    queues: Arc<Mutex<HashMap<SessionKey, VecDeque<Place>>>>,
}

#[derive(Debug)]
struct Place {
    number: u64,
    woken: Arc<Notify>,
}

/// The queue of a session is full.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} runs wait for this session already")]
pub(crate) struct QueueFull(pub(crate) usize);

/// A place in a session's queue, and the session itself once it is the first. Dropping it lets the next one on.
#[derive(Debug)]
pub(crate) struct Ticket {
    queues: SessionQueues,
    key: SessionKey,
    number: u64,
    woken: Arc<Notify>,
}

impl SessionQueues {
    /// Takes the next place at once, for a run.
    pub(crate) fn enter(&self, key: &SessionKey) -> Result<Ticket, QueueFull> {
        let waiting = self.lock().get(key).map_or(0, |queue| queue.len().saturating_sub(1));
        if waiting >= QUEUE_MAX {
            return Err(QueueFull(waiting));
        }
        Ok(self.enter_uncapped(key))
    }

    /// Takes the next place at once, for an operator's change to the session, which is never refused.
    pub(crate) fn enter_uncapped(&self, key: &SessionKey) -> Ticket {
        let mut queues = self.lock();
        let queue = queues.entry(key.clone()).or_default();
        let number = queue.back().map_or(0, |last| last.number + 1);
        let woken = Arc::new(Notify::new());
        queue.push_back(Place { number, woken: Arc::clone(&woken) });
        drop(queues);
        Ticket { queues: self.clone(), key: key.clone(), number, woken }
    }

    /// How many sessions have a queue.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, VecDeque<Place>>> {
        // Nothing panics while holding it.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Waits until this is the first. Cancel-safe.
    pub(crate) async fn turn(&self) {
        while !self.is_first() {
            self.woken.notified().await;
        }
    }

    /// Whether this is the first.
    pub(crate) fn is_first(&self) -> bool {
        self.queues
            .lock()
            .get(&self.key)
            .and_then(VecDeque::front)
            .is_some_and(|first| first.number == self.number)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut queues = self.queues.lock();
        let Some(queue) = queues.get_mut(&self.key) else { return };
        queue.retain(|place| place.number != self.number);
        match queue.front() {
            // One permit is stored if the next one does not wait yet.
            Some(next) => next.woken.notify_one(),
            None => drop(queues.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn key() -> SessionKey {
        SessionKey::from_store("agent:main:main")
    }

    #[tokio::test]
    async fn a_lane_is_as_wide_as_it_says_and_a_dropped_slot_is_free() {
        let lanes = Lanes::new(2, 1, 0);
        let first = lanes.enter(Lane::Main).await;
        let _second = lanes.enter(Lane::Main).await;
        assert!(lanes.enter(Lane::Main).now_or_never().is_none());
        let _other_lane = lanes.enter(Lane::Subagent).await;
        let _at_least_one = lanes.enter(Lane::Cron).await;
        drop(first);
        assert!(lanes.enter(Lane::Main).now_or_never().is_some());
    }

    #[tokio::test]
    async fn the_session_goes_on_to_the_next_in_line() {
        let queues = SessionQueues::default();
        let tickets: Vec<Ticket> = (0..3).map(|_| queues.enter(&key()).unwrap()).collect();
        let [first, second, third] = <[Ticket; 3]>::try_from(tickets).unwrap();
        first.turn().await;
        assert!(third.turn().now_or_never().is_none());
        // A run that gives up in the queue is not waited for.
        drop(second);
        drop(first);
        third.turn().await;
        drop(third);
        assert_eq!(queues.len(), 0, "an unused queue leaves nothing behind");
    }

    #[test]
    fn a_full_queue_refuses() {
        let queues = SessionQueues::default();
        let held: Vec<_> = (0..=QUEUE_MAX).map(|_| queues.enter(&key()).unwrap()).collect();
        assert_eq!(queues.enter(&key()).unwrap_err(), QueueFull(QUEUE_MAX));
        drop(held);
        assert!(queues.enter(&key()).is_ok());
    }

    proptest! {
        /// Whatever the order of arrivals and departures, exactly one is first, and it is the oldest.
        #[test]
        fn exactly_the_oldest_is_first(steps in proptest::collection::vec(any::<(bool, usize)>(), 0..80)) {
            let queues = SessionQueues::default();
            let mut held: Vec<Ticket> = Vec::new();
            for (arrive, which) in steps {
                if arrive && held.len() < QUEUE_MAX {
                    held.push(queues.enter(&key()).unwrap());
                } else if !held.is_empty() {
                    drop(held.remove(which % held.len()));
                }
                for (index, ticket) in held.iter().enumerate() {
                    prop_assert_eq!(ticket.is_first(), index == 0);
                }
            }
        }
    }
}
