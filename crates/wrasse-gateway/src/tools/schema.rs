//! What a model is told about the built-in tools.

use serde_json::{Value, json};
use wrasse_model::ToolSpec;

use super::BuiltIn;

/// The name, purpose and arguments of a built-in tool.
pub(crate) fn spec(tool: BuiltIn) -> ToolSpec {
    let (description, schema) = match tool {
        BuiltIn::Spawn => (
            "Start another agent on a task of its own, in a session of its own. Returns at once; the result comes to you \
             by itself as a later message, so do not poll for it.",
            spawn_schema(),
        ),
        BuiltIn::List => (
            "List the sessions you may see, the last used first.",
            object(
                json!({
                    "limit": { "type": "integer", "minimum": 1, "maximum": 200 },
                    "activeMinutes": { "type": "integer", "minimum": 1, "description": "Only those used in the last so many minutes." },
                }),
                &[],
            ),
        ),
        BuiltIn::History => (
            "Read the messages of a session you may see.",
            object(
                json!({
                    "sessionKey": { "type": "string" },
                    "limit": { "type": "integer", "minimum": 1, "maximum": 200, "description": "The last so many messages." },
                    "includeTools": { "type": "boolean", "description": "Include tool calls and results." },
                }),
                &["sessionKey"],
            ),
        ),
        BuiltIn::Yield => (
            "End your turn now and go on when the agents you started are done.",
            object(
                json!({ "message": { "type": "string", "description": "What to say meanwhile." } }),
                &[],
            ),
        ),
    };
    ToolSpec { name: tool.name().to_owned(), description: description.to_owned(), schema }
}

fn spawn_schema() -> Value {
    object(
        json!({
            "task": { "type": "string", "description": "What the agent is to do; it knows nothing else of this conversation." },
            "label": { "type": "string", "description": "A short name for people." },
            "agentId": { "type": "string", "description": "Which agent; yourself when absent." },
            "runtime": { "type": "string", "enum": ["subagent"] },
            "mode": { "type": "string", "enum": ["run"] },
            "model": { "type": "string", "description": "provider/model" },
            "runTimeoutSeconds": { "type": "number", "minimum": 0, "description": "0 is no limit." },
            "cleanup": { "type": "string", "enum": ["keep", "delete"],
                "description": "Whether the child's record is kept. Its servers end with its run either way." },
            "expectsCompletionMessage": { "type": "boolean", "description": "False: do not report the result." },
        }),
        &["task"],
    )
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required })
}
