//! From one line to one message of the SDK, or to the reason why it is none.
//!
//! Results are not decoded here: the SDK tries every known result in turn, which is slow for large ones and
//! refuses what a server adds of its own. Only the answer to `initialize` becomes its own type; every other
//! result stays JSON.

use rmcp::model::{
    CustomResult, ErrorCode, ErrorData, InitializeResult, JsonRpcMessage, JsonRpcNotification,
    JsonRpcRequest, JsonRpcResponse, JsonRpcVersion2_0, NumberOrString, ServerJsonRpcMessage,
    ServerNotification, ServerRequest, ServerResult,
};
use serde_json::{Map, Value};

/// Reads one line that is not empty.
///
/// # Errors
/// Why it is not JSON-RPC, for the log.
pub(crate) fn parse(line: &[u8]) -> Result<ServerJsonRpcMessage, String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let Value::Object(mut object) = value else {
        return Err("not an object".to_owned());
    };
    if object.contains_key("method") {
        return peer_message(object);
    }
    let id = object.remove("id").and_then(id);
    match (object.remove("result"), object.remove("error"), id) {
        (Some(result), _, Some(id)) => Ok(response(id, result)),
        (None, Some(error), id) => Ok(JsonRpcMessage::error(error_data(&error), id)),
        (Some(_), _, None) => Err("an answer without an id".to_owned()),
        (None, None, _) => Err("no method, result or error".to_owned()),
    }
}

/// The error that stands for an answer that could not be read.
pub(crate) fn unreadable(id: i64, reason: String) -> ServerJsonRpcMessage {
    let error = ErrorData::new(ErrorCode::INTERNAL_ERROR, reason, None);
    JsonRpcMessage::error(error, Some(NumberOrString::Number(id)))
}

fn id(value: Value) -> Option<NumberOrString> {
    match value {
        Value::Number(number) => number.as_i64().map(NumberOrString::Number),
        Value::String(text) => Some(NumberOrString::String(text.into())),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn response(id: NumberOrString, result: Value) -> ServerJsonRpcMessage {
    let handshake = result.get("protocolVersion").is_some_and(Value::is_string)
        && result.get("capabilities").is_some_and(Value::is_object);
    let initialize = if handshake {
        serde_json::from_value::<InitializeResult>(result.clone()).ok()
    } else {
        None
    };
    let result = match initialize {
        Some(result) => ServerResult::InitializeResult(result),
        None => ServerResult::CustomResult(CustomResult::new(result)),
    };
    JsonRpcMessage::Response(JsonRpcResponse { jsonrpc: JsonRpcVersion2_0, id, result })
}

fn error_data(error: &Value) -> ErrorData {
    let code = error.get("code").and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok());
    let message = match error.get("message").and_then(Value::as_str) {
        Some(message) => message.to_owned(),
        None => error.to_string(),
    };
    ErrorData::new(ErrorCode(code.unwrap_or(0)), message, error.get("data").cloned())
}

fn peer_message(mut object: Map<String, Value>) -> Result<ServerJsonRpcMessage, String> {
    let id = object.remove("id").and_then(id);
    let body = Value::Object(object);
    match id {
        Some(id) => serde_json::from_value::<ServerRequest>(body)
            .map(|request| {
                JsonRpcMessage::Request(JsonRpcRequest { jsonrpc: JsonRpcVersion2_0, id, request })
            })
            .map_err(|error| error.to_string()),
        None => serde_json::from_value::<ServerNotification>(body)
            .map(|notification| {
                JsonRpcMessage::Notification(JsonRpcNotification {
                    jsonrpc: JsonRpcVersion2_0,
                    notification,
                })
            })
            .map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn table() {
        let ok = |line: &str| parse(line.as_bytes()).unwrap();
        assert!(matches!(
            ok(r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#),
            JsonRpcMessage::Response(JsonRpcResponse { result: ServerResult::CustomResult(_), .. })
        ));
        assert!(matches!(
            ok(
                r#"{"id":0,"jsonrpc":"2.0","result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"a","version":"1"}}}"#
            ),
            JsonRpcMessage::Response(JsonRpcResponse {
                result: ServerResult::InitializeResult(_),
                ..
            })
        ));
        assert!(matches!(
            ok(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#),
            JsonRpcMessage::Error(_)
        ));
        assert!(matches!(
            ok(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#),
            JsonRpcMessage::Notification(JsonRpcNotification {
                notification: ServerNotification::ToolListChangedNotification(_),
                ..
            })
        ));
        assert!(matches!(
            ok(r#"{"jsonrpc":"2.0","id":"x","method":"roots/list"}"#),
            JsonRpcMessage::Request(JsonRpcRequest {
                request: ServerRequest::ListRootsRequest(_),
                ..
            })
        ));
        assert!(matches!(
            ok(r#"{"jsonrpc":"2.0","id":"x","method":"own/thing","params":{"a":1}}"#),
            JsonRpcMessage::Request(_)
        ));
        for bad in ["hello", "[]", "{}", "7", "{\"id\":1}", "{\"result\":1}", "{", "\u{feff}{}"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_a_reason(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(parse(&line));
        }

        #[test]
        fn any_object_is_a_message_or_a_reason(
            id in prop_oneof![Just("1"), Just("null"), Just("\"a\""), Just("1.5")],
            key in prop_oneof![Just("result"), Just("error"), Just("method"), Just("params")],
            value in prop_oneof![Just("{}"), Just("null"), Just("\"ping\""), Just("[1]"), Just("1e9")],
        ) {
            drop(parse(format!("{{\"id\":{id},\"{key}\":{value}}}").as_bytes()));
        }
    }
}
