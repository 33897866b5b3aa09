//! Counting tokens where nobody else does: four characters each, so the same input always counts the same.

use crate::message::{Message, ToolCall, TurnRequest, Usage};

/// What a request and its reply count as.
pub(crate) fn estimate(request: &TurnRequest, text: &str, calls: &[ToolCall]) -> Usage {
    let messages: usize = request.messages.iter().map(message_chars).sum();
    let tools: usize = request
        .tools
        .iter()
        .map(|tool| chars(&tool.name) + chars(&tool.description) + chars(&tool.schema.to_string()))
        .sum();
    Usage {
        input: tokens(chars(&request.system) + messages + tools),
        output: tokens(chars(text) + calls.iter().map(call_chars).sum::<usize>()),
    }
}

fn message_chars(message: &Message) -> usize {
    let calls = match message {
        Message::Assistant { tool_calls, .. } => tool_calls.iter().map(call_chars).sum(),
        Message::User { .. } | Message::ToolResult { .. } => 0,
    };
    chars(message.text()) + calls
}

fn call_chars(call: &ToolCall) -> usize {
    chars(&call.name) + chars(&call.arguments.to_string())
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

fn tokens(chars: usize) -> u64 {
    u64::try_from(chars.div_ceil(4)).unwrap_or(u64::MAX)
}
