//! What a host has: its files, and every server entry in them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::ImportError;
use super::entry::{CommandLine, Entry, Kind, command_line, kind};
use super::file::{hash, read};
use super::host::{Host, Surroundings};
use super::include::Reader;
use super::tree::{Node, line_of, parse};

/// Which files to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Where {
    /// The host's usual ones.
    Usual,
    /// One that was named.
    File(PathBuf),
}

/// One file that was read.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Symbolic links followed.
    pub(super) path: PathBuf,
    /// As a person writes it.
    pub(super) shown: PathBuf,
    pub(super) text: String,
    pub(super) hash: String,
    pub(super) root: Node,
}

/// A host's files and servers.
#[derive(Debug, Clone)]
pub struct Found {
    /// The host.
    pub host: Host,
    /// Every server entry, in the order of the files.
    pub entries: Vec<Entry>,
    /// The project's own file in the current directory, when it holds programs that could be wrapped: it is changed
    /// only when it is named.
    pub project: Option<PathBuf>,
    pub(super) sources: Vec<Source>,
}

/// Where an object stands: in which source, and how the host gets there.
#[derive(Debug, Clone)]
pub(super) struct Position {
    pub(super) source: usize,
    /// The sources that led to it, the one the host opened itself first, its own last.
    pub(super) chain: Vec<usize>,
    /// The keys in that source.
    pub(super) path: Vec<String>,
    /// The keys as the host sees them, includes resolved.
    pub(super) seen: Vec<String>,
}

impl Position {
    pub(super) fn below(&self, key: &str) -> Self {
        let mut below = self.clone();
        below.path.push(key.to_owned());
        below.seen.push(key.to_owned());
        below
    }
}

/// Reads a host's files.
///
/// # Errors
/// When there is none, or one cannot be read or understood.
pub fn find(host: Host, around: &Surroundings, place: &Where) -> Result<Found, ImportError> {
    let candidates = match place {
        Where::Usual => host.files(around),
        Where::File(path) => vec![around.expand(&path.to_string_lossy())],
    };
    let mut reader = Reader::new(host, around);
    for path in &candidates {
        reader.open_if_there(path)?;
    }
    if reader.sources.is_empty() {
        let looked = candidates.iter().map(|path| around.shown(path)).collect();
        return Err(ImportError::NotFound { host, looked });
    }
    let positions = reader.entries()?;
    let sources = reader.sources;
    let entries = positions.into_iter().map(|place| entry(host, &sources, place)).collect();
    let project = match place {
        Where::Usual => project(host, around, &sources),
        Where::File(_) => None,
    };
    Ok(Found { host, entries, project, sources })
}

impl Found {
    /// The files that were read, as a person writes them.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.sources.iter().map(|source| source.shown.as_path())
    }

    /// Those of another user than this process is.
    pub fn owned_by_others(&self) -> impl Iterator<Item = &Path> {
        let own = rustix::process::geteuid().as_raw();
        let other = move |source: &&Source| {
            std::fs::metadata(&source.path).is_ok_and(|metadata| metadata.uid() != own)
        };
        self.sources.iter().filter(other).map(|source| source.shown.as_path())
    }
}

/// Reads one file.
pub(super) fn load(host: Host, path: &Path, shown: &Path) -> Result<Source, ImportError> {
    let text = String::from_utf8(read(path)?)
        .map_err(|_| ImportError::NotText { path: shown.to_owned() })?;
    let root = parse(&text, host.format(), shown)
        .map_err(|faults| ImportError::Syntax { path: shown.to_owned(), faults })?;
    let hash = hash(text.as_bytes());
    Ok(Source { path: path.to_owned(), shown: shown.to_owned(), text, hash, root })
}

/// A server and where it is defined.
pub(super) struct Definition {
    pub(super) name: String,
    /// One, or several that the host would merge.
    pub(super) places: Vec<Position>,
    /// Whether another server is defined by the same bytes.
    pub(super) shared: bool,
}

fn entry(host: Host, sources: &[Source], definition: Definition) -> Entry {
    let Definition { name, mut places, shared } = definition;
    let place = places.swap_remove(0);
    let several = if !places.is_empty() {
        Some("it is put together from several places; unite them first")
    } else if shared {
        Some("its file is included for another server as well; give each its own")
    } else {
        None
    };
    let source = &sources[place.source];
    let node = source.root.at(&place.path);
    let kind = match (several, node) {
        (Some(why), _) => Kind::Unsuited(why.to_owned()),
        (None, Some(node)) => kind(host, node, &source.text),
        (None, None) => Kind::Unsuited("it is not an object".to_owned()),
    };
    Entry {
        name,
        at: place.seen.join("."),
        file: source.shown.clone(),
        line: node.map_or(1, |node| line_of_entry(node, &source.text)),
        kind,
        starts: node.map_or_else(CommandLine::default, |node| command_line(node, &source.text)),
        source: place.source,
        path: place.path,
    }
}

/// The line of an entry's command, or of the entry.
pub(super) fn line_of_entry(node: &Node, text: &str) -> u32 {
    let at = node.member("command").map_or(node.span.start, |member| member.key_span.start);
    line_of(text, at)
}

/// The project's file, if it has something to wrap and is not among the user's.
fn project(host: Host, around: &Surroundings, sources: &[Source]) -> Option<PathBuf> {
    let path = host.project_file(around)?;
    let real = std::fs::canonicalize(&path).ok()?;
    if sources.iter().any(|source| source.path == real) {
        return None;
    }
    let found = find(host, around, &Where::File(path.clone())).ok()?;
    let wrappable = found.entries.iter().any(|entry| entry.kind == Kind::Stdio);
    wrappable.then(|| around.shown(&path))
}
