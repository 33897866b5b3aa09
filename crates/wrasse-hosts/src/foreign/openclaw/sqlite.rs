//! The records of OpenClaw 2026.9, which are SQLite databases: one for the gateway, one for each agent. And the list of
//! runs that 2026.4 keeps in one beside its files.
//!
//! This is the one place outside `wrasse-store` that knows SQL: the schema is another program's, and what is asked of it
//! is asked nowhere else. How a database is opened without changing anything beside it is in [`super::database`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;
use wrasse_types::UnixMillis;

use super::database::reading;
use super::files::{Look, folder};
use super::records::{
    Begins, Ending, Fate, Records, Session, Span, is_cron_run, is_subagent, millis, text,
};
use super::subagents::{Standing, SubAgentRun, standing};

/// When a run of a session was asked for, and which session of what key.
#[derive(Debug, Clone)]
pub(super) struct TaskRun {
    pub(super) session_key: String,
    /// Of an isolated firing.
    pub(super) session_id: Option<String>,
    pub(super) asked: i64,
    pub(super) ended: Option<i64>,
    pub(super) status: String,
    pub(super) label: Option<String>,
}

/// Reads the databases of a state dir. None there: nothing is said.
pub(super) fn read(state_dir: &Path, look: Look) -> Records {
    let mut records = Records::default();
    let global = state_dir.join("state/openclaw.sqlite");
    let agents: Vec<PathBuf> = folder(&state_dir.join("agents"))
        .into_iter()
        .map(|agent| agent.join("agent/openclaw-agent.sqlite"))
        .filter(|file| file.is_file())
        .collect();
    if agents.is_empty() {
        return records;
    }
    let mut global_records = Global::default();
    match reading(&global, read_global) {
        Ok(found) => global_records = found,
        Err(error) => records.unreadable.push(format!("{}: {error}", global.display())),
    }
    records.version.clone_from(&global_records.version);
    for file in agents {
        match reading(&file, read_agent) {
            Ok(windows) => records
                .sessions
                .extend(windows.into_iter().map(|window| window.session(&global_records, look))),
            Err(error) => records.unreadable.push(format!("{}: {error}", file.display())),
        }
    }
    records
}

/// The version that wrote the gateway's database last; none without one that can be read.
pub(super) fn version(state_dir: &Path) -> Option<String> {
    let file = state_dir.join("state/openclaw.sqlite");
    if !file.is_file() {
        return None;
    }
    reading(&file, read_version).ok().flatten()
}

async fn read_version(connection: &mut SqliteConnection) -> Result<Option<String>, sqlx::Error> {
    let query = "SELECT app_version FROM schema_meta WHERE meta_key = 'primary'";
    let found: Option<Option<String>> =
        sqlx::query_scalar(query).fetch_optional(connection).await?;
    Ok(found.flatten())
}

/// The list of runs that both versions keep; empty where there is none.
pub(super) fn task_runs(file: &Path) -> Result<Vec<TaskRun>, sqlx::Error> {
    if !file.is_file() {
        return Ok(Vec::new());
    }
    reading(file, read_task_runs)
}

#[derive(Debug, Default)]
struct Global {
    version: Option<String>,
    subagents: Vec<SubAgentRun>,
    tasks: Vec<TaskRun>,
}

