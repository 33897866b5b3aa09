//! The method table: every way in (command line, HTTP, later WebSocket and MCP) calls these and nothing else.

mod agent;
mod cron;
mod params;
mod sessions;
mod system;
mod views;
mod why;
mod why_server;

use std::sync::Arc;

use serde_json::Value;
use wrasse_types::wire::RpcFault;

use crate::core::Core;
use crate::fault;

/// Whether a method changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It only reads.
    Reads,
    /// It changes something.
    Changes,
}

/// One method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodInfo {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// Whether it changes anything.
    pub effect: Effect,
}

/// Makes the table and the dispatch from one list, so that neither can lack what the other has.
macro_rules! methods {
    ($($name:literal $effect:ident $handler:path, $summary:literal;)*) => {
        /// Every method.
        pub(crate) const METHODS: &[MethodInfo] = &[
            $(MethodInfo { name: $name, summary: $summary, effect: Effect::$effect },)*
        ];

        /// Answers a method.
        pub(crate) async fn call(
            core: &Arc<Core>,
            method: &str,
            params: Value,
        ) -> Result<Value, RpcFault> {
            match method {
                $($name => Box::pin($handler(core, params)).await,)*
                unknown => Err(no_such_method(unknown)),
            }
        }
    };
}

methods! {
    "agent" Changes agent::agent, "start a run with a message";
    "agent.wait" Reads agent::wait, "wait for the outcome of a run";
    "sessions.list" Reads sessions::list, "list sessions";
    "sessions.show" Reads sessions::show, "one session and its last runs";
    "sessions.history" Reads sessions::history, "the transcript of a session";
    "sessions.reset" Changes sessions::reset, "end what goes on in a session and begin it anew";
    "sessions.delete" Changes sessions::delete, "end what goes on in a session and delete it";
    "sessions.stop" Changes sessions::stop, "end what goes on in a session";
    "runs.list" Reads agent::runs_list, "list runs";
    "runs.show" Reads agent::runs_show, "one run and its children";
    "runs.cancel" Changes agent::runs_cancel, "end a run and everything it spawned";
    "cron.status" Reads cron::status, "whether jobs fire, and when the next does";
    "cron.list" Reads cron::list, "list jobs";
    "cron.add" Changes cron::add, "add a job";
    "cron.edit" Changes cron::edit, "change a job";
    "cron.remove" Changes cron::remove, "remove a job and end its run";
    "cron.run" Changes cron::run, "fire a job now";
    "cron.runs" Reads cron::runs, "the history of a job";
    "cron.enable" Changes cron::enable, "switch a job on";
    "cron.disable" Changes cron::disable, "switch a job off and end its run";
    "mcp.list" Reads system::mcp_status, "list tool servers";
    "mcp.show" Reads system::mcp_show, "one tool server and its tools";
    "mcp.status" Reads system::mcp_status, "how the tool servers are";
    "mcp.tools" Reads system::mcp_tools, "the tools of the catalogue";
    "mcp.probe" Changes system::mcp_probe, "start a tool server, ask what it offers, end it";
    "mcp.stop" Changes system::mcp_stop, "stop the instances of a tool server, or one instance";
    "mcp.restart" Changes system::mcp_restart, "stop a tool server so that its next use starts it anew";
    "models.list" Reads system::models_list, "list models";
    "models.test" Changes system::models_test, "ask a model for one word";
    "ps" Reads system::ps, "every process of ours, who holds it and when it ends";
    "why" Reads why::why, "why a run, session, instance, server or process is there";
    "status" Reads system::status, "the gateway in short";
    "reap" Changes system::reap, "end every instance that nobody holds";
    "gateway.stop" Changes system::gateway_stop, "shut down in order";
    "gateway.restart" Changes system::gateway_restart, "shut down in order and start anew";
}

fn no_such_method(name: &str) -> RpcFault {
    fault::fault(
        "unknown_method",
        format!("there is no method {name:?}"),
        Some("POST /rpc/status, or see the method table in the documentation"),
    )
}
