//! Secrets: text, or a SecretRef `{ source, provider, id }`.
//!
//! A secret that cannot be had is absent, with a warning that says why; what needs it then fails by name, and the
//! rest of the configuration works.

use super::cursor::At;
use crate::text::{FileId, Node, Value, parse};
use crate::{Secret, load};

/// Reads a secret; `None` when it is empty or cannot be had.
pub(super) fn read(at: &At<'_>) -> Option<Secret> {
    if is_reference(at.node) {
        return reference(at).filter(|text| !text.is_empty()).map(Secret::new);
    }
    let text = at.scalar()?;
    // The warning about the variable is noted already.
    (!at.is_unset() && !text.is_empty()).then(|| Secret::new(text))
}

/// Whether a node is a SecretRef.
pub(crate) fn is_reference(node: &Node) -> bool {
    node.get("source").is_some() && node.get("id").is_some()
}

fn reference(at: &At<'_>) -> Option<String> {
    let source = at.get("source")?.text()?;
    let id = at.get("id")?.text()?;
    match source.as_str() {
        "env" => from_environment(at, &id),
        "file" => from_file(at, &id),
        "exec" | "store" => {
            at.warn(&format!(
                "secrets from {source:?} are not supported, so this one is not available; use source \"env\" or \"file\""
            ));
            None
        }
        other => {
            at.fault(
                format!("{other:?} is not a source of secrets"),
                Some("use \"env\" or \"file\""),
            );
            None
        }
    }
}

fn from_environment(at: &At<'_>, id: &str) -> Option<String> {
    let value = at.cx.env.get(id).map(str::to_owned);
    if value.is_none() {
        at.warn(&format!("the variable {id} of this secret is not set"));
    }
    value
}

/// What a file provider says about its file.
struct FileProvider {
    path: std::path::PathBuf,
    single: bool,
}

fn from_file(at: &At<'_>, id: &str) -> Option<String> {
    let name = at.get("provider").and_then(|provider| provider.text());
    let name = name.unwrap_or_else(|| "default".to_owned());
    let Some(provider) = provider(at, &name) else {
        at.warn(&format!(
            "secrets.providers.{name} is no provider of source \"file\" with a path, so this secret is not available"
        ));
        return None;
    };
    let shown = provider.path.display();
    let text = match at.cx.files.read(&provider.path) {
        Ok(text) => text,
        Err(error) => {
            at.warn(&format!("this secret is not available: cannot read {shown}: {error}"));
            return None;
        }
    };
    if provider.single {
        return Some(text.trim_end_matches(['\n', '\r']).to_owned());
    }
    let parsed = parse(&text, FileId::NONE);
    let found = parsed.faults.is_empty().then(|| pointer(&parsed.node, id)).flatten();
    if found.is_none() {
        at.warn(&format!("this secret is not available: {shown} holds no text at {id:?}"));
    }
    found
}

fn provider(at: &At<'_>, name: &str) -> Option<FileProvider> {
    let root = at.cx.root.at(&["secrets", "providers", name])?;
    let text = |key| root.get(key).and_then(Node::text);
    if text("source") != Some("file") {
        return None;
    }
    let node = root.get("path")?;
    let dir = at.cx.sources.dir(node.place).unwrap_or(&at.cx.options.cwd);
    let path = load::expand(node.text()?, dir, at.cx.options.home.as_deref());
    Some(FileProvider { path, single: text("mode") == Some("singleValue") })
}

/// The text at a JSON pointer.
fn pointer(node: &Node, id: &str) -> Option<String> {
    let mut node = node;
    for part in id.strip_prefix('/').unwrap_or(id).split('/') {
        node = node.get(&part.replace("~1", "/").replace("~0", "~"))?;
    }
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Float(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
