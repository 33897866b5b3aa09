//! One scheduled job, as `cron.jobs[]`, `cron.add` and the command line spell it.
//!
//! OpenClaw's own shape is read, and a flat one: `{ name, every: "20s", message }`.

mod schedule;
#[cfg(test)]
mod tests;

use std::time::Duration;

use wrasse_types::{AgentId, JobId, UnixMillis};

use super::cursor::{At, Context, LONGEST};
use crate::load::{Environment, Notes, Sources, Substituted};
use crate::text::{Node, Value};
use crate::{Compat, DiskFiles, Faults, Job, JobPayload, JobTarget, LoadOptions, Schedule};

/// What a job definition may leave out.
#[derive(Debug, Clone, Default)]
pub struct JobDefaults {
    /// The id when the definition has none; `None` makes a stable one from the name.
    pub id: Option<JobId>,
    /// What "in 20 minutes" (`at: "20m"`) counts from; `None` refuses such times.
    pub now: Option<UnixMillis>,
}

/// Every key of a job; the second half is OpenClaw's and changes nothing here.
const JOB_KEYS: &[&str] = &[
    "agent",
    "agentId",
    "at",
    "atMs",
    "cron",
    "deleteAfterRun",
    "delivery",
    "disabled",
    "enabled",
    "every",
    "everyMs",
    "exact",
    "expr",
    "id",
    "jobId",
    "keepAfterRun",
    "message",
    "model",
    "name",
    "payload",
    "schedule",
    "session",
    "sessionTarget",
    "stagger",
    "staggerMs",
    "systemEvent",
    "text",
    "timeout",
    "timeoutSeconds",
    "toolsAllow",
    "tz",
    "createdAtMs",
    "declarationKey",
    "description",
    "displayName",
    "failureAlert",
    "owner",
    "pacing",
    "sessionKey",
    "state",
    "updatedAtMs",
    "wakeMode",
];
const PAYLOAD_KEYS: &[&str] = &[
    "kind",
    "message",
    "model",
    "text",
    "timeoutSeconds",
    "toolsAllow",
    "allowUnsafeExternalContent",
    "fallbacks",
    "lightContext",
    "thinking",
];
const DELIVERY_KEYS: &[&str] = &[
    "mode",
    "accountId",
    "bestEffort",
    "channel",
    "completionDestination",
    "failureDestination",
    "threadId",
    "to",
];

/// Reads one job as `cron.jobs[]` and `cron.add` spell it.
///
/// # Errors
/// Every fault of the definition.
pub fn job_from_json(job: &serde_json::Value, defaults: &JobDefaults) -> Result<Job, Faults> {
    let node = Node::from_json(job);
    let notes = Notes::default();
    let cx = Context {
        options: &LoadOptions::default(),
        files: &DiskFiles,
        sources: &Sources::default(),
        notes: &notes,
        env: &Environment::default(),
        substituted: &Substituted::default(),
        compat: Compat::V2026_9,
        root: &node,
    };
    let job = read(&At::root(&cx, &node), defaults);
    match job {
        Some(job) if !notes.has_faults() => Ok(job),
        Some(_) | None => Err(notes.take_faults()),
    }
}

/// Reads one job; `None` when it cannot be used, which is noted.
pub(super) fn read(at: &At<'_>, defaults: &JobDefaults) -> Option<Job> {
    check_keys(at, JOB_KEYS);
    let name = name(at);
    let schedule = schedule::read(at, defaults.now);
    let payload = payload(at);
    let agent = agent(at);
    let (name, schedule, payload) = (name?, schedule?, payload?);
    let flag = |key: &str| at.get(key).and_then(|at| at.flag());
    let delete = flag("deleteAfterRun").or_else(|| flag("keepAfterRun").map(|keep| !keep));
    Some(Job {
        id: id(at, &name, defaults)?,
        enabled: flag("enabled").unwrap_or(true) && !flag("disabled").unwrap_or(false),
        agent,
        target: target(at, &payload),
        payload,
        delivery: delivery(at),
        timeout: timeout(at),
        delete_after_run: delete.unwrap_or(matches!(schedule, Schedule::At { .. })),
        name,
        schedule,
    })
}

fn check_keys(at: &At<'_>, known: &[&str]) {
    for (key, value) in at.members() {
        if known.contains(&key) {
            continue;
        }
        let near = crate::known::closest(key, known.iter().copied());
        let advice = near.map(|near| format!("did you mean {near:?}?"));
        value.fault("unknown key", advice.as_deref());
    }
}

/// The first of these keys that is there.
fn first<'a>(at: &At<'a>, keys: &[&str]) -> Option<At<'a>> {
    keys.iter().find_map(|key| at.get(key))
}

fn name(at: &At<'_>) -> Option<String> {
    let name = first(at, &["name", "id", "jobId"]).and_then(|name| name.text());
    let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    if name.is_none() {
        at.fault("this job has no name", Some("add name: \"<name>\""));
    }
    name
}

fn id(at: &At<'_>, name: &str, defaults: &JobDefaults) -> Option<JobId> {
    let Some(at) = first(at, &["id", "jobId"]) else {
        return Some(defaults.id.clone().unwrap_or_else(|| JobId::new(slug(name))));
    };
    let text = at.text()?;
    let fits = !text.is_empty()
        && text.len() <= 128
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !fits {
        at.fault(
            format!("{text:?} cannot be the id of a job"),
            Some("use letters, digits, '-', '_' and '.'"),
        );
    }
    fits.then(|| JobId::new(text))
}

