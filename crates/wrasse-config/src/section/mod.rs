//! The sections of a configuration, each read from the tree into its validated type.

mod agents;
mod cron;
mod cursor;
mod defaults;
mod gateway;
mod job;
mod mcp;
mod models;
mod policy;
mod providers;
mod secret;
mod server;

pub(crate) use cursor::{At, Context};
pub(crate) use defaults::{COMPAT_DEFAULT, DEFAULT, compat, fill};
pub use job::{JobDefaults, job_from_json};
pub(crate) use secret::is_reference;

use std::path::PathBuf;

use crate::known::Classified;
use crate::{Config, DeniedTool};

/// Reads every section; faults are noted in the context.
pub(crate) fn read(cx: &Context<'_>, root: &At<'_>, classified: &Classified) -> Config {
    note_unknown(cx, classified);
    defaults::check_compat(root);
    let agents = agents::read(cx, root);
    let mcp = mcp::read(cx, root);
    let models = models::read(cx, root, &agents);
    policy::warn_hidden_servers(cx, &agents, &mcp);
    let config = Config {
        files: cx.sources.0.iter().map(|source| source.path.clone()).collect::<Vec<PathBuf>>(),
        state_dir: cx.options.state_dir.clone(),
        compat: cx.compat,
        cron: cron::read(cx, root, &agents),
        session: gateway::session(root),
        gateway: gateway::gateway(cx, root),
        containment: gateway::containment(root),
        store: gateway::store(root),
        denied_tools: denied(root, classified),
        unused_keys: classified.unused.clone(),
        warnings: Vec::new(),
        agents,
        mcp,
        models,
    };
    models::check_references(cx, root, &config);
    config
}

/// A key that nobody knows is a fault; under `mcp.servers.*`, which is open in OpenClaw, a warning.
fn note_unknown(cx: &Context<'_>, classified: &Classified) {
    for unknown in &classified.unknown {
        let disabled = unknown.path.ends_with(".disabled");
        if unknown.path.starts_with("mcp.servers.") && !disabled {
            let advice = unknown.suggestion.as_deref().map(|text| format!("; {text}"));
            let message = format!("unknown key{}", advice.unwrap_or_default());
            cx.notes.warn(cx.sources, unknown.place, &unknown.path, &message);
        } else {
            let suggestion = unknown.suggestion.clone();
            cx.notes.fault(cx.sources, unknown.place, &unknown.path, "unknown key", suggestion);
        }
    }
}

/// The tools that restricting keys guard, without those that `unsafeIgnore` acknowledges.
fn denied(root: &At<'_>, classified: &Classified) -> Vec<DeniedTool> {
    let mut ignored: Vec<(String, bool)> = root
        .get("unsafeIgnore")
        .map(|list| list.texts())
        .unwrap_or_default()
        .into_iter()
        .map(|path| (path, false))
        .collect();
    let mut denied = Vec::new();
    for (key, tools) in &classified.denied {
        let mut acknowledged = false;
        for (path, used) in &mut ignored {
            let below = key
                .strip_prefix(path.as_str())
                .is_some_and(|r| r.is_empty() || r.starts_with(['.', '[']));
            *used |= below;
            acknowledged |= below;
        }
        if acknowledged {
            continue;
        }
        for tool in tools.iter().flat_map(|tool| policy::expand(tool)) {
            denied.push(DeniedTool { tool, key: key.clone() });
        }
    }
    if let Some(at) = root.get("unsafeIgnore") {
        for (path, used) in ignored {
            if !used {
                at.warn(&format!("{path:?} names no restricting key of this configuration"));
            }
        }
    }
    denied
}
