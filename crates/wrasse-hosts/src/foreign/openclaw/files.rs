//! The records of OpenClaw 2026.4, which are files: `agents/*/sessions/sessions.json` and its transcripts,
//! `cron/runs/*.jsonl`, `cron/jobs.json`, `subagents/runs.json`.
//!
//! A transcript begins when the servers of its first turn are up: its first message comes after their start, and so does
//! each later turn's. When that turn was asked for is not in it, so a span reaches back as far as connecting to every
//! server in turn may take; an isolated firing's span begins when its job was due, which the run log has.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;
use wrasse_types::UnixMillis;

use super::records::{
    Begins, Ending, Fate, Records, Session, Span, is_cron_run, is_subagent, millis, text,
};
use super::subagents::{Standing, SubAgentRun, created, standing};

/// A record longer than this is not read.
const LINE_MAX: usize = 32 << 20;
/// How long after its end a sub-agent without an entry in the registry may still be waited for: the registry forgets an
/// entry 5 minutes after it was settled, those of sub-agents that can be continued as well.
const FORGOTTEN_MS: i64 = 10 * 60 * 1000;

/// What to look for, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Servers that started before this are of no interest: the host had not.
    pub(super) since: i64,
    /// How long connecting to every server may take.
    pub(super) connect_ms: i64,
    pub(super) now: i64,
}

/// Reads the files of a state dir. What is not there says nothing; what cannot be read is noted.
pub(super) fn read(state_dir: &Path, look: Look) -> Records {
    let mut records = Records::default();
    let mut faults = Vec::new();
    let finished = run_log(&state_dir.join("cron/runs"), &mut faults);
    let running = jobs(&state_dir.join("cron/jobs.json"), &mut faults);
    let subagents = registry(&state_dir.join("subagents/runs.json"), &mut faults);
    for agent in folder(&state_dir.join("agents")) {
        let store = Store {
            folder: agent.join("sessions"),
            finished: &finished,
            subagents: &subagents,
            look,
        };
        store.read(&mut records.sessions, &mut faults);
    }
    for (job, due) in running {
        add_running(&mut records.sessions, &job, due, &finished);
    }
    records.unreadable = faults;
    records
}

/// A firing in progress is the newest session of its job that has not ended; before it has one, it is nobody we know.
fn add_running(
    sessions: &mut Vec<Session>,
    job: &str,
    due: i64,
    finished: &BTreeMap<String, Finished>,
) {
    let of_job = format!(":cron:{job}");
    let known = sessions.iter_mut().find(|session| {
        let key = session.key.split_once(":run:").map_or(&*session.key, |(key, _)| key);
        key.ends_with(&of_job)
            && !finished.contains_key(&session.id)
            && session.spans.iter().any(|span| span.to >= due)
    });
    if let Some(session) = known {
        session.spans = vec![Span::around(Begins::Recorded, due, i64::MAX)];
        return;
    }
    sessions.push(Session {
        id: format!("{job} since {due}"),
        key: format!("cron:{job}"),
        label: Some("a cron run in progress".to_owned()),
        fate: Fate::Open,
        outcome: None,
        last: None,
        spans: vec![Span::around(Begins::Recorded, due, i64::MAX)],
    });
}

struct Finished {
    key: String,
    due: i64,
    ended: i64,
    status: String,
}

/// Every firing that ended, by session id.
fn run_log(folder_path: &Path, faults: &mut Vec<String>) -> BTreeMap<String, Finished> {
    let mut found = BTreeMap::new();
    for file in folder(folder_path) {
        if file.extension().is_none_or(|end| end != "jsonl") {
            continue;
        }
        let read = lines(&file, |line| {
            let Ok(record) = serde_json::from_str::<Value>(line) else { return };
            let finished = text(&record, "action") == Some("finished");
            let (Some(id), Some(ended)) = (text(&record, "sessionId"), millis(&record, "ts"))
            else {
                return;
            };
            if finished {
                found.insert(
                    id.to_owned(),
                    Finished {
                        key: text(&record, "sessionKey").unwrap_or_default().to_owned(),
                        due: millis(&record, "runAtMs").unwrap_or(ended),
                        ended,
                        status: text(&record, "status").unwrap_or("unknown").to_owned(),
                    },
                );
            }
        });
        note(read, &file, faults);
    }
    found
}

