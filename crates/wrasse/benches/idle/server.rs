//! A small, quick MCP server over stdio: one tool, one thread, ends with its input.

use std::io::{BufRead, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

/// Serves until stdin ends.
pub(crate) fn serve() -> ExitCode {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        let Some(id) = message.get("id") else { continue };
        let answer = answer(&message);
        let key = if answer.get("code").is_some() { "error" } else { "result" };
        let text = json!({ "jsonrpc": "2.0", "id": id, key: answer }).to_string();
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

fn answer(message: &Value) -> Value {
    let params = &message["params"];
    match message["method"].as_str().unwrap_or_default() {
        "initialize" => json!({
            "protocolVersion": params["protocolVersion"],
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "bench", "version": "1" },
        }),
        "ping" => json!({}),
        "tools/list" => json!({ "tools": [{
            "name": "echo",
            "description": "Returns its text.",
            "inputSchema": { "type": "object", "properties": { "text": { "type": "string" } } },
        }] }),
        "tools/call" => {
            json!({ "content": [{ "type": "text", "text": params["arguments"]["text"] }] })
        }
        other => json!({ "code": -32601, "message": format!("no method {other}") }),
    }
}