async fn read_global(connection: &mut SqliteConnection) -> Result<Global, sqlx::Error> {
    let version = read_version(connection).await?;
    let rows = sqlx::query(
        "SELECT child_session_key, requester_session_key, payload_json FROM subagent_runs",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut subagents = Vec::new();
    for row in rows {
        let payload: String = row.try_get(2)?;
        let mut entry: Value = serde_json::from_str(&payload).unwrap_or_default();
        if !entry.is_object() {
            entry = Value::Object(serde_json::Map::new());
        }
        // The columns are what counts; the payload has the times.
        entry["childSessionKey"] = Value::String(row.try_get(0)?);
        entry["requesterSessionKey"] = Value::String(row.try_get(1)?);
        subagents.extend(SubAgentRun::read(&entry));
    }
    let tasks = read_task_runs(connection).await?;
    Ok(Global { version, subagents, tasks })
}

async fn read_task_runs(connection: &mut SqliteConnection) -> Result<Vec<TaskRun>, sqlx::Error> {
    // 2026.4 has no column for details.
    let columns: Vec<String> =
        sqlx::query_scalar("SELECT name FROM pragma_table_info('task_runs')")
            .fetch_all(&mut *connection)
            .await?;
    let detail =
        if columns.iter().any(|name| name == "detail_json") { "detail_json" } else { "NULL" };
    let query = format!(
        "SELECT coalesce(nullif(child_session_key, ''), owner_key, ''), created_at, ended_at, status, label, {detail} \
         FROM task_runs"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let detail: Option<String> = row.try_get(5)?;
            let detail: Value =
                detail.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            Ok(TaskRun {
                session_key: row.try_get(0)?,
                session_id: text(&detail, "sessionId").map(str::to_owned),
                asked: row.try_get(1)?,
                ended: row.try_get(2)?,
                status: row.try_get(3)?,
                label: row.try_get(4)?,
            })
        })
        .collect()
}

/// One session of an agent's database.
#[derive(Debug)]
struct Window {
    id: String,
    key: String,
    current: bool,
    created: i64,
    updated: i64,
    ended: Option<i64>,
    status: Option<String>,
    label: Option<String>,
    /// Of each message of a person, a job or a parent: when it came, and when it was written.
    turns: Vec<(i64, i64)>,
}

async fn read_agent(connection: &mut SqliteConnection) -> Result<Vec<Window>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT w.session_id, w.session_key, n.current_session_id = w.session_id, w.created_at, \
         max(w.updated_at, coalesce(n.updated_at, 0)), w.ended_at, w.status, coalesce(n.label, w.display_name) \
         FROM session_windows w LEFT JOIN session_nodes n ON n.session_key = w.session_key",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut windows = Vec::new();
    for row in rows {
        windows.push(Window {
            id: row.try_get(0)?,
            key: row.try_get(1)?,
            current: row.try_get::<Option<bool>, _>(2)?.unwrap_or(true),
            created: row.try_get(3)?,
            updated: row.try_get(4)?,
            ended: row.try_get(5)?,
            status: row.try_get(6)?,
            label: row.try_get(7)?,
            turns: Vec::new(),
        });
    }
    let mut turns = turns(connection).await?;
    for window in &mut windows {
        window.turns = turns.remove(&window.id).unwrap_or_default();
    }
    Ok(windows)
}

async fn turns(
    connection: &mut SqliteConnection,
) -> Result<BTreeMap<String, Vec<(i64, i64)>>, sqlx::Error> {
    // An event that was compressed is an old one, and of its time the row says enough.
    let rows = sqlx::query(
        "SELECT session_id, created_at, event_json FROM transcript_events \
         WHERE event_json IS NULL OR event_json LIKE '%\"role\":\"user\"%' ORDER BY session_id, seq",
    )
    .fetch_all(connection)
    .await?;
    let mut found: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
    for row in rows {
        let written: i64 = row.try_get(1)?;
        let event: Option<String> = row.try_get(2)?;
        let event: Value =
            event.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let message = event.get("message");
        if !event.is_null() && message.and_then(|message| text(message, "role")) != Some("user") {
            continue;
        }
        let came = message.and_then(|message| millis(message, "timestamp")).unwrap_or(written);
        found.entry(row.try_get(0)?).or_default().push((came.min(written), written));
    }
    Ok(found)
}

