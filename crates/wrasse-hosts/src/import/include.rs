//! Walking a host's files to its server entries; for OpenClaw through `$include`.
//!
//! `{ $include: "a.json5" }` stands for what the file holds; a list of files is merged, keys beside it win. An entry
//! that only one place defines is that place's; one that several define is left alone.

use std::path::{Path, PathBuf};

use super::ImportError;
use super::found::{Definition, Position, Source, load};
use super::host::{Host, Surroundings};
use super::tree::{Node, Value, line_of};

/// How deep includes may nest, as in OpenClaw.
const NESTING_MAX: usize = 10;

/// Reads files as a host would.
pub(super) struct Reader<'a> {
    host: Host,
    around: &'a Surroundings,
    pub(super) sources: Vec<Source>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(host: Host, around: &'a Surroundings) -> Self {
        Self { host, around, sources: Vec::new() }
    }

    /// Reads a file that is there and was not read yet.
    pub(super) fn open_if_there(&mut self, path: &Path) -> Result<(), ImportError> {
        let shown = self.around.shown(path);
        let real = match std::fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(ImportError::Io { what: "read", path: shown, source }),
        };
        if self.sources.iter().all(|source| source.path != real) {
            self.add(&real, &shown)?;
        }
        Ok(())
    }

    fn add(&mut self, real: &Path, shown: &Path) -> Result<usize, ImportError> {
        self.sources.push(load(self.host, real, shown)?);
        Ok(self.sources.len() - 1)
    }

    /// Every server entry of the files read so far.
    pub(super) fn entries(&mut self) -> Result<Vec<Definition>, ImportError> {
        let mut definitions: Vec<Definition> = Vec::new();
        for source in 0..self.sources.len() {
            let root = Position { source, chain: vec![source], path: Vec::new(), seen: Vec::new() };
            let mut maps = Vec::new();
            for keys in self.host.server_maps() {
                self.follow(&root, keys, &mut maps)?;
            }
            let first = definitions.len();
            for map in maps {
                self.definitions(&map, first, &mut definitions)?;
            }
        }
        for at in 0..definitions.len() {
            definitions[at].shared = definitions.iter().enumerate().any(|(other, definition)| {
                other != at && same_bytes(&definition.places, &definitions[at].places)
            });
        }
        Ok(definitions)
    }

    /// The servers of one object; what stands under the same keys as one from `first` on is merged with it.
    fn definitions(
        &mut self,
        map: &Position,
        first: usize,
        out: &mut Vec<Definition>,
    ) -> Result<(), ImportError> {
        for name in self.keys(map).into_iter().filter(|name| name != "$include") {
            let at = map.below(&name);
            let mut places = Vec::new();
            self.follow(&at, &[], &mut places)?;
            let same = out[first..]
                .iter_mut()
                .find(|old| old.places.iter().any(|place| place.seen == at.seen));
            match same {
                Some(old) => old.places.extend(places),
                None if places.is_empty() => {}
                None => out.push(Definition { name, places, shared: false }),
            }
        }
        Ok(())
    }

    /// Goes along keys, and through includes, to whatever stands at their end.
    fn follow(
        &mut self,
        at: &Position,
        keys: &[&str],
        out: &mut Vec<Position>,
    ) -> Result<(), ImportError> {
        let included = self.included(at)?;
        for source in included {
            let mut chain = at.chain.clone();
            chain.push(source);
            let inside = Position { source, chain, path: Vec::new(), seen: at.seen.clone() };
            self.follow(&inside, keys, out)?;
        }
        let Some((key, rest)) = keys.split_first() else {
            let node = self.node(at);
            // An object that only includes says nothing itself.
            if node
                .is_some_and(|node| node.member("$include").is_none() || node.members().len() > 1)
            {
                out.push(at.clone());
            }
            return Ok(());
        };
        let next: Vec<String> =
            self.keys(at).into_iter().filter(|k| *key == "*" || k == key).collect();
        for key in next {
            self.follow(&at.below(&key), rest, out)?;
        }
        Ok(())
    }

    fn node(&self, at: &Position) -> Option<&Node> {
        self.sources[at.source].root.at(&at.path)
    }

    fn keys(&self, at: &Position) -> Vec<String> {
        let members = self.node(at).map(Node::members).unwrap_or_default();
        members.iter().map(|member| member.key.clone()).collect()
    }

    /// The sources that an object includes.
    fn included(&mut self, at: &Position) -> Result<Vec<usize>, ImportError> {
        if self.host != Host::OpenClaw {
            return Ok(Vec::new());
        }
        let Some(member) = self.node(at).and_then(|node| node.member("$include")) else {
            return Ok(Vec::new());
        };
        let names: Vec<(String, usize)> = match &member.node.value {
            Value::List(items) => items.iter().filter_map(named).collect(),
            Value::Text(_) | Value::Object(..) | Value::Word => {
                named(&member.node).into_iter().collect()
            }
        };
        names.into_iter().map(|(name, offset)| self.include(&at.chain, &name, offset)).collect()
    }

    fn include(
        &mut self,
        chain: &[usize],
        name: &str,
        offset: usize,
    ) -> Result<usize, ImportError> {
        // INVARIANT: a chain holds at least the source it ends in.
        let (Some(&first), Some(&from)) = (chain.first(), chain.last()) else {
            return Ok(0);
        };
        let file = &self.sources[from];
        let refuse = |why: String| ImportError::Include {
            file: file.shown.clone(),
            line: line_of(&file.text, offset),
            included: PathBuf::from(name),
            why,
        };
        let dir = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_owned();
        let real = std::fs::canonicalize(dir(&file.path).join(name))
            .map_err(|error| refuse(format!("cannot be read: {error}")))?;
        if chain.iter().any(|source| self.sources[*source].path == real) {
            return Err(refuse("leads back to itself".to_owned()));
        }
        if chain.len() > NESTING_MAX {
            return Err(refuse(format!("is nested more than {NESTING_MAX} deep")));
        }
        if !real.starts_with(dir(&self.sources[first].path)) && !self.allowed(&real) {
            let why = "is outside the folder of the configuration, where OpenClaw does not read it";
            return Err(refuse(why.to_owned()));
        }
        match self.sources.iter().position(|source| source.path == real) {
            Some(source) => Ok(source),
            None => {
                let shown = self.around.shown(&real);
                self.add(&real, &shown)
            }
        }
    }

    fn allowed(&self, real: &Path) -> bool {
        let listed = self.around.env.get("OPENCLAW_INCLUDE_ROOTS").map_or("", String::as_str);
        listed.split([':', ';']).filter(|root| !root.is_empty()).any(|root| {
            let root = self.around.expand(root);
            real.starts_with(std::fs::canonicalize(&root).unwrap_or(root))
        })
    }
}

fn named(node: &Node) -> Option<(String, usize)> {
    Some((node.text()?.to_owned(), node.span.start))
}

fn same_bytes(a: &[Position], b: &[Position]) -> bool {
    a.iter().any(|a| b.iter().any(|b| (a.source, &a.path) == (b.source, &b.path)))
}
