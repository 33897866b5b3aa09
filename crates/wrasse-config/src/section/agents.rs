//! `agents`: both shapes, `list[]` and `entries{}`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use wrasse_types::AgentId;

use super::cursor::{At, Context};
use super::{models, policy};
use crate::{Agent, Agents, Compat, RunBudget, Subagents};

/// What agents have in common.
struct Shared<'a> {
    defaults: Option<At<'a>>,
    tools: Option<At<'a>>,
    aliases: BTreeMap<String, String>,
    default: AgentId,
    workspace: PathBuf,
}

/// One agent as written.
struct Written<'a> {
    id: AgentId,
    at: At<'a>,
}

/// Reads every agent.
pub(super) fn read(cx: &Context<'_>, root: &At<'_>) -> Agents {
    let defaults = root.follow(&["agents", "defaults"]);
    let written = written(root);
    let default = default_agent(&written, defaults.as_ref());
    let workspace = defaults
        .as_ref()
        .and_then(|defaults| defaults.get("workspace"))
        .and_then(|at| at.file_path())
        .unwrap_or_else(|| cx.options.state_dir.join("workspace"));
    let shared = Shared {
        aliases: models::aliases(root),
        tools: root.get("tools"),
        default: default.clone(),
        workspace,
        defaults,
    };
    let list: Vec<Agent> = written.iter().map(|one| agent(cx, one, &shared)).collect();
    check_allowed(&written, &list);
    let count = |keys: &[&str], fallback| {
        let at = shared.defaults.as_ref().and_then(|defaults| defaults.follow(keys));
        at.and_then(|at| at.count(1..=10_000)).unwrap_or(fallback)
    };
    Agents {
        max_concurrent: count(&["maxConcurrent"], 4),
        subagents_max_concurrent: count(&["subagents", "maxConcurrent"], 8),
        list,
        default,
    }
}

/// The agents of both shapes; two of one id are a fault. None at all is one, `main`.
fn written<'a>(root: &At<'a>) -> Vec<Written<'a>> {
    let mut all: Vec<Written<'a>> = Vec::new();
    let mut add = |name: Option<String>, at: At<'a>| {
        let Some(name) = name else { return };
        match AgentId::parse(&name) {
            Err(error) => at.fault(error.to_string(), None),
            Ok(id) if all.iter().any(|other| other.id == id) => {
                at.fault(
                    format!("there are two agents {:?}", id.as_str()),
                    Some("give each its own id"),
                );
            }
            Ok(id) => all.push(Written { id, at }),
        }
    };
    for at in root.follow(&["agents", "list"]).map(|list| list.items()).unwrap_or_default() {
        let name = match at.get("id") {
            Some(id) => id.text(),
            None => {
                at.fault("this agent has no id", Some("add id: \"<name>\""));
                None
            }
        };
        add(name, at);
    }
    let entries = root.follow(&["agents", "entries"]).map(|entries| entries.members());
    for (name, at) in entries.unwrap_or_default() {
        add(Some(name.to_owned()), at);
    }
    if all.is_empty() {
        let id = AgentId::new(AgentId::MAIN);
        let node = root.clone();
        all.push(Written { id, at: At { node: &EMPTY, path: "agents".to_owned(), ..node } });
    }
    all
}

/// Stands for an agent of which nothing is written.
static EMPTY: crate::text::Node = crate::text::Node {
    place: crate::text::Place::NONE,
    value: crate::text::Value::Object(Vec::new()),
};

