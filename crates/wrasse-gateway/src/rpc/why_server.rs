//! `why` of what the servers know: instances, servers, processes, living or ended, told with the runs behind them.

use serde_json::{Value, json};
use wrasse_types::{ByteSize, RunId, SessionKey, SessionKind};

use super::views;
use super::why::{Story, chain};
use crate::core::Core;

/// Tells what the servers answered.
pub(super) async fn tell(core: &Core, what: &str, answer: Value) -> Value {
    match answer["kind"].as_str() {
        Some("instance") => instance(core, what, answer).await,
        Some("server") => server(answer),
        Some("ended") => ended(answer),
        Some("leftover") => leftover(answer),
        _ => Story::new("other", what).tell(answer),
    }
}

async fn instance(core: &Core, what: &str, mut answer: Value) -> Value {
    let it = answer["instance"].clone();
    let (id, name) = (text(&it["id"]), text(&it["server"]));
    let count = it["processes"].as_array().map_or(0, Vec::len);
    let memory = ByteSize(it["memory_bytes"].as_u64().unwrap_or(0));
    let title = match answer["process"]["name"].as_str() {
        Some(process) => format!("{what} {process}: {memory} and {count} processes in its tree"),
        None => format!("{id} {name}: {memory}, {count} processes, pid {}", text(&it["pid"])),
    };
    let mut story = Story::new("instance", title);
    let role = match answer["role"].as_str() {
        Some("guardian") => "the guardian of ",
        Some("descendant") => "a descendant of ",
        _ => "",
    };
    story.fact(
        "is",
        format!(
            "{role}instance {id} of server \"{name}\" ({}), started as {}",
            text(&answer["origin"]),
            text(&answer["launch"])
        ),
    );
    let leases = it["leases"].as_array().cloned().unwrap_or_default();
    let mut runs = Vec::new();
    for lease in &leases {
        let holder = &lease["holder"];
        match core.store.run(&RunId::new(text(&holder["id"]))).await {
            Ok(Some(row)) => {
                let why = chain(core, &row).await;
                story.fact("held", format!("by run {} of {}: {why}", row.id, row.agent));
                runs.push(views::run(core, &row));
            }
            Ok(None) | Err(_) => {
                let kind = text(&holder["kind"]);
                story.fact("held", format!("by {kind} {}", text(&holder["id"])));
            }
        }
        story.fact("for", format!("{}, since {}", text(&lease["reason"]), text(&lease["since"])));
    }
    if leases.is_empty() {
        story.fact("held", "by nobody");
    }
    let because = text(&it["ends"]["because"]);
    story.fact(
        "ends",
        match it["ends"]["when"].as_str() {
            Some(when) => format!("{because}; at {when}"),
            None => because,
        },
    );
    if it["session_key"]
        .as_str()
        .is_some_and(|key| SessionKey::from_store(key).kind() == SessionKind::Subagent)
    {
        story.fact(
            "keep?",
            "cleanup: \"keep\" keeps the transcript of its session, not this process",
        );
    }
    story.fact("how", format!("close stdin, {} ms → SIGTERM, {} ms → kill the tree; its guardian does it if the gateway dies",
        text(&answer["stop"]["eofMs"]), text(&answer["stop"]["termMs"])));
    for event in last_events(&answer["history"]) {
        story.fact("last", event);
    }
    for run in &runs {
        story.fact(
            "now",
            format!("wrasse runs cancel {}   ends the run and this", text(&run["id"])),
        );
    }
    story.fact("now", format!("wrasse mcp stop {id}   ends this; a call in flight fails"));
    answer["runs"] = json!(runs);
    story.tell(answer)
}

fn server(answer: Value) -> Value {
    let status = &answer["server"];
    let name = text(&status["name"]);
    let living = answer["instances"].as_array().map_or(0, Vec::len);
    let mut story =
        Story::new("server", format!("{name}: {}, {living} instances", text(&status["state"])));
    story.fact(
        "is",
        format!("a server ({}), started as {}", text(&status["origin"]), text(&status["launch"])),
    );
    for instance in answer["instances"].as_array().into_iter().flatten() {
        story.fact("held", holders(instance));
    }
    match status["fault"]["message"].as_str() {
        Some(fault) => story.fact("fault", fault),
        None => story
            .fact("ends", "each instance with whoever holds it; none starts before it is called"),
    };
    story.fact("now", format!("wrasse mcp stop {name}"));
    story.tell(answer)
}

/// Who holds an instance, in one line.
fn holders(instance: &Value) -> String {
    let leases = instance["leases"].as_array().into_iter().flatten();
    let holders: Vec<String> = leases
        .map(|lease| format!("{} {}", text(&lease["holder"]["kind"]), text(&lease["holder"]["id"])))
        .collect();
    let holders = if holders.is_empty() { "nobody".to_owned() } else { holders.join(", ") };
    format!("{} (pid {}) by {holders}", text(&instance["id"]), text(&instance["pid"]))
}

fn ended(answer: Value) -> Value {
    let it = &answer["instance"];
    let (id, name) = (text(&it["id"]), text(&it["server"]));
    let mut story = Story::new("ended", format!("{id} {name}: ended"));
    story.fact(
        "is",
        format!("an instance of server \"{name}\" that ended at {}", text(&it["endedAt"])),
    );
    let end = &it["end"];
    story.fact(
        "ended",
        format!(
            "{}: {} · {} processes, {} left",
            text(&end["reason"]),
            text(&end["detail"]),
            text(&end["processes"]),
            text(&end["survivors"])
        ),
    );
    for lease in it["leases"].as_array().into_iter().flatten() {
        story.fact(
            "held",
            format!(
                "by {} {} until {} ({})",
                text(&lease["holder"]["kind"]),
                text(&lease["holder"]["id"]),
                text(&lease["endedAt"]),
                text(&lease["endReason"])
            ),
        );
    }
    for event in last_events(it) {
        story.fact("last", event);
    }
    story.tell(answer)
}

fn leftover(answer: Value) -> Value {
    let process = &answer["process"];
    let title = format!("{} {}: left over", text(&process["pid"]), text(&process["name"]));
    let mut story = Story::new("leftover", title);
    story.fact("is", "a process with this installation's mark that belongs to no instance");
    story
        .fact("ends", "at the next start of the gateway, which ends what is left before it serves");
    story.fact("now", "wrasse gateway restart");
    story.tell(answer)
}

/// The last few things that happened to an instance.
fn last_events(history: &Value) -> Vec<String> {
    let events = history["events"].as_array().cloned().unwrap_or_default();
    let skip = events.len().saturating_sub(5);
    events[skip..]
        .iter()
        .map(|event| format!("{} {}", text(&event["at"]), text(&event["text"])))
        .collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}
