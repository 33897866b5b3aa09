//! `wrasse reap`.

use serde_json::{Value, json};
use wrasse_contain::sweep::{Leftover, MarkedBy};
use wrasse_types::{ByteSize, InstanceId, UnixMillis, format_duration};
use wrasse_wrap::ledger::{InstanceRow, ShimRow};

use crate::args::Common;
use crate::command::{items, text};
use crate::leftovers::Known;
use crate::output::{self, line, table};

/// How the instance of a shim is called.
pub(crate) fn shim_instance(instance: u64) -> String {
    format!("w-{instance}")
}

/// A process that a dead gateway left, with the proof of it.
pub(crate) fn of_gateway(one: &Leftover, known: Option<&Known>) -> Value {
    let row = known.and_then(|known| known.row(one.instance));
    let mut shown = process(one, &InstanceId::new(one.instance).to_string(), "gateway");
    shown["server"] = json!(row.map(|row| row.server.as_str()));
    let session = row.and_then(|row| row.session_key.as_ref());
    shown["session_key"] = json!(session.map(ToString::to_string));
    let guardian = row.and_then(|row| row.guardian.as_ref());
    shown["proof"]["leased_at"] = json!(row.map(|row| row.began_at));
    shown["proof"]["ended_at"] = json!(row.and_then(|row| row.ended_at));
    shown["proof"]["guardian_pid"] = json!(guardian.map(|guardian| guardian.pid));
    shown
}

/// A process that a dead shim left, with the proof of it.
pub(crate) fn of_shim(one: &Leftover, rows: &[ShimRow]) -> Value {
    let mut shown = process(one, &shim_instance(one.instance), "shim");
    let is_meant = |row: &InstanceRow| row.instance == one.instance;
    let shim = rows.iter().find(|row| row.instances.iter().any(is_meant));
    let instance = shim.and_then(|shim| shim.instances.iter().find(|row| is_meant(row)));
    shown["server"] = json!(shim.map(|shim| shim.name.as_str()));
    shown["shim_pid"] = json!(shim.map(|shim| shim.process.pid));
    shown["host_pid"] = json!(shim.and_then(|shim| shim.host.as_ref()).map(|host| host.pid));
    shown["proof"]["leased_at"] = json!(instance.map(|row| row.since));
    shown["proof"]["ended_at"] = Value::Null;
    shown["proof"]["guardian_pid"] = json!(instance.map(|row| row.guardian.pid));
    shown
}

fn process(one: &Leftover, instance: &str, left_by: &str) -> Value {
    let process = &one.process;
    let marked_by = match one.marked_by {
        MarkedBy::Limit => "limit",
        MarkedBy::Variable => "variable",
    };
    json!({
        "instance": instance, "left_by": left_by, "pid": process.pid, "ppid": process.ppid,
        "name": process.name, "started_at": process.started_at,
        "memory_bytes": process.memory_bytes,
        "proof": {
            "marked_by": marked_by, "owner": "dead", "boot": "this", "pid_namespace": "ours",
            "after_guardian_ms": u64::try_from(one.after_guardian.as_millis()).unwrap_or(u64::MAX),
        },
    })
}

/// Prints the report.
pub(crate) fn show(common: &Common, report: &Value) {
    if common.json {
        output::json(report);
        return;
    }
    let leftovers = items(&report["leftovers"]);
    if let Some(pid) = report["gateway"]["pid"].as_u64() {
        line(format_args!("the gateway {pid} runs; what dead ones left it ended before it served"));
    }
    if leftovers.is_empty() {
        line("leftovers of ours: 0");
        return;
    }
    let rows: Vec<Vec<String>> = leftovers.iter().map(row).collect();
    table(&["INSTANCE", "SERVER", "PID", "NAME", "MEM", "AGE", "PROOF"], &rows);
    let proven = leftovers.iter().any(|one| !one["proof"].is_null());
    if proven {
        line(
            "each: the mark of this installation, this boot, our PID namespace; its gateway is dead (the lock of the state \
             dir is free, nobody carries a gateway's mark), or its shim is",
        );
    }
    match report["ended"].as_u64() {
        None => {
            line(format_args!("leftovers of ours: {}; nothing was ended", leftovers.len()));
            if proven {
                line("  → wrasse reap --yes         ends them; the start of a gateway does, too");
                line("  → wrasse reap ID… --yes     ends the trees of these only");
            }
            if leftovers.iter().any(|one| one["proof"].is_null()) {
                line(
                    "  → wrasse gateway restart    ends what carries its mark, before it serves again",
                );
            }
        }
        Some(ended) => ended_lines(report, leftovers, ended),
    }
}

fn ended_lines(report: &Value, leftovers: &[Value], ended: u64) {
    for one in leftovers {
        let (pid, name) = (text(&one["pid"]), text(&one["name"]));
        let came = if one["ended"] == true { "ended" } else { "left " };
        line(format_args!("{came} {pid} {name} ({})", text(&one["instance"])));
    }
    let shown = u64::try_from(leftovers.len()).unwrap_or(u64::MAX);
    let more = report["found"].as_u64().unwrap_or(shown).saturating_sub(shown);
    if more > 0 {
        line(format_args!("{more} more that belong to them"));
    }
    line(format_args!("ended {ended} · left {}", text(&report["survivors"])));
}

fn row(one: &Value) -> Vec<String> {
    let age = one["started_at"].as_str().map(text_age).unwrap_or_default();
    let size = ByteSize(one["memory_bytes"].as_u64().unwrap_or(0)).to_string();
    let cell = |key: &str| text(&one[key]);
    vec![cell("instance"), cell("server"), cell("pid"), cell("name"), size, age, proof(one)]
}

fn text_age(started_at: &str) -> String {
    let parsed = UnixMillis::parse(started_at);
    parsed.map_or_else(|| "-".to_owned(), |at| format_duration(UnixMillis::now().since(at)))
}

/// In words, and only what differs from one to the other.
fn proof(one: &Value) -> String {
    let proof = &one["proof"];
    if proof.is_null() {
        return "the mark of this installation, and no instance it belongs to".to_owned();
    }
    let mark = match proof["marked_by"].as_str() {
        Some("limit") => "RLIMIT_LOCKS",
        Some(_) | None => "WRASSE_MARK",
    };
    let end = match proof["ended_at"].as_str() {
        Some(at) => format!("its end on record at {at}"),
        None => "its end not on record".to_owned(),
    };
    format!(
        "{mark}; leased {}, {end}; started {} ms after guardian {}",
        text(&proof["leased_at"]),
        text(&proof["after_guardian_ms"]),
        text(&proof["guardian_pid"]),
    )
}
