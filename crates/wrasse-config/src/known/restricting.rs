//! Keys of OpenClaw that restrict what agents may do and that are not implemented here.
//!
//! To ignore one would give agents more than their owner meant to. So the tools it guards are denied, until the
//! owner says with `unsafeIgnore` that he knows.

use super::{Class, Guards, Restriction, Row};
use crate::text::{Node, Value};

const EXEC: &[&str] = &["exec", "process"];
const FILES: &[&str] = &["read", "write", "edit", "apply_patch"];
const EXEC_AND_FILES: &[&str] =
    &["exec", "process", "read", "write", "edit", "apply_patch", "code_execution"];
const SESSIONS: &[&str] = &["sessions_list", "sessions_history", "sessions_send"];

const fn denies(
    path: &'static str,
    tools: &'static [&'static str],
    harmless: fn(&Node) -> bool,
) -> Row {
    Row { path, class: Class::Restricts(Restriction { tools: Guards::These(tools), harmless }) }
}

const fn denies_listed(path: &'static str) -> Row {
    Row { path, class: Class::Restricts(Restriction { tools: Guards::Listed, harmless: is_empty }) }
}

/// At the top.
pub(super) const RESTRICTING: &[Row] = &[
    denies("approvals.exec", EXEC, switched_off),
    denies("approvals.plugin", &["group:plugins"], switched_off),
    denies("approvals.**", EXEC, switched_off),
    denies("gateway.nodes.denyCommands", &["nodes"], is_empty),
    denies("gateway.nodes.commands", &["nodes"], is_empty),
];

/// Below `agents.defaults` and every agent.
pub(super) const AGENT_RESTRICTING: &[Row] = &[denies("sandbox", EXEC_AND_FILES, sandbox_off)];

/// Below every `tools`.
pub(super) const TOOLS_RESTRICTING: &[Row] = &[
    denies("elevated", EXEC, switched_off),
    denies("exec.security", EXEC, |node| is(node, &["full"])),
    denies("exec.ask", EXEC, |node| is(node, &["off"])),
    denies("exec.mode", EXEC, |node| is(node, &["full"])),
    denies("exec.host", EXEC, |node| is(node, &["gateway", "auto"])),
    denies("fs.workspaceOnly", FILES, is_false),
    denies("sessions.visibility", SESSIONS, |node| is(node, &["all"])),
    denies("agentToAgent", &["sessions_send"], any_agent),
    denies("subagents.tools.allow", &["sessions_spawn"], is_empty),
    denies_listed("subagents.tools.deny"),
    denies("sandbox", EXEC_AND_FILES, is_empty),
    denies("toolsBySender", &["*"], is_empty),
    denies("byProvider", &["*"], is_empty),
];

fn is(node: &Node, texts: &[&str]) -> bool {
    node.text().is_some_and(|text| texts.contains(&text))
}

fn is_false(node: &Node) -> bool {
    node.value == Value::Bool(false)
}

fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.iter().all(|member| is_empty(&member.node)),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => false,
    }
}

fn switched_off(node: &Node) -> bool {
    is_empty(node) || is_false(node) || node.get("enabled").is_some_and(is_false)
}

/// A sandbox is used only where its mode says so.
fn sandbox_off(node: &Node) -> bool {
    node.get("mode").is_none_or(|mode| is(mode, &["off"]))
}

fn any_agent(node: &Node) -> bool {
    let on = node.get("enabled").is_some_and(|enabled| enabled.value == Value::Bool(true));
    on && node.get("allow").is_none_or(|allow| {
        is_empty(allow) || matches!(&allow.value, Value::Array(items) if items.iter().any(|item| is(item, &["*"])))
    })
}
