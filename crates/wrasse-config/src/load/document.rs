//! Reads files with their `$include`s and their `base`.

use std::path::{Path, PathBuf};

use super::sources::{Notes, Sources};
use super::{expand, plain};
use crate::text::{FileId, Member, Node, Place, Value, parse};
use crate::{LoadOptions, ReadFile};

/// How deep includes and bases may nest, as in OpenClaw.
const NESTING_MAX: usize = 10;
const PATH_LEN_MAX: usize = 4096;

/// Where a file is referred to, for faults.
#[derive(Clone, Copy)]
struct Reference<'a> {
    place: Place,
    path: &'a str,
}

/// What a file is read within.
#[derive(Clone)]
struct Surroundings {
    /// The folder that includes must stay in.
    root: PathBuf,
    /// The files that led here.
    chain: Vec<PathBuf>,
}

/// Reads documents and remembers their files.
pub(crate) struct Documents<'a> {
    pub(crate) options: &'a LoadOptions,
    pub(crate) files: &'a dyn ReadFile,
    pub(crate) sources: Sources,
    pub(crate) notes: Notes,
}

impl<'a> Documents<'a> {
    /// Begins with no file read.
    pub(crate) fn new(options: &'a LoadOptions, files: &'a dyn ReadFile) -> Self {
        Self { options, files, sources: Sources::default(), notes: Notes::default() }
    }

    /// Reads a configuration file, its includes, and the base that it lies on.
    pub(crate) fn whole(&mut self, path: &Path, shown: &Path) -> Option<Node> {
        self.overlay(path, shown, Reference { place: Place::NONE, path: "" }, &[])
    }

    fn overlay(
        &mut self,
        path: &Path,
        shown: &Path,
        by: Reference<'_>,
        chain: &[PathBuf],
    ) -> Option<Node> {
        let real = self.enter(path, shown, by, chain)?;
        let root = real.parent().map(Path::to_owned).unwrap_or_default();
        let mut chain = chain.to_vec();
        chain.push(real.clone());
        let around = Surroundings { root, chain: chain.clone() };
        let mut node = self.file(&real, shown, by, &around)?;
        let Some(base) = node.take("base") else { return Some(node) };
        let Value::Text(text) = &base.node.value else {
            let message = format!("expected the path of a file, found {}", base.node.kind());
            self.notes.fault(&self.sources, base.node.place, "base", message, None);
            return Some(node);
        };
        let dir = real.parent().unwrap_or(Path::new("/"));
        let below = expand(text, dir, self.options.home.as_deref());
        let by = Reference { place: base.node.place, path: "base" };
        let mut under = self.overlay(&below, &below, by, &chain)?;
        under.merge(node);
        // `config print` shows what it was made of.
        if let Value::Object(members) = &mut under.value {
            members.insert(0, base);
        }
        Some(under)
    }

    /// Follows the path and checks that reading it ends.
    fn enter(
        &mut self,
        path: &Path,
        shown: &Path,
        by: Reference<'_>,
        chain: &[PathBuf],
    ) -> Option<PathBuf> {
        let real = match self.files.real_path(path) {
            Ok(real) => real,
            Err(error) => {
                self.unreadable(shown, by, &error);
                return None;
            }
        };
        if chain.contains(&real) {
            let message = format!("{} leads back to itself", shown.display());
            self.notes.fault(&self.sources, by.place, by.path, message, None);
            return None;
        }
        if chain.len() > NESTING_MAX {
            let message = format!("nested more than {NESTING_MAX} files deep");
            self.notes.fault(&self.sources, by.place, by.path, message, None);
            return None;
        }
        Some(real)
    }

