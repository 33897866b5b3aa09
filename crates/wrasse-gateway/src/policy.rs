//! Which tools a run may use: allow and deny globs of every stage, groups, restricting keys, and what sub-agents
//! never get. Tools of MCP servers obey the same rules as built-in ones.

use wrasse_config::{DeniedTool, ToolPolicy};
use wrasse_mcp::glob;

use crate::tools::BuiltIn;

/// Where a run stands in the tree of spawns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Depth 0: a person's message or a job.
    Main,
    /// A spawned run that may spawn.
    Orchestrator,
    /// A spawned run at the depth limit.
    Leaf,
}

impl Role {
    /// The role at a depth.
    pub(crate) const fn at(depth: u32, max_depth: u32) -> Self {
        match depth {
            0 => Self::Main,
            depth if depth < max_depth => Self::Orchestrator,
            _ => Self::Leaf,
        }
    }
}

/// What a tool comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToolKind {
    /// This program.
    BuiltIn,
    /// An MCP server.
    Server,
}

/// The rules for one run.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    rules: ToolPolicy,
    denied: Vec<DeniedTool>,
    role: Role,
}

impl Policy {
    /// Gathers the rules.
    pub(crate) fn new(rules: &ToolPolicy, denied: &[DeniedTool], role: Role) -> Self {
        Self { rules: rules.clone(), denied: denied.to_vec(), role }
    }

    /// Whether a tool may be offered and called.
    pub(crate) fn allows(&self, name: &str, kind: ToolKind) -> bool {
        let matches = |pattern: &String| pattern_matches(pattern, name, kind);
        // An empty stage narrows nothing.
        let allowed =
            self.rules.allow.iter().all(|stage| stage.is_empty() || stage.iter().any(matches));
        allowed
            && !self.rules.deny.iter().any(matches)
            && !self.denied.iter().any(|denied| pattern_matches(&denied.tool, name, kind))
            && self.role_allows(name, kind)
    }

    /// Whether any tool of a server, whose names begin with `prefix`, may be allowed. One of which none is, is never
    /// started.
    pub(crate) fn may_allow_server(&self, prefix: &str) -> bool {
        let prefix = prefix.to_lowercase();
        let may = |pattern: &String| may_match_server(pattern, &prefix);
        let covers = |pattern: &str| covers_server(pattern, &prefix);
        self.rules.allow.iter().all(|stage| stage.is_empty() || stage.iter().any(may))
            && !self.rules.deny.iter().any(|pattern| covers(pattern))
            && !self.denied.iter().any(|denied| covers(&denied.tool))
    }

    fn role_allows(&self, name: &str, kind: ToolKind) -> bool {
        match (self.role, kind) {
            (Role::Main, _) | (_, ToolKind::Server) => true,
            (Role::Orchestrator, ToolKind::BuiltIn) => !NEVER_FOR_SUBAGENTS.contains(&name),
            (Role::Leaf, ToolKind::BuiltIn) => {
                !NEVER_FOR_SUBAGENTS.contains(&name) && !NEVER_FOR_LEAVES.contains(&name)
            }
        }
    }
}

/// Built-in tools that no sub-agent gets, present or to come.
const NEVER_FOR_SUBAGENTS: [&str; 7] = [
    "gateway",
    "agents_list",
    "session_status",
    "progress_card",
    "cron",
    "message",
    "sessions_send",
];

/// Further ones that a leaf does not get: it has no children to look after.
const NEVER_FOR_LEAVES: [&str; 5] =
    ["subagents", "sessions_list", "sessions_history", "sessions_spawn", "sessions_yield"];

fn pattern_matches(pattern: &str, name: &str, kind: ToolKind) -> bool {
    let pattern = pattern.trim();
    match pattern.strip_prefix("group:") {
        Some(group) => group_holds(group, name, kind),
        None if pattern == "bundle-mcp" => kind == ToolKind::Server,
        None => glob::matches(&pattern.to_lowercase(), &name.to_lowercase()),
    }
}

fn may_match_server(pattern: &str, prefix: &str) -> bool {
    match server_group(pattern) {
        Some(holds) => holds,
        None => glob::may_match_prefix(&pattern.trim().to_lowercase(), prefix),
    }
}

fn covers_server(pattern: &str, prefix: &str) -> bool {
    match server_group(pattern) {
        Some(holds) => holds,
        None => glob::covers_prefix(&pattern.trim().to_lowercase(), prefix),
    }
}

