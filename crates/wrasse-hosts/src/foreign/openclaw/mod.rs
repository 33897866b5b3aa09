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
        Ok(tasks) => sharpen(&mut records, &tasks),
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
