//! Answers as people read them. `--json` bypasses all of this.

pub(crate) mod leftovers;
mod ps;
mod why;

use serde_json::Value;

pub(crate) use ps::{Detail, ps};
pub(crate) use why::why;

use crate::command::{items, text};
use crate::output::{line, table};

/// `wrasse status`.
pub(crate) fn status(answer: &Value) {
    let gateway = &answer["gateway"];
    line(format_args!(
        "wrasse {} · gateway {}, warden {} · since {} · {}",
        text(&gateway["version"]),
        text(&gateway["pid"]),
        text(&gateway["warden_pid"]),
        text(&gateway["started_at"]),
        if answer["ready"] == true { "ready" } else { "not ready" },
    ));
    for failing in items(&answer["failing"]) {
        line(format_args!("! {}", text(failing)));
    }
    line(format_args!(
        "{} runs active, {} sessions (records, no processes), {} servers configured, {} jobs",
        text(&gateway["runs_active"]),
        text(&gateway["sessions"]),
        text(&answer["servers"]),
        text(&answer["cron"]["jobs"]),
    ));
    for run in items(&answer["runs"]) {
        line(format_args!(
            "  run {} {} ← {}",
            text(&run["id"]),
            text(&run["agentId"]),
            text(&run["cause"])
        ));
    }
}

/// Every field of an object, a line each.
pub(crate) fn fields(answer: &Value) {
    let Some(object) = answer.as_object() else { return line(text(answer)) };
    let width = object.keys().map(String::len).max().unwrap_or(0);
    for (name, value) in object.iter().filter(|(name, _)| *name != "schema") {
        line(format_args!("{name:<width$}  {}", text(value)));
    }
}

fn rows(list: &Value, columns: &[(&str, &str)]) {
    let head: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
    let cell = |item: &Value, path: &str| text(item.pointer(path).unwrap_or(&Value::Null));
    let rows: Vec<Vec<String>> = items(list)
        .iter()
        .map(|item| columns.iter().map(|(_, path)| cell(item, path)).collect())
        .collect();
    table(&head, &rows);
}

/// `wrasse sessions list`.
pub(crate) fn sessions(answer: &Value) {
    rows(
        &answer["sessions"],
        &[("KEY", "/key"), ("UPDATED", "/updatedAt"), ("DEPTH", "/depth"), ("LABEL", "/label")],
    );
}

/// `wrasse sessions history`.
pub(crate) fn history(answer: &Value) {
    for entry in items(&answer["entries"]) {
        let body = &entry["body"];
        let said = body["text"].as_str().map_or_else(|| body.to_string(), str::to_owned);
        line(format_args!("{} {}: {said}", text(&entry["at"]), text(&entry["role"])));
        for call in items(&body["toolCalls"]) {
            line(format_args!("    call {} {}", text(&call["name"]), call["arguments"]));
        }
    }
}

/// `wrasse runs list`.
pub(crate) fn runs(answer: &Value) {
    rows(
        &answer["runs"],
        &[
            ("RUN", "/id"),
            ("STATE", "/state"),
            ("END", "/endReason"),
            ("AGENT", "/agentId"),
            ("CAUSE", "/cause"),
            ("STARTED", "/startedAt"),
            ("SESSION", "/sessionKey"),
        ],
    );
}

/// `wrasse cron list`.
pub(crate) fn jobs(answer: &Value) {
    rows(
        &answer["jobs"],
        &[
            ("ID", "/id"),
            ("NAME", "/name"),
            ("ENABLED", "/enabled"),
            ("SCHEDULE", "/schedule"),
            ("NEXT", "/state/nextRunAt"),
            ("LAST", "/state/lastStatus"),
        ],
    );
}

/// `wrasse cron runs`.
pub(crate) fn firings(answer: &Value) {
    rows(
        answer.get("runs").or(answer.get("firings")).unwrap_or(&Value::Null),
        &[
            ("DUE", "/dueAt"),
            ("RUN", "/runId"),
            ("STATUS", "/status"),
            ("ENDED", "/endedAt"),
            ("DELIVERED", "/delivered"),
            ("SUMMARY", "/summary"),
        ],
    );
}

/// `wrasse mcp list` and `wrasse mcp status`.
pub(crate) fn servers(answer: &Value) {
    rows(
        &answer["servers"],
        &[
            ("SERVER", "/name"),
            ("ENABLED", "/enabled"),
            ("STATE", "/state"),
            ("INSTANCES", "/instances"),
            ("TOOLS", "/tools"),
            ("LAUNCH", "/launch"),
        ],
    );
}

/// `wrasse mcp tools`.
pub(crate) fn tools(answer: &Value) {
    rows(&answer["tools"], &[("TOOL", "/name"), ("SERVER", "/server"), ("DOES", "/description")]);
}

/// `wrasse mcp probe`.
pub(crate) fn probe(answer: &Value) {
    for server in items(&answer["servers"]) {
        if server["ok"] == true {
            line(format_args!(
                "ok    {}  {} tools, {} ms",
                text(&server["name"]),
                text(&server["tools"]),
                text(&server["tookMs"])
            ));
        } else {
            line(format_args!("FAIL  {}  {}", text(&server["name"]), text(&server["message"])));
            if let Some(help) = server["help"].as_str() {
                line(format_args!("      → {help}"));
            }
        }
    }
}

/// What was ended.
pub(crate) fn ended(answer: &Value) {
    let list = items(&answer["ended"]);
    for ended in list {
        line(format_args!(
            "ended {} {} (pid {}, {}, {} ms), left {}",
            text(&ended["instance"]),
            text(&ended["server"]),
            text(&ended["pid"]),
            text(&ended["rung"]),
            text(&ended["tookMs"]),
            text(&ended["survivors"]),
        ));
    }
    if list.is_empty() {
        line("nothing was running");
    }
}

/// `wrasse models list`.
pub(crate) fn models(answer: &Value) {
    rows(&answer["models"], &[("MODEL", "/reference"), ("API", "/api"), ("ENDPOINT", "/endpoint")]);
}
