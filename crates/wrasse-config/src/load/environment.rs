//! The variables that a configuration sees, and `${NAME}` in its texts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::dotenv;
use super::sources::{Notes, Sources};
use crate::text::{Node, Place, Value};
use crate::{LoadOptions, ReadFile};

/// The process environment, then `.env` files, then `env` of the configuration; none overrides one before it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

/// What substitution found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Substituted {
    /// Texts as they were written, where a variable stood in them.
    pub(crate) written: BTreeMap<Place, String>,
    /// Texts in which a variable is not set.
    pub(crate) unset: BTreeSet<Place>,
}

impl Environment {
    /// The process environment and the `.env` files of the current directory, the state dir, and the folders of the
    /// configuration files: an OpenClaw state dir keeps its own beside `openclaw.json`.
    pub(crate) fn collect(options: &LoadOptions, files: &dyn ReadFile, sources: &Sources) -> Self {
        let mut all = Self(options.env.clone());
        let beside = sources.0.iter().filter_map(|source| source.path.parent());
        let dirs = [options.cwd.as_path(), options.state_dir.as_path()].into_iter().chain(beside);
        let mut seen: BTreeSet<&Path> = BTreeSet::new();
        for dir in dirs {
            if !seen.insert(dir) {
                continue;
            }
            let Ok(text) = files.read(&dir.join(".env")) else { continue };
            for (name, value) in dotenv::parse(&text) {
                all.0.entry(name).or_insert(value);
            }
        }
        all
    }

    /// Adds `env.vars`, and the texts that stand in `env` itself, where the name is not set.
    pub(crate) fn add_from(&mut self, root: &Node) {
        let Some(env) = root.get("env") else { return };
        let vars = env.get("vars").map(Node::members).unwrap_or_default();
        for member in vars.iter().chain(env.members()) {
            let text = match &member.node.value {
                Value::Text(text) => self.replace(text).0,
                Value::Int(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                Value::Float(_) | Value::Null | Value::Array(_) | Value::Object(_) => continue,
            };
            self.0.entry(member.key.clone()).or_insert(text);
        }
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Puts variables into every text of the tree.
    pub(crate) fn substitute(
        &self,
        root: &mut Node,
        sources: &Sources,
        notes: &Notes,
    ) -> Substituted {
        let mut found = Substituted::default();
        self.walk(root, "", &mut found, &mut |place, path, name| {
            let message = format!("${{{name}}} is not set; the text is left as it is");
            notes.warn(sources, place, path, &message);
        });
        found
    }

    fn walk(
        &self,
        node: &mut Node,
        path: &str,
        found: &mut Substituted,
        unset: &mut dyn FnMut(Place, &str, &str),
    ) {
        match &mut node.value {
            Value::Text(text) if text.contains("${") => {
                let (replaced, missing) = self.replace(text);
                for name in &missing {
                    unset(node.place, path, name);
                }
                if !missing.is_empty() {
                    found.unset.insert(node.place);
                }
                let written = std::mem::replace(text, replaced);
                found.written.insert(node.place, written);
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.walk(item, &format!("{path}[{index}]"), found, unset);
                }
            }
            Value::Object(members) => {
                for member in members {
                    let path = crate::known::join(path, &member.key);
                    self.walk(&mut member.node, &path, found, unset);
                }
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {}
        }
    }

    /// The text with its variables, and the names that are not set.
    fn replace(&self, text: &str) -> (String, Vec<String>) {
        let mut out = String::with_capacity(text.len());
        let mut missing = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let (before, marker) = rest.split_at(start);
            let name = variable_name(&marker[2..]);
            let Some(name) = name else {
                out.push_str(before);
                out.push_str("${");
                rest = &marker[2..];
                continue;
            };
            let (whole, after) = marker.split_at(name.len() + 3);
            rest = after;
            // `$${NAME}` stands for the text `${NAME}`.
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str(whole);
                continue;
            }
            out.push_str(before);
            match self.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    missing.push(name.to_owned());
                    out.push_str(whole);
                }
            }
        }
        out.push_str(rest);
        (out, missing)
    }
}

/// The name that stands before a `}`: `[A-Z_][A-Z0-9_]*`.
fn variable_name(text: &str) -> Option<&str> {
    let name = &text[..text.find('}')?];
    let head = name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_');
    let rest = name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    (head && rest).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        let pairs = [("A", "1"), ("LONG_NAME2", "x"), ("EMPTY", "")];
        Environment(
            pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        )
    }

    #[test]
    fn variables_stand_anywhere() {
        let table = [
            ("${A}", "1", 0),
            ("a${A}b${LONG_NAME2}c", "a1bxc", 0),
            ("$${A}", "${A}", 0),
            ("$$${A}", "$${A}", 0),
            ("${EMPTY}", "${EMPTY}", 1),
            ("${NONE}-${A}", "${NONE}-1", 1),
            ("${a} ${} ${A", "${a} ${} ${A", 0),
            ("${${A}}", "${1}", 0),
        ];
        for (text, expected, missing) in table {
            let (replaced, names) = environment().replace(text);
            assert_eq!((replaced.as_str(), names.len()), (expected, missing), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in r"[$\{\}A-B_é]{0,40}") {
            drop(environment().replace(&text));
        }
    }
}