    fn unreadable(&self, shown: &Path, by: Reference<'_>, error: &std::io::Error) {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            std::io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
            _ => error.to_string(),
        };
        let message = format!("cannot read {}: {why}", shown.display());
        self.notes.fault(&self.sources, by.place, by.path, message, None);
    }

    /// Reads one file and resolves its includes.
    fn file(
        &mut self,
        real: &Path,
        shown: &Path,
        by: Reference<'_>,
        around: &Surroundings,
    ) -> Option<Node> {
        let text = match self.files.read(real) {
            Ok(text) => text,
            Err(error) => {
                self.unreadable(shown, by, &error);
                return None;
            }
        };
        let file = self.sources.add(shown.to_owned(), real.to_owned());
        let parsed = parse(&text, file);
        for fault in parsed.faults {
            self.notes.fault(&self.sources, fault.place, "", fault.message, fault.suggestion);
        }
        for (place, key) in parsed.duplicates {
            let message = "this key stands twice in one object; the last one counts";
            self.notes.warn(&self.sources, place, &key, message);
        }
        if !matches!(parsed.node.value, Value::Object(_)) && by.path != "$include" {
            if !self.notes.has_faults() {
                let message = format!("expected an object, found {}", parsed.node.kind());
                self.notes.fault(&self.sources, parsed.node.place, "", message, None);
            }
            return None;
        }
        Some(self.includes(parsed.node, file, around))
    }

    fn includes(&mut self, node: Node, file: FileId, around: &Surroundings) -> Node {
        let Node { place, value } = node;
        let value = match value {
            Value::Array(items) => Value::Array(
                items.into_iter().map(|item| self.includes(item, file, around)).collect(),
            ),
            Value::Object(members) => return self.object(place, members, file, around),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {
                value
            }
        };
        Node { place, value }
    }

    fn object(
        &mut self,
        place: Place,
        members: Vec<Member>,
        file: FileId,
        around: &Surroundings,
    ) -> Node {
        let mut include = None;
        let mut siblings = Vec::new();
        for mut member in members {
            if member.key == "$include" {
                include = Some(member.node);
            } else {
                member.node = self.includes(member.node, file, around);
                siblings.push(member);
            }
        }
        let has_siblings = !siblings.is_empty();
        let siblings = Node { place, value: Value::Object(siblings) };
        let Some(include) = include else { return siblings };
        let mut merged: Option<Node> = None;
        for (place, text) in self.include_list(&include) {
            let Some(part) = self.included(&text, place, file, around) else { continue };
            match &mut merged {
                Some(merged) => merged.merge(part),
                None => merged = Some(part),
            }
        }
        match merged {
            None => siblings,
            Some(merged) if !has_siblings => merged,
            Some(mut merged) => {
                if !matches!(merged.value, Value::Object(_)) && !self.notes.has_faults() {
                    let message = format!(
                        "the included file holds {}, which keys beside it cannot join",
                        merged.kind()
                    );
                    self.notes.fault(&self.sources, include.place, "$include", message, None);
                }
                merged.merge(siblings);
                merged
            }
        }
    }

    fn include_list(&self, include: &Node) -> Vec<(Place, String)> {
        let items = match &include.value {
            Value::Array(items) => items.as_slice(),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Object(_) => std::slice::from_ref(include),
        };
        let mut list = Vec::new();
        for item in items {
            match item.text() {
                Some(text) => list.push((item.place, text.to_owned())),
                None => {
                    let message = format!("expected the path of a file, found {}", item.kind());
                    self.notes.fault(&self.sources, item.place, "$include", message, None);
                }
            }
        }
        list
    }

    fn included(
        &mut self,
        text: &str,
        place: Place,
        file: FileId,
        around: &Surroundings,
    ) -> Option<Node> {
        let by = Reference { place, path: "$include" };
        if text.len() >= PATH_LEN_MAX || text.contains('\0') {
            let message = "this is not a usable path";
            self.notes.fault(&self.sources, place, by.path, message, None);
            return None;
        }
        let from = &self.sources.0[file.0];
        let dir = from.path.parent().unwrap_or(Path::new("/")).to_owned();
        let shown_dir = from.shown.parent().unwrap_or(Path::new("")).to_owned();
        let path = plain(&dir.join(text));
        let shown = plain(&shown_dir.join(text));
        let real = self.enter(&path, &shown, by, &around.chain)?;
        if !self.may_include(&real, &around.root) {
            let message = format!("{} is outside the folder of the configuration", shown.display());
            let advice = format!(
                "move it below {}, or name its folder in OPENCLAW_INCLUDE_ROOTS",
                around.root.display()
            );
            self.notes.fault(&self.sources, place, by.path, message, Some(advice));
            return None;
        }
        let mut around = around.clone();
        around.chain.push(real.clone());
        self.file(&real, &shown, by, &around)
    }

    fn may_include(&self, real: &Path, root: &Path) -> bool {
        let listed = self.options.env.get("OPENCLAW_INCLUDE_ROOTS").map_or("", String::as_str);
        let mut roots = listed.split([':', ';']).filter(|root| !root.is_empty()).map(|root| {
            let root = expand(root, &self.options.cwd, self.options.home.as_deref());
            self.files.real_path(&root).unwrap_or(root)
        });
        real.starts_with(root) || roots.any(|root| real.starts_with(root))
    }
}
