use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wrasse_model::{Message, StopReason, ToolCall, ToolSpec, TurnFailure, Usage};
use wrasse_scope::{Scope, TaskKind};

use crate::support::{
    HEADER, KEY, Plan, Server, Step, ask, delta, event, finish, models, provider, request, turn,
};

#[tokio::test]
async fn streamed_text_arrives_whole_with_its_usage() {
    let plan = Plan::stream(&[
        delta(json!({ "role": "assistant", "content": "" })),
        delta(json!({ "content": "Gu" })),
        delta(json!({ "content": "ten Tag, Wörld" })),
        finish("stop"),
        json!({ "choices": [], "usage": { "prompt_tokens": 11, "completion_tokens": 3 } }),
    ]);
    let server = Server::start([plan]).await;
    let reply = ask(&server).await.unwrap();
    assert_eq!(reply.text, "Guten Tag, Wörld");
    assert_eq!(reply.usage, Usage { input: 11, output: 3 });
    assert_eq!(reply.model, "local/small");
    assert_eq!(reply.stop, StopReason::Complete);
}

#[tokio::test]
async fn the_request_says_what_chat_completions_want() {
    let server = Server::start([Plan::text("ok")]).await;
    let mut asked = request("read it");
    asked.system = String::from("be brief");
    let bad = ToolCall {
        bad_arguments: Some(String::from("{\"path")),
        ..ToolCall::new("c2", "fs__list", json!({}))
    };
    let good = ToolCall::new("c1", "fs__read", json!({ "path": "a" }));
    asked.messages.extend([
        Message::Assistant { text: String::new(), tool_calls: vec![good, bad] },
        result("c1", "fs__read", "contents"),
        result("c2", "fs__list", "not called"),
        Message::Assistant { text: String::new(), tool_calls: Vec::new() },
    ]);
    asked.tools = vec![ToolSpec {
        name: String::from("fs__read"),
        description: String::from("Reads a file."),
        schema: json!({ "type": "object", "properties": { "path": { "type": "string" } } }),
    }];
    turn(&models(vec![provider("local", &server.url)]), &["fast"], asked).await.unwrap();

    let (headers, body) = server.asked(0);
    assert_eq!(headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(headers["x-tenant"], HEADER);
    let call = |id: &str, name: &str, arguments: &str| {
        json!({ "id": id, "type": "function",
            "function": { "name": name, "arguments": arguments } })
    };
    let expected = json!({
        "model": "small",
        "messages": [
            { "role": "system", "content": "be brief" },
            { "role": "user", "content": "read it" },
            { "role": "assistant", "content": null, "tool_calls": [
                call("c1", "fs__read", "{\"path\":\"a\"}"), call("c2", "fs__list", "{}") ] },
            { "role": "tool", "content": "contents", "tool_call_id": "c1" },
            { "role": "tool", "content": "not called", "tool_call_id": "c2" },
        ],
        "stream": true,
        "stream_options": { "include_usage": true },
        "tools": [{ "type": "function", "function": { "name": "fs__read",
            "description": "Reads a file.",
            "parameters": { "type": "object", "properties": { "path": { "type": "string" } } } } }],
        "max_tokens": 512,
    });
    assert_eq!(body, expected);
}

fn result(call_id: &str, name: &str, text: &str) -> Message {
    Message::ToolResult {
        call_id: String::from(call_id),
        name: String::from(name),
        text: String::from(text),
        is_error: false,
    }
}

fn fragment(index: u64, id: Option<&str>, name: Option<&str>, arguments: &str) -> Value {
    delta(json!({ "tool_calls": [{ "index": index, "id": id, "type": "function",
        "function": { "name": name, "arguments": arguments } }] }))
}

#[tokio::test]
async fn tool_calls_in_fragments_become_calls() {
    let plan = Plan::stream(&[
        delta(json!({ "content": "One moment." })),
        fragment(0, Some("c1"), Some("fs__read"), ""),
        fragment(0, None, None, "{\"pa"),
        fragment(1, Some("c2"), Some("db__query"), "{\"sql\":\"select"),
        fragment(0, None, None, "th\":\"a.txt\"}"),
        fragment(1, None, None, " 1\"}"),
        finish("tool_calls"),
    ]);
    let server = Server::start([plan]).await;
    let reply = ask(&server).await.unwrap();
    assert_eq!(reply.text, "One moment.");
    let expected = [
        ToolCall::new("c1", "fs__read", json!({ "path": "a.txt" })),
        ToolCall::new("c2", "db__query", json!({ "sql": "select 1" })),
    ];
    assert_eq!(reply.tool_calls, expected);
    assert!(reply.usage.output > 0, "counted here where the server does not say");
}

#[tokio::test]
async fn a_server_that_ignores_stream_is_understood() {
    let body = json!({ "id": "x", "object": "chat.completion",
        "choices": [{ "index": 0, "finish_reason": "stop", "message": {
            "role": "assistant", "content": "all at once" } }],
        "usage": { "prompt_tokens": 2, "completion_tokens": 3 } });
    let plan = Plan::status(200, &body.to_string()).header("content-type", "application/json");
    let server = Server::start([plan]).await;
    let reply = ask(&server).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.usage.output), ("all at once", 3));
}