/// The jobs that are running now, and since when.
fn jobs(path: &Path, faults: &mut Vec<String>) -> Vec<(String, i64)> {
    let Some(file) = json(path, faults) else { return Vec::new() };
    let jobs = file.get("jobs").and_then(Value::as_array).cloned().unwrap_or_default();
    let running = |job: &Value| {
        Some((text(job, "id")?.to_owned(), millis(job.get("state")?, "runningAtMs")?))
    };
    jobs.iter().filter_map(running).collect()
}

fn registry(path: &Path, faults: &mut Vec<String>) -> Vec<SubAgentRun> {
    let Some(file) = json(path, faults) else { return Vec::new() };
    let runs = file.get("runs").and_then(Value::as_object);
    runs.into_iter().flatten().filter_map(|(_, entry)| SubAgentRun::read(entry)).collect()
}

/// The sessions of one agent.
struct Store<'a> {
    folder: PathBuf,
    finished: &'a BTreeMap<String, Finished>,
    subagents: &'a [SubAgentRun],
    look: Look,
}

impl Store<'_> {
    fn read(&self, sessions: &mut Vec<Session>, faults: &mut Vec<String>) {
        let index = json(&self.folder.join("sessions.json"), faults).unwrap_or_default();
        // One session may stand under several keys: a firing's under its job's and its own.
        let mut by_id: BTreeMap<String, Vec<(&str, &Value)>> = BTreeMap::new();
        // After a reset a new session goes on in a file that has the name of the old one.
        let mut by_file: BTreeMap<&str, String> = BTreeMap::new();
        for (key, entry) in index.as_object().into_iter().flatten() {
            if let Some(id) = text(entry, "sessionId") {
                by_id.entry(id.to_owned()).or_default().push((key, entry));
                let file = text(entry, "sessionFile").and_then(|file| file.rsplit('/').next());
                by_file.extend(file.map(|file| (file, id.to_owned())));
            }
        }
        // What is left of one session may be in several files, when it was archived and written to again.
        let mut kept: BTreeMap<String, (Kept, Written)> = BTreeMap::new();
        for file in folder(&self.folder) {
            let Some((named, state)) = transcript(&file) else { continue };
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let id = by_file.get(name).cloned().unwrap_or(named);
            let found = note(written(&file), &file, faults).unwrap_or_default();
            let known = kept.entry(id).or_insert((state, Written::default()));
            known.0 = known.0.max(state);
            known.1.turns.extend(found.turns);
            known.1.told |= found.told;
            known.1.continues |= found.continues;
        }
        for (id, (state, mut written)) in kept.clone() {
            written.turns.sort_unstable();
            let entries = by_id.get(&id).map_or(&[][..], Vec::as_slice);
            let fate = if entries.is_empty() {
                self.keyless(&id, state)
            } else {
                self.fate(&id, entries, &written)
            };
            sessions.push(self.session(id, entries, fate, &written.turns));
        }
        for (id, entries) in &by_id {
            if !kept.contains_key(id) {
                sessions.push(self.session(id.clone(), entries, Fate::Open, &[]));
            }
        }
    }

    fn session(
        &self,
        id: String,
        entries: &[(&str, &Value)],
        fate: Fate,
        turns: &[i64],
    ) -> Session {
        let finished = self.finished.get(&id);
        let entry = entries.iter().max_by_key(|(key, _)| key.len());
        let updated = entries.iter().filter_map(|(_, entry)| millis(entry, "updatedAt")).max();
        let ended = entries.iter().filter_map(|(_, entry)| millis(entry, "endedAt")).max();
        let last = finished.map(|run| run.ended).or(ended).or(turns.last().copied()).or(updated);
        let label = entries.iter().find_map(|(_, entry)| text(entry, "label"));
        let outcome = finished.map(|run| run.status.clone());
        let outcome = outcome.or_else(|| text(entry?.1, "status").map(str::to_owned));
        let key = entry.map(|(key, _)| (*key).to_owned());
        let spawned = key.as_ref().and_then(|key| created(self.subagents, key));
        let asked = finished.map(|run| run.due).or(spawned);
        Session {
            key: key.or_else(|| Some(finished?.key.clone())).unwrap_or_default(),
            label: label.map(str::to_owned),
            fate,
            outcome,
            last: last.map(UnixMillis::new),
            spans: self.spans(asked, finished, fate, turns, updated),
            id,
        }
    }

    fn spans(
        &self,
        first: Option<i64>,
        finished: Option<&Finished>,
        fate: Fate,
        turns: &[i64],
        updated: Option<i64>,
    ) -> Vec<Span> {
        let back = |at: i64| at.saturating_sub(self.look.connect_ms);
        let mut spans = Vec::new();
        for (index, turn) in turns.iter().enumerate() {
            let before = index.checked_sub(1).and_then(|before| turns.get(before)).copied();
            // Of a firing the run log says when it was due, of a sub-agent the registry when it was spawned.
            let (begins, asked) = match (first, before) {
                (Some(first), None) if first <= *turn => (Begins::Recorded, first),
                (_, before) => (Begins::Guessed, back(*turn).max(before.unwrap_or(i64::MIN))),
            };
            spans.push(Span::around(begins, asked, *turn));
        }
        match (finished, fate) {
            (Some(run), _) if turns.is_empty() => {
                spans.push(Span::around(Begins::Recorded, run.due, run.ended));
            }
            (None, Fate::Open) => spans.extend(updated.and_then(|at| self.unwritten(at, turns))),
            // What is over begins no turn.
            (Some(_), _) | (None, Fate::Over(_)) => {}
        }
        spans.retain(|span| span.to >= self.look.since);
        spans
    }

    /// A turn that has written nothing yet: the entry is written when it is asked for, and its servers come up before
    /// its first message. It may be at work now, or have failed before it came so far.
    fn unwritten(&self, updated: i64, turns: &[i64]) -> Option<Span> {
        let from = updated.saturating_sub(self.look.connect_ms);
        let written = turns.last().copied().unwrap_or(i64::MIN);
        let to = updated.saturating_add(self.look.connect_ms);
        if to >= self.look.now {
            Some(Span::around(Begins::Guessed, from.max(written), i64::MAX))
        } else {
            turns.is_empty().then(|| Span::around(Begins::Guessed, from, to))
        }
    }

    /// Whether a session that no key leads to any more can be run again: not once it was archived.
    fn keyless(&self, id: &str, state: Kept) -> Fate {
        if self.is_locked(id) {
            return Fate::Open;
        }
        match state {
            Kept::InUse => Fate::Open,
            Kept::Deleted => Fate::Over(Ending::Deleted),
            Kept::Replaced => Fate::Over(Ending::Replaced),
        }
    }

    /// Whether a run writes it now.
    fn is_locked(&self, id: &str) -> bool {
        self.folder.join(format!("{id}.jsonl.lock")).exists()
    }

    /// Whether a session that has keys can be run again.
    fn fate(&self, id: &str, entries: &[(&str, &Value)], written: &Written) -> Fate {
        if self.is_locked(id) {
            return Fate::Open;
        }
        if entries.iter().any(|(key, _)| standing(self.subagents, key) == Standing::Live) {
            return Fate::Open;
        }
        // A firing stands under its own key and its job's; under any other it can be continued.
        let run = format!(":run:{id}");
        if let Some(finished) = self.finished.get(id)
            && is_cron_run(&finished.key, id)
            && entries.iter().all(|(key, _)| {
                *key == finished.key || finished.key.strip_suffix(&run) == Some(*key)
            })
        {
            return Fate::Over(Ending::CronRun);
        }
        match entries {
            [(key, entry)] if is_subagent(key) && self.sub_agent_is_over(key, entry, written) => {
                Fate::Over(Ending::SubAgent)
            }
            _ => Fate::Open,
        }
    }

    fn sub_agent_is_over(&self, key: &str, entry: &Value, written: &Written) -> bool {
        let for_one_run = written.told && !written.continues;
        let ended = matches!(text(entry, "status"), Some("done" | "failed" | "killed" | "timeout"));
        // A session that is bound to a thread goes on with the next message there.
        let bound = text(entry, "lastThreadId").is_some()
            || entry
                .get("deliveryContext")
                .is_some_and(|context| text(context, "threadId").is_some());
        let Some(at) = millis(entry, "endedAt") else { return false };
        match standing(self.subagents, key) {
            Standing::Settled => ended,
            Standing::Absent => ended && !bound && for_one_run && self.look.now - at > FORGOTTEN_MS,
            Standing::Live => false,
        }
    }
}

