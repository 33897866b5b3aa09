//! Ties the steps together, from options to a validated value.

use std::path::{Path, PathBuf};

use crate::known::{Classified, classify};
use crate::load::{Documents, Environment, Notes, Sources, Substituted, expand, search};
use crate::print::Printer;
use crate::section::{At, Context};
use crate::text::{Node, Place, Value};
use crate::{Config, Fault, Faults, LoadOptions, ReadFile, StateDirBy, section};

/// A configuration with the tree it was made from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The validated value.
    pub config: Config,
    report: KeyReport,
    tree: Node,
    sources: Sources,
    substituted: Substituted,
}

/// Whether a printed configuration says where each value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Values only: the text is JSON.
    Hide,
    /// Each value with its file and line, or the defaults it is from: the text is JSON5.
    Show,
}

/// Every key of the files by what it does here, as dotted paths in the order of the files.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct KeyReport {
    /// Keys that do what they do in OpenClaw, or are Wrasse's own.
    pub implemented: Vec<String>,
    /// Keys known to OpenClaw that change nothing here.
    pub unused: Vec<String>,
    /// Restricting keys that are not implemented, each with the tools that are denied for it.
    pub denied: Vec<(String, Vec<String>)>,
    /// Such keys that `unsafeIgnore` names, each with the tools that are not denied for it.
    pub acknowledged: Vec<(String, Vec<String>)>,
}

impl KeyReport {
    /// The unused keys counted by their first name, most first: `channels 14, plugins 9`.
    pub fn unused_by_section(&self) -> Vec<(String, usize)> {
        let mut counts: Vec<(String, usize)> = Vec::new();
        for path in &self.unused {
            let section = path.split(['.', '[']).next().unwrap_or(path);
            match counts.iter_mut().find(|(name, _)| name == section) {
                Some((_, count)) => *count += 1,
                None => counts.push((section.to_owned(), 1)),
            }
        }
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counts
    }
}

impl Loaded {
    /// What each key does.
    pub fn key_report(&self) -> &KeyReport {
        &self.report
    }

    /// The effective configuration, defaults included, secrets redacted: JSON, or with origins JSON5.
    pub fn print(&self, origin: Origin) -> String {
        let printer = Printer {
            sources: &self.sources,
            substituted: &self.substituted,
            compat: self.config.compat,
            origin,
        };
        printer.print(&self.tree)
    }
}

/// Reads and checks the configuration.
///
/// No file anywhere gives the defaults with one agent, `main`, and a warning that says so.
///
/// # Errors
/// Every fault of every file at once.
pub fn load(options: &LoadOptions, files: &dyn ReadFile) -> Result<Config, Faults> {
    load_with_tree(options, files).map(|loaded| loaded.config)
}

/// Like [`load`], keeping what `config print` and `config check -v` show.
///
/// # Errors
/// Every fault of every file at once.
pub fn load_with_tree(options: &LoadOptions, files: &dyn ReadFile) -> Result<Loaded, Faults> {
    let mut documents = Documents::new(options, files);
    let tree = match chosen(options, files)? {
        Some((path, shown)) => documents.whole(&path, &shown),
        None => {
            note_no_file(&documents);
            Some(Node { place: Place::NONE, value: Value::Object(Vec::new()) })
        }
    };
    let Documents { sources, notes, .. } = documents;
    let Some(tree) = tree.filter(|_| !notes.has_faults()) else { return Err(notes.take_faults()) };
    validate(options, files, sources, &notes, tree)
}

