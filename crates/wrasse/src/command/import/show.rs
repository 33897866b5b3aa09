//! What was found and what changes, for people and as JSON. Command lines come redacted.

use std::path::Path;

use serde_json::{Value, json};
use wrasse_hosts::import::{Entry, Found, Kind, Plan};

use crate::output::{self, line};

/// Whether the plan was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    DryRun,
    Written,
}

/// Words as one line, those that a shell would split in quotes.
pub(super) fn words(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let is_plain = |c: char| c.is_alphanumeric() || "@%+=:,./_-[]".contains(c);
        if !word.is_empty() && word.chars().all(is_plain) {
            word.clone()
        } else {
            format!("'{}'", plain(&word.replace('\'', "'\\''")))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// A file's text without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn state(entry: &Entry) -> (&'static str, Option<String>) {
    match &entry.kind {
        Kind::Stdio => ("stdio", None),
        Kind::Wrapped { by } if is_gone(by) => {
            ("wrapped", Some(format!("by {by}, which is not there: --undo, then --wrap again")))
        }
        Kind::Wrapped { by } => ("wrapped", Some(format!("by {by}"))),
        Kind::Disabled => ("disabled", None),
        Kind::Remote => ("remote", None),
        Kind::Unsuited(why) => ("left alone", Some(why.clone())),
    }
}

/// Whether a program that stands in a file by its full path has gone.
fn is_gone(program: &str) -> bool {
    program.starts_with('/') && !Path::new(program).is_file()
}

/// `1 server`, `2 servers`.
fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// What a host has.
pub(super) fn found(found: &Found, this: &str) {
    let mut rows = Vec::new();
    for entry in &found.entries {
        let (state, more) = state(entry);
        let starts = match entry.starts.unwrapped() {
            Some(original) => words(&original.shown()),
            None => words(&entry.starts.shown()),
        };
        let starts = if entry.starts.command.is_empty() { String::new() } else { starts };
        let more = more.map(|more| format!("({more})")).unwrap_or_default();
        let place = format!("{}:{}", entry.file.display(), entry.line);
        rows.push(vec![plain(&entry.at), state.to_owned(), place, format!("{starts} {more}")]);
    }
    if rows.is_empty() {
        for file in found.files() {
            line(format_args!("{}: no servers", file.display()));
        }
    } else {
        output::table(&["SERVER", "IS", "WHERE", "STARTS"], &rows);
    }
    let of = |wanted: &str| found.entries.iter().filter(|e| state(e).0 == wanted).count();
    line(format_args!(
        "{}: {} to wrap, {} wrapped already, {} remote, {} disabled, {} left alone",
        count(found.entries.len(), "server"),
        of("stdio"),
        of("wrapped"),
        of("remote"),
        of("disabled"),
        of("left alone")
    ));
    if let Some(project) = &found.project {
        line(format_args!("note  this project has servers of its own in {}", project.display()));
        line(format_args!(
            "  → wrasse import {} --file {} --wrap",
            found.host.name(),
            project.display()
        ));
    }
    if of("stdio") > 0 {
        line(format_args!("  → {this} --wrap          shows what would change"));
    }
    if of("wrapped") > 0 {
        line(format_args!("  → {this} --undo          shows how it would be put back"));
    }
}

/// The same as JSON.
pub(super) fn found_json(found: &Found) {
    let server = |entry: &Entry| {
        let (state, more) = state(entry);
        json!({
            "name": entry.name, "at": entry.at, "file": entry.file, "line": entry.line, "is": state, "more": more,
            "starts": entry.starts.shown(),
        })
    };
    output::json(&json!({
        "schema": 1, "host": found.host.name(), "files": found.files().collect::<Vec<_>>(),
        "servers": found.entries.iter().map(server).collect::<Vec<_>>(), "project_file": found.project,
    }));
}

/// What changes, or was changed.
pub(super) fn plan(plan: &Plan, outcome: Outcome, warnings: &[String], again: &str) {
    for file in &plan.files {
        for entry in &file.entries {
            line(format_args!("{}:{}  {}", file.file.display(), entry.line, plain(&entry.at)));
            line(format_args!("  - {}", words(&entry.before.shown())));
            line(format_args!("  + {}", words(&entry.after.shown())));
        }
    }
    for passed in &plan.passed {
        line(format_args!("left  {}: {}", plain(&passed.at), passed.why));
    }
    for warning in warnings {
        line(format_args!("warn  {warning}"));
    }
    if plan.is_empty() {
        line("nothing to do; nothing was written");
        return;
    }
    let servers: usize = plan.files.iter().map(|file| file.entries.len()).sum();
    let counts = format!("{} in {}", count(servers, "server"), count(plan.files.len(), "file"));
    match outcome {
        Outcome::DryRun => {
            line(format_args!("{counts} would change; nothing was written"));
            line(format_args!("  → {again} --yes"));
        }
        Outcome::Written => {
            line(format_args!("{counts} changed"));
            line(format_args!("note  {}", plan.host.takes_effect()));
            line(
                "note  servers that run already stay until their host ends them: wrasse reap --foreign",
            );
        }
    }
}

/// The same as JSON.
pub(super) fn plan_json(plan: &Plan, outcome: Outcome, warnings: &[String]) {
    let mut changes: Vec<Value> = Vec::new();
    for file in &plan.files {
        for entry in &file.entries {
            changes.push(json!({
                "file": file.file, "line": entry.line, "name": entry.name, "at": entry.at,
                "before": entry.before.shown(), "after": entry.after.shown(),
            }));
        }
    }
    let passed = plan.passed.iter();
    let passed: Vec<Value> =
        passed.map(|p| json!({ "name": p.name, "at": p.at, "why": p.why })).collect();
    output::json(&json!({
        "schema": 1, "host": plan.host.name(), "written": outcome == Outcome::Written && !plan.is_empty(),
        "changes": changes, "left": passed, "warnings": warnings, "takes_effect": plan.host.takes_effect(),
    }));
}
