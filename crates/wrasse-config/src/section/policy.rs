//! `tools`: profiles, allow and deny lists.
//!
//! Groups are written out here, so that the rest of the program sees only names and `*` globs. The tools of MCP
//! servers (`group:plugins`, `bundle-mcp`) are those with `__` in their name.

use super::cursor::{At, Context};
use crate::{Agents, Compat, Mcp, ToolPolicy};

/// Every tool of an MCP server.
const SERVERS: &str = "*__*";

const GROUPS: &[(&str, &[&str])] = &[
    ("group:fs", &["read", "write", "edit", "apply_patch"]),
    ("group:runtime", &["exec", "process", "code_execution"]),
    ("group:web", &["web_search", "web_fetch", "x_search"]),
    ("group:memory", &["memory_search", "memory_get"]),
    (
        "group:sessions",
        &[
            "sessions_list",
            "sessions_history",
            "sessions_send",
            "sessions_spawn",
            "sessions_yield",
            "subagents",
            "session_status",
        ],
    ),
    ("group:ui", &["browser", "canvas"]),
    ("group:messaging", &["message"]),
    ("group:automation", &["cron", "automations", "gateway"]),
    ("group:nodes", &["nodes"]),
    ("group:agents", &["agents_list", "update_plan"]),
    ("group:media", &["image", "image_generate", "music_generate", "video_generate", "tts"]),
    ("group:plugins", &[SERVERS]),
    ("bundle-mcp", &[SERVERS]),
    ("bash", &["exec"]),
];

const PROFILES: &[(&str, &[&str])] = &[
    ("minimal", &["session_status"]),
    (
        "coding",
        &[
            "group:fs",
            "group:runtime",
            "group:web",
            "group:memory",
            "group:sessions",
            "group:automation",
            "update_plan",
            "image",
            "image_generate",
            "bundle-mcp",
        ],
    ),
    (
        "messaging",
        &[
            "group:messaging",
            "sessions_list",
            "sessions_history",
            "sessions_send",
            "session_status",
            "bundle-mcp",
        ],
    ),
    ("full", &[]),
];

/// What a name of a list stands for.
pub(super) fn expand(name: &str) -> Vec<String> {
    let name = name.trim();
    if name.eq_ignore_ascii_case("group:openclaw") {
        let own = GROUPS.iter().flat_map(|(_, tools)| tools.iter());
        return own.filter(|tool| **tool != SERVERS).map(|&tool| tool.to_owned()).collect();
    }
    let group = GROUPS.iter().find(|(group, _)| group.eq_ignore_ascii_case(name));
    match group {
        Some((_, tools)) => tools.iter().map(|&tool| tool.to_owned()).collect(),
        None => vec![name.to_owned()],
    }
}

/// Merges the stages: each one that has a profile or an allow list narrows further.
pub(super) fn read<'a>(stages: impl IntoIterator<Item = Option<At<'a>>>) -> ToolPolicy {
    let mut policy = ToolPolicy::default();
    for tools in stages.into_iter().flatten() {
        let list = |key: &str| -> Vec<String> {
            let texts = tools.get(key).map(|at| at.texts()).unwrap_or_default();
            texts.iter().flat_map(|name| expand(name)).collect()
        };
        let also = list("alsoAllow");
        let choices: Vec<(&str, &[&str])> = PROFILES.to_vec();
        let profile = tools.get("profile").and_then(|at| at.one_of(&choices)).unwrap_or_default();
        let profile: Vec<String> = profile.iter().flat_map(|name| expand(name)).collect();
        for mut stage in [profile, list("allow")] {
            if !stage.is_empty() {
                stage.extend(also.iter().cloned());
                policy.allow.push(stage);
            }
        }
        policy.deny.extend(list("deny"));
    }
    policy
}

/// In OpenClaw 2026.4 no list reaches the tools of MCP servers; here, as in 2026.9, they do.
pub(super) fn warn_hidden_servers(cx: &Context<'_>, agents: &Agents, mcp: &Mcp) {
    if cx.compat != Compat::V2026_4 || mcp.servers.iter().all(|server| !server.enabled) {
        return;
    }
    for agent in &agents.list {
        let reaches =
            |stage: &Vec<String>| stage.iter().any(|glob| glob.contains("__") || glob == "*");
        if !agent.tools.allow.iter().all(reaches) {
            let message = format!(
                "the allow list of agent {:?} leaves out the tools of MCP servers; \
                 OpenClaw 2026.4 does not apply it to them, Wrasse does: add \"bundle-mcp\" or \"<server>__*\"",
                agent.id.as_str()
            );
            cx.notes.warn(cx.sources, crate::text::Place::NONE, "tools", &message);
        }
    }
}