/// What the name of a transcript says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kept {
    InUse,
    Deleted,
    Replaced,
}

/// `<id>.jsonl`, `<id>.jsonl.deleted.<time>`, `<id>.jsonl.reset.<time>`, `<id>-topic-<n>.jsonl`.
fn transcript(path: &Path) -> Option<(String, Kept)> {
    let name = path.file_name()?.to_str()?;
    let (id, rest) = name.split_once(".jsonl")?;
    let kept = match rest {
        "" => Kept::InUse,
        _ if rest.starts_with(".deleted.") => Kept::Deleted,
        _ if rest.starts_with(".reset.") => Kept::Replaced,
        _ => return None,
    };
    let id = id.split_once("-topic-").map_or(id, |(id, _)| id);
    Some((id.to_owned(), kept))
}

/// What a transcript says.
#[derive(Debug, Clone, Default)]
struct Written {
    /// When each message of a person, a job or a parent was written: one a turn.
    turns: Vec<i64>,
    /// A sub-agent was told in it what it is.
    told: bool,
    /// And that it goes on after its first run. A sub-agent's mode stands nowhere else once the registry forgot it.
    continues: bool,
}

fn written(path: &Path) -> std::io::Result<Written> {
    let mut found = Written::default();
    lines(path, |line| {
        if !line.contains("\"user\"") {
            return;
        }
        let Ok(record) = serde_json::from_str::<Value>(line) else { return };
        let user = record.get("message").and_then(|message| text(message, "role")) == Some("user");
        let at = text(&record, "timestamp").and_then(UnixMillis::parse);
        found.told |= user && line.contains("[Subagent Context]");
        found.continues |= user && line.contains("session is persistent and remains available");
        if let (true, Some(at)) = (user, at) {
            found.turns.push(at.get());
        }
    })?;
    Ok(found)
}

