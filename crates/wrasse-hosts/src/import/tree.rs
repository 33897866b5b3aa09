//! A file's text as a tree whose values know their bytes, whatever the format.

use std::ops::Range;
use std::path::Path;

use serde_json::Value as Json;
use wrasse_config::{Fault, Faults, Spanned, SpannedValue, parse_spanned};

use super::host::Format;

/// A value and its bytes.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Its bytes; for a table of TOML that is spread over the file only its first part, or nothing.
    pub(super) span: Range<usize>,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    List(Vec<Node>),
    Object(Vec<Member>, Style),
    /// A number, a date, `true`, `false`, `null`: only its bytes matter.
    Word,
}

#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) node: Node,
}

/// How the members of an object are set apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// By commas, between braces.
    Braces,
    /// Each on a line of its own: a table of TOML.
    Lines,
}

impl Node {
    pub(super) fn members(&self) -> &[Member] {
        match &self.value {
            Value::Object(members, _) => members,
            Value::Text(_) | Value::List(_) | Value::Word => &[],
        }
    }

    pub(super) fn member(&self, key: &str) -> Option<&Member> {
        self.members().iter().find(|member| member.key == key)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.member(key).map(|member| &member.node)
    }

    pub(super) fn at(&self, path: &[String]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::List(_) | Value::Object(..) | Value::Word => None,
        }
    }

    /// The value without its layout, to compare meanings. Words stay as they are spelled, in a list of their own kind.
    pub(super) fn meaning(&self, text: &str) -> Json {
        match &self.value {
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => items.iter().map(|item| item.meaning(text)).collect(),
            Value::Object(members, _) => {
                members.iter().map(|m| (m.key.clone(), m.node.meaning(text))).collect()
            }
            // No text of a file can be this.
            Value::Word => Json::String(format!("\0{}", &text[self.span.clone()])),
        }
    }
}

/// Reads a whole text.
pub(super) fn parse(text: &str, format: Format, file: &Path) -> Result<Node, Faults> {
    match format {
        Format::Json => Ok(from_json(parse_spanned(text, file)?)),
        Format::Toml => parse_toml(text, file),
    }
}

/// The line of a byte, from 1.
pub(super) fn line_of(text: &str, offset: usize) -> u32 {
    let lines = text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count();
    u32::try_from(lines + 1).unwrap_or(u32::MAX)
}

fn from_json(node: Spanned) -> Node {
    let value = match node.value {
        SpannedValue::Text(text) => Value::Text(text),
        SpannedValue::List(items) => Value::List(items.into_iter().map(from_json).collect()),
        SpannedValue::Object(members) => {
            let member = |member: wrasse_config::SpannedMember| Member {
                key: member.key,
                key_span: member.key_span,
                node: from_json(member.value),
            };
            Value::Object(members.into_iter().map(member).collect(), Style::Braces)
        }
        SpannedValue::Word => Value::Word,
    };
    Node { span: node.span, value }
}

fn parse_toml(text: &str, file: &Path) -> Result<Node, Faults> {
    let document = toml_edit::Document::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let before = text.get(..at).unwrap_or_default();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Faults(vec![Fault {
            file: file.to_owned(),
            path: String::new(),
            line: line_of(text, at),
            column: u32::try_from(column).unwrap_or(u32::MAX),
            // The library's own words may quote the line, and with it a secret; its first line does not.
            message: error.message().lines().next().unwrap_or("not TOML").to_owned(),
            suggestion: None,
        }])
    })?;
    Ok(from_table(document.as_table(), Style::Lines))
}

fn from_table(table: &dyn toml_edit::TableLike, style: Style) -> Node {
    let mut members = Vec::new();
    for (key, item) in table.iter() {
        let span = table.key(key).and_then(toml_edit::Key::span).unwrap_or_default();
        members.push(Member { key: key.to_owned(), key_span: span, node: from_item(item) });
    }
    Node { span: 0..0, value: Value::Object(members, style) }
}

fn from_item(item: &toml_edit::Item) -> Node {
    use toml_edit::Item;
    match item {
        Item::None => Node { span: 0..0, value: Value::Word },
        Item::Value(value) => from_value(value),
        Item::Table(table) => {
            let node = from_table(table, Style::Lines);
            Node { span: table.span().unwrap_or_default(), ..node }
        }
        Item::ArrayOfTables(tables) => {
            let items = tables.iter().map(|table| from_table(table, Style::Lines)).collect();
            Node { span: tables.span().unwrap_or_default(), value: Value::List(items) }
        }
    }
}

fn from_value(value: &toml_edit::Value) -> Node {
    use toml_edit::Value as Toml;
    let span = value.span().unwrap_or_default();
    let value = match value {
        Toml::String(text) => Value::Text(text.value().clone()),
        Toml::Array(items) => Value::List(items.iter().map(from_value).collect()),
        Toml::InlineTable(table) => from_table(table, Style::Braces).value,
        Toml::Integer(_) | Toml::Float(_) | Toml::Boolean(_) | Toml::Datetime(_) => Value::Word,
    };
    Node { span, value }
}
