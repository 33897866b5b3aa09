//! What this crate hands to the gateway: offers, outcomes, faults and reports.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wrasse_types::{ServerName, UnixMillis};

/// A tool as an agent may call it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OfferedTool {
    /// The name offered to the model: `<server>__<tool>`.
    pub name: String,
    /// The server that has it.
    pub server: ServerName,
    /// The server's own name for it.
    pub tool: String,
    /// What it does; a sentence that names the server where the server says nothing.
    pub description: String,
    /// The JSON schema of its arguments, as the server gave it.
    pub schema: Value,
    /// The server declares that it changes nothing.
    pub read_only: bool,
    /// The server declares that repeating it does no harm.
    pub idempotent: bool,
}

/// A server that cannot be used now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("server \"{server}\": {message}")]
pub struct ServerFault {
    /// The server.
    pub server: ServerName,
    /// The cause, in one sentence, the last stderr lines included where they help.
    pub message: String,
    /// What would cure it.
    pub help: Option<String>,
}

/// What a run is offered.
#[derive(Debug, Clone, Default)]
pub struct Offer {
    /// Every tool that passed the filters, in a stable order.
    pub tools: Vec<OfferedTool>,
    /// Every server that is offered without tools, and why.
    pub faults: Vec<ServerFault>,
}

/// What a model reads about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolOutcome {
    /// The result, or the fault.
    pub text: String,
    /// Whether it is a fault.
    pub is_error: bool,
    /// Something the model should know besides: "server … was restarted at …; its earlier state is gone".
    pub note: Option<String>,
}

/// What a probe found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeReport {
    /// The server.
    pub server: ServerName,
    /// The command that was started, secrets redacted.
    pub launch: String,
    /// The protocol version both sides agreed on.
    pub protocol: String,
    /// What the server calls itself.
    pub server_info: Value,
    /// Its tools, by its own names.
    pub tools: Vec<String>,
    /// Whether it offers resources.
    pub resources: bool,
    /// Whether it offers prompts.
    pub prompts: bool,
    /// Whether it announces changes of its tool list.
    pub list_changed: bool,
    /// From spawn to the whole tool list.
    pub took_ms: u64,
    /// How the probe's instance was ended.
    pub ended: Option<ProbeEnd>,
}

/// How a probe's instance was ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeEnd {
    /// The rung that emptied its tree.
    pub rung: wrasse_types::StopRung,
    /// How long that took.
    pub took_ms: u64,
    /// Processes reaped.
    pub processes: u32,
    /// Processes left; always 0 when proven empty.
    pub survivors: u32,
    /// Whether the tree was proven empty.
    pub proven_empty: bool,
}

/// One server in `mcp status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerStatus {
    /// Its name.
    pub name: ServerName,
    /// `stdio` or `http`.
    pub transport: String,
    /// How it is launched, secrets redacted.
    pub launch: String,
    /// Where it was defined.
    pub origin: String,
    /// Whether it is enabled.
    pub enabled: bool,
    /// `absent`, `installing`, `starting`, `ready`, `backoff`, `broken`, `disabled`, `unsupported`.
    pub state: String,
    /// Running instances of it.
    pub instances: u32,
    /// Tools in its catalogue, filtered; absent before it has ever come up.
    pub tools: Option<u32>,
    /// When the catalogue was fetched.
    pub catalogue_at: Option<UnixMillis>,
    /// The last fault of it, until it comes up again.
    pub fault: Option<ServerFault>,
    /// When a start may be tried again, while it is in back-off.
    pub retry_at: Option<UnixMillis>,
    /// Progress of a first launch that is under way, in words.
    pub progress: Option<String>,
}

/// A name that is neither a server nor a running instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no server and no running instance is called \"{0}\"")]
pub struct NotFound(pub String);
