//! `why`: who holds a thing, for what, and what ends it.
//!
//! Every answer has `kind`, `title`, then facts as a person reads them (`is`, `held`, `for`, `ends`, `how`, `last`, `now`;
//! a sentence or a list of sentences), and `record`: the same for programs.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use wrasse_store::{RunFilter, RunRow, SessionRow};
use wrasse_types::wire::{PsInstance, RpcFault, SCHEMA};
use wrasse_types::{RunId, SessionKey, UnixMillis, format_duration};

use super::params;
use super::views;
use super::why_server;
use crate::core::Core;
use crate::cron::{Armed, manage};
use crate::fault;
use crate::run::first_line;
use crate::run::state::Phase;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WhyParams {
    what: String,
}

/// An answer under construction.
pub(super) struct Story {
    kind: &'static str,
    title: String,
    facts: Vec<(&'static str, String)>,
}

impl Story {
    /// Begins one.
    pub(super) fn new(kind: &'static str, title: impl Into<String>) -> Self {
        Self { kind, title: title.into(), facts: Vec::new() }
    }

    /// Adds a fact; the same label again makes a list.
    pub(super) fn fact(&mut self, label: &'static str, text: impl Into<String>) -> &mut Self {
        self.facts.push((label, text.into()));
        self
    }

    /// The answer.
    pub(super) fn tell(self, record: Value) -> Value {
        let mut answer = Map::new();
        answer.insert("schema".to_owned(), json!(SCHEMA));
        answer.insert("kind".to_owned(), json!(self.kind));
        answer.insert("title".to_owned(), json!(self.title));
        for (label, text) in self.facts {
            match answer.get_mut(label) {
                None => drop(answer.insert(label.to_owned(), json!(text))),
                Some(Value::Array(list)) => list.push(json!(text)),
                Some(single) => *single = json!([single.clone(), text]),
            }
        }
        answer.insert("record".to_owned(), record);
        Value::Object(answer)
    }
}

/// Why a run, session, job, instance, server or process is there.
pub(super) async fn why(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: WhyParams = params::read(given)?;
    let what = params.what.trim();
    let failed = |error| fault::store(&error);
    if let Some(answer) = own_process(core, what) {
        return Ok(answer);
    }
    if let Some(row) = core.store.run(&RunId::new(what)).await.map_err(failed)? {
        return Ok(why_run(core, &row).await);
    }
    // Before sessions: any word is short for the session `agent:…:<word>`.
    let known = Box::pin(core.servers.why(what)).await;
    if let Some(answer) = known.filter(|answer| answer["kind"] != "session") {
        return Ok(why_server::tell(core, what, answer).await);
    }
    if let Ok(key) = SessionKey::parse(what, &core.config.agents.default)
        && let Some(row) = core.store.session(&key).await.map_err(failed)?
    {
        return why_session(core, &row).await;
    }
    let unknown = || {
        fault::not_found(
            format!("{what:?} is no run, session, job, server, instance or process of ours"),
            "wrasse ps",
        )
    };
    match manage::find(core, what) {
        Ok(id) => core.cron.get(&id).map(|job| why_job(&job)).ok_or_else(unknown),
        Err(fault) if fault.code == "not_found" => Err(unknown()),
        Err(several) => Err(several),
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
    let mut story = Story::new("process", format!("{pid} wrasse {role} {}", identity.version));
    story.fact("is", is).fact("ends", "when it is told to").fact("now", "wrasse gateway stop");
    Some(story.tell(json!({ "pid": pid, "role": role })))
}

/// Those of the living instances that a test picks.
async fn instances(core: &Core, wanted: impl Fn(&PsInstance) -> bool) -> Vec<PsInstance> {
    let (instances, _, _) = Box::pin(core.servers.ps()).await;
    instances.into_iter().filter(|instance| wanted(instance)).collect()
}

async fn why_run(core: &Core, row: &RunRow) -> Value {
    let id = row.id.as_str();
    let held = instances(core, |instance| instance.leases.iter().any(|l| l.holder.id == id)).await;
    let mut story = Story::new("run", format!("{id} {} on {}", row.agent, row.session_key));
    story.fact("is", format!("a run of agent {}", row.agent));
    story.fact("for", chain(core, row).await);
    match core.registry.get(&row.id) {
        Some(run) => {
            let state = match run.phase() {
                Phase::Queued => {
                    format!("waits for its session or for the {} lane", run.lane.name())
                }
                Phase::Running => "is at work".to_owned(),
                Phase::Waiting => {
                    format!("waits for {} children, holding nothing", run.pending().1)
                }
                Phase::Ending => "has its outcome and releases what it held".to_owned(),
            };
            story.fact("state", state).fact("holds", names(&held));
            let latest = views::deadline(&run).map_or_else(
                || "it has no time limit".to_owned(),
                |at| format!("at the latest {at}"),
            );
            story.fact("ends", format!("with the final text of its model; {latest}"));
            story.fact(
                "now",
                format!("wrasse runs cancel {id}   ends the run and everything it holds"),
            );
        }
        None => ended_facts(row, &mut story),
    }
    story.tell(json!({ "run": views::run(core, row), "instances": held }))
}

fn names(instances: &[PsInstance]) -> String {
    if instances.is_empty() {
        return "nothing".to_owned();
    }
    let names = instances.iter().map(|instance| format!("{} ({})", instance.id, instance.server));
    names.collect::<Vec<_>>().join(", ")
}

fn ended_facts(row: &RunRow, story: &mut Story) {
    let reason = row.end.map_or("for a reason this version does not know", |end| end.text());
    let when = row.ended_at.map_or_else(String::new, |at| {
        format!(" at {at}, after {}", format_duration(at.since(row.started_at)))
    });
    story.fact("ended", format!("{reason}{when}"));
    if let Some(error) = &row.error {
        story.fact("error", first_line(error));
    }
    let released = row.released.as_ref().and_then(Value::as_array).map_or(0, Vec::len);
    story.fact(
        "holds",
        match released {
            0 => "nothing; it had no server to end".to_owned(),
            count => format!("nothing; {count} servers ended with it"),
        },
    );
    if let Some(delivery) = &row.delivery {
        story.fact("result", delivery.clone());
    }
    story.fact("now", format!("wrasse runs show {}", row.id));
}

async fn why_session(core: &Core, row: &SessionRow) -> Result<Value, RpcFault> {
    let key = row.key.as_str();
    let held = instances(core, |instance| instance.session_key.as_deref() == Some(key)).await;
    let live = core.registry.on_session(&row.key);
    let filter =
        RunFilter { session: Some(row.key.clone()), limit: Some(5), ..RunFilter::default() };
    let runs = core.store.runs(filter).await.map_err(|error| fault::store(&error))?;
    let runs: Vec<Value> = runs.iter().map(|run| views::run(core, run)).collect();
    let mut story = Story::new("session", key);
    story.fact("is", format!("a session of agent {}: a record, not a process", row.agent));
    if let Some(parent) = &row.spawned_by {
        story.fact("for", format!("spawned from session {parent}"));
    }
    story.fact(
        "holds",
        match (live.len(), held.len()) {
            (0, 0) => "nothing: no run, no process".to_owned(),
            (runs, _) => format!("{runs} runs; {}", names(&held)),
        },
    );
    story.fact(
        "ends",
        "not by itself: the record is kept until it is deleted or outlives its retention",
    );
    story.fact("now", format!("wrasse sessions stop {key}   ends what goes on; the record stays"));
    Ok(story.tell(json!({
        "session": views::session(core, row), "runs": runs, "instances": held,
    })))
}

fn why_job(job: &Armed) -> Value {
    let row = &job.row;
    let mut story = Story::new("job", format!("{} \"{}\"", row.id, row.name));
    story.fact("is", format!("a job of agent {}, from the {}", row.agent, row.origin));
    if let Err(error) = &job.meaning {
        story.fact("fault", format!("it cannot fire: {error}"));
    }
    match &row.running_run {
        Some(run) => story.fact("holds", format!("run {run}, which goes on")),
        None => story.fact("holds", "nothing"),
    };
    let next = row.next_due_at.filter(|_| row.enabled);
    story.fact("next", next.map_or_else(|| "never".to_owned(), |at| at.to_string()));
    story
        .fact("now", format!("wrasse cron disable {}   ends its run and fires it no more", row.id));
    story.tell(views::job(job))
}

/// What started a run, with everything above it, in one sentence.
pub(super) async fn chain(core: &Core, row: &RunRow) -> String {
    let mut sentence = String::new();
    let mut at = row.clone();
    // Bounded, so that a circle in the store cannot hold the answer up.
    for _ in 0..16 {
        let Some(parent) = at.parent.clone() else { break };
        match core.store.run(&parent).await {
            Ok(Some(above)) => {
                let since = UnixMillis::to_string(&at.started_at);
                sentence.push_str(&format!("spawned {since} by {} ({}), ", above.id, above.agent));
                at = above;
            }
            Ok(None) | Err(_) => break,
        }
    }
    sentence.push_str(&format!("started by {} at {}", at.cause, at.started_at));
    sentence
}
