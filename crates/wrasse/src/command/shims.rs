//! The shims of `wrasse wrap`, as their ledger has them. No gateway is asked.

use std::process::ExitCode;

use serde_json::{Value, json};
use wrasse_types::{ByteSize, UnixMillis, format_duration};
use wrasse_wrap::ledger::{self, InstanceRow, ShimRow};

use crate::args::Common;
use crate::output::{json as print_json, line, table};
use crate::{place, render};

/// Every living shim of the state dir.
pub(crate) fn live(common: &Common) -> Vec<ShimRow> {
    ledger::live(&place::wrap_state_dir(common))
}

/// The shims as JSON.
pub(crate) fn report(shims: &[ShimRow]) -> Value {
    shims.iter().map(shim).collect()
}

fn shim(row: &ShimRow) -> Value {
    json!({
        "id": row.id,
        "pid": row.process.pid,
        "name": row.name,
        "command": row.command,
        "scope": row.scope,
        "since": row.since,
        "ends": row.ends,
        "shared_by": row.shared_by,
        "host": row.host.as_ref().map(|host| json!({ "pid": host.pid, "name": host.name })),
        "servers": row.instances.iter().map(server).collect::<Value>(),
    })
}

fn server(row: &InstanceRow) -> Value {
    let (processes, memory_bytes) = tree(row);
    json!({
        "instance": row.instance,
        "guardian_pid": row.guardian.pid,
        "pid": row.server.as_ref().map(|server| server.pid),
        "since": row.since,
        "calls": row.calls,
        "processes": processes,
        "memory_bytes": memory_bytes,
    })
}

/// Processes of a tree, and their memory.
fn tree(row: &InstanceRow) -> (usize, u64) {
    let below = wrasse_contain::processes_below(row.guardian.pid);
    (below.len(), below.iter().map(|process| process.memory_bytes).sum())
}

/// Prints the section of `wrasse ps`.
pub(crate) fn show(shims: &[ShimRow]) {
    let now = UnixMillis::now();
    let running = shims.iter().filter(|row| !row.instances.is_empty()).count();
    let brokers = shims.iter().filter(|row| is_broker(row)).count();
    let shared = if brokers > 0 { format!(", {brokers} of them shared") } else { String::new() };
    let count = shims.len() - brokers;
    line(format_args!("wrapped for other hosts: {count} shims, {running} servers{shared}"));
    let rows: Vec<_> = shims.iter().map(|row| cells(row, now)).collect();
    table(&["SHIM", "SERVER", "HOST", "PID", "MEM", "AGE", "CALLS", "ENDS"], &rows);
}

fn cells(row: &ShimRow, now: UnixMillis) -> Vec<String> {
    let host = row.host.as_ref();
    let host = match host {
        Some(host) => format!("{} {}", host.name, host.pid),
        None if is_broker(row) => format!("{} sessions", row.shared_by.len()),
        None => "?".to_owned(),
    };
    let first = row.instances.first();
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        row.process.pid.to_string(),
        row.name.clone(),
        host,
        or_none(first.and_then(|row| row.server.as_ref()).map(|server| server.pid.to_string())),
        or_none(first.map(|row| ByteSize(tree(row).1).to_string())),
        or_none(first.map(|row| format_duration(now.since(row.since)))),
        or_none(first.map(|row| row.calls.to_string())),
        match (first, row.scope.as_str()) {
            (Some(_), _) => row.ends.clone(),
            (None, "shared") => "its server is a broker's".to_owned(),
            (None, _) => "starts when called".to_owned(),
        },
    ]
}

/// Answers `wrasse why` for a process that a shim is or holds. `None` for any other.
pub(crate) fn why(common: &Common, pid: u32) -> Option<ExitCode> {
    let (row, instance) = ledger::find(&place::wrap_state_dir(common), pid)?;
    if common.json {
        print_json(&json!({ "schema": 1, "kind": "shim", "record": shim(&row) }));
    } else {
        render::why(&story(&row, instance.as_ref(), pid));
    }
    Some(ExitCode::SUCCESS)
}

fn story(row: &ShimRow, instance: Option<&InstanceRow>, pid: u32) -> Value {
    let host = row.host.as_ref();
    let host = match host {
        Some(host) => format!("{} (pid {})", host.name, host.pid),
        None if is_broker(row) => sessions(row),
        None => "a process outside this pid namespace".to_owned(),
    };
    let keeper = if is_broker(row) { "broker" } else { "shim" };
    let now = UnixMillis::now();
    match instance {
        None => json!({
            "title": format!("pid {pid} is the {keeper} of {} (wrasse wrap), for {host}", row.name),
            "command": row.command.join(" "),
            "server": match row.instances.first().and_then(|row| row.server.as_ref()) {
                Some(server) => format!("runs as pid {}, ends {}", server.pid, row.ends),
                None => "none: it starts when it is called".to_owned(),
            },
            "ends": if is_broker(row) {
                "with its server, which ends with its last session"
            } else {
                "when its host closes its stdin or is gone, and its server with it"
            },
        }),
        Some(instance) => json!({
            "title": format!("pid {pid} belongs to {}, wrapped for {host}", row.name),
            "command": row.command.join(" "),
            "held by": format!("{keeper} {} under guardian {}", row.process.pid, instance.guardian.pid),
            "started": format!("{} ago, for a call; {} calls written down", format_duration(now.since(instance.since)), instance.calls),
            "ends": if is_broker(row) {
                format!("{}; at once when the broker or the last session is gone", row.ends)
            } else {
                format!("{}; at once when {host} or the shim is gone", row.ends)
            },
            "to end it": if is_broker(row) {
                format!("kill {}   ends broker and tree gently; the next call starts both anew", row.process.pid)
            } else {
                format!("kill {}   ends shim and tree gently; the host has to start the server anew", row.process.pid)
            },
        }),
    }
}

/// Whether it has a server that others share.
fn is_broker(row: &ShimRow) -> bool {
    row.scope == "broker"
}

fn sessions(row: &ShimRow) -> String {
    let pids: Vec<String> = row.shared_by.iter().map(u32::to_string).collect();
    format!("the sessions of shims {}", pids.join(", "))
}
