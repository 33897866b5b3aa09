//! Records as OpenClaw 2026.4 keeps them, in files.

use std::path::Path;

use serde_json::json;

use super::cast::{Fate, Session};

/// Writes the files.
pub(super) fn write(state: &Path, sessions: &[Session]) {
    let folder = state.join("agents/main/sessions");
    for path in [&folder, &state.join("cron/runs"), &state.join("subagents")] {
        std::fs::create_dir_all(path).unwrap();
    }
    let (mut entries, mut registry, mut jobs) = (json!({}), json!({}), Vec::new());
    for session in sessions {
        let Session { id, fate, asked, written } = session;
        let end = written + 20;
        let file = folder.join(format!("{id}.jsonl"));
        let entry = json!({ "sessionId": id, "updatedAt": written, "sessionFile": file, "status": "done", "endedAt": end });
        let cron = format!("agent:main:cron:job-{id}");
        let child = format!("agent:main:subagent:{id}");
        let mut kept = "";
        match fate {
            Fate::CronEnded | Fate::CronHalfLogged => {
                entries[format!("{cron}:run:{id}")] = entry.clone();
                entries[&cron] = entry;
                let mut line = json!({
                    "ts": end, "jobId": format!("job-{id}"), "action": "finished", "status": "ok", "sessionId": id,
                    "sessionKey": format!("{cron}:run:{id}"), "runAtMs": asked, "durationMs": end - asked,
                })
                .to_string();
                line.push('\n');
                if *fate == Fate::CronHalfLogged {
                    line.truncate(line.len() / 2);
                }
                std::fs::write(state.join(format!("cron/runs/job-{id}.jsonl")), line).unwrap();
            }
            Fate::CronRunning => {
                entries[format!("{cron}:run:{id}")] = entry.clone();
                entries[&cron] = entry;
                jobs.push(json!({ "id": format!("job-{id}"), "state": { "runningAtMs": asked } }));
            }
            Fate::SubAgentSettled | Fate::SubAgentUntold => {
                entries[&child] = entry;
                let told = (*fate == Fate::SubAgentSettled).then_some(end);
                registry[format!("run-{id}")] = json!({
                    "runId": format!("run-{id}"), "childSessionKey": child, "requesterSessionKey": "agent:main:main",
                    "spawnMode": "run", "createdAt": asked, "endedAt": end, "cleanupCompletedAt": told,
                });
            }
            Fate::Deleted => kept = ".deleted.2026-11-22T18-27-33.069Z",
            Fate::Reset => kept = ".reset.2026-11-22T18-27-33.069Z",
            Fate::Kept => entries[format!("agent:main:explicit:{id}")] = entry,
            Fate::SettingUp => {
                let entry = json!({ "sessionId": id, "updatedAt": asked, "sessionFile": file });
                entries[format!("agent:main:explicit:{id}")] = entry;
                continue;
            }
            Fate::Unrecorded => continue,
        }
        let head = json!({ "type": "session", "version": 3, "id": id, "timestamp": iso(*written) });
        let message = json!({
            "type": "message", "id": "m", "timestamp": iso(*written),
            "message": { "role": "user", "content": [{ "type": "text", "text": "x" }], "timestamp": written },
        });
        std::fs::write(format!("{}{kept}", file.display()), format!("{head}\n{message}\n"))
            .unwrap();
    }
    std::fs::write(folder.join("sessions.json"), entries.to_string()).unwrap();
    let runs = json!({ "version": 2, "runs": registry });
    std::fs::write(state.join("subagents/runs.json"), runs.to_string()).unwrap();
    std::fs::write(state.join("cron/jobs.json"), json!({ "version": 1, "jobs": jobs }).to_string())
        .unwrap();
}

/// Milliseconds as OpenClaw writes times in transcripts.
fn iso(millis: i64) -> String {
    wrasse_types::UnixMillis::new(millis).to_string()
}
