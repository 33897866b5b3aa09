//! The jobs as the scheduler sees them: definition, checked schedule, and the state of the present firing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use wrasse_config::{JobPayload, JobTarget, Schedule};
use wrasse_store::JobRow;
use wrasse_types::{JobId, RunId, UnixMillis};

use super::schedule::Plan;

/// A job with what its definition means.
#[derive(Debug, Clone)]
pub(crate) struct Armed {
    /// The record, its state included.
    pub(crate) row: JobRow,
    /// What its definition means; a fault keeps it from firing and is shown.
    pub(crate) meaning: Result<Meaning, String>,
}

/// What the definition of a job means.
#[derive(Debug, Clone)]
pub(crate) struct Meaning {
    pub(crate) plan: Plan,
    pub(crate) target: JobTarget,
    pub(crate) payload: JobPayload,
}

impl Armed {
    /// Reads a record.
    pub(crate) fn new(row: JobRow) -> Self {
        let meaning = meaning(&row);
        Self { row, meaning }
    }

    /// The next due time after an instant, if the job has one.
    pub(crate) fn next_after(&self, now: UnixMillis) -> Option<UnixMillis> {
        self.meaning.as_ref().ok().and_then(|meaning| meaning.plan.next_after(now))
    }

    /// Whether it fires at most once.
    pub(crate) fn is_once(&self) -> bool {
        self.meaning.as_ref().is_ok_and(|meaning| meaning.plan.is_once())
    }

    /// The due time that a gateway which starts now should wait for: a missed firing of a job that fires once is caught
    /// up with, missed firings of a recurring one are not.
    pub(crate) fn due_at_start(&self, now: UnixMillis) -> Option<UnixMillis> {
        match self.meaning.as_ref().ok()?.plan {
            Plan::At(at) if self.row.last_run_at.is_none() => Some(at),
            // A retry after an error that had not come yet.
            Plan::At(_) => self.row.next_due_at,
            Plan::Every { .. } | Plan::Cron { .. } => match self.row.next_due_at {
                // Kept, so that a restart does not undo a back-off or move a firing.
                Some(due) if due > now => Some(due),
                Some(_) | None => self.next_after(now),
            },
        }
    }
}

fn meaning(row: &JobRow) -> Result<Meaning, String> {
    let schedule: Schedule = serde_json::from_value(row.schedule.clone())
        .map_err(|error| format!("its schedule cannot be read: {error}"))?;
    let target: JobTarget =
        serde_json::from_value(serde_json::Value::String(row.target.clone()))
            .map_err(|_| format!("its session target {:?} is not known", row.target))?;
    let payload: JobPayload = serde_json::from_value(row.payload.clone())
        .map_err(|error| format!("its payload cannot be read: {error}"))?;
    let plan = Plan::new(&schedule, row.id.as_str(), row.created_at).map_err(|e| e.to_string())?;
    Ok(Meaning { plan, target, payload })
}

/// What makes a job fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// Its due time.
    Schedule,
    /// A person: the schedule stays as it is, except that a job that fires once has fired.
    Hand,
}

/// Every job, and the bell of the scheduler.
#[derive(Debug, Default)]
pub(crate) struct Cron {
    jobs: Mutex<BTreeMap<JobId, Armed>>,
    bell: Notify,
    serving: AtomicBool,
}

impl Cron {
    /// Puts a job in, or in the place of the one with its id.
    pub(crate) fn put(&self, job: Armed) {
        self.lock().insert(job.row.id.clone(), job);
        self.wake();
    }

    /// Takes a job out.
    pub(crate) fn remove(&self, id: &JobId) -> Option<Armed> {
        self.lock().remove(id)
    }

    /// A copy of a job.
    pub(crate) fn get(&self, id: &JobId) -> Option<Armed> {
        self.lock().get(id).cloned()
    }

    /// A copy of every job, by id.
    pub(crate) fn all(&self) -> Vec<Armed> {
        self.lock().values().cloned().collect()
    }

    /// Changes a job in place and gives what the change gives; `None` when it is gone.
    pub(crate) fn change<T>(&self, id: &JobId, change: impl FnOnce(&mut Armed) -> T) -> Option<T> {
        let changed = self.lock().get_mut(id).map(change);
        self.wake();
        changed
    }

    /// The jobs that are due, and when the next of the others is.
    pub(crate) fn due(&self, now: UnixMillis) -> (Vec<(JobId, UnixMillis)>, Option<UnixMillis>) {
        let jobs = self.lock();
        let waiting = jobs.values().filter(|job| job.row.enabled && job.meaning.is_ok());
        let dues = waiting.filter_map(|job| Some((job.row.id.clone(), job.row.next_due_at?)));
        let (due, later): (Vec<_>, Vec<_>) = dues.partition(|(_, at)| *at <= now);
        (due, later.into_iter().map(|(_, at)| at).min())
    }

    /// When the next job is due, whether or not that has come.
    pub(crate) fn next_due(&self) -> Option<UnixMillis> {
        let (due, later) = self.due(UnixMillis::now());
        due.into_iter().map(|(_, at)| at).min().or(later)
    }

