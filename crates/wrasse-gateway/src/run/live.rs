//! A run that is not over: what others may ask of it and tell it.
//!
//! INVARIANT: the first end that is asked for stands; later ones change nothing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use wrasse_types::{AgentId, EndReason, JobId, RunId, SessionId, SessionKey, UnixMillis};

use super::state::{ChildPolicy, Phase, Tally};
use crate::lanes::Lane;

/// What started a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A message from outside.
    Message,
    /// A firing of a job.
    Job {
        /// The job.
        id: JobId,
        /// Its name.
        name: String,
        /// The due time it answers.
        due: UnixMillis,
        /// The delivery it asks for.
        delivery: String,
    },
    /// `sessions_spawn` of a run.
    Spawn,
    /// The result of a child, after the run that spawned it had ended.
    ChildResult,
}

impl Cause {
    /// The words people read.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Message => "message".to_owned(),
            Self::Job { name, .. } => format!("cron \"{name}\""),
            Self::Spawn => "spawn".to_owned(),
            Self::ChildResult => "child result".to_owned(),
        }
    }

    /// The job, if one it was.
    pub(crate) fn job(&self) -> Option<&JobId> {
        match self {
            Self::Job { id, .. } => Some(id),
            Self::Message | Self::Spawn | Self::ChildResult => None,
        }
    }
}

/// Who is told the result of a spawned run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requester {
    /// The run that spawned it.
    pub(crate) run: RunId,
    /// The run at the top of the tree.
    pub(crate) root: RunId,
    /// The session of the run that spawned it.
    pub(crate) session: SessionKey,
    /// The task, for the announcement.
    pub(crate) task: String,
    /// Whether the result is told at all.
    pub(crate) expects: Expects,
}

/// Whether a parent wants to hear of a child's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expects {
    /// Yes.
    Announcement,
    /// No.
    Nothing,
}

/// What becomes of a spawned run's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cleanup {
    /// The record stays.
    Keep,
    /// The record is deleted after the announcement.
    Delete,
}

/// The limits of a run; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// From being admitted.
    pub(crate) run: Option<Duration>,
    /// From being accepted, for a job's run.
    pub(crate) job: Option<Duration>,
}

/// What is known when a run has its outcome.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// Why it ended.
    pub(crate) reason: EndReason,
    /// Its final text.
    pub(crate) text: Option<String>,
    /// What went wrong.
    pub(crate) error: Option<String>,
    /// When.
    pub(crate) at: UnixMillis,
    /// From being admitted.
    pub(crate) took: Duration,
    /// What it used.
    pub(crate) tally: Tally,
    /// Runs it spawned.
    pub(crate) children: u32,
    /// What became of its result.
    pub(crate) delivery: Option<String>,
}

/// A run that is not over.
#[derive(Debug)]
pub(crate) struct LiveRun {
    pub(crate) id: RunId,
    pub(crate) key: SessionKey,
    pub(crate) session_id: SessionId,
    pub(crate) agent: AgentId,
    pub(crate) requester: Option<Requester>,
    pub(crate) root: RunId,
    pub(crate) cause: Cause,
    pub(crate) depth: u32,
    pub(crate) lane: Lane,
    pub(crate) child_policy: ChildPolicy,
    pub(crate) cleanup: Cleanup,
    pub(crate) label: Option<String>,
    pub(crate) limits: Limits,
    pub(crate) accepted_at: UnixMillis,
    /// Cancelled when an end is asked for.
    pub(crate) token: CancellationToken,
    ending: watch::Sender<Option<EndReason>>,
    outcome: watch::Sender<Option<Arc<Outcome>>>,
    over: watch::Sender<bool>,
    changeable: Mutex<Changeable>,
    changed: Notify,
    spawned: AtomicU32,
}

#[derive(Debug)]
struct Changeable {
    phase: Phase,
    admitted_at: Option<UnixMillis>,
    inbox: Vec<String>,
    /// Whether the inbox still takes messages.
    open: bool,
    /// Children that have not settled.
    children: BTreeSet<RunId>,
    tally: Tally,
}

/// The parts of a [`LiveRun`] that are given.
#[derive(Debug)]
pub(crate) struct LiveRunParts {
    pub(crate) id: RunId,
    pub(crate) key: SessionKey,
    pub(crate) session_id: SessionId,
    pub(crate) agent: AgentId,
    pub(crate) requester: Option<Requester>,
    pub(crate) cause: Cause,
    pub(crate) depth: u32,
    pub(crate) lane: Lane,
    pub(crate) child_policy: ChildPolicy,
    pub(crate) cleanup: Cleanup,
    pub(crate) label: Option<String>,
    pub(crate) limits: Limits,
    pub(crate) inbox: Vec<String>,
}

impl LiveRun {
    /// Makes a run that is queued; its token is a child of the scope's.
    pub(crate) fn new(parts: LiveRunParts, token: CancellationToken) -> Self {
        let root = parts.requester.as_ref().map_or_else(|| parts.id.clone(), |r| r.root.clone());
        Self {
            id: parts.id,
            key: parts.key,
            session_id: parts.session_id,
            agent: parts.agent,
            requester: parts.requester,
            root,
            cause: parts.cause,
            depth: parts.depth,
            lane: parts.lane,
            child_policy: parts.child_policy,
            cleanup: parts.cleanup,
            label: parts.label,
            limits: parts.limits,
            accepted_at: UnixMillis::now(),
            token,
            ending: watch::Sender::new(None),
            outcome: watch::Sender::new(None),
            over: watch::Sender::new(false),
            changeable: Mutex::new(Changeable {
                phase: Phase::Queued,
                admitted_at: None,
                inbox: parts.inbox,
                open: true,
                children: BTreeSet::new(),
                tally: Tally::default(),
            }),
            changed: Notify::new(),
            spawned: AtomicU32::new(0),
        }
    }

