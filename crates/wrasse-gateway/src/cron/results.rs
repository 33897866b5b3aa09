//! What a firing came to: history, back-off, retries, and the end of jobs that fire once.

use std::time::Duration;

use wrasse_store::FiringEnd;
use wrasse_types::{EndReason, JobId, UnixMillis};

use super::armed::Armed;
use super::schedule::backoff;
use crate::core::Core;
use crate::run::state::{JobVerdict, job_verdict};
use crate::run::{Cause, LiveRun, Outcome};

/// The most characters of a result in the history.
const SUMMARY_MAX: usize = 2000;
/// How often a job that fires once is tried again.
const ONCE_RETRIES: u32 = 3;

/// What becomes of a job after a firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It goes on.
    GoesOn,
    /// It is removed.
    Removed,
}

/// Records what a run means for the job that woke it, and says when the job tries again if it failed.
pub(crate) async fn run_over(core: &Core, run: &LiveRun, outcome: &Outcome) -> Option<UnixMillis> {
    let (id, due, delivery) = match &run.cause {
        Cause::Job { id, due, delivery, .. } => (id, *due, delivery),
        Cause::Message | Cause::Spawn | Cause::ChildResult => return None,
    };
    let verdict = job_verdict(outcome.reason);
    let end = FiringEnd {
        run: Some(run.id.clone()),
        status: status(verdict).to_owned(),
        error: outcome.error.clone(),
        summary: outcome.text.as_deref().map(summary),
        delivered: if delivery == "none" { "not requested" } else { "not delivered" }.to_owned(),
    };
    if let Err(error) = core.store.end_firing(id, due, end).await {
        tracing::warn!(job = %id, %error, "the firing could not be recorded");
    }
    let now = UnixMillis::now();
    let error = outcome.error.as_deref();
    let (after, retry_at) = core
        .cron
        .change(id, |job| settle(job, verdict, error, now))
        .unwrap_or((After::GoesOn, None));
    match after {
        After::GoesOn => save(core, id).await,
        After::Removed => {
            core.cron.remove(id);
            if let Err(error) = core.store.delete_job(id).await {
                tracing::warn!(job = %id, %error, "the job could not be removed after its run");
            }
        }
    }
    retry_at
}

/// Notes that a due time passed without a run.
pub(crate) async fn failed_to_fire(core: &Core, id: &JobId, message: &str) {
    let now = UnixMillis::now();
    core.cron.change(id, |job| settle(job, JobVerdict::Error, Some(message), now));
    save(core, id).await;
}

/// Writes the state of a job.
pub(crate) async fn save(core: &Core, id: &JobId) {
    let Some(job) = core.cron.get(id) else { return };
    if let Err(error) = core.store.save_job_state(id, &job.row.state()).await {
        tracing::warn!(job = %id, %error, "the state of the job could not be written");
    }
    if !job.row.enabled
        && let Err(error) = core.store.set_job_enabled(id, false).await
    {
        tracing::warn!(job = %id, %error, "the job could not be switched off in the store");
    }
}

/// The state after a firing: pure.
pub(super) fn settle(
    job: &mut Armed,
    verdict: JobVerdict,
    error: Option<&str>,
    now: UnixMillis,
) -> (After, Option<UnixMillis>) {
    let once = job.is_once();
    let row = &mut job.row;
    row.running_run = None;
    row.last_status = Some(status(verdict).to_owned());
    row.last_error = error.map(str::to_owned);
    match verdict {
        JobVerdict::Ok => {
            row.consecutive_errors = 0;
            if once && row.delete_after_run {
                return (After::Removed, None);
            }
            if once {
                row.enabled = false;
            }
            (After::GoesOn, None)
        }
        JobVerdict::Error => {
            row.consecutive_errors = row.consecutive_errors.saturating_add(1);
            let earliest = now.plus(backoff(row.consecutive_errors));
            if !once {
                row.next_due_at = row.next_due_at.map(|due| due.max(earliest));
            } else if row.consecutive_errors <= ONCE_RETRIES {
                row.next_due_at = Some(earliest);
            } else {
                row.next_due_at = None;
                row.enabled = false;
            }
            (After::GoesOn, row.next_due_at.filter(|_| row.enabled))
        }
        // Says nothing about the job.
        JobVerdict::Interrupted => (After::GoesOn, None),
        JobVerdict::CutOff if once => {
            // Counted, so that a run that takes the gateway down with it is not begun for ever.
            row.consecutive_errors = row.consecutive_errors.saturating_add(1);
            if row.consecutive_errors <= ONCE_RETRIES {
                // This gateway fires nothing any more: that is the next start.
                row.next_due_at = Some(now);
            } else {
                row.next_due_at = None;
                row.enabled = false;
            }
            (After::GoesOn, None)
        }
        JobVerdict::CutOff => (After::GoesOn, None),
    }
}

