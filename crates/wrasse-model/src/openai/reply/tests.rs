use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Answer, Reader};
use crate::error::ModelFault;
use crate::message::{StopReason, Usage};
use crate::openai::fault::Fault;

fn read(body: &str) -> Result<Answer, Fault> {
    let mut reader = Reader::new();
    reader.feed(body.as_bytes())?;
    reader.finish()
}

fn stream(chunks: &[Value], tail: &str) -> String {
    let mut body: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    body.push_str(tail);
    body
}

fn delta(delta: Value) -> Value {
    json!({ "choices": [{ "index": 0, "delta": delta }] })
}

fn end(reason: &str) -> Value {
    json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })
}

fn call(index: Option<u64>, id: Option<&str>, name: Option<&str>, arguments: &str) -> Value {
    delta(json!({ "tool_calls": [{ "index": index, "id": id,
        "function": { "name": name, "arguments": arguments } }] }))
}

#[test]
fn text_comes_together_and_usage_is_kept() {
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": 7, "completion_tokens": 2 } });
    let chunks = [
        delta(json!({ "role": "assistant", "content": null })),
        delta(json!({ "content": "Hal" })),
        delta(json!({ "content": [{ "type": "text", "text": "lo" }] })),
        delta(json!({ "reasoning_content": "hm" })),
        end("stop"),
        usage,
    ];
    let answer = read(&stream(&chunks, "data: [DONE]\n\n")).unwrap();
    assert_eq!(answer.text, "Hallo");
    assert_eq!(answer.usage, Some(Usage { input: 7, output: 2 }));
    assert_eq!(answer.stop, StopReason::Complete);
}

/// The calls as (id, name, arguments or what was written).
fn calls(chunks: &[Value]) -> Vec<(String, String, String)> {
    let mut all = chunks.to_vec();
    all.push(end("tool_calls"));
    let answer = read(&stream(&all, "")).unwrap();
    let view = answer.tool_calls.into_iter();
    view.map(|call| {
        let arguments = call.bad_arguments.unwrap_or_else(|| call.arguments.to_string());
        (call.id, call.name, arguments)
    })
    .collect()
}