impl Window {
    fn session(self, global: &Global, look: Look) -> Session {
        let firing = global.tasks.iter().find(|task| task.session_id.as_deref() == Some(&*self.id));
        let fate = self.fate(global, firing);
        let mut spans: Vec<Span> = Vec::new();
        for (index, (came, written)) in self.turns.iter().enumerate() {
            let before = index.checked_sub(1).and_then(|at| self.turns.get(at)).map(|turn| turn.1);
            let from = match (firing, index, fate) {
                (Some(task), 0, _) => task.asked.min(*came),
                (_, 0, _) => self.created.min(*came),
                (_, _, Fate::Over(_)) => *came,
                // A turn may have been asked for again after it came.
                (_, _, Fate::Open) => (*came).min(written.saturating_sub(look.connect_ms)),
            };
            let from = from.max(before.unwrap_or(i64::MIN));
            spans.push(Span::around(Begins::Recorded, from, *written));
        }
        let written = self.turns.last().map_or(i64::MIN, |turn| turn.1);
        let near = self.updated.saturating_add(look.connect_ms);
        if near >= look.now && !matches!(fate, Fate::Over(_)) {
            let from = self.updated.saturating_sub(look.connect_ms);
            spans.push(Span::around(Begins::Guessed, from.max(written), i64::MAX));
        } else if self.turns.is_empty() {
            let from = self.created.saturating_sub(look.connect_ms);
            spans.push(Span::around(Begins::Guessed, from, near));
        }
        spans.retain(|span| span.to >= look.since);
        let key = match firing {
            Some(task) if is_cron_run(&task.session_key, &self.id) => task.session_key.clone(),
            _ => self.key,
        };
        Session {
            key,
            label: firing.and_then(|task| task.label.clone()).or(self.label),
            fate,
            outcome: firing.map(|task| task.status.clone()).or(self.status),
            last: Some(UnixMillis::new(self.ended.unwrap_or(self.updated))),
            spans,
            id: self.id,
        }
    }

    fn fate(&self, global: &Global, firing: Option<&TaskRun>) -> Fate {
        let terminal =
            matches!(self.status.as_deref(), Some("done" | "failed" | "killed" | "timeout"));
        let standing = standing(&global.subagents, &self.key);
        if standing == Standing::Live || self.status.as_deref() == Some("running") {
            return Fate::Open;
        }
        if !self.current && terminal {
            return Fate::Over(Ending::Replaced);
        }
        if let Some(task) = firing
            && is_cron_run(&task.session_key, &self.id)
            && task.ended.is_some()
            && !matches!(task.status.as_str(), "running" | "queued")
        {
            return Fate::Over(Ending::CronRun);
        }
        // Without a row in the registry it may be one that its thread continues: those rows are dropped too.
        if is_subagent(&self.key) && terminal && standing == Standing::Settled {
            return Fate::Over(Ending::SubAgent);
        }
        Fate::Open
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sub_agent_is_over_only_by_its_row_in_the_registry() {
        let window = || Window {
            id: "s".to_owned(),
            key: "agent:main:subagent:s".to_owned(),
            current: true,
            created: 0,
            updated: 10,
            ended: Some(10),
            status: Some("done".to_owned()),
            label: None,
            turns: vec![(0, 5)],
        };
        let look = Look { since: 0, connect_ms: 1000, now: 3_600_000 };
        let fate = |change: Option<Value>| {
            let row = change.and_then(|change| {
                let mut row = json!({
                    "childSessionKey": "agent:main:subagent:s", "requesterSessionKey": "agent:main:main", "spawnMode": "run",
                    "endedAt": 10, "cleanupCompletedAt": 11,
                });
                for (key, value) in change.as_object()? {
                    row[key] = value.clone();
                }
                SubAgentRun::read(&row)
            });
            let global = Global { subagents: row.into_iter().collect(), ..Global::default() };
            window().session(&global, look).fate
        };
        assert_eq!(fate(Some(json!({}))), Fate::Over(Ending::SubAgent));
        assert_eq!(
            fate(None),
            Fate::Open,
            "ended an hour ago, and no row: a thread may continue it"
        );
        assert_eq!(fate(Some(json!({ "spawnMode": "session" }))), Fate::Open);
        assert_eq!(fate(Some(json!({ "cleanupCompletedAt": null }))), Fate::Open);
    }
}