fn validate(
    options: &LoadOptions,
    files: &dyn ReadFile,
    sources: Sources,
    notes: &Notes,
    mut tree: Node,
) -> Result<Loaded, Faults> {
    let mut env = Environment::collect(options, files, &sources);
    env.add_from(&tree);
    let substituted = env.substitute(&mut tree, &sources, notes);
    let options = &with_state_dir(options, &sources, &tree);
    let classified = classify(&tree);
    let compat = section::compat(&tree);
    section::fill(&mut tree, compat, options);
    let cx = Context {
        options,
        files,
        sources: &sources,
        notes,
        env: &env,
        substituted: &substituted,
        compat,
        root: &tree,
    };
    let mut config = section::read(&cx, &At::root(&cx, &tree), &classified);
    if notes.has_faults() {
        return Err(notes.take_faults());
    }
    // A variable that only an unused key would need is nobody's concern.
    let unused = |path: &str| {
        let key = path.split('[').next().unwrap_or(path);
        classified.unused.iter().any(|known| known == path || known == key)
    };
    config.warnings = notes.take_warnings(|path| path.is_empty() || !unused(path));
    let report = report(&classified, &config);
    Ok(Loaded { config, report, tree, sources, substituted })
}

/// The options with the state dir of the file, where nobody chose another.
fn with_state_dir(options: &LoadOptions, sources: &Sources, tree: &Node) -> LoadOptions {
    let mut options = options.clone();
    let written = tree.get("stateDir").and_then(|node| Some((node.text()?, node.place)));
    if let (StateDirBy::Default, Some((text, place))) = (options.state_dir_by, written) {
        let dir = sources.dir(place).unwrap_or(&options.cwd);
        options.state_dir = expand(text, dir, options.home.as_deref());
    }
    options
}

fn report(classified: &Classified, config: &Config) -> KeyReport {
    let effective = |key: &str| config.denied_tools.iter().any(|denied| denied.key == key);
    let (denied, acknowledged) =
        classified.denied.iter().cloned().partition(|(key, _)| effective(key));
    KeyReport {
        implemented: classified.implemented.clone(),
        unused: classified.unused.clone(),
        denied,
        acknowledged,
    }
}

/// The first file of the search; one that was named must be there. Paths as found and as shown.
fn chosen(
    options: &LoadOptions,
    files: &dyn ReadFile,
) -> Result<Option<(PathBuf, PathBuf)>, Faults> {
    let candidates = search(options);
    let named = candidates.len() - 1;
    let Some(first) = candidates.first() else { return Ok(None) };
    if named == 0 {
        let found = files.real_path(first).is_ok();
        return Ok(found.then(|| (first.clone(), first.clone())));
    }
    let (by, shown) = match &options.path {
        Some(path) => ("--config", path.clone()),
        None => {
            let text = options.env.get(crate::load::CONFIG_VARIABLE).cloned();
            ("WRASSE_CONFIG", text.map(PathBuf::from).unwrap_or_else(|| first.clone()))
        }
    };
    match files.real_path(first) {
        Ok(_) => Ok(Some((first.clone(), shown))),
        Err(error) => Err(Faults(vec![Fault {
            file: PathBuf::new(),
            path: String::new(),
            line: 0,
            column: 0,
            message: format!("cannot read {} ({by}): {}", shown.display(), why(&error)),
            suggestion: None,
        }])),
    }
}

fn why(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// Says that the defaults are used, and what a user of OpenClaw may try.
fn note_no_file(documents: &Documents<'_>) {
    let options = documents.options;
    let wanted = options.state_dir.join("wrasse.json5");
    let openclaw = options.home.as_deref().map(|home| home.join(".openclaw/openclaw.json"));
    let found = openclaw.filter(|path| documents.files.real_path(path).is_ok());
    let mut message = format!(
        "no configuration found: the defaults are used, with one agent, main, and no server; write {}",
        wanted.display()
    );
    if let Some(path) = found {
        message = format!(
            "no configuration of Wrasse found, so the defaults are used, with one agent, main, and no server; \
             there is an OpenClaw configuration, try: wrasse gateway run --config {}",
            shell_word(&path)
        );
    }
    documents.notes.warn(&documents.sources, Place::NONE, "", &message);
}

fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-~+@".contains(c));
    if plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
