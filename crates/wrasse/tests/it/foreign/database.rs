//! Records as OpenClaw 2026.9 keeps them, written through python's sqlite module, which shares no code with us.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use wrasse_testkit::station::text;

use super::cast::{Fate, Session};

const GLOBAL: &str = "
CREATE TABLE schema_meta (meta_key TEXT NOT NULL PRIMARY KEY, role TEXT NOT NULL, schema_version INTEGER NOT NULL,
  agent_id TEXT, app_version TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL) STRICT;
CREATE TABLE subagent_runs (run_id TEXT NOT NULL PRIMARY KEY, child_session_key TEXT NOT NULL,
  controller_session_key TEXT, requester_session_key TEXT NOT NULL, created_at INTEGER NOT NULL,
  payload_json TEXT NOT NULL DEFAULT '{}') STRICT;
CREATE TABLE task_runs (task_id TEXT NOT NULL PRIMARY KEY, runtime TEXT NOT NULL, owner_key TEXT NOT NULL,
  child_session_key TEXT, label TEXT, status TEXT NOT NULL, created_at INTEGER NOT NULL, started_at INTEGER,
  ended_at INTEGER, detail_json TEXT) STRICT;
INSERT INTO schema_meta VALUES ('primary', 'global', 18, NULL, '2026.9.6', 1, 1);
";

const AGENT: &str = "
CREATE TABLE session_nodes (session_key TEXT NOT NULL PRIMARY KEY, current_session_id TEXT NOT NULL,
  entry_json TEXT NOT NULL, updated_at INTEGER NOT NULL, status TEXT, label TEXT) STRICT;
CREATE TABLE session_windows (session_id TEXT NOT NULL PRIMARY KEY, session_key TEXT NOT NULL,
  created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, started_at INTEGER, ended_at INTEGER, status TEXT,
  display_name TEXT) STRICT;
CREATE TABLE transcript_events (session_id TEXT NOT NULL, seq INTEGER NOT NULL, event_json TEXT,
  created_at INTEGER NOT NULL, event_zstd BLOB, PRIMARY KEY (session_id, seq)) STRICT;
";

/// Writes the databases, each with its rows still in its log, as a live gateway has them.
pub(super) fn write(state: &Path, sessions: &[Session]) {
    let (mut global, mut agent) = (GLOBAL.to_owned(), AGENT.to_owned());
    for session in sessions {
        rows(session, &mut global, &mut agent);
    }
    for (folder, name, sql) in [
        ("state", "openclaw.sqlite", global),
        ("agents/main/agent", "openclaw-agent.sqlite", agent),
    ] {
        let folder = state.join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        run(&folder.join(name), &sql);
    }
}

fn rows(session: &Session, global: &mut String, agent: &mut String) {
    let Session { id, fate, asked, written } = session;
    let end = written + 20;
    let (key, status, current) = match fate {
        Fate::CronEnded => (format!("agent:main:cron:job-{id}"), "done", true),
        Fate::CronHalfLogged => (format!("agent:main:cron:job-{id}"), "done", true),
        Fate::CronRunning => (format!("agent:main:cron:job-{id}"), "running", true),
        Fate::SubAgentSettled | Fate::SubAgentUntold => {
            (format!("agent:main:subagent:{id}"), "done", true)
        }
        // A deleted session leaves nothing; of a reset one the window stays.
        Fate::Deleted | Fate::Unrecorded => return,
        Fate::Reset => (format!("agent:main:explicit:{id}"), "done", false),
        Fate::Kept => (format!("agent:main:explicit:{id}"), "done", true),
        Fate::SettingUp => (format!("agent:main:explicit:{id}"), "running", true),
    };
    let now = if current { id.clone() } else { format!("{id}-next") };
    agent.push_str(&format!("INSERT INTO session_nodes VALUES ('{key}', '{now}', '{{}}', {written}, '{status}', NULL);\n"));
    let ended = if status == "running" { "NULL".to_owned() } else { end.to_string() };
    agent.push_str(&format!(
        "INSERT INTO session_windows VALUES ('{id}', '{key}', {asked}, {written}, {written}, {ended}, '{status}', NULL);\n"
    ));
    if *fate == Fate::SettingUp {
        return;
    }
    let event = json!({ "type": "message", "message": { "role": "user", "content": "x", "timestamp": asked } });
    agent.push_str(&format!(
        "INSERT INTO transcript_events VALUES ('{id}', 4, '{event}', {written}, NULL);\n"
    ));
    match fate {
        Fate::CronEnded | Fate::CronRunning | Fate::CronHalfLogged => {
            let detail = json!({ "kind": "cron-run", "sessionId": id });
            let logged = *fate == Fate::CronEnded;
            let (status, ended) = if logged { ("succeeded", &*ended) } else { ("running", "NULL") };
            global.push_str(&format!(
                "INSERT INTO task_runs VALUES ('t-{id}', 'cron', '', '{key}:run:{id}', 'job', '{status}', {asked}, {asked}, \
                 {ended}, '{detail}');\n"
            ));
        }
        Fate::SubAgentSettled | Fate::SubAgentUntold => {
            let told = (*fate == Fate::SubAgentSettled).then_some(end);
            let payload = json!({ "spawnMode": "run", "endedAt": end, "cleanupCompletedAt": told });
            global.push_str(&format!(
                "INSERT INTO subagent_runs VALUES ('r-{id}', '{key}', NULL, 'agent:main:main', {asked}, '{payload}');\n"
            ));
        }
        Fate::Deleted | Fate::Reset | Fate::Kept | Fate::SettingUp | Fate::Unrecorded => {}
    }
}

