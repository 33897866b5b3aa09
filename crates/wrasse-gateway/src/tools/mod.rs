//! What a run may call: built-in tools, and those of MCP servers as the catalogue offers them.
//!
//! Every fault of a call becomes a text that the model reads; only an end of the run itself interrupts a call. A call
//! is never repeated here: whether its effect happened is not known after a fault.

mod schema;
mod session_tools;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use wrasse_config::Agent;
use wrasse_mcp::{OfferRequest, OfferedTool, ServerFault, ServerLeases};
use wrasse_model::{ToolCall, ToolSpec};

use crate::core::Core;
use crate::policy::{Policy, ToolKind};
use crate::run::LiveRun;
use crate::spawn;

/// The tools this program itself has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BuiltIn {
    /// Starts a child.
    Spawn,
    /// Lists sessions.
    List,
    /// Reads a transcript.
    History,
    /// Ends the turn until children are done.
    Yield,
}

impl BuiltIn {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Spawn, Self::List, Self::History, Self::Yield];

    /// The name a model calls it by.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Spawn => "sessions_spawn",
            Self::List => "sessions_list",
            Self::History => "sessions_history",
            Self::Yield => "sessions_yield",
        }
    }

    /// Finds one by its name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }
}

/// What one run may call.
#[derive(Debug)]
pub(crate) struct Toolset {
    /// As the model is told.
    pub(crate) specs: Vec<ToolSpec>,
    /// Servers that are offered without tools.
    pub(crate) faults: Vec<ServerFault>,
    built_in: Vec<BuiltIn>,
    offered: HashMap<String, OfferedTool>,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallResult {
    /// What the model reads.
    pub(crate) text: String,
    /// Whether that is a fault.
    pub(crate) is_error: bool,
    /// Whether it ends the turn.
    pub(crate) yields: Yields,
}

/// Whether a call ends the turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Yields {
    /// The model goes on.
    No,
    /// The turn is over until children are done.
    UntilChildren,
}

impl CallResult {
    /// A result the model goes on with.
    pub(crate) fn new(text: String) -> Self {
        Self { text, is_error: false, yields: Yields::No }
    }

    /// A fault the model goes on with.
    pub(crate) fn error(text: String) -> Self {
        Self { text, is_error: true, yields: Yields::No }
    }

    /// A JSON answer with a `status`, which is a fault unless it went well.
    pub(crate) fn status(answer: &Value) -> Self {
        let failed = matches!(answer["status"].as_str(), Some("error" | "forbidden"));
        Self { text: answer.to_string(), is_error: failed, yields: Yields::No }
    }
}

/// Finds out what a run may call. May start servers that have no catalogue yet, under the run's leases.
pub(crate) async fn gather(
    core: &Core,
    run: &LiveRun,
    agent: &Agent,
    policy: &Policy,
    leases: &ServerLeases,
) -> Toolset {
    let built_in: Vec<BuiltIn> = BuiltIn::ALL
        .into_iter()
        .filter(|tool| policy.allows(tool.name(), ToolKind::BuiltIn))
        .collect();
    let reserved = BuiltIn::ALL.map(BuiltIn::name);
    let allow = |name: &str| policy.allows(name, ToolKind::Server);
    let allow_server = |prefix: &str| policy.may_allow_server(prefix);
    let request = OfferRequest {
        workspace: &agent.workspace,
        allow: &allow,
        allow_server: &allow_server,
        reserved: &reserved,
    };
    let offer = Box::pin(core.servers.offer(leases, request, &run.token)).await;
    for fault in &offer.faults {
        tracing::debug!(run = %run.id, server = %fault.server, "offered without tools");
    }
    let mut specs: Vec<ToolSpec> = built_in.iter().map(|tool| schema::spec(*tool)).collect();
    specs.extend(offer.tools.iter().map(|tool| ToolSpec {
        name: tool.name.clone(),
        description: tool.description.clone(),
        schema: tool.schema.clone(),
    }));
    let offered = offer.tools.into_iter().map(|tool| (tool.name.clone(), tool)).collect();
    Toolset { specs, faults: offer.faults, built_in, offered }
}

impl Toolset {
    /// Makes one call.
    pub(crate) async fn call(
        &self,
        core: &Arc<Core>,
        run: &Arc<LiveRun>,
        leases: &ServerLeases,
        call: &ToolCall,
    ) -> CallResult {
        let arguments = match call.checked_arguments() {
            Ok(arguments) => arguments.clone(),
            Err(bad) => return CallResult::error(bad.to_string()),
        };
        if let Some(tool) = self.offered.get(&call.name) {
            let outcome = Box::pin(leases.call(tool, arguments, &run.token)).await;
            let text = match outcome.note {
                Some(note) => format!("{}\n\n[{note}]", outcome.text),
                None => outcome.text,
            };
            return CallResult { text, is_error: outcome.is_error, yields: Yields::No };
        }
        match BuiltIn::from_name(&call.name).filter(|tool| self.built_in.contains(tool)) {
            Some(tool) => Box::pin(built_in_call(core, run, tool, arguments)).await,
            None => CallResult::error(self.unknown(&call.name)),
        }
    }

    fn unknown(&self, name: &str) -> String {
        let names: Vec<&str> = self.specs.iter().map(|spec| spec.name.as_str()).collect();
        if names.is_empty() {
            format!("there is no tool \"{name}\"; there are no tools in this run")
        } else {
            format!("there is no tool \"{name}\" in this run; there are: {}", names.join(", "))
        }
    }
}

async fn built_in_call(
    core: &Arc<Core>,
    run: &Arc<LiveRun>,
    tool: BuiltIn,
    arguments: Value,
) -> CallResult {
    match tool {
        BuiltIn::Spawn => CallResult::status(&spawn::sessions_spawn(core, run, &arguments).await),
        BuiltIn::List => session_tools::list(core, run, &arguments).await,
        BuiltIn::History => session_tools::history(core, run, &arguments).await,
        BuiltIn::Yield => session_tools::yield_turn(run, &arguments),
    }
}