/// Whether a pattern that names a group means all tools of servers; `None` for other patterns.
fn server_group(pattern: &str) -> Option<bool> {
    match pattern.trim() {
        "bundle-mcp" => Some(true),
        pattern => {
            pattern.strip_prefix("group:").map(|group| group_holds(group, "", ToolKind::Server))
        }
    }
}

fn group_holds(group: &str, name: &str, kind: ToolKind) -> bool {
    match kind {
        ToolKind::Server => matches!(group, "mcp" | "plugins"),
        ToolKind::BuiltIn => match group {
            // A built-in that was added later is in both groups too.
            "sessions" | "openclaw" => BuiltIn::from_name(name).is_some(),
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&[&str]], deny: &[&str], role: Role) -> Policy {
        let texts = |list: &[&str]| list.iter().map(|text| String::from(*text)).collect::<Vec<_>>();
        Policy::new(
            &ToolPolicy {
                allow: allow.iter().map(|stage| texts(stage)).collect(),
                deny: texts(deny),
            },
            &[DeniedTool { tool: "exec*".to_owned(), key: "approvals.exec".to_owned() }],
            role,
        )
    }

    #[test]
    fn deny_wins_and_every_stage_narrows() {
        let server = |p: &Policy, name: &str| p.allows(name, ToolKind::Server);
        let open = policy(&[], &[], Role::Main);
        assert!(server(&open, "sqlite__read_query"));
        assert!(!open.allows("exec", ToolKind::BuiltIn), "a restricting key denies");
        let narrow =
            policy(&[&["sqlite__*", "group:sessions"], &["*read*"]], &["*_secret"], Role::Main);
        assert!(server(&narrow, "sqlite__read_query"));
        assert!(!server(&narrow, "sqlite__write_query"), "the second stage narrows");
        assert!(!server(&narrow, "filesystem__read_file"), "the first stage narrows");
        assert!(!server(&narrow, "sqlite__read_secret"), "deny wins");
        assert!(!narrow.allows("sessions_spawn", ToolKind::BuiltIn));
    }

    #[test]
    fn groups_name_tools_by_what_they_come_from() {
        for group in ["group:mcp", "group:plugins", "bundle-mcp"] {
            let denied = policy(&[], &[group], Role::Main);
            assert!(!denied.allows("sqlite__x", ToolKind::Server), "{group}");
            assert!(denied.allows("sessions_spawn", ToolKind::BuiltIn), "{group}");
        }
        let sessions = policy(&[&["group:sessions"]], &[], Role::Main);
        assert!(sessions.allows("sessions_list", ToolKind::BuiltIn));
        assert!(
            !sessions.allows("sessions__list", ToolKind::Server),
            "a server cannot join a group by its name"
        );
    }

    #[test]
    fn a_server_of_which_nothing_is_allowed_is_known_before_it_is_started() {
        let may = |allow: &[&[&str]], deny: &[&str]| {
            policy(allow, deny, Role::Leaf).may_allow_server("sqlite__")
        };
        assert!(may(&[], &[]));
        assert!(may(&[&["sqlite__read*"]], &["sqlite__write*"]));
        assert!(may(&[&["group:mcp"]], &[]));
        assert!(!may(&[&["group:sessions"]], &[]));
        assert!(!may(&[&["filesystem__*"]], &[]));
        assert!(!may(&[], &["SQLite__*"]));
        assert!(!may(&[], &["bundle-mcp"]));
    }

    #[test]
    fn leaves_cannot_spawn_or_look_around() {
        assert_eq!(Role::at(0, 2), Role::Main);
        assert_eq!(Role::at(1, 2), Role::Orchestrator);
        assert_eq!(Role::at(2, 2), Role::Leaf);
        assert_eq!(Role::at(1, 1), Role::Leaf);
        let leaf = policy(&[&["*"]], &[], Role::Leaf);
        for name in BuiltIn::ALL.map(BuiltIn::name) {
            assert!(!leaf.allows(name, ToolKind::BuiltIn), "{name}");
        }
        assert!(leaf.allows("sqlite__x", ToolKind::Server));
        let middle = policy(&[], &[], Role::Orchestrator);
        assert!(middle.allows("sessions_spawn", ToolKind::BuiltIn));
        assert!(!middle.allows("sessions_send", ToolKind::BuiltIn));
    }
}
