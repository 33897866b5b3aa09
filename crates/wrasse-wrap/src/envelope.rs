//! What a JSON-RPC line is, without reading more of it than that takes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::rewrite;

/// The id of a request in one spelling, whatever way the sender writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(Box<str>);

impl Id {
    /// Reads an id as it stands in a message.
    pub fn of(raw: &RawValue) -> Self {
        let canonical = serde_json::from_str::<Value>(raw.get()).map(|value| value.to_string());
        Self(canonical.unwrap_or_else(|_| raw.get().to_owned()).into())
    }

    /// An id of our own making.
    pub fn text(text: &str) -> Self {
        Self(Value::from(text).to_string().into())
    }

    /// The id as JSON.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

/// A message, as far as a proxy has to know it. Everything else stays as it was written.
#[derive(Debug, Deserialize)]
pub struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "even_null")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    /// The parameters of a request or notification.
    #[serde(borrow, default)]
    pub params: Option<&'a RawValue>,
    /// The result of a response.
    #[serde(borrow, default, deserialize_with = "even_null")]
    pub result: Option<&'a RawValue>,
    /// The error of a response.
    #[serde(borrow, default)]
    pub error: Option<&'a RawValue>,
}

/// The kinds of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind<'a> {
    /// Wants an answer.
    Request {
        /// Its id.
        id: Id,
        /// Its method.
        method: &'a str,
    },
    /// Wants none.
    Notification {
        /// Its method.
        method: &'a str,
    },
    /// Is one.
    Response {
        /// The id of the request.
        id: Id,
    },
    /// None of these.
    Bad,
}

/// A member that is there and null is there.
fn even_null<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

impl<'a> Envelope<'a> {
    /// Reads one message. `None` when it is no JSON object.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        // An array would do for a structure as well, member by member.
        let object = line.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        serde_json::from_slice(line).ok().filter(|_| object)
    }

    /// What kind of message it is.
    pub fn kind(&self) -> Kind<'_> {
        let id = self.id.filter(|id| id.get() != "null").map(Id::of);
        match (&self.method, id) {
            (Some(method), Some(id)) => Kind::Request { id, method },
            (Some(method), None) => Kind::Notification { method },
            (None, Some(id)) if self.result.is_some() || self.error.is_some() => {
                Kind::Response { id }
            }
            (None, _) => Kind::Bad,
        }
    }

    /// One member of the parameters, read as any JSON.
    pub fn param(&self, name: &str) -> Option<Value> {
        member(self.params?, name)
    }

    /// One member of the result, read as any JSON.
    pub fn in_result(&self, name: &str) -> Option<Value> {
        member(self.result?, name)
    }
}

/// One member of an object, without making values of the others.
pub fn member(object: &RawValue, name: &str) -> Option<Value> {
    let members: std::collections::BTreeMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(object.get()).ok()?;
    serde_json::from_str(members.get(name)?.get()).ok()
}

/// The messages of a line: one, or those of a batch, which one version of the protocol knew.
pub fn messages(line: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let first = line.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'[') {
        return vec![Cow::Borrowed(line)];
    }
    match serde_json::from_slice::<Vec<&RawValue>>(line) {
        Ok(parts) if !parts.is_empty() => {
            parts.iter().map(|part| Cow::Owned(part.get().as_bytes().to_vec())).collect()
        }
        Ok(_) | Err(_) => vec![Cow::Borrowed(line)],
    }
}

/// A request as a line.
pub fn request(id: &Id, method: &str, params: Option<&RawValue>) -> Vec<u8> {
    let method = Value::from(method);
    let params = params.map(|params| format!(r#","params":{}"#, params.get())).unwrap_or_default();
    format!(r#"{{"jsonrpc":"2.0","id":{},"method":{method}{params}}}"#, id.as_json()).into_bytes()
}

/// A notification as a line.
pub fn notification(method: &str, params: Option<&Value>) -> Vec<u8> {
    let mut message = serde_json::json!({ "jsonrpc": "2.0", "method": method });
    if let Some(params) = params {
        message["params"] = params.clone();
    }
    message.to_string().into_bytes()
}

/// A response with this result as a line.
pub fn result(id: &Id, result: &RawValue) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{}}}"#, id.as_json(), result.get()).into_bytes()
}

/// A response with this error object as a line.
pub fn error(id: &Id, error: &RawValue) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":{},"error":{}}}"#, id.as_json(), error.get()).into_bytes()
}

/// The same message under another id.
pub fn with_id(line: &[u8], id: &Id) -> Option<Vec<u8>> {
    rewrite::put(line, &[("id", id.as_json())])
}

/// Any value as raw JSON.
pub fn raw(value: &Value) -> Box<RawValue> {
    // A value always serialises, and what it serialises to is JSON.
    RawValue::from_string(value.to_string()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(line: &str) -> String {
        Envelope::read(line.as_bytes())
            .map_or_else(|| "none".to_owned(), |envelope| format!("{:?}", envelope.kind()))
    }

    #[test]
    fn tells_the_kinds_apart() {
        assert!(kind(r#"{"jsonrpc":"2.0","id":1,"method":"a\/b"}"#).starts_with("Request"));
        assert!(kind(r#"{"method":"x"}"#).starts_with("Notification"));
        assert!(kind(r#"{"id":null,"method":"x"}"#).starts_with("Notification"));
        assert!(kind(r#"{"id":"a","result":null}"#).starts_with("Response"));
        assert!(kind(r#"{"id":"a","error":{}}"#).starts_with("Response"));
        for bad in [r#"{"id":1}"#, "{}", r#"{"id":null,"error":{}}"#] {
            assert_eq!(kind(bad), "Bad", "{bad}");
        }
        for bad in ["", "[]", "1", "nonsense", r#"{"id""#] {
            assert_eq!(kind(bad), "none", "{bad}");
        }
    }

    #[test]
    fn ids_are_equal_however_they_are_written() {
        let id = |line: &str| match Envelope::read(line.as_bytes()).unwrap().kind() {
            Kind::Request { id, .. } | Kind::Response { id } => id,
            other => panic!("{other:?}"),
        };
        assert_eq!(id(r#"{"id":"a\u002fb","method":"x"}"#), id(r#"{"id":"a/b","result":{}}"#));
        assert_eq!(id(r#"{"id": 7 ,"method":"x"}"#).as_json(), "7");
        assert_ne!(id(r#"{"id":"7","method":"x"}"#), id(r#"{"id":7,"method":"x"}"#));
    }

    #[test]
    fn another_id_changes_nothing_else() {
        let line = br#"{"id":1,"method":"x","params":{"n":12345678901234567890123,"x":1.10}}"#;
        let changed = String::from_utf8(with_id(line, &Id::text("a")).unwrap()).unwrap();
        assert_eq!(
            changed,
            r#"{"id":"a","method":"x","params":{"n":12345678901234567890123,"x":1.10}}"#
        );
        assert_eq!(with_id(b"[]", &Id::text("a")), None);
    }

    #[test]
    fn a_batch_is_its_messages() {
        assert_eq!(messages(b"{}").len(), 1);
        assert_eq!(messages(b" [{\"a\":1}, {}]").len(), 2);
        assert_eq!(messages(b"[").len(), 1);
    }
}
