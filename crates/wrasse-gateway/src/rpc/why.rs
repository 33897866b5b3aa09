//! `why`: who holds a thing, for what, and what ends it.
//!
//! Every answer has `kind`, the record itself, and `lines`: pairs of a word and a sentence, in the order in which a
//! person reads them.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use wrasse_store::{RunFilter, RunRow, SessionRow};
use wrasse_types::wire::{PsInstance, RpcFault};
use wrasse_types::{RunId, SessionKey, UnixMillis, format_duration};

use super::params;
use super::views;
use crate::core::Core;
use crate::fault;
use crate::run::first_line;
use crate::run::state::Phase;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WhyParams {
    what: String,
}

type Lines = Vec<(&'static str, String)>;

/// Why a run, session, instance, server or process is there.
pub(super) async fn why(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: WhyParams = params::read(given)?;
    let what = params.what.trim();
    let failed = |error| fault::store(&error);
    if let Some(answer) = own_process(core, what) {
        return Ok(answer);
    }
    if let Some(row) = core.store.run(&RunId::new(what)).await.map_err(failed)? {
        return why_run(core, &row).await;
    }
    if let Ok(key) = SessionKey::parse(what, &core.config.agents.default)
        && let Some(row) = core.store.session(&key).await.map_err(failed)?
    {
        return why_session(core, &row).await;
    }
    if let Some(id) = core.cron.get(&wrasse_types::JobId::new(what)) {
        return Ok(json!({ "kind": "job", "job": views::job(&id), "lines": [] }));
    }
    match Box::pin(core.servers.why(what)).await {
        Some(answer) => Ok(with_lines(core, answer).await),
        None => Err(fault::not_found(
            format!("{what:?} is no run, session, server, instance or process of ours"),
            "wrasse ps",
        )),
    }
}

fn own_process(core: &Core, what: &str) -> Option<Value> {
    let pid: u32 = what.parse().ok()?;
    let identity = &core.identity;
    let (is, role) = if pid == identity.pid {
        ("the gateway itself", "gateway")
    } else if Some(pid) == identity.warden_pid {
        ("the warden: it ends everything below it when the gateway is gone", "warden")
    } else {
        return None;
    };
    let lines: Lines = vec![
        ("is", format!("{is}, wrasse {}", identity.version)),
        ("ends", "when it is told to".to_owned()),
        ("now", "wrasse gateway stop".to_owned()),
    ];
    Some(json!({ "kind": "process", "role": role, "pid": pid, "lines": lines }))
}

/// The instances that a run holds leases of, or that are private to a session.
async fn instances(core: &Core, wanted: impl Fn(&PsInstance) -> bool) -> Vec<PsInstance> {
    let (instances, _, _) = Box::pin(core.servers.ps()).await;
    instances.into_iter().filter(|instance| wanted(instance)).collect()
}

async fn why_run(core: &Core, row: &RunRow) -> Result<Value, RpcFault> {
    let id = row.id.as_str();
    let held = instances(core, |instance| instance.leases.iter().any(|l| l.holder.id == id)).await;
    let mut lines: Lines = vec![("is", run_is(row))];
    match &row.parent {
        Some(parent) => lines.push(("for", format!("run {parent} spawned it"))),
        None => lines.push(("for", row.cause.clone())),
    }
    match core.registry.get(&row.id) {
        Some(run) => {
            let state = match run.phase() {
                Phase::Queued => "waits for its session or its lane".to_owned(),
                Phase::Running => "is at work".to_owned(),
                Phase::Waiting => {
                    format!("waits for {} children, holding nothing", run.pending().1)
                }
                Phase::Ending => "has its outcome and releases what it held".to_owned(),
            };
            lines.push(("state", state));
            let holds: Vec<String> =
                held.iter().map(|i| format!("{} ({})", i.id, i.server)).collect();
            let holds = if holds.is_empty() { "nothing".to_owned() } else { holds.join(", ") };
            lines.push(("holds", holds));
            let latest = views::deadline(&run).map_or_else(
                || "it has no time limit".to_owned(),
                |at| format!("at the latest {at}"),
            );
            lines.push(("ends", format!("with its model's final text; {latest}")));
            lines.push((
                "now",
                format!("wrasse runs cancel {id}   ends the run and everything it holds"),
            ));
        }
        None => ended_lines(row, &mut lines),
    }
    Ok(json!({ "kind": "run", "run": views::run(core, row), "instances": held, "lines": lines }))
}

fn run_is(row: &RunRow) -> String {
    format!("a run of agent {} on session {}", row.agent, row.session_key)
}

fn ended_lines(row: &RunRow, lines: &mut Lines) {
    let when = row.ended_at.map_or_else(String::new, |at| format!(" at {at}"));
    let took = row.ended_at.map_or_else(String::new, |at| {
        format!(" after {}", format_duration(at.since(row.started_at)))
    });
    let reason = row.end.map_or("for a reason this version does not know", |end| end.text());
    lines.push(("ended", format!("{reason}{when}{took}")));
    if let Some(error) = &row.error {
        lines.push(("error", first_line(error)));
    }
    let released = row.released.as_ref().and_then(Value::as_array);
    lines.push((
        "holds",
        match released.map(Vec::len) {
            None | Some(0) => "nothing; it ended no server".to_owned(),
            Some(count) => format!("nothing; it ended {count} servers, as `released` lists"),
        },
    ));
    if let Some(delivery) = &row.delivery {
        lines.push(("result", delivery.clone()));
    }
    lines.push(("now", format!("wrasse runs show {}", row.id)));
}

async fn why_session(core: &Core, row: &SessionRow) -> Result<Value, RpcFault> {
    let key = row.key.as_str();
    let held = instances(core, |instance| instance.session_key.as_deref() == Some(key)).await;
    let live = core.registry.on_session(&row.key);
    let filter =
        RunFilter { session: Some(row.key.clone()), limit: Some(5), ..RunFilter::default() };
    let runs = core.store.runs(filter).await.map_err(|error| fault::store(&error))?;
    let runs: Vec<Value> = runs.iter().map(|run| views::run(core, run)).collect();
    let mut lines: Lines =
        vec![("is", format!("a session of agent {}: a record, not a process", row.agent))];
    if let Some(parent) = &row.spawned_by {
        lines.push(("for", format!("spawned from session {parent}")));
    }
    let holds = match (live.len(), held.len()) {
        (0, 0) => "nothing: no run, no process".to_owned(),
        (runs, instances) => format!("{runs} runs, {instances} instances of servers"),
    };
    lines.push(("holds", holds));
    lines.push((
        "ends",
        "never by itself; the record is kept until it is deleted or outlives its retention"
            .to_owned(),
    ));
    lines
        .push(("now", format!("wrasse sessions stop {key}   ends what goes on; the record stays")));
    Ok(json!({
        "kind": "session", "session": views::session(core, row), "runs": runs, "instances": held,
        "lines": lines,
    }))
}

/// Adds what the gateway knows to what the servers know: which runs hold an instance, and their parents.
async fn with_lines(core: &Core, mut answer: Value) -> Value {
    let mut lines: Lines = Vec::new();
    if let Some(instance) = answer.get("instance").cloned()
        && answer["kind"] == "instance"
    {
        lines.push((
            "is",
            format!("instance {} of server {}", text(&instance["id"]), text(&instance["server"])),
        ));
        let leases = instance["leases"].as_array().cloned().unwrap_or_default();
        let mut runs = Vec::new();
        for lease in &leases {
            let holder = &lease["holder"];
            let mut held = format!("{} {}", text(&holder["kind"]), text(&holder["id"]));
            if let Ok(Some(row)) = core.store.run(&RunId::new(text(&holder["id"]))).await {
                held = format!("run {}: {}", row.id, chain(core, &row).await);
                runs.push(views::run(core, &row));
            }
            lines.push(("held", format!("by {held}")));
            lines.push(("for", text(&lease["reason"])));
        }
        if leases.is_empty() {
            lines.push(("held", "by nobody".to_owned()));
        }
        let ends = &instance["ends"];
        let when = match ends["when"].as_str() {
            Some(when) => format!("{} ({when})", text(&ends["because"])),
            None => text(&ends["because"]),
        };
        lines.push(("ends", when));
        let now = format!(
            "wrasse mcp stop {}   ends this; a call in flight fails",
            text(&instance["id"])
        );
        lines.push(("now", now));
        answer["runs"] = json!(runs);
    }
    answer["lines"] = json!(lines);
    answer["asOf"] = json!(UnixMillis::now());
    answer
}

/// A run with everything above it, in one sentence.
async fn chain(core: &Core, row: &RunRow) -> String {
    let mut sentence = format!("{} on {}", row.agent, row.session_key);
    let mut at = row.clone();
    // Bounded, so that a circle in the store cannot hold the answer up.
    for _ in 0..16 {
        let Some(parent) = at.parent.clone() else { break };
        match core.store.run(&parent).await {
            Ok(Some(above)) => {
                sentence.push_str(&format!(", spawned by {} ({})", above.id, above.agent));
                at = above;
            }
            Ok(None) | Err(_) => break,
        }
    }
    sentence.push_str(&format!(", started by {}", at.cause));
    sentence
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
