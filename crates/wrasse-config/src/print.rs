//! `config print`: the effective configuration, defaults included, secrets redacted.

mod redact;

use crate::load::{Sources, Substituted};
use crate::section::{COMPAT_DEFAULT, DEFAULT};
use crate::text::{Node, Place, Value};
use crate::{Compat, Origin};

use redact::{Around, redacted};

/// A command line as it may be shown to anyone: secrets in it redacted, by the rule of `config print`.
pub fn shown_arguments<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    redact::arguments(words)
}

/// What printing needs to know besides the tree.
pub(crate) struct Printer<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) substituted: &'a Substituted,
    pub(crate) compat: Compat,
    pub(crate) origin: Origin,
}

/// One printed line and where its value comes from.
struct Line {
    text: String,
    origin: String,
}

impl Printer<'_> {
    /// The text: JSON, or with origins JSON5, each value followed by a comment.
    pub(crate) fn print(&self, root: &Node) -> String {
        let mut lines = Vec::new();
        self.value(root, "", Around::root(), 0, &mut lines);
        let width = lines.iter().map(|line| line.text.chars().count()).filter(|n| *n < 72).max();
        let width = width.unwrap_or(0);
        let mut out = String::new();
        for line in lines {
            out.push_str(&line.text);
            if self.origin == Origin::Show && !line.origin.is_empty() {
                let gap = width.saturating_sub(line.text.chars().count());
                out.push_str(&" ".repeat(gap));
                out.push_str("  // ");
                out.push_str(&line.origin);
            }
            out.push('\n');
        }
        out
    }

    fn value(
        &self,
        node: &Node,
        prefix: &str,
        around: Around<'_>,
        depth: usize,
        lines: &mut Vec<Line>,
    ) {
        let indent = "  ".repeat(depth);
        let plain = |text: String| Line { text, origin: String::new() };
        match &node.value {
            Value::Object(members) if !members.is_empty() => {
                if let Some(text) = around.redacted_object(node) {
                    lines.push(Line {
                        text: format!("{indent}{prefix}{}", quoted(text)),
                        origin: self.origin_of(node.place),
                    });
                    return;
                }
                lines.push(plain(format!("{indent}{prefix}{{")));
                for (index, member) in members.iter().enumerate() {
                    let prefix = format!("{}: ", quoted(&member.key));
                    self.value(&member.node, &prefix, around.below(&member.key), depth + 1, lines);
                    comma(lines, index + 1 < members.len());
                }
                lines.push(plain(format!("{indent}}}")));
            }
            Value::Array(items) if !items.is_empty() => {
                lines.push(plain(format!("{indent}{prefix}[")));
                for (index, item) in items.iter().enumerate() {
                    let before = index.checked_sub(1).and_then(|at| items[at].text());
                    self.value(item, "", around.item(before), depth + 1, lines);
                    comma(lines, index + 1 < items.len());
                }
                lines.push(plain(format!("{indent}]")));
            }
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Array(_)
            | Value::Object(_) => lines.push(Line {
                text: format!("{indent}{prefix}{}", self.scalar(node, around)),
                origin: self.origin_of(node.place),
            }),
        }
    }

    fn scalar(&self, node: &Node, around: Around<'_>) -> String {
        match &node.value {
            Value::Null => "null".to_owned(),
            Value::Bool(flag) => flag.to_string(),
            Value::Int(number) if around.is_secret_scalar() => {
                quoted(&redacted(&number.to_string()))
            }
            Value::Int(number) => number.to_string(),
            Value::Float(number) if number.is_finite() => number.to_string(),
            // Not JSON; no key has a use for it.
            Value::Float(_) => "null".to_owned(),
            // What a variable holds may be secret wherever it stands; its name is not.
            Value::Text(text) => {
                let written = self.substituted.written.get(&node.place);
                quoted(&around.text(text, written.map(String::as_str)))
            }
            Value::Array(_) => "[]".to_owned(),
            Value::Object(_) => "{}".to_owned(),
        }
    }

    fn origin_of(&self, place: Place) -> String {
        if place == COMPAT_DEFAULT {
            return format!("default {}", self.compat);
        }
        if place == DEFAULT {
            return "default".to_owned();
        }
        self.sources.line(place)
    }
}

fn comma(lines: &mut [Line], wanted: bool) {
    if let Some(line) = lines.last_mut().filter(|_| wanted) {
        line.text.push(',');
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
