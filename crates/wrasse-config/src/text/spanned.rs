//! JSON5 with the bytes of every value, for those who change a text in place and leave the rest of it alone.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::tree::{FileId, Node, Place, Value};
use crate::{Fault, Faults};

/// A value, the bytes it stands in, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned {
    /// Its bytes in the text, brackets and quotes included.
    pub span: Range<usize>,
    /// 1-based.
    pub line: u32,
    /// The value.
    pub value: SpannedValue,
}

/// A value; of numbers, words and null only the bytes matter to who changes texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpannedValue {
    /// What stood in quotes, escapes resolved.
    Text(String),
    /// A list.
    List(Vec<Spanned>),
    /// An object; of a key that stands twice the last.
    Object(Vec<SpannedMember>),
    /// A number, `true`, `false` or `null`.
    Word,
}

/// One member of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpannedMember {
    /// The key, quotes and escapes resolved.
    pub key: String,
    /// The key's bytes, quotes included.
    pub key_span: Range<usize>,
    /// Its value.
    pub value: Spanned,
}

/// Reads a text of JSON, JSON with comments, or JSON5. Spans count a byte order mark.
///
/// # Errors
/// Every fault with its line and column; `file` is how they name the text.
pub fn parse_spanned(text: &str, file: &Path) -> Result<Spanned, Faults> {
    let parsed = super::parse(text, FileId(0));
    if parsed.faults.is_empty() {
        return Ok(spanned(parsed.node, &parsed.extents));
    }
    let fault = |fault: super::scan::SyntaxFault| Fault {
        file: file.to_owned(),
        path: String::new(),
        line: fault.place.line,
        column: fault.place.column,
        message: fault.message,
        suggestion: fault.suggestion,
    };
    Err(Faults(parsed.faults.into_iter().map(fault).collect()))
}

fn spanned(node: Node, extents: &BTreeMap<Place, Range<usize>>) -> Spanned {
    // INVARIANT: the parser notes the extent of every value and key it returns.
    let extent = |place: Place| extents.get(&place).cloned().unwrap_or_default();
    let value = match node.value {
        Value::Text(text) => SpannedValue::Text(text),
        Value::Array(items) => {
            SpannedValue::List(items.into_iter().map(|item| spanned(item, extents)).collect())
        }
        Value::Object(members) => SpannedValue::Object(
            members
                .into_iter()
                .map(|member| SpannedMember {
                    key: member.key,
                    key_span: extent(member.key_place),
                    value: spanned(member.node, extents),
                })
                .collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => SpannedValue::Word,
    };
    Spanned { span: extent(node.place), line: node.place.line, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(node: &Spanned, text: &str, out: &mut Vec<String>) {
        out.push(text[node.span.clone()].to_owned());
        match &node.value {
            SpannedValue::List(items) => items.iter().for_each(|item| spans(item, text, out)),
            SpannedValue::Object(members) => {
                for member in members {
                    out.push(text[member.key_span.clone()].to_owned());
                    spans(&member.value, text, out);
                }
            }
            SpannedValue::Text(_) | SpannedValue::Word => {}
        }
    }

    #[test]
    fn spans_are_the_bytes_of_the_text() {
        let text = "\u{feff}// ключ\r\n{ 'ключ' : [ \"a\\u0041é\", -1e3 ], b: { } }";
        let mut found = Vec::new();
        spans(&parse_spanned(text, Path::new("x")).unwrap(), text, &mut found);
        assert_eq!(
            found,
            [
                "{ 'ключ' : [ \"a\\u0041é\", -1e3 ], b: { } }",
                "'ключ'",
                "[ \"a\\u0041é\", -1e3 ]",
                "\"a\\u0041é\"",
                "-1e3",
                "b",
                "{ }"
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn every_span_parses_to_its_own_value(text in r#"[\{\}\[\],:"'a1 é\n/*-]{0,30}"#) {
            if let Ok(node) = parse_spanned(&text, Path::new("x")) {
                let again = parse_spanned(&text[node.span.clone()], Path::new("x")).unwrap();
                proptest::prop_assert_eq!(shape(&again), shape(&node));
            }
        }
    }

    fn shape(node: &Spanned) -> String {
        match &node.value {
            SpannedValue::Text(text) => format!("{text:?}"),
            SpannedValue::List(items) => {
                format!("{:?}", items.iter().map(shape).collect::<Vec<_>>())
            }
            SpannedValue::Object(members) => {
                let members = members.iter().map(|m| format!("{:?}={}", m.key, shape(&m.value)));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }
            SpannedValue::Word => "word".to_owned(),
        }
    }
}
