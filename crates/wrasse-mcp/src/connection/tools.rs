//! The list of a server's tools: every page, bounded, whatever the cursor does.

use std::collections::HashSet;
use std::time::Duration;

use rmcp::model::{ClientRequest, ListToolsRequest, PaginatedRequestParams, ServerResult};
use rmcp::service::{Peer, PeerRequestOptions, RoleClient, ServiceError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wrasse_scope::clock;

const PAGES_MAX: usize = 128;
const TOOLS_MAX: usize = 16_384;
const BYTES_MAX: usize = 10 << 20;

/// A tool as the catalogue keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ToolEntry {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    pub(crate) schema: Value,
    #[serde(default)]
    pub(crate) read_only: bool,
    #[serde(default)]
    pub(crate) idempotent: bool,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListFault {
    #[error("it did not list its tools within {}", wrasse_types::format_duration(*.0))]
    TimedOut(Duration),
    #[error("it closed the connection while it listed its tools")]
    Closed,
    #[error("it refused to list its tools: {0}")]
    Refused(String),
    #[error("its tool list is not as the protocol asks: {0}")]
    Odd(String),
    #[error("its tool list has no end: more than {0}")]
    TooLarge(&'static str),
}

/// Asks for every page.
pub(crate) async fn list(
    peer: &Peer<RoleClient>,
    limit: Duration,
) -> Result<Vec<ToolEntry>, ListFault> {
    match clock::timeout(limit, list_pages(peer)).await {
        Ok(listed) => listed,
        Err(_elapsed) => Err(ListFault::TimedOut(limit)),
    }
}

async fn list_pages(peer: &Peer<RoleClient>) -> Result<Vec<ToolEntry>, ListFault> {
    let mut found = Vec::new();
    let mut bytes = 0;
    let mut cursors = HashSet::new();
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let page = match page(peer, cursor.take()).await {
            Ok(page) => page,
            // The loop guard: a page that was already seen is the end, not a fault.
            Err(ListFault::Refused(reason)) if !found.is_empty() => {
                tracing::warn!(
                    reason,
                    "a later page of a tool list was refused; the first are used"
                );
                return Ok(found);
            }
            Err(fault) => return Err(fault),
        };
        let tools = page.get("tools").and_then(Value::as_array);
        let tools = tools.ok_or_else(|| ListFault::Odd("no array \"tools\"".to_owned()))?;
        for tool in tools {
            bytes += tool.to_string().len();
            found.extend(entry(tool));
        }
        if found.len() > TOOLS_MAX {
            return Err(ListFault::TooLarge("16384 tools"));
        }
        if bytes > BYTES_MAX {
            return Err(ListFault::TooLarge("10 MiB"));
        }
        match page.get("nextCursor").and_then(Value::as_str) {
            None | Some("") => return Ok(found),
            Some(next) if !cursors.insert(next.to_owned()) => {
                tracing::warn!(
                    cursor = next,
                    "a tool list repeats a cursor; what was listed is used"
                );
                return Ok(found);
            }
            Some(next) => cursor = Some(next.to_owned()),
        }
    }
    Err(ListFault::TooLarge("128 pages"))
}

async fn page(peer: &Peer<RoleClient>, cursor: Option<String>) -> Result<Value, ListFault> {
    let params = cursor.map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)));
    let request = ListToolsRequest { params, ..ListToolsRequest::default() };
    let request = ClientRequest::ListToolsRequest(request);
    let answer = peer
        .send_cancellable_request(request, PeerRequestOptions::no_options())
        .await
        .map_err(|error| fault(&error))?
        .rx
        .await;
    match answer {
        Ok(Ok(ServerResult::CustomResult(result))) => Ok(result.0),
        Ok(Ok(_)) => Err(ListFault::Odd("another kind of answer".to_owned())),
        Ok(Err(error)) => Err(fault(&error)),
        Err(_closed) => Err(ListFault::Closed),
    }
}

fn fault(error: &ServiceError) -> ListFault {
    match error {
        ServiceError::McpError(error) => {
            ListFault::Refused(format!("{} ({})", error.message, error.code.0))
        }
        ServiceError::TransportSend(_) | ServiceError::TransportClosed => ListFault::Closed,
        other => ListFault::Odd(other.to_string()),
    }
}

fn entry(tool: &Value) -> Option<ToolEntry> {
    let text = |name: &str| tool.get(name).and_then(Value::as_str).map(str::to_owned);
    let hint =
        |name: &str| tool.pointer(&format!("/annotations/{name}")) == Some(&Value::Bool(true));
    let name = text("name").filter(|name| !name.is_empty())?;
    let schema = match tool.get("inputSchema") {
        Some(schema @ Value::Object(_)) => schema.clone(),
        Some(_) | None => json!({ "type": "object" }),
    };
    Some(ToolEntry {
        name,
        title: text("title"),
        description: text("description"),
        schema,
        read_only: hint("readOnlyHint"),
        idempotent: hint("idempotentHint"),
    })
}

/// Reads what the catalogue kept; `None` when it is of another make.
pub(crate) fn entries(kept: &Value) -> Option<Vec<ToolEntry>> {
    serde_json::from_value(kept.clone()).ok()
}