#[tokio::test]
async fn the_end_may_be_known_by_the_finish_reason_alone() {
    let steps = vec![event(&delta(json!({ "content": "no done" }))), event(&finish("stop"))];
    let server = Server::start([Plan::steps(steps)]).await;
    assert_eq!(ask(&server).await.unwrap().text, "no done");
}

#[tokio::test]
async fn nothing_is_read_behind_the_end() {
    let steps = vec![
        event(&delta(json!({ "content": "done" }))),
        Step::Send(b"data: [DONE]\n\n".to_vec()),
        Step::Stall,
    ];
    let server = Server::start([Plan::steps(steps)]).await;
    assert_eq!(ask(&server).await.unwrap().text, "done");
}

#[tokio::test]
async fn a_server_without_stream_options_is_asked_without() {
    let refusal = "{\"error\":{\"message\":\"unknown field: stream_options\"}}";
    let plans = [Plan::status(400, refusal), Plan::text("first"), Plan::text("second")];
    let server = Server::start(plans).await;
    let models = models(vec![provider("local", &server.url)]);
    for expected in ["first", "second"] {
        let reply = turn(&models, &["local/small"], request("hello")).await.unwrap();
        assert_eq!(reply.text, expected);
    }
    assert_eq!(server.count(), 3, "the second turn knows at once");
    assert!(server.asked(2).1.get("stream_options").is_none());
}

#[tokio::test]
async fn cancelling_mid_stream_ends_the_turn_and_the_connection() {
    let steps = vec![event(&delta(json!({ "content": "Hal" }))), Step::Stall];
    let server = Server::start([Plan::steps(steps)]).await;
    let models = models(vec![provider("local", &server.url)]);
    let scope = Scope::root("test");
    let token = CancellationToken::new();
    let asked = token.clone();
    let turn = scope.spawn_value(TaskKind::Run, async move {
        models.turn(&[String::from("local/small")], request("hello"), &asked).await
    });
    server.bodies_open(1).await;
    token.cancel();
    assert_eq!(turn.await.unwrap(), Err(TurnFailure::Cancelled));
    server.bodies_open(0).await;
    assert!(scope.join(Duration::from_secs(20)).await.is_clean());
}

#[tokio::test]
async fn messages_keep_their_json_form() {
    let call = ToolCall::new("c1", "fs__read", json!({ "path": "a" }));
    let table = [
        (Message::User { text: String::from("hi") }, json!({ "role": "user", "text": "hi" })),
        (
            Message::Assistant { text: String::from("so"), tool_calls: vec![call] },
            json!({ "role": "assistant", "text": "so", "toolCalls": [
                { "id": "c1", "name": "fs__read", "arguments": { "path": "a" } }] }),
        ),
        (
            result("c1", "fs__read", "ok"),
            json!({ "role": "tool", "callId": "c1", "name": "fs__read", "text": "ok",
                "isError": false }),
        ),
    ];
    for (message, stored) in table {
        assert_eq!(serde_json::to_value(&message).unwrap(), stored);
        assert_eq!(serde_json::from_value::<Message>(stored).unwrap(), message);
    }
}
