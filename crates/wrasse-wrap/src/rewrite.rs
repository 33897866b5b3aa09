//! Changing one member of a JSON object and no other byte of what stands beside it.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

/// The members of an object in their order, each as it is written. `None` when it is no object.
fn members(object: &[u8]) -> Option<Vec<(String, &RawValue)>> {
    serde_json::Deserializer::from_slice(object).deserialize_map(Members).ok()
}

/// One member of an object, as it is written.
pub(crate) fn member(object: &RawValue, name: &str) -> Option<Box<RawValue>> {
    let members = members(object.get().as_bytes())?;
    members.iter().find(|(known, _)| known == name).map(|(_, value)| (*value).to_owned())
}

/// The object with these members replaced, in their places, or added. `None` when it is no object.
pub(crate) fn put(object: &[u8], changes: &[(&str, &str)]) -> Option<Vec<u8>> {
    let members = members(object)?;
    let mut text = Vec::with_capacity(object.len() + 64);
    let mut add = |name: &str, value: &str| {
        text.push(if text.is_empty() { b'{' } else { b',' });
        text.extend_from_slice(serde_json::Value::from(name).to_string().as_bytes());
        text.push(b':');
        text.extend_from_slice(value.as_bytes());
    };
    for (name, value) in &members {
        let change = changes.iter().find(|(changed, _)| changed == name);
        add(name, change.map_or(value.get(), |(_, value)| value));
    }
    for (name, value) in changes {
        if !members.iter().any(|(known, _)| known == name) {
            add(name, value);
        }
    }
    if text.is_empty() {
        text.push(b'{');
    }
    text.push(b'}');
    Some(text)
}

/// The object with one member of a member replaced, and so on down the path. `None` where the path does not lead.
pub(crate) fn put_deep(object: &[u8], path: &[&str], value: &str) -> Option<Vec<u8>> {
    match path {
        [] => None,
        [name] => put(object, &[(name, value)]),
        [name, rest @ ..] => {
            let members = members(object)?;
            let (_, inner) = members.iter().find(|(known, _)| known == name)?;
            let inner = put_deep(inner.get().as_bytes(), rest, value)?;
            put(object, &[(name, std::str::from_utf8(&inner).ok()?)])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Option<Vec<u8>>) -> String {
        bytes.map_or_else(|| "none".to_owned(), |bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn what_is_not_changed_stays_as_it_is_written() {
        let line = br#"{"jsonrpc":"2.0", "id" : 7,"params":{"n":12345678901234567890123, "x":1.50,"_meta":{"progressToken":1}}}"#;
        assert_eq!(
            text(put(line, &[("id", "\"b1\""), ("new", "null")])),
            r#"{"jsonrpc":"2.0","id":"b1","params":{"n":12345678901234567890123, "x":1.50,"_meta":{"progressToken":1}},"new":null}"#
        );
        assert_eq!(
            text(put_deep(line, &["params", "_meta", "progressToken"], "\"t\"")),
            r#"{"jsonrpc":"2.0","id":7,"params":{"n":12345678901234567890123,"x":1.50,"_meta":{"progressToken":"t"}}}"#
        );
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert_eq!(text(put(b"[]", &[("id", "1")])), "none");
        assert_eq!(text(put(b"{", &[("id", "1")])), "none");
        assert_eq!(text(put(b"{}", &[])), "{}");
        assert_eq!(text(put_deep(b"{\"a\":1}", &["a", "b"], "1")), "none");
        assert_eq!(text(put_deep(b"{}", &["a", "b"], "1")), "none");
    }
}