    /// Claims a job for a run and moves its due time on; `Err` names the run that is in its way.
    pub(crate) fn claim(
        &self,
        id: &JobId,
        run: &RunId,
        now: UnixMillis,
        trigger: Trigger,
    ) -> Option<Result<Armed, RunId>> {
        let mut jobs = self.lock();
        let job = jobs.get_mut(id)?;
        match trigger {
            Trigger::Schedule => job.row.next_due_at = job.next_after(now),
            Trigger::Hand if job.is_once() && job.row.running_run.is_none() => {
                job.row.next_due_at = None;
            }
            Trigger::Hand => {}
        }
        if let Some(running) = &job.row.running_run {
            return Some(Err(running.clone()));
        }
        job.row.running_run = Some(run.clone());
        job.row.last_run_at = Some(now);
        Some(Ok(job.clone()))
    }

    /// Notes that jobs fire from now on, and says whether that is new.
    pub(crate) fn begin_serving(&self) -> bool {
        !self.serving.swap(true, Ordering::Relaxed)
    }

    /// Makes the scheduler look again.
    pub(crate) fn wake(&self) {
        self.bell.notify_one();
    }

    /// Waits for the bell. Cancel-safe.
    pub(crate) async fn woken(&self) {
        self.bell.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<JobId, Armed>> {
        // Nothing panics while holding it.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wrasse_types::AgentId;

    use super::*;

    fn job(schedule: serde_json::Value, next_due_at: Option<i64>, ran: bool) -> Armed {
        Armed::new(JobRow {
            id: JobId::new("j"),
            name: "j".to_owned(),
            enabled: true,
            agent: AgentId::new("main"),
            schedule,
            target: "isolated".to_owned(),
            payload: json!({ "kind": "agentTurn", "message": "go" }),
            delivery: "none".to_owned(),
            timeout_ms: None,
            delete_after_run: false,
            origin: "cli".to_owned(),
            created_at: UnixMillis::new(0),
            updated_at: UnixMillis::new(0),
            next_due_at: next_due_at.map(UnixMillis::new),
            running_run: None,
            last_run_at: ran.then_some(UnixMillis::new(1)),
            last_status: None,
            last_error: None,
            consecutive_errors: 0,
        })
    }

    #[test]
    fn there_is_no_storm_after_a_pause() {
        let now = UnixMillis::new(10_500);
        let every = |due| job(json!({ "kind": "every", "everyMs": 1000 }), due, true);
        assert_eq!(every(Some(2000)).due_at_start(now), Some(UnixMillis::new(11_000)));
        assert_eq!(
            every(Some(40_000)).due_at_start(now),
            Some(UnixMillis::new(40_000)),
            "back-off is kept"
        );
        let at = |ran, due| job(json!({ "kind": "at", "at": "1970-01-01T00:00:05Z" }), due, ran);
        assert_eq!(
            at(false, Some(5000)).due_at_start(now),
            Some(UnixMillis::new(5000)),
            "caught up with once"
        );
        assert_eq!(at(true, None).due_at_start(now), None);
    }

    #[test]
    fn a_job_never_overlaps_itself() {
        let cron = Cron::default();
        cron.put(job(json!({ "kind": "every", "everyMs": 1000 }), Some(1000), false));
        let now = UnixMillis::new(5500);
        let (due, later) = cron.due(now);
        assert_eq!((due.len(), later), (1, None));
        let id = JobId::new("j");
        let claim = |run, now, trigger| cron.claim(&id, &RunId::new(run), now, trigger).unwrap();
        assert!(claim("r-1", now, Trigger::Schedule).is_ok());
        assert_eq!(cron.due(now), (vec![], Some(UnixMillis::new(6000))), "five due times are one");
        assert_eq!(cron.next_due(), Some(UnixMillis::new(6000)), "also once it has passed");
        let second = claim("r-2", UnixMillis::new(6000), Trigger::Schedule);
        assert_eq!(second.unwrap_err(), RunId::new("r-1"));
        assert_eq!(cron.due(now).1, Some(UnixMillis::new(7000)));
        assert!(claim("r-3", UnixMillis::new(9000), Trigger::Hand).is_err());
        assert_eq!(cron.due(now).1, Some(UnixMillis::new(7000)), "the schedule stays");
    }

    #[test]
    fn a_job_that_fires_once_has_fired_by_hand_too() {
        let cron = Cron::default();
        cron.put(job(json!({ "kind": "at", "at": "1970-01-01T00:00:05Z" }), Some(5000), false));
        let (id, now) = (JobId::new("j"), UnixMillis::new(1000));
        assert!(cron.claim(&id, &RunId::new("r-1"), now, Trigger::Hand).unwrap().is_ok());
        assert_eq!(cron.next_due(), None);
    }

    #[test]
    fn a_definition_that_cannot_be_read_is_shown_and_does_not_fire() {
        let broken = job(json!({ "kind": "cron", "expr": "nonsense" }), Some(1), false);
        assert!(broken.meaning.as_ref().unwrap_err().contains("nonsense"));
        let cron = Cron::default();
        cron.put(broken);
        assert_eq!(cron.due(UnixMillis::new(5)).0, vec![]);
    }
}
