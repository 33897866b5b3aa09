//! Walks a merged tree and says of every key which class it is of.

use super::{Class, Guards, Known, Restriction, closest, known};
use crate::text::{Member, Node, Place, Value};

/// The keys of a tree by class, in the order of the tree.
#[derive(Debug, Default)]
pub(crate) struct Classified {
    /// Implemented leaves.
    pub(crate) implemented: Vec<String>,
    /// Keys that change nothing here.
    pub(crate) unused: Vec<String>,
    /// Restricting keys with the tools that they guard.
    pub(crate) denied: Vec<(String, Vec<String>)>,
    /// Keys that nobody knows.
    pub(crate) unknown: Vec<Unknown>,
}

/// A key that neither Wrasse nor OpenClaw knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unknown {
    pub(crate) path: String,
    pub(crate) place: Place,
    pub(crate) suggestion: Option<String>,
}

/// Classifies every key below the root.
pub(crate) fn classify(root: &Node) -> Classified {
    let mut found = Classified::default();
    members(root, known(), "", &mut found);
    found
}

/// The path of a member as reports write it; a name with dots or blanks is quoted.
pub(crate) fn join(path: &str, name: &str) -> String {
    let quote = name.is_empty() || name.contains(['.', ' ', '"', '[']);
    let name = if quote { format!("{name:?}") } else { name.to_owned() };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

fn members(node: &Node, here: &Known, path: &str, found: &mut Classified) {
    match &node.value {
        Value::Object(list) => {
            for member in list {
                one(member, here, &join(path, &member.key), found);
            }
        }
        Value::Array(items) => {
            let Some(any) = here.any.as_deref() else { return };
            for (index, item) in items.iter().enumerate() {
                below(item, any, &format!("{path}[{index}]"), found);
            }
        }
        // A scalar where an object is usual is judged by the reader of the section.
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {
            if let Some(class) = here.class {
                leaf(node, class, path, found);
            }
        }
    }
}

fn one(member: &Member, here: &Known, path: &str, found: &mut Classified) {
    match here.below(&member.key) {
        Some(next) => below(&member.node, next, path, found),
        None if here.open => {
            if let Some(class) = here.class {
                leaf(&member.node, class, path, found);
            }
        }
        None => found.unknown.push(Unknown {
            path: path.to_owned(),
            place: member.key_place,
            suggestion: suggestion(member, here, path),
        }),
    }
}

fn below(node: &Node, here: &Known, path: &str, found: &mut Classified) {
    match here.class {
        Some(class) if here.is_leaf() => leaf(node, class, path, found),
        Some(_) | None => members(node, here, path, found),
    }
}

fn leaf(node: &Node, class: Class, path: &str, found: &mut Classified) {
    match class {
        Class::Implemented(_) => found.implemented.push(path.to_owned()),
        Class::Unused => count_leaves(node, path, &mut found.unused),
        Class::Restricts(restriction) => {
            if (restriction.harmless)(node) {
                found.unused.push(path.to_owned());
            } else {
                found.denied.push((path.to_owned(), guarded(node, restriction)));
            }
        }
    }
}

fn guarded(node: &Node, restriction: Restriction) -> Vec<String> {
    match (restriction.tools, &node.value) {
        (Guards::These(tools), _) => tools.iter().map(|&tool| tool.to_owned()).collect(),
        (Guards::Listed, Value::Array(items)) => {
            items.iter().filter_map(Node::text).map(str::to_owned).collect()
        }
        (Guards::Listed, _) => node.text().map(str::to_owned).into_iter().collect(),
    }
}

/// Counts what a person wrote: every scalar of an unused section, and its empty objects and lists.
fn count_leaves(node: &Node, path: &str, unused: &mut Vec<String>) {
    match &node.value {
        Value::Object(list) if !list.is_empty() => {
            for member in list {
                count_leaves(&member.node, &join(path, &member.key), unused);
            }
        }
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Text(_)
        | Value::Array(_)
        | Value::Object(_) => unused.push(path.to_owned()),
    }
}

/// A near name of the same level, else the same name where it would be known.
fn suggestion(member: &Member, here: &Known, path: &str) -> Option<String> {
    if member.key.starts_with(['_', '/', '#']) || member.key.eq_ignore_ascii_case("comment") {
        return Some("write comments as // text".to_owned());
    }
    if path.starts_with("mcp.servers.") && member.key == "disabled" {
        return Some("write enabled: false".to_owned());
    }
    if let Some(near) = closest(&member.key, here.names.keys().copied()) {
        return Some(format!("did you mean {near:?}?"));
    }
    // A name of another section is a likely slip only where no section is named yet.
    let elsewhere = match path.split_once('.') {
        None => elsewhere(&member.key, known(), "", 0),
        Some((section, _)) => {
            known().names.get(section).and_then(|here| elsewhere(&member.key, here, section, 1))
        }
    };
    elsewhere.map(|path| format!("did you mean {path}?"))
}

/// A place of the table that has this name.
fn elsewhere(name: &str, here: &Known, path: &str, depth: usize) -> Option<String> {
    const DEPTH_MAX: usize = 3;
    if name.len() < 4 || depth > DEPTH_MAX {
        return None;
    }
    if depth > 0 && here.names.contains_key(name) {
        return Some(join(path, name));
    }
    here.names.iter().find_map(|(key, next)| elsewhere(name, next, &join(path, key), depth + 1))
}
