//! `wrasse ps`.

use std::time::Duration;

use wrasse_types::wire::{PsInstance, PsReport};
use wrasse_types::{ByteSize, UnixMillis, format_duration};

use crate::output::{line, table};

/// How much of each tree is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// A row an instance.
    Rows,
    /// Every process too.
    Tree,
}

/// Prints the report.
pub(crate) fn ps(report: &PsReport, detail: Detail) {
    let now = UnixMillis::now();
    let gateway = &report.gateway;
    let warden = gateway.warden_pid.map_or_else(|| "none".to_owned(), |pid| pid.to_string());
    line(format_args!(
        "wrasse {} · gateway {}, warden {warden} · up {} · containment {} · {} runs active, {} sessions (records, no \
         processes)",
        gateway.version,
        gateway.pid,
        format_duration(now.since(gateway.started_at)),
        gateway.containment.join(" + "),
        gateway.runs_active,
        gateway.sessions,
    ));
    let servers: u64 = report.instances.iter().map(|instance| instance.memory_bytes).sum();
    let processes: usize = report.instances.iter().map(|instance| instance.processes.len()).sum();
    line(format_args!(
        "memory: wrasse {} · servers {} · processes {processes}",
        ByteSize(gateway.memory_bytes),
        ByteSize(servers),
    ));
    line("");
    let head = ["INSTANCE", "SERVER", "STATE", "PID", "MEM", "AGE", "CALLS", "HELD BY", "ENDS"];
    let rows: Vec<_> = report.instances.iter().map(|instance| row(instance, now)).collect();
    table(&head, &rows);
    for instance in &report.instances {
        for warning in &instance.warnings {
            line(format_args!("! {} {}: {warning}", instance.id, instance.server));
        }
    }
    if rows.is_empty() {
        line("(no server is running: they start when called)");
    }
    if detail == Detail::Tree {
        trees(report);
    }
    totals(report);
}

fn row(instance: &PsInstance, now: UnixMillis) -> Vec<String> {
    let holders: Vec<String> = instance
        .leases
        .iter()
        .map(|lease| format!("{} ({})", lease.holder, lease.reason))
        .collect();
    let calls = match instance.in_flight {
        0 => instance.calls.to_string(),
        flying => format!("{} (+{flying})", instance.calls),
    };
    let ends = match instance.ends.when {
        Some(when) => {
            format!("in {}", format_duration(when.since(now).max(Duration::from_secs(1))))
        }
        None => instance.ends.because.clone(),
    };
    vec![
        instance.id.clone(),
        instance.server.clone(),
        if instance.in_flight > 0 { "busy".to_owned() } else { instance.state.clone() },
        instance.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        memory(instance),
        format_duration(now.since(instance.started_at)),
        calls,
        if holders.is_empty() { "nobody".to_owned() } else { holders.join(", ") },
        ends,
    ]
}

/// The size of a tree, of what it may use, and with shared pages once if that was asked for.
fn memory(instance: &PsInstance) -> String {
    let mut text = ByteSize(instance.memory_bytes).to_string();
    if let Some(allowed) = instance.memory_max_bytes {
        text.push_str(&format!(" of {}", ByteSize(allowed)));
    }
    if let Some(pss) = instance.pss_bytes {
        text.push_str(&format!(" (PSS {})", ByteSize(pss)));
    }
    text
}

fn trees(report: &PsReport) {
    for instance in &report.instances {
        line(format_args!("\n{} {}", instance.id, instance.server));
        for process in &instance.processes {
            line(format_args!(
                "  {} ← {}  {}  {}{}",
                process.pid,
                process.ppid,
                process.name,
                ByteSize(process.memory_bytes),
                if process.zombie { "  zombie" } else { "" }
            ));
        }
    }
}

fn totals(report: &PsReport) {
    let ended = &report.ended;
    line(format_args!(
        "\nended since start: {} trees · had exited {} · stdin {} · SIGTERM {} · killed {} · slowest {} · proven empty {}",
        ended.trees,
        ended.already_gone,
        ended.stdin,
        ended.term,
        ended.kill,
        format_duration(Duration::from_millis(ended.slowest_ms)),
        ended.proven_empty
    ));
    line(format_args!("leftovers of ours: {}", report.leftovers.len()));
    for process in &report.leftovers {
        line(format_args!(
            "  {} {}  since {}  it carries our mark and belongs to no instance",
            process.pid, process.name, process.started_at
        ));
    }
    if !report.leftovers.is_empty() {
        line("  → wrasse why PID, wrasse reap");
    }
}