/// `default: true`, else the owner of ambient work, else `main`, else the first.
fn default_agent(written: &[Written<'_>], defaults: Option<&At<'_>>) -> AgentId {
    let marked = written
        .iter()
        .find(|one| one.at.get("default").and_then(|at| at.flag()) == Some(true))
        .map(|one| one.id.clone());
    let owner = || {
        let at = defaults?.follow(&["systemAgent", "agentId"])?;
        let id = AgentId::parse(&at.text()?).ok()?;
        let known = written.iter().any(|one| one.id == id);
        if !known {
            at.warn(&format!("there is no agent {:?}", id.as_str()));
        }
        known.then_some(id)
    };
    let main =
        || written.iter().find(|one| one.id.as_str() == AgentId::MAIN).map(|one| one.id.clone());
    let first = || written.first().map(|one| one.id.clone());
    marked.or_else(owner).or_else(main).or_else(first).unwrap_or(AgentId::new(AgentId::MAIN))
}

fn agent(cx: &Context<'_>, written: &Written<'_>, shared: &Shared<'_>) -> Agent {
    let own = &written.at;
    let either = |keys: &[&str]| {
        own.follow(keys).or_else(|| shared.defaults.as_ref().and_then(|at| at.follow(keys)))
    };
    let models = either(&["model"]).map(|at| models::references(&at, &shared.aliases));
    let limit = |keys: &[&str]| either(keys).and_then(|at| at.limit_seconds()).flatten();
    Agent {
        id: written.id.clone(),
        name: own.get("name").and_then(|at| at.text()),
        workspace: workspace(cx, written, shared),
        models: models.unwrap_or_default(),
        system_prompt: either(&["systemPromptOverride"]).and_then(|at| at.text()),
        run_timeout: limit(&["timeoutSeconds"]),
        model_idle_timeout: limit(&["llm", "idleTimeoutSeconds"]),
        tools: policy::read([shared.tools.clone(), own.get("tools")]),
        subagents: subagents(&either, &shared.aliases),
        budget: budget(&either),
    }
}

/// An agent's own, else the configured one for the default agent; others get a folder of their own.
fn workspace(cx: &Context<'_>, written: &Written<'_>, shared: &Shared<'_>) -> PathBuf {
    if let Some(path) = written.at.get("workspace").and_then(|at| at.file_path()) {
        return path;
    }
    if written.id == shared.default {
        return shared.workspace.clone();
    }
    let configured = shared.defaults.as_ref().is_some_and(|at| at.get("workspace").is_some());
    match cx.compat {
        Compat::V2026_9 if configured => shared.workspace.join(written.id.as_str()),
        Compat::V2026_4 | Compat::V2026_9 => {
            cx.options.state_dir.join(format!("workspace-{}", written.id))
        }
    }
}

fn subagents<'a>(
    either: &dyn Fn(&[&str]) -> Option<At<'a>>,
    aliases: &BTreeMap<String, String>,
) -> Subagents {
    let key = |name: &str| either(&["subagents", name]);
    let depth = key("maxSpawnDepth").and_then(|at| at.int(1..=5));
    let models = key("model").map(|at| models::references(&at, aliases));
    Subagents {
        max_depth: depth.and_then(|depth| u32::try_from(depth).ok()).unwrap_or(1),
        max_children: key("maxChildrenPerAgent").and_then(|at| at.count(1..=20)).unwrap_or(5),
        run_timeout: key("runTimeoutSeconds").and_then(|at| at.limit_seconds()).flatten(),
        allow_agents: key("allowAgents").map(|at| at.texts()).unwrap_or_default(),
        require_agent_id: key("requireAgentId").and_then(|at| at.flag()).unwrap_or(false),
        models: models.unwrap_or_default(),
    }
}

fn budget<'a>(either: &dyn Fn(&[&str]) -> Option<At<'a>>) -> RunBudget {
    let count = |name: &str| {
        let number = either(&["budget", name]).and_then(|at| at.int(1..=i64::from(u32::MAX)));
        number.and_then(|number| u32::try_from(number).ok())
    };
    let tokens = either(&["budget", "tokens"]).and_then(|at| at.int(1..=i64::MAX));
    RunBudget {
        turns: count("turns").unwrap_or(200),
        calls: count("calls").unwrap_or(1000),
        tokens: tokens.and_then(|number| u64::try_from(number).ok()),
    }
}

/// A spawn target that does not exist is worth saying, but OpenClaw takes it.
fn check_allowed(written: &[Written<'_>], list: &[Agent]) {
    for (one, agent) in written.iter().zip(list) {
        let Some(at) = one.at.follow(&["subagents", "allowAgents"]) else { continue };
        for name in &agent.subagents.allow_agents {
            let known = name == "*"
                || list.iter().any(|other| other.id.as_str().eq_ignore_ascii_case(name));
            if !known {
                at.warn(&format!("there is no agent {name:?}"));
            }
        }
    }
}

/// The silence of a self-hosted model that 2026.9 allows.
pub(super) const SELF_HOSTED_IDLE: Duration = Duration::from_secs(300);