fn expect(found: &[(String, String, String)], expected: &[(&str, &str, &str)]) {
    let found: Vec<_> =
        found.iter().map(|(id, name, args)| (id.as_str(), name.as_str(), args.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn calls_are_assembled_by_index_even_interleaved() {
    let found = calls(&[
        call(Some(0), Some("a"), Some("fs__read"), ""),
        call(Some(1), Some("b"), Some("fs__list"), "{\"p\""),
        call(Some(0), None, None, "{\"x\":"),
        call(Some(1), None, None, ":2}"),
        call(Some(0), None, None, "1}"),
    ]);
    expect(&found, &[("a", "fs__read", "{\"x\":1}"), ("b", "fs__list", "{\"p\":2}")]);
}

#[test]
fn calls_without_sound_indexes_or_ids_stay_apart() {
    let same_index = calls(&[
        call(Some(0), Some("a"), Some("one"), "{}"),
        call(Some(0), Some("b"), Some("two"), "{}"),
    ]);
    expect(&same_index, &[("a", "one", "{}"), ("b", "two", "{}")]);
    let no_index = calls(&[
        call(None, Some("a"), Some("one"), "{\"n\""),
        call(None, None, None, ":1}"),
        call(None, Some("b"), Some("two"), "{}"),
    ]);
    expect(&no_index, &[("a", "one", "{\"n\":1}"), ("b", "two", "{}")]);
    let no_ids = calls(&[
        call(Some(0), None, Some("one"), "{}"),
        call(Some(1), Some(""), Some("two"), "{}"),
    ]);
    expect(&no_ids, &[("call_0", "one", "{}"), ("call_1", "two", "{}")]);
    let repeated_name = calls(&[
        call(Some(0), Some("a"), Some("one"), "{\"n\""),
        call(Some(0), Some("a"), Some("one"), ":1}"),
    ]);
    expect(&repeated_name, &[("a", "one", "{\"n\":1}")]);
}

#[test]
fn arguments_that_are_no_object_are_kept_as_written_and_reported() {
    let table = [
        ("", "{}"),
        ("null", "{}"),
        ("\"{\\\"a\\\":1}\"", "{\"a\":1}"),
        ("{\"a\":", "{\"a\":"),
        ("[1]", "[1]"),
        ("no", "no"),
    ];
    for (written, kept) in table {
        let found = calls(&[call(Some(0), Some("a"), Some("t"), written)]);
        expect(&found, &[("a", "t", kept)]);
    }
    let body = stream(&[call(Some(0), Some("a"), Some("t"), "{\"a\":"), end("length")], "");
    let answer = read(&body).unwrap();
    let fault = answer.tool_calls[0].checked_arguments().unwrap_err().to_string();
    assert!(fault.contains("the arguments of t are not a JSON object"), "{fault}");
    assert_eq!(answer.stop, StopReason::Length);
}

#[test]
fn plain_json_is_read_too() {
    let body = json!({ "choices": [{ "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": "so",
        "tool_calls": [
            { "function": { "name": "one", "arguments": { "a": 1 } } },
            { "function": { "name": "two", "arguments": "{}" } } ] } }],
        "usage": { "prompt_tokens": 1, "completion_tokens": 1 } });
    let answer = read(&format!("\n {body}")).unwrap();
    assert_eq!(answer.text, "so");
    assert_eq!(answer.tool_calls.len(), 2);
    assert_eq!(answer.tool_calls[0].arguments, json!({ "a": 1 }));
}

#[test]
fn what_is_no_answer_is_a_fault_with_a_kind() {
    let over = json!({ "error": { "message": "maximum context length is 10", "code": 400 } });
    let busy = json!({ "error": { "message": "slow down", "type": "rate_limit_error" } });
    let cut = stream(&[delta(json!({ "content": "Hal" }))], "");
    let filtered = stream(&[end("content_filter")], "");
    let silent = stream(&[end("length")], "");
    let refusal = stream(&[delta(json!({ "refusal": "I cannot" })), end("stop")], "");
    let table = [
        (String::new(), ModelFault::BadReply),
        (String::from("   \n"), ModelFault::BadReply),
        (String::from("data: {not json\n\n"), ModelFault::BadReply),
        (String::from("{\"object\":\"list\"}"), ModelFault::BadReply),
        (String::from("{\"choices\":"), ModelFault::BadReply),
        (String::from("<html><title>Hi</title></html>"), ModelFault::NotConfigured),
        (String::from("this is not a stream"), ModelFault::Network),
        (cut, ModelFault::Network),
        (stream(&[over], ""), ModelFault::ContextOverflow),
        (stream(&[busy], ""), ModelFault::RateLimited),
        (filtered, ModelFault::Refused),
        (silent, ModelFault::BadReply),
        (refusal, ModelFault::Refused),
    ];
    for (body, kind) in table {
        let fault = read(&body).unwrap_err();
        assert_eq!(fault.kind, kind, "{body:?}: {}", fault.message);
    }
}

#[test]
fn too_many_calls_are_refused() {
    let chunks: Vec<Value> =
        (0..200).map(|index| call(Some(index * 1_000_000_007), None, Some("t"), "{}")).collect();
    assert_eq!(read(&stream(&chunks, "")).unwrap_err().kind, ModelFault::BadReply);
}

#[test]
fn an_empty_answer_that_is_complete_is_an_answer() {
    let answer = read(&stream(&[end("stop")], "")).unwrap();
    assert!(answer.text.is_empty() && answer.tool_calls.is_empty());
    let done = read("data: [DONE]\n\ndata: garbage after the end\n\n").unwrap();
    assert!(done.text.is_empty());
}

proptest! {
    /// A peer that sends anything at all gets an answer or a fault, never a panic.
    #[test]
    fn any_bytes_are_an_answer_or_a_fault(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut reader = Reader::new();
        if reader.feed(&body).is_ok() {
            let _either = reader.finish();
        }
    }

    #[test]
    fn any_json_event_is_an_answer_or_a_fault(
        text in "\\PC{0,12}", index in any::<Option<u64>>(), id in any::<Option<String>>(), reason in any::<Option<String>>(),
    ) {
        let chunk = json!({ "choices": [{ "delta": { "content": text, "tool_calls": [
            { "index": index, "id": id, "function": { "name": text, "arguments": text } }] }, "finish_reason": reason }] });
        let _either = read(&stream(&[chunk.clone(), chunk], ""));
    }
}