/// The list of runs that 2026.4 keeps in a database beside its files.
pub(super) fn tasks(state: &Path, sessions: &[Session]) {
    let mut sql = "CREATE TABLE task_runs (task_id TEXT PRIMARY KEY, runtime TEXT NOT NULL, owner_key TEXT NOT NULL, \
                   child_session_key TEXT, label TEXT, status TEXT NOT NULL, created_at INTEGER NOT NULL, \
                   started_at INTEGER, ended_at INTEGER);\n"
        .to_owned();
    for session in sessions {
        let Session { id, fate, asked, written } = session;
        let end = (written + 20).to_string();
        let (runtime, key, ended) = match fate {
            Fate::CronEnded => ("cron", String::new(), end),
            Fate::CronRunning | Fate::CronHalfLogged => ("cron", String::new(), "NULL".to_owned()),
            Fate::SettingUp => ("cli", format!("agent:main:explicit:{id}"), "NULL".to_owned()),
            Fate::SubAgentSettled | Fate::SubAgentUntold | Fate::Deleted => {
                ("subagent", format!("agent:main:subagent:{id}"), end)
            }
            Fate::Reset | Fate::Kept => ("cli", format!("agent:main:explicit:{id}"), end),
            Fate::Unrecorded => continue,
        };
        sql.push_str(&format!(
            "INSERT INTO task_runs VALUES ('t-{id}', '{runtime}', '{key}', '{key}', NULL, 'succeeded', {asked}, {written}, \
             {ended});\n"
        ));
    }
    std::fs::create_dir_all(state.join("tasks")).unwrap();
    run(&state.join("tasks/runs.sqlite"), &sql);
}

#[expect(clippy::disallowed_methods, reason = "an independent writer of the database")]
fn run(file: &Path, sql: &str) {
    // Left without closing, so that the rows stay in the log.
    let script = "import sqlite3,sys,os\ndb=sqlite3.connect(sys.argv[1])\ndb.execute('PRAGMA journal_mode=WAL')\n\
                  db.executescript(sys.stdin.read())\ndb.commit()\nos._exit(0)";
    let mut child = Command::new("python3")
        .args(["-c", script])
        .arg(file)
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), sql.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// A gateway's connection to a database.
#[derive(Debug)]
pub(super) struct Connection(std::process::Child);

impl Connection {
    /// Opens one, and reads: from then on the log and its index are in use.
    #[expect(clippy::disallowed_methods, reason = "an independent user of the database")]
    pub(super) fn open(file: &Path) -> Self {
        let script = "import sqlite3,sys\ndb=sqlite3.connect(sys.argv[1])\n\
                      db.execute('SELECT count(*) FROM sqlite_schema').fetchall()\nprint('open',flush=True)\n\
                      sys.stdin.read()\ndb.close()";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .arg(file)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut answer = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut answer).unwrap();
        assert_eq!(&answer, b"open\n");
        Self(child)
    }

    /// Closes it in good order, which ends the log.
    pub(super) fn close(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}
