//! The body of a request.

use serde::Serialize;
use serde_json::{Value, json};

use super::fault::Fault;
use crate::error::ModelFault;
use crate::message::{Message, ToolCall, ToolSpec, TurnRequest};

/// Whether the stream is asked to end with what it cost; not every server knows the option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AskUsage {
    Yes,
    No,
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: WireFunction<'a>,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    name: &'a str,
    arguments: String,
}

#[derive(Serialize)]
struct WireTool<'a> {
    r#type: &'static str,
    function: WireToolFunction<'a>,
}

#[derive(Serialize)]
struct WireToolFunction<'a> {
    name: &'a str,
    description: &'a str,
    parameters: Value,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
}

/// The JSON of one request. `max_tokens` comes with the name that the server knows it by.
pub(super) fn body(
    model: &str,
    request: &TurnRequest,
    max_tokens: Option<(&str, u64)>,
    usage: AskUsage,
) -> Result<Vec<u8>, Fault> {
    let limit = |name: &str| max_tokens.filter(|(field, _)| *field == name).map(|(_, max)| max);
    let body = Body {
        model,
        messages: messages(request),
        stream: true,
        stream_options: match usage {
            AskUsage::Yes => Some(json!({ "include_usage": true })),
            AskUsage::No => None,
        },
        tools: request.tools.iter().map(tool).collect(),
        max_tokens: limit("max_tokens"),
        max_completion_tokens: limit("max_completion_tokens"),
    };
    serde_json::to_vec(&body).map_err(|error| {
        Fault::new(ModelFault::Refused, format!("the request cannot be written as JSON: {error}"))
    })
}

fn messages(request: &TurnRequest) -> Vec<WireMessage<'_>> {
    let system = (!request.system.is_empty()).then(|| plain("system", &request.system));
    system.into_iter().chain(request.messages.iter().filter_map(message)).collect()
}

fn message(message: &Message) -> Option<WireMessage<'_>> {
    match message {
        Message::User { text } => Some(plain("user", text)),
        // Servers refuse an assistant that said nothing at all, and it tells the model nothing.
        Message::Assistant { text, tool_calls } if text.is_empty() && tool_calls.is_empty() => None,
        Message::Assistant { text, tool_calls } => Some(WireMessage {
            role: "assistant",
            content: (!text.is_empty()).then_some(text.as_str()),
            tool_calls: tool_calls.iter().map(call).collect(),
            tool_call_id: None,
        }),
        Message::ToolResult { call_id, text, .. } => {
            Some(WireMessage { tool_call_id: Some(call_id), ..plain("tool", text) })
        }
    }
}

fn plain<'a>(role: &'static str, text: &'a str) -> WireMessage<'a> {
    WireMessage { role, content: Some(text), tool_calls: Vec::new(), tool_call_id: None }
}

/// Arguments that were no JSON go back as `{}`: some servers parse the history and refuse anything else.
fn call(call: &ToolCall) -> WireCall<'_> {
    WireCall {
        id: &call.id,
        r#type: "function",
        function: WireFunction { name: &call.name, arguments: call.arguments.to_string() },
    }
}

fn tool(tool: &ToolSpec) -> WireTool<'_> {
    let parameters = if tool.schema.is_object() {
        tool.schema.clone()
    } else {
        json!({ "type": "object", "properties": {} })
    };
    WireTool {
        r#type: "function",
        function: WireToolFunction { name: &tool.name, description: &tool.description, parameters },
    }
}
