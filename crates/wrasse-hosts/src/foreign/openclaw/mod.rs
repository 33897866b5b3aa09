//! OpenClaw: where it keeps what, what its records say, what each of its versions does with servers.

mod clock;
mod database;
mod facts;
mod files;
mod place;
mod records;
mod sqlite;
mod subagents;
mod traps;

use wrasse_types::UnixMillis;

pub use clock::was_set;
pub use facts::{Blame, CHECKED_ON, Disposal, Situation, Version, disposal};
pub use place::Place;
pub use records::{Begins, Ending, Fate, Records, Session, Span};
pub use traps::{Trap, Weight, traps};

/// Reads every record of a place, of both layouts. `since`: when the host that is looked at started.
pub fn records(place: &Place, since: UnixMillis, servers: usize) -> Records {
    // Servers are connected to in turn, each within its limit (30 s); then a minute for everything else of a turn.
    let each = i64::try_from(place.connect_timeout_ms()).unwrap_or(30_000);
    let servers = i64::try_from(servers.max(1)).unwrap_or(1);
    let connect_ms = servers.saturating_mul(each).saturating_add(60_000);
    let look = files::Look { since: since.get(), connect_ms, now: UnixMillis::now().get() };
    let mut records = sqlite::read(&place.state_dir, look);
    records.merge(files::read(&place.state_dir, look));
    match sqlite::task_runs(&place.state_dir.join("tasks/runs.sqlite")) {
        Ok(tasks) => {
            add_unwritten(&mut records, &tasks, look);
            sharpen(&mut records, &tasks);
        }
        Err(error) => records.unreadable.push(format!("tasks/runs.sqlite: {error}")),
    }
    records.doubted()
}

/// The version that wrote the records or the configuration of a place last, and which of the two says so. For a host
/// that does not run.
pub fn last_version(place: &Place) -> Option<(String, &'static str)> {
    if let Some(version) = sqlite::version(&place.state_dir) {
        return Some((version, "the version that wrote its records last"));
    }
    Some((place.touched_by()?.to_owned(), "the version that wrote its configuration last"))
}

/// A run that ended before it wrote its first message, or has not come so far, leaves no turn, but its servers stay with
/// the session. They may have started at any time of it, so that the session is not taken for one without them.
fn add_unwritten(records: &mut Records, tasks: &[sqlite::TaskRun], look: files::Look) {
    for session in &mut records.sessions {
        if session.fate != Fate::Open || session.key.is_empty() {
            continue;
        }
        let written: Vec<i64> =
            session.spans.iter().map(|span| span.to).filter(|to| *to != i64::MAX).collect();
        let is_written = |task: &sqlite::TaskRun| {
            let until = task.ended.unwrap_or(i64::MAX);
            written.iter().any(|at| (task.asked..=until).contains(&(at - records::SLACK_MS)))
        };
        let unwritten = tasks
            .iter()
            .filter(|task| task.session_key == session.key && task.asked >= look.since)
            .filter(|task| !is_written(task))
            .map(|task| Span::around(Begins::Guessed, task.asked, task.ended.unwrap_or(i64::MAX)));
        session.spans.extend(unwritten);
    }
}

/// Where the list of runs says when a turn was asked for, its span need not reach further back. Of a session that lost
/// its key, any run that was at work when the turn was written may be the turn's.
fn sharpen(records: &mut Records, tasks: &[sqlite::TaskRun]) {
    for session in &mut records.sessions {
        let of_session =
            |task: &&sqlite::TaskRun| session.key.is_empty() || task.session_key == session.key;
        for span in session.spans.iter_mut().filter(|span| span.to != i64::MAX) {
            let written = span.to - records::SLACK_MS;
            let at_work = |task: &&sqlite::TaskRun| {
                task.asked <= written && task.ended.is_none_or(|end| end >= written)
            };
            let asked =
                tasks.iter().filter(of_session).filter(at_work).map(|task| task.asked).min();
            if let Some(asked) = asked {
                span.from = span.from.max(asked - records::SLACK_MS);
                span.begins = Begins::Recorded;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(asked: i64, ended: Option<i64>) -> sqlite::TaskRun {
        sqlite::TaskRun {
            session_key: "k".to_owned(),
            session_id: None,
            asked,
            ended,
            status: "failed".to_owned(),
            label: None,
        }
    }

    fn session(fate: Fate, spans: &[(i64, i64)]) -> Session {
        Session {
            id: "s".to_owned(),
            key: "k".to_owned(),
            label: None,
            fate,
            outcome: None,
            last: None,
            spans: spans
                .iter()
                .map(|(from, to)| Span::around(Begins::Guessed, *from, *to))
                .collect(),
        }
    }

    /// Whether the session may have started a server then.
    fn may_have(fate: Fate, tasks: &[sqlite::TaskRun], at: i64) -> bool {
        let mut records =
            Records { sessions: vec![session(fate, &[(40_000, 100_000)])], ..Records::default() };
        let look = files::Look { since: 1_000, connect_ms: 60_000, now: 200_000 };
        add_unwritten(&mut records, tasks, look);
        sharpen(&mut records, tasks);
        records.sessions[0].spans.iter().any(|span| span.holds(UnixMillis::new(at)))
    }

    #[test]
    fn a_run_that_failed_before_it_wrote_anything_may_have_started_servers() {
        // One that wrote at 100 s, and one before it that wrote nothing.
        let tasks = [task(50_000, Some(60_000)), task(99_000, Some(120_000))];
        assert!(may_have(Fate::Open, &tasks, 55_000));
        assert!(may_have(Fate::Open, &tasks, 99_500));
        assert!(!may_have(Fate::Open, &tasks, 70_000));
        assert!(!may_have(Fate::Open, &tasks[1..], 55_000));
        let over = Fate::Over(Ending::Deleted);
        assert!(!may_have(over, &tasks, 55_000), "that would call them over");
        let running = [task(150_000, None), task(99_000, Some(120_000))];
        assert!(may_have(Fate::Open, &running, 190_000));
        let of_a_gateway_before = [task(500, None)];
        assert!(!may_have(Fate::Open, &of_a_gateway_before, 190_000));
    }
}