    /// Asks the run to end, and says whether this was the first to ask.
    pub(crate) fn request_end(&self, reason: EndReason) -> bool {
        let first = self.ending.send_if_modified(|asked| {
            let first = asked.is_none();
            if first {
                *asked = Some(reason);
            }
            first
        });
        self.token.cancel();
        first
    }

    /// The end that was asked for.
    pub(crate) fn requested_end(&self) -> Option<EndReason> {
        *self.ending.borrow()
    }

    /// Where the run is.
    pub(crate) fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Notes where the run is.
    pub(crate) fn set_phase(&self, phase: Phase) {
        let mut changeable = self.lock();
        changeable.phase = phase;
        if phase == Phase::Running && changeable.admitted_at.is_none() {
            changeable.admitted_at = Some(UnixMillis::now());
        }
        drop(changeable);
        self.changed.notify_waiters();
    }

    /// When the run left the queue.
    pub(crate) fn admitted_at(&self) -> Option<UnixMillis> {
        self.lock().admitted_at
    }

    /// Waits until the run has left the queue. Cancel-safe.
    pub(crate) async fn admitted(&self) {
        loop {
            let changed = self.changed.notified();
            if self.admitted_at().is_some() {
                return;
            }
            changed.await;
        }
    }

    /// Notes a child that has been accepted.
    pub(crate) fn add_child(&self, child: &RunId) {
        self.spawned.fetch_add(1, Ordering::Relaxed);
        self.lock().children.insert(child.clone());
    }

    /// Notes that a child has settled, and takes its message if the run still reads; gives it back if not.
    pub(crate) fn settle_child(&self, child: &RunId, message: Option<String>) -> Option<String> {
        let mut changeable = self.lock();
        changeable.children.remove(child);
        let refused = match message {
            Some(message) if changeable.open => {
                changeable.inbox.push(message);
                None
            }
            other => other,
        };
        drop(changeable);
        self.changed.notify_waiters();
        refused
    }

    /// Puts a message into the inbox of a run that is still queued; gives it back otherwise.
    pub(crate) fn push_while_queued(&self, message: String) -> Option<String> {
        let mut changeable = self.lock();
        if changeable.phase == Phase::Queued && changeable.open {
            changeable.inbox.push(message);
            None
        } else {
            Some(message)
        }
    }

    /// Takes every message that came in.
    pub(crate) fn take_inbox(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().inbox)
    }

    /// How many messages wait, and how many children have not settled.
    pub(crate) fn pending(&self) -> (usize, usize) {
        let changeable = self.lock();
        (changeable.inbox.len(), changeable.children.len())
    }

    /// Closes the inbox if it is empty, and says whether it is closed: from then on nothing is taken.
    pub(crate) fn close_inbox_if_empty(&self) -> bool {
        let mut changeable = self.lock();
        if changeable.inbox.is_empty() {
            changeable.open = false;
        }
        !changeable.open
    }

    /// Closes the inbox; what is still in it was never read.
    pub(crate) fn close_inbox(&self) -> Vec<String> {
        let mut changeable = self.lock();
        changeable.open = false;
        std::mem::take(&mut changeable.inbox)
    }

    /// Waits until every child has settled. Cancel-safe.
    pub(crate) async fn children_settled(&self) {
        loop {
            let changed = self.changed.notified();
            if self.lock().children.is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// What it has used so far.
    pub(crate) fn tally(&self) -> Tally {
        self.lock().tally
    }

    /// Counts something that it used.
    pub(crate) fn count(&self, used: impl FnOnce(&mut Tally)) {
        used(&mut self.lock().tally);
    }

    /// The number of runs it has spawned.
    pub(crate) fn spawned(&self) -> u32 {
        self.spawned.load(Ordering::Relaxed)
    }

    /// Makes the outcome known to whoever waits.
    pub(crate) fn publish(&self, outcome: Arc<Outcome>) {
        self.outcome.send_replace(Some(outcome));
    }

    /// The outcome, once it is known.
    pub(crate) fn outcome(&self) -> Option<Arc<Outcome>> {
        self.outcome.borrow().clone()
    }

    /// Waits for the outcome. Cancel-safe.
    pub(crate) async fn finished(&self) -> Option<Arc<Outcome>> {
        let mut outcome = self.outcome.subscribe();
        // The sender lives as long as `self`.
        outcome.wait_for(Option::is_some).await.ok().and_then(|known| known.clone())
    }

    /// Notes that nothing of the run is left.
    pub(crate) fn set_over(&self) {
        self.over.send_replace(true);
    }

    /// Waits until nothing of the run is left. Cancel-safe.
    pub(crate) async fn over(&self) {
        let mut over = self.over.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        drop(over.wait_for(|over| *over).await.map(drop));
    }

    fn lock(&self) -> MutexGuard<'_, Changeable> {
        // Nothing panics while holding it.
        self.changeable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
