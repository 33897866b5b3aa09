//! The registry of sub-agents, as either layout keeps it: one record per run.

use serde_json::Value;

use super::records::{millis, text};

/// What the registry says about one run of a sub-agent.
#[derive(Debug, Clone)]
pub(super) struct SubAgentRun {
    child: String,
    requester: String,
    created: Option<i64>,
    continues: bool,
    settled: bool,
}

impl SubAgentRun {
    /// Reads one entry of the registry.
    pub(super) fn read(entry: &Value) -> Option<Self> {
        Some(Self {
            child: text(entry, "childSessionKey")?.to_owned(),
            requester: text(entry, "requesterSessionKey").unwrap_or_default().to_owned(),
            created: millis(entry, "createdAt"),
            continues: text(entry, "spawnMode").is_some_and(|mode| mode != "run"),
            settled: millis(entry, "endedAt").is_some()
                && millis(entry, "cleanupCompletedAt").is_some(),
        })
    }
}

/// When a sub-agent was asked for.
pub(super) fn created(runs: &[SubAgentRun], key: &str) -> Option<i64> {
    runs.iter().filter(|run| run.child == key).filter_map(|run| run.created).min()
}

/// What the registry says about a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing.
    Absent,
    /// Its one run is over and its result was told.
    Settled,
    /// It runs, can be continued, is being told, or waits for a sub-agent of its own.
    Live,
}

/// What the registry says about a session, as a sub-agent and as the requester of others.
pub(super) fn standing(runs: &[SubAgentRun], key: &str) -> Standing {
    if runs.iter().any(|run| run.requester == key && !run.settled) {
        return Standing::Live;
    }
    let mut own = runs.iter().filter(|run| run.child == key).peekable();
    if own.peek().is_none() {
        return Standing::Absent;
    }
    if own.all(|run| run.settled && !run.continues) { Standing::Settled } else { Standing::Live }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sub_agent_is_settled_when_it_ended_was_told_and_waits_for_nobody() {
        let base = json!({ "childSessionKey": "c", "requesterSessionKey": "p", "endedAt": 1, "cleanupCompletedAt": 2 });
        let with = |change: Value| {
            let mut entry = base.clone();
            for (key, value) in change.as_object().unwrap() {
                entry[key] = value.clone();
            }
            SubAgentRun::read(&entry).unwrap()
        };
        let settled = with(json!({ "spawnMode": "run" }));
        assert_eq!(standing(std::slice::from_ref(&settled), "c"), Standing::Settled);
        assert_eq!(standing(std::slice::from_ref(&settled), "other"), Standing::Absent);
        for change in [
            json!({ "endedAt": null }),
            json!({ "cleanupCompletedAt": null }),
            json!({ "spawnMode": "session" }),
        ] {
            assert_eq!(standing(&[with(change)], "c"), Standing::Live);
        }
        let below =
            with(json!({ "childSessionKey": "d", "requesterSessionKey": "c", "endedAt": null }));
        assert_eq!(standing(&[settled, below], "c"), Standing::Live);
        assert!(SubAgentRun::read(&json!({})).is_none());
    }
}
