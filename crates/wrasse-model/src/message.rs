//! What goes to a model and what comes back. The JSON of [`Message`] is what transcripts store.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wrasse_types::{AgentId, SessionKey};

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum Message {
    /// What the model is asked.
    User {
        /// The text.
        text: String,
    },
    /// What the model answered.
    Assistant {
        /// The text; may be empty where it called tools.
        text: String,
        /// The calls it asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall>,
    },
    /// What a tool answered.
    #[serde(rename = "tool")]
    ToolResult {
        /// The id of the call it answers.
        call_id: String,
        /// The tool.
        name: String,
        /// The text.
        text: String,
        /// Whether the text is an error.
        #[serde(default)]
        is_error: bool,
    },
}

impl Message {
    /// The text of the message.
    pub fn text(&self) -> &str {
        match self {
            Message::User { text }
            | Message::Assistant { text, .. }
            | Message::ToolResult { text, .. } => text,
        }
    }
}

/// One tool call that a model asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolCall {
    /// The id that the result must carry.
    pub id: String,
    /// The tool's name as the model wrote it.
    pub name: String,
    /// The arguments: always an object; empty where [`ToolCall::bad_arguments`] is set.
    pub arguments: Value,
    /// What the model wrote where that is not a JSON object. Use [`ToolCall::checked_arguments`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad_arguments: Option<String>,
}

impl ToolCall {
    /// A call with sound arguments.
    pub fn new(id: impl Into<String>, name: impl Into<String>, arguments: Value) -> Self {
        Self { id: id.into(), name: name.into(), arguments, bad_arguments: None }
    }

    /// The arguments, or a fault whose text is meant for the model, as the result of the call.
    ///
    /// # Errors
    /// The model wrote something that is not a JSON object.
    pub fn checked_arguments(&self) -> Result<&Value, BadArguments> {
        match &self.bad_arguments {
            None => Ok(&self.arguments),
            Some(text) => Err(BadArguments { name: self.name.clone(), text: text.clone() }),
        }
    }
}

/// A model wrote arguments that are not a JSON object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the arguments of {name} are not a JSON object, so it was not called; send the whole call again. \
     They were: {}",
    excerpt(text, 200)
)]
pub struct BadArguments {
    /// The tool.
    pub name: String,
    /// What was written.
    pub text: String,
}

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Its name as offered.
    pub name: String,
    /// What it does.
    pub description: String,
    /// The JSON schema of its arguments.
    pub schema: Value,
}

/// One turn to take.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnRequest {
    /// Whose turn it is.
    pub agent: AgentId,
    /// In which session.
    pub session_key: SessionKey,
    /// How deep the run is below its root.
    pub depth: u32,
    /// The system prompt; empty for none.
    pub system: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// The tools on offer.
    pub tools: Vec<ToolSpec>,
    /// The longest silence; the provider's own limit applies too. `None` is no limit.
    pub idle_timeout: Option<Duration>,
}

/// What a turn brought.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnReply {
    /// The text; may be empty.
    pub text: String,
    /// The calls, in the model's order, each with an id of its own.
    pub tool_calls: Vec<ToolCall>,
    /// What it cost; counted here where the endpoint does not say.
    pub usage: Usage,
    /// Which model answered, as `provider/model`.
    pub model: String,
    /// Why the model stopped.
    pub stop: StopReason,
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// It had said everything.
    Complete,
    /// It reached the limit of its output: the text is cut.
    Length,
    /// The endpoint cut the text by its content rules.
    Filtered,
}

/// Tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Read.
    pub input: u64,
    /// Written.
    pub output: u64,
}

/// At most `max` characters of `text` on one line.
pub(crate) fn excerpt(text: &str, max: usize) -> String {
    let mut line = String::new();
    let mut chars = text.trim().chars();
    for _ in 0..max {
        match chars.next() {
            Some(c) if c.is_control() => line.push(' '),
            Some(c) => line.push(c),
            None => return line,
        }
    }
    if chars.next().is_some() {
        line.push('…');
    }
    line
}
