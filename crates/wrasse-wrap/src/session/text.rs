//! Words and keys of a session.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::catalogue::Answer;
use crate::envelope::{self, Envelope, Id, member};
use crate::rewrite;

/// A JSON-RPC error code of our own: nothing is known about what the server did.
const OUTCOME_UNKNOWN: i64 = -32050;
/// A JSON-RPC error code of our own: the server was not reached.
pub(crate) const NOT_STARTED: i64 = -32051;

const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META_INFO: &str = "io.modelcontextprotocol/clientInfo";

/// The same JSON in one spelling.
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> =
                members.into_iter().map(|(name, value)| (name, canonical(value))).collect();
            members.sort_by(|one, two| one.0.cmp(&two.0));
            Value::Object(members.into_iter().collect())
        }
        Value::Array(items) => items.into_iter().map(canonical).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn key(
    era: &str,
    version: Option<Value>,
    capabilities: Option<Value>,
    info: Option<Value>,
) -> String {
    let name = info.map(|info| info["name"].clone());
    canonical(json!([era, version, capabilities, name])).to_string()
}

/// What of an `initialize` may change the answers: the version, the capabilities, the host's name.
pub(super) fn handshake_key(params: &RawValue) -> String {
    let of = |name| member(params, name);
    key("initialize", of("protocolVersion"), of("capabilities"), of("clientInfo"))
}

/// The same of a request that says all about itself.
pub(super) fn discover_key(params: Option<&RawValue>) -> String {
    let meta = params.and_then(|params| member(params, "_meta")).unwrap_or_default();
    let of = |name: &str| meta.get(name).cloned();
    key("stateless", of(META_VERSION), of(META_CAPABILITIES), of(META_INFO))
}

/// The `_meta` of a request that says all about itself, without what belongs to that request alone.
pub(super) fn stateless_meta(params: Option<&RawValue>) -> Option<Box<RawValue>> {
    let Value::Object(mut meta) = member(params?, "_meta")? else { return None };
    if !meta.contains_key(META_VERSION) {
        return None;
    }
    meta.remove("progressToken");
    Some(envelope::raw(&Value::Object(meta)))
}

/// Parameters that hold this `_meta` and nothing else.
pub(super) fn only_meta(meta: &RawValue) -> Box<RawValue> {
    let meta: Value = serde_json::from_str(meta.get()).unwrap_or_default();
    envelope::raw(&json!({ "_meta": meta }))
}

pub(super) fn uri(envelope: &Envelope<'_>) -> String {
    envelope.param("uri").and_then(|uri| uri.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}

/// An id that is a member of something.
pub(super) fn raw_member(object: &RawValue, name: &str) -> Option<Id> {
    member(object, name).map(|id| Id::of(&envelope::raw(&id)))
}

fn error(code: i64, message: &str, data: &Value) -> Answer {
    Answer::Error(envelope::raw(&json!({ "code": code, "message": message, "data": data })))
}

/// For a request that never reached a server.
pub(super) fn cannot_start(fault: &str) -> Answer {
    error(NOT_STARTED, fault, &json!({ "wrasse": { "outcome": "not started" } }))
}

/// For a request that a server had when it ended.
pub(super) fn outcome_unknown(name: &str, why: &str) -> Answer {
    let message = format!(
        "the MCP server {name} {why} while this request was in flight: its outcome is unknown and it was not \
         repeated; check its effect before asking again. The next call starts the server anew, and what it kept \
         in memory is gone"
    );
    error(OUTCOME_UNKNOWN, &message, &json!({ "wrasse": { "outcome": "unknown" } }))
}

/// One more line of text for the model, in the result of a tool call. `None` when the result has no place for it.
pub(super) fn with_note(line: &[u8], note: &str) -> Option<Vec<u8>> {
    let result = Envelope::read(line)?.result?;
    let content = rewrite::member(result, "content")?;
    let items = content.get().strip_prefix('[')?.strip_suffix(']')?.trim_end();
    let comma = if items.trim_start().is_empty() { "" } else { "," };
    let note = json!({ "type": "text", "text": note });
    rewrite::put_deep(line, &["result", "content"], &format!("[{items}{comma}{note}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cover_what_changes_answers_and_nothing_else() {
        let key = |text: &str| handshake_key(&RawValue::from_string(text.to_owned()).unwrap());
        let one = key(
            r#"{"protocolVersion":"2025-11-25","capabilities":{"roots":{},"sampling":{}},"clientInfo":{"name":"h","version":"1"}}"#,
        );
        let same = key(
            r#"{"clientInfo":{"version":"2","name":"h"},"capabilities":{"sampling":{},"roots":{}},"protocolVersion":"2025-11-25"}"#,
        );
        assert_eq!(one, same);
        let other = key(
            r#"{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"clientInfo":{"name":"h"}}"#,
        );
        assert_ne!(one, other);
    }

    #[test]
    fn a_note_is_added_where_there_is_content() {
        let line =
            br#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"a"}],"x":1}}"#;
        let noted = String::from_utf8(with_note(line, "b").unwrap()).unwrap();
        assert!(noted.ends_with(r#""a"},{"type":"text","text":"b"}],"x":1}}"#), "{noted}");
        let line = br#"{"id":1,"result":{"content":[ ],"n":12345678901234567890123,"x":1.10}}"#;
        let noted = String::from_utf8(with_note(line, "b").unwrap()).unwrap();
        let same = r#"[{"type":"text","text":"b"}],"n":12345678901234567890123,"x":1.10}}"#;
        assert!(noted.ends_with(same), "{noted}");
        assert_eq!(with_note(br#"{"id":1,"result":{"content":"c"}}"#, "b"), None);
        assert_eq!(with_note(br#"{"id":1,"result":{"task":{}}}"#, "b"), None);
        assert_eq!(with_note(br#"{"id":1,"error":{}}"#, "b"), None);
    }
}
