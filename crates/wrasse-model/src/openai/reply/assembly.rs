//! Putting the fragments of a reply together.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::fault::{self, Fault};
use super::bad;
use crate::error::ModelFault;
use crate::message::{StopReason, ToolCall, Usage, excerpt};

/// More calls in one reply are a fault, not a plan.
const CALLS_MAX: usize = 128;

/// A whole reply.
#[derive(Debug)]
pub(in crate::openai) struct Answer {
    pub(in crate::openai) text: String,
    pub(in crate::openai) tool_calls: Vec<ToolCall>,
    pub(in crate::openai) usage: Option<Usage>,
    pub(in crate::openai) stop: StopReason,
}

/// What has come so far.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    text: String,
    refusal: String,
    calls: Vec<PartialCall>,
    usage: Option<Usage>,
    finish_reason: Option<String>,
    said_done: bool,
}

#[derive(Debug, Default)]
struct PartialCall {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

#[derive(Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<WireUsage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u64>,
    delta: Option<Delta>,
    message: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<Value>,
    refusal: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<Value>,
}

#[derive(Deserialize)]
struct WireUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

impl Assembly {
    /// One event of a stream.
    pub(super) fn event(&mut self, data: &str) -> Result<(), Fault> {
        let data = data.trim();
        if self.said_done || data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            self.said_done = true;
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_str(data).map_err(|error| {
            bad(format!(
                "it sent an event that is not a chat completion ({error}): {}",
                excerpt(data, 120)
            ))
        })?;
        self.take(chunk)
    }

    /// An answer that is not a stream.
    pub(super) fn whole(&mut self, body: &[u8]) -> Result<(), Fault> {
        let chunk: Chunk = serde_json::from_slice(body).map_err(|error| {
            let text = String::from_utf8_lossy(body);
            bad(format!("its answer is not a chat completion ({error}): {}", excerpt(&text, 120)))
        })?;
        if chunk.choices.is_none() && chunk.error.is_none() {
            let text = String::from_utf8_lossy(body);
            return Err(bad(format!("its answer has no choices: {}", excerpt(&text, 120))));
        }
        self.take(chunk)
    }

    pub(super) fn is_done(&self) -> bool {
        self.said_done
    }

    /// The stream is over: it must have said so itself, or it was cut.
    pub(super) fn finish_stream(self) -> Result<Answer, Fault> {
        if self.said_done || self.finish_reason.is_some() {
            return self.finish();
        }
        let message = "the stream ended before the answer was complete";
        Err(Fault::new(ModelFault::Network, message))
    }

    pub(super) fn finish(self) -> Result<Answer, Fault> {
        let stop = match self.finish_reason.as_deref() {
            Some("length" | "max_tokens") => StopReason::Length,
            Some("content_filter") => StopReason::Filtered,
            _ => StopReason::Complete,
        };
        let tool_calls = finished(self.calls)?;
        if self.text.is_empty() && tool_calls.is_empty() {
            if !self.refusal.is_empty() {
                let refusal = excerpt(&self.refusal, 200);
                return Err(refused(format!("the model refused to answer: {refusal}")));
            }
            match stop {
                StopReason::Complete => {}
                StopReason::Filtered => {
                    return Err(refused(String::from("its content rules held the answer back")));
                }
                StopReason::Length => {
                    return Err(bad(
                        "the model reached its output limit before it said anything; \
                                    raise maxTokens of the model",
                    ));
                }
            }
        }
        Ok(Answer { text: self.text, tool_calls, usage: self.usage, stop })
    }