/// The entries of a folder in order; none when there is no such folder.
pub(super) fn folder(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

fn lines(path: &Path, mut each: impl FnMut(&str)) -> std::io::Result<()> {
    let mut reader = BufReader::new(std::fs::File::open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.len() > LINE_MAX {
            return Err(std::io::Error::other("a line of more than 32 MiB"));
        }
        each(&String::from_utf8_lossy(&line));
    }
}

fn json(path: &Path, faults: &mut Vec<String>) -> Option<Value> {
    let read = match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(std::io::Error::from),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => Err(error),
    };
    note(read, path, faults)
}

fn note<T>(read: std::io::Result<T>, path: &Path, faults: &mut Vec<String>) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(error) => {
            faults.push(format!("{}: {error}", path.display()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sub_agent_that_the_registry_forgot_is_over_only_if_it_was_told_so() {
        let fate = |said: &str, change: Value| {
            let dir = tempfile::tempdir().unwrap();
            let sessions = dir.path().join("agents/main/sessions");
            std::fs::create_dir_all(&sessions).unwrap();
            let mut entry =
                json!({ "sessionId": "s", "status": "done", "endedAt": 10, "updatedAt": 10 });
            for (key, value) in change.as_object().unwrap() {
                entry[key] = value.clone();
            }
            let index = json!({ "agent:main:subagent:s": entry });
            std::fs::write(sessions.join("sessions.json"), index.to_string()).unwrap();
            let line = json!({
                "timestamp": UnixMillis::new(5).to_string(), "message": { "role": "user", "content": said },
            });
            std::fs::write(sessions.join("s.jsonl"), format!("{line}\n")).unwrap();
            let records =
                read(dir.path(), Look { since: 0, connect_ms: 1000, now: FORGOTTEN_MS * 2 });
            assert!(records.unreadable.is_empty(), "{records:?}");
            records.sessions[0].fate
        };
        let run = "[Subagent Context] You are running as a subagent (depth 1/1).";
        let persistent = format!(
            "{run}\n[Subagent Context] This subagent session is persistent and remains available for thread follow-up messages."
        );
        let none = json!({});
        assert_eq!(fate(run, none.clone()), Fate::Over(Ending::SubAgent));
        assert_eq!(fate(&persistent, none.clone()), Fate::Open);
        assert_eq!(fate("what it is was said in other words", none), Fate::Open);
        assert_eq!(fate(run, json!({ "lastThreadId": "t" })), Fate::Open);
        assert_eq!(fate(run, json!({ "endedAt": FORGOTTEN_MS * 2 - 1 })), Fate::Open);
    }
}