/// The name in lower-case letters, digits and dashes; stable, so that a job keeps its history over restarts.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.ends_with('-') && !slug.is_empty() {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    let lossless = !slug.is_empty() && slug.len() <= 64 && name.is_ascii();
    if lossless {
        return slug.to_owned();
    }
    // Names in other scripts, and long ones: FNV-1a tells them apart.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let head: String = slug.chars().take(40).collect();
    let head = if head.is_empty() { "job".to_owned() } else { head };
    format!("{head}-{:08x}", hash & 0xffff_ffff)
}

fn agent(at: &At<'_>) -> Option<AgentId> {
    let at = first(at, &["agentId", "agent"])?;
    AgentId::parse(&at.text()?).map_err(|error| at.fault(error.to_string(), None)).ok()
}

fn payload(at: &At<'_>) -> Option<JobPayload> {
    refuse_tools(at);
    if let Some(payload) = at.get("payload") {
        if let Value::Text(message) = &payload.node.value {
            return Some(JobPayload::AgentTurn { message: message.clone(), model: model(at) });
        }
        check_keys(&payload, PAYLOAD_KEYS);
        refuse_tools(&payload);
        let kind = payload.get("kind").and_then(|kind| kind.text());
        return match kind.as_deref() {
            Some("agentTurn") => turn(&payload),
            Some("systemEvent") => event(&payload),
            None if payload.get("text").is_some() => event(&payload),
            None => turn(&payload),
            Some(other) => {
                payload.fault(
                    format!("a payload of kind {other:?} is not implemented"),
                    Some("use \"agentTurn\" with a message or \"systemEvent\" with a text"),
                );
                None
            }
        };
    }
    if let Some(text) = first(at, &["systemEvent", "text"]) {
        return Some(JobPayload::SystemEvent { text: text.text()? });
    }
    turn(at)
}

fn turn(at: &At<'_>) -> Option<JobPayload> {
    let message = first(at, &["message", "text"]).and_then(|message| message.text());
    match message.filter(|message| !message.trim().is_empty()) {
        Some(message) => Some(JobPayload::AgentTurn { message, model: model(at) }),
        None => {
            at.fault("this job does nothing", Some("add message: \"<what the agent is asked>\""));
            None
        }
    }
}

fn event(at: &At<'_>) -> Option<JobPayload> {
    match first(at, &["text", "message"]) {
        Some(text) => Some(JobPayload::SystemEvent { text: text.text()? }),
        None => {
            at.fault("this event has no text", Some("add text: \"<a line for the session>\""));
            None
        }
    }
}

fn model(at: &At<'_>) -> Option<String> {
    at.get("model").and_then(|model| model.text()).filter(|model| !model.is_empty())
}

/// A list of tools that would not be kept to gives the job more than was meant.
fn refuse_tools(at: &At<'_>) {
    if let Some(tools) = at.get("toolsAllow") {
        tools.fault(
            "tools of one job cannot be restricted yet",
            Some("give the job an agent of its own with tools.allow, and remove this"),
        );
    }
}

fn target(at: &At<'_>, payload: &JobPayload) -> JobTarget {
    let natural = match payload {
        JobPayload::SystemEvent { .. } => JobTarget::Main,
        JobPayload::AgentTurn { .. } => JobTarget::Isolated,
    };
    let Some(at) = first(at, &["sessionTarget", "session"]) else { return natural };
    let target = match at.text().as_deref() {
        Some("main") => JobTarget::Main,
        Some("isolated") => JobTarget::Isolated,
        Some(other) => {
            at.fault(
                format!("the session target {other:?} is not implemented"),
                Some("use \"isolated\" or \"main\""),
            );
            natural
        }
        None => natural,
    };
    if target == JobTarget::Isolated && natural == JobTarget::Main {
        at.fault(
            "a system event goes to the main session",
            Some("use session \"main\", or a message instead of the event"),
        );
    }
    target
}

fn delivery(at: &At<'_>) -> String {
    let none = || "none".to_owned();
    let Some(at) = at.get("delivery") else { return none() };
    let mode = if matches!(at.node.value, Value::Object(_)) {
        check_keys(&at, DELIVERY_KEYS);
        at.get("mode").unwrap_or_else(|| at.clone())
    } else {
        at
    };
    if matches!(mode.node.value, Value::Object(_)) {
        // A channel without a mode is announced to, as in OpenClaw.
        let named = first(&mode, &["channel", "to"]).is_some();
        return if named { "announce".to_owned() } else { none() };
    }
    let modes: Vec<(&str, &str)> =
        ["none", "announce", "webhook", "exec"].iter().map(|&mode| (mode, mode)).collect();
    mode.one_of(&modes).map_or_else(none, str::to_owned)
}

fn timeout(at: &At<'_>) -> Option<Duration> {
    if let Some(timeout) = at.get("timeout") {
        return timeout.duration();
    }
    // 0 is no limit, which must not read as the default one.
    let seconds = at.get("timeoutSeconds").or_else(|| at.follow(&["payload", "timeoutSeconds"]))?;
    Some(seconds.limit_seconds()?.unwrap_or(LONGEST))
}
