//! Every run that is not over, and who belongs to whom.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wrasse_types::{RunId, SessionKey};

use super::live::{LiveRun, Requester};

/// How many ended runs that the store would not take are remembered; the oldest is forgotten.
const UNRECORDED_MAX: usize = 64;

/// Every run that is not over.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    runs: Mutex<HashMap<RunId, Arc<LiveRun>>>,
    /// Runs that are over and whose end could not be written: whoever asks still gets their outcome.
    unrecorded: Mutex<VecDeque<Arc<LiveRun>>>,
}

/// The entry of one run; dropping it removes the run and tells whoever waits that it is over.
#[derive(Debug)]
pub(crate) struct Entry {
    registry: Arc<Registry>,
    run: Arc<LiveRun>,
}

impl Registry {
    /// Enters a run.
    pub(crate) fn enter(self: &Arc<Self>, run: &Arc<LiveRun>) -> Entry {
        self.lock().insert(run.id.clone(), Arc::clone(run));
        Entry { registry: Arc::clone(self), run: Arc::clone(run) }
    }

    /// Finds a run.
    pub(crate) fn get(&self, id: &RunId) -> Option<Arc<LiveRun>> {
        self.lock().get(id).cloned()
    }

    /// Remembers a run whose end could not be written.
    pub(crate) fn remember_unrecorded(&self, run: &Arc<LiveRun>) {
        let mut unrecorded = self.unrecorded();
        if unrecorded.len() >= UNRECORDED_MAX {
            unrecorded.pop_front();
        }
        unrecorded.push_back(Arc::clone(run));
    }

    /// Takes every run whose end could not be written, to try again.
    pub(crate) fn take_unrecorded(&self) -> Vec<Arc<LiveRun>> {
        self.unrecorded().drain(..).collect()
    }

    /// Finds a run that is not over, or whose end could not be written.
    pub(crate) fn get_or_unrecorded(&self, id: &RunId) -> Option<Arc<LiveRun>> {
        self.get(id).or_else(|| self.unrecorded().iter().find(|run| run.id == *id).cloned())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<LiveRun>> {
        self.lock().values().cloned().collect()
    }

    /// Those on a session.
    pub(crate) fn on_session(&self, key: &SessionKey) -> Vec<Arc<LiveRun>> {
        self.filtered(|run| run.key == *key)
    }

    /// Those that a run spawned.
    pub(crate) fn children_of(&self, parent: &RunId) -> Vec<Arc<LiveRun>> {
        self.filtered(|run| run.requester.as_ref().is_some_and(|r| r.run == *parent))
    }

    /// Those that runs of a session spawned, whether or not those runs are over.
    pub(crate) fn spawned_by(&self, key: &SessionKey) -> Vec<Arc<LiveRun>> {
        let from = |requester: &Requester| requester.session == *key;
        self.filtered(|run| run.requester.as_ref().is_some_and(from))
    }

    fn filtered(&self, keep: impl Fn(&LiveRun) -> bool) -> Vec<Arc<LiveRun>> {
        self.lock().values().filter(|run| keep(run)).cloned().collect()
    }

    fn unrecorded(&self) -> MutexGuard<'_, VecDeque<Arc<LiveRun>>> {
        self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Arc<LiveRun>>> {
        // Nothing panics while holding it.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.run.id);
        self.run.set_over();
    }
}
