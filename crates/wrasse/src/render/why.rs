//! `wrasse why`: a short story, one labelled line a fact.

use serde_json::Value;

use crate::command::text;
use crate::output::line;

/// Prints the answer: `title` first, then each fact as `label  text`. The `record` is for `--json`.
pub(crate) fn why(answer: &Value) {
    if let Some(title) = answer["title"].as_str() {
        line(title);
    }
    for (label, value) in answer.as_object().into_iter().flatten() {
        if matches!(label.as_str(), "title" | "schema" | "kind" | "record") {
            continue;
        }
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let label = if index == 0 { label.as_str() } else { "" };
                    line(format_args!("{label:<12} {}", text(item)));
                }
            }
            Value::Null => {}
            other => line(format_args!("{label:<12} {}", text(other))),
        }
    }
}
