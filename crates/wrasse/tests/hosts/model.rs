//! A scripted model that speaks OpenAI's chat completions on loopback: in every turn it calls each tool of its script
//! once, one after the other, then says "done". It remembers every turn that ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// How 2026.9 marks what it adds behind a person's message by itself.
const INJECTED: &str = "<<<BEGIN_OPENCLAW_INTERNAL";

/// A tool to call, if it is offered.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) tool: String,
    pub(crate) arguments: Value,
}

/// A turn that ended: what was asked, and what each called tool returned.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) asked: String,
    pub(crate) results: Vec<(String, String)>,
}

impl Turn {
    /// What a tool returned in this turn.
    pub(crate) fn result(&self, tool: &str) -> &str {
        let found = self.results.iter().find(|(name, _)| name == tool);
        found.map_or("(not called)", |(_, result)| result)
    }
}

/// The model, which serves until the test binary ends: its threads own nothing else.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    port: u16,
    script: Arc<[Call]>,
    turns: Arc<Mutex<Vec<Turn>>>,
}

impl Model {
    /// Listens on a port of its own.
    pub(crate) fn start(script: Vec<Call>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let model = Self { port, script: script.into(), turns: Arc::default() };
        let serving = model.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let model = serving.clone();
                std::thread::spawn(move || drop(model.serve(stream)));
            }
        });
        model
    }

    /// The base URL for a provider of the kind `openai-completions`.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// The ended turns whose question holds `part`.
    pub(crate) fn turns(&self, part: &str) -> Vec<Turn> {
        let turns = self.turns.lock().unwrap();
        turns.iter().filter(|turn| turn.asked.contains(part)).cloned().collect()
    }

    /// One request a connection.
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let is_post = line.starts_with("POST");
        let mut length = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 || line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if !is_post {
            let models =
                json!({ "object": "list", "data": [{ "id": "scripted", "object": "model" }] });
            return respond(stream, "application/json", &models.to_string());
        }
        let request: Value = serde_json::from_slice(&body)?;
        let (message, reason) = self.answer(&request);
        let usage = json!({ "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 });
        let head =
            |kind: &str| json!({ "id": "c", "created": 1, "model": "scripted", "object": kind });
        if request["stream"] == true {
            let mut first = head("chat.completion.chunk");
            first["choices"] = json!([{ "index": 0, "delta": message, "finish_reason": null }]);
            let mut last = head("chat.completion.chunk");
            last["choices"] = json!([{ "index": 0, "delta": {}, "finish_reason": reason }]);
            last["usage"] = usage;
            let events = format!("data: {first}\n\ndata: {last}\n\ndata: [DONE]\n\n");
            return respond(stream, "text/event-stream", &events);
        }
        let mut whole = head("chat.completion");
        whole["choices"] = json!([{ "index": 0, "message": message, "finish_reason": reason }]);
        whole["usage"] = usage;
        respond(stream, "application/json", &whole.to_string())
    }

    /// The next call of the script, or the end of the turn, which is then remembered.
    fn answer(&self, request: &Value) -> (Value, &'static str) {
        let messages = request["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let is_question = |message: &Value| {
            message["role"] == "user" && !text(&message["content"]).starts_with(INJECTED)
        };
        let asked_at = messages.iter().rposition(is_question).unwrap_or(0);
        let results: Vec<String> = messages[asked_at..]
            .iter()
            .filter(|message| message["role"] == "tool")
            .map(|message| text(&message["content"]))
            .collect();
        let offered = request["tools"].as_array().map_or(&[][..], Vec::as_slice);
        let is_offered = |call: &&Call| {
            offered.iter().any(|tool| tool["function"]["name"] == call.tool.as_str())
        };
        let todo: Vec<&Call> = self.script.iter().filter(is_offered).collect();
        if let Some(call) = todo.get(results.len()) {
            // OpenClaw strips what is not alphanumeric from ids.
            let id = format!("call{asked_at}x{}", results.len());
            let function = json!({ "name": call.tool, "arguments": call.arguments.to_string() });
            let calls = json!([{ "index": 0, "id": id, "type": "function", "function": function }]);
            let message = json!({ "role": "assistant", "content": null, "tool_calls": calls });
            return (message, "tool_calls");
        }
        let asked = messages.get(asked_at).map(|message| text(&message["content"]));
        let tools = todo.iter().map(|call| call.tool.clone());
        let turn = Turn { asked: asked.unwrap_or_default(), results: tools.zip(results).collect() };
        self.turns.lock().unwrap().push(turn);
        (json!({ "role": "assistant", "content": "done" }), "stop")
    }
}

/// A message's text, in either shape.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().concat()
        }
        _ => String::new(),
    }
}

fn respond(mut stream: TcpStream, kind: &str, body: &str) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    stream.flush()
}