fn status(verdict: JobVerdict) -> &'static str {
    match verdict {
        JobVerdict::Ok => "ok",
        JobVerdict::Error => "error",
        JobVerdict::Interrupted | JobVerdict::CutOff => "interrupted",
    }
}

fn summary(text: &str) -> String {
    match text.char_indices().nth(SUMMARY_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

/// The end that a run gets whose job is removed or switched off.
pub(crate) const REMOVED: EndReason = EndReason::JobRemoved;
/// How long the removal of a job waits for its run to be over.
pub(crate) const REMOVAL_WAIT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wrasse_store::JobRow;
    use wrasse_types::{AgentId, RunId};

    use super::*;

    fn job(schedule: Value, delete_after_run: bool) -> Armed {
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
            delete_after_run,
            origin: "cli".to_owned(),
            created_at: UnixMillis::new(0),
            updated_at: UnixMillis::new(0),
            next_due_at: Some(UnixMillis::new(2000)),
            running_run: Some(RunId::new("r-1")),
            last_run_at: None,
            last_status: None,
            last_error: None,
            consecutive_errors: 0,
        })
    }

    #[test]
    fn a_recurring_job_backs_off_and_recovers() {
        let mut job = job(json!({ "kind": "every", "everyMs": 1000 }), false);
        let now = UnixMillis::new(1500);
        let (_, retry) = settle(&mut job, JobVerdict::Error, Some("no"), now);
        assert_eq!(retry, Some(UnixMillis::new(31_500)));
        assert_eq!(job.row.running_run, None);
        job.row.next_due_at = Some(UnixMillis::new(90_000));
        let (_, retry) = settle(&mut job, JobVerdict::Error, Some("no"), now);
        assert_eq!(retry, Some(UnixMillis::new(90_000)), "the natural due time is later");
        settle(&mut job, JobVerdict::Interrupted, None, now);
        assert_eq!(job.row.consecutive_errors, 2, "an operator's stop says nothing about the job");
        settle(&mut job, JobVerdict::CutOff, None, now);
        assert_eq!(job.row.consecutive_errors, 2, "the gateway's end neither");
        settle(&mut job, JobVerdict::Ok, None, now);
        assert_eq!(job.row.consecutive_errors, 0);
    }

    #[test]
    fn a_job_that_fires_once_and_was_cut_off_is_due_again_at_most_three_times() {
        let mut once = job(json!({ "kind": "at", "at": "1970-01-01T00:00:01Z" }), true);
        let now = UnixMillis::new(9000);
        for _ in 0..3 {
            once.row.next_due_at = None;
            assert_eq!(settle(&mut once, JobVerdict::CutOff, None, now), (After::GoesOn, None));
            assert_eq!((once.row.next_due_at, once.row.enabled), (Some(now), true));
        }
        settle(&mut once, JobVerdict::CutOff, None, now);
        assert_eq!((once.row.next_due_at, once.row.enabled), (None, false));
    }

    #[test]
    fn a_job_that_fires_once_is_retried_three_times_and_then_off() {
        let at = json!({ "kind": "at", "at": "1970-01-01T00:00:01Z" });
        let mut once = job(at.clone(), true);
        for _ in 0..3 {
            assert!(settle(&mut once, JobVerdict::Error, None, UnixMillis::new(0)).1.is_some());
        }
        assert_eq!(
            settle(&mut once, JobVerdict::Error, None, UnixMillis::new(0)),
            (After::GoesOn, None)
        );
        assert!(!once.row.enabled);
        let mut deleted = job(at.clone(), true);
        assert_eq!(
            settle(&mut deleted, JobVerdict::Ok, None, UnixMillis::new(0)).0,
            After::Removed
        );
        let mut kept = job(at, false);
        assert_eq!(settle(&mut kept, JobVerdict::Ok, None, UnixMillis::new(0)).0, After::GoesOn);
        assert!(!kept.row.enabled);
    }
}