    fn take(&mut self, chunk: Chunk) -> Result<(), Fault> {
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(fault::of_error_object(&error));
        }
        if let Some(usage) = chunk.usage {
            self.usage = Some(Usage {
                input: usage.prompt_tokens.unwrap_or(0),
                output: usage.completion_tokens.unwrap_or(0),
            });
        }
        // More than one choice is never asked for.
        let first =
            chunk.choices.into_iter().flatten().filter(|choice| choice.index.unwrap_or(0) == 0);
        for choice in first {
            if let Some(delta) = choice.delta {
                self.delta(delta)?;
            }
            if let Some(mut message) = choice.message {
                for (index, call) in (0..).zip(message.tool_calls.iter_mut().flatten()) {
                    call.index = Some(index);
                }
                self.delta(message)?;
            }
            if choice.finish_reason.as_deref().is_some_and(|reason| !reason.is_empty()) {
                self.finish_reason = choice.finish_reason;
            }
        }
        Ok(())
    }

    fn delta(&mut self, delta: Delta) -> Result<(), Fault> {
        if let Some(content) = &delta.content {
            push_content(&mut self.text, content);
        }
        self.refusal.push_str(delta.refusal.as_deref().unwrap_or_default());
        for call in delta.tool_calls.into_iter().flatten() {
            self.call(call)?;
        }
        Ok(())
    }

    fn call(&mut self, delta: CallDelta) -> Result<(), Fault> {
        let id = delta.id.unwrap_or_default();
        let at = self.position(delta.index, &id);
        let at = match at {
            Some(at) => at,
            None if self.calls.len() >= CALLS_MAX => {
                return Err(bad(format!("it asked for more than {CALLS_MAX} tool calls at once")));
            }
            None => {
                self.calls.push(PartialCall { index: delta.index, ..PartialCall::default() });
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[at];
        if call.id.is_empty() {
            call.id = id;
        }
        let Some(function) = delta.function else {
            return Ok(());
        };
        // Some servers repeat the whole name with each fragment.
        if let Some(name) = function.name.filter(|name| *name != call.name) {
            call.name.push_str(&name);
        }
        match function.arguments {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => call.arguments.push_str(&text),
            Some(whole) => call.arguments.push_str(&whole.to_string()),
        }
        Ok(())
    }

    /// Which call a fragment belongs to; `None` begins a new one.
    ///
    /// By its index, unless it brings an id that is not that call's: some servers give every call index 0.
    /// Where there is no index, a new id begins a call.
    fn position(&self, index: Option<u64>, id: &str) -> Option<usize> {
        let at = match index {
            Some(_) => self.calls.iter().rposition(|call| call.index == index),
            None if id.is_empty() => self.calls.len().checked_sub(1),
            None => self.calls.iter().rposition(|call| call.id == id),
        }?;
        let known = &self.calls[at].id;
        (id.is_empty() || known.is_empty() || known == id).then_some(at)
    }
}

/// Content is a text, or parts of which some are texts.
fn push_content(text: &mut String, content: &Value) {
    match content {
        Value::String(more) => text.push_str(more),
        Value::Array(parts) => {
            for part in parts {
                text.push_str(part.get("text").and_then(Value::as_str).unwrap_or_default());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {}
    }
}

/// Gives each call an id of its own and its arguments as JSON.
fn finished(partial: Vec<PartialCall>) -> Result<Vec<ToolCall>, Fault> {
    let mut ids = HashSet::new();
    let mut calls = Vec::new();
    for (number, call) in partial.into_iter().enumerate() {
        if call.name.is_empty() && call.arguments.is_empty() {
            continue;
        }
        if call.name.is_empty() {
            return Err(bad("it asked for a tool call without naming the tool"));
        }
        let mut id = call.id;
        let mut again = number;
        while id.is_empty() || ids.contains(&id) {
            id = format!("call_{again}");
            again += CALLS_MAX;
        }
        ids.insert(id.clone());
        let (arguments, bad_arguments) = match arguments(&call.arguments) {
            Some(arguments) => (arguments, None),
            None => (Value::Object(Map::new()), Some(call.arguments)),
        };
        calls.push(ToolCall { id, name: call.name, arguments, bad_arguments });
    }
    Ok(calls)
}

/// The arguments, if they are an object, also one written as a text; nothing at all stands for `{}`.
fn arguments(text: &str) -> Option<Value> {
    if text.trim().is_empty() {
        return Some(Value::Object(Map::new()));
    }
    match serde_json::from_str(text).ok()? {
        Value::Null => Some(Value::Object(Map::new())),
        object @ Value::Object(_) => Some(object),
        Value::String(inner) => serde_json::from_str(&inner).ok().filter(Value::is_object),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    }
}

fn refused(message: String) -> Fault {
    Fault::new(ModelFault::Refused, message)
}
