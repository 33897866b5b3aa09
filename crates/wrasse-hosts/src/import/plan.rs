//! What would be changed, and the changing.

use std::path::{Path, PathBuf};

use super::ImportError;
use super::edit::{self, Text};
use super::entry::{CommandLine, Entry, Kind, is_wrasse};
use super::file::{Committed, Staged, hash, read};
use super::found::{Found, Source};
use super::host::Host;
use super::record::{Record, RecordedEntry, Records};
use super::tree::parse;
use super::undo::{recorded, unwrapped};

/// What stands before a server's own command: this program and how it is to be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shim {
    pub(super) program: String,
    options: Vec<String>,
}

impl Shim {
    /// The program at a full path, with options that stand before `wrap`.
    ///
    /// # Errors
    /// When a host would not read the path as it is.
    pub fn new(program: &Path, options: &[String]) -> Result<Self, ImportError> {
        let path = program.to_string_lossy().into_owned();
        let refuse = |why| Err(ImportError::ProgramUnsuited { path: path.clone(), why });
        let words = || options.iter().chain([&path]);
        if program.to_str().is_none() {
            return refuse("it is not UTF-8");
        }
        if words().any(|word| word.contains('$') || word.chars().any(char::is_control)) {
            return refuse(
                "hosts put variables in the place of a '$', and no control character is safe",
            );
        }
        if !is_wrasse(&path) {
            return refuse("an entry that goes through it is known by the name wrasse");
        }
        Ok(Self { program: path, options: options.to_vec() })
    }

    /// The words that come before a server's own command.
    pub(super) fn lead(&self, name: &str) -> Vec<String> {
        // The name is for people; a host would put a variable in the place of a '$'.
        let harmless = |c: char| if c == '$' || c.is_control() { '_' } else { c };
        let name: String = name.chars().map(harmless).collect();
        let mut words = self.options.clone();
        words.push("wrap".to_owned());
        if name.starts_with('-') {
            words.push(format!("--name={name}"));
        } else if !name.is_empty() {
            words.extend(["--name".to_owned(), name]);
        }
        words.push("--".to_owned());
        words
    }
}

/// One entry that changes.
#[derive(Debug, Clone)]
pub struct EntryChange {
    /// The server's name.
    pub name: String,
    /// The keys that lead to it.
    pub at: String,
    /// Its line.
    pub line: u32,
    /// What it starts now.
    pub before: CommandLine,
    /// What it would start.
    pub after: CommandLine,
}

/// One entry that does not change, and why.
#[derive(Debug, Clone)]
pub struct Passed {
    /// The server's name.
    pub name: String,
    /// The keys that lead to it.
    pub at: String,
    /// A lowercase reason.
    pub why: String,
}

/// What is kept about a file once it is changed.
#[derive(Debug, Clone)]
pub(super) enum Keep {
    /// What it was, to put it back.
    Record { record: Record, original: Vec<u8> },
    /// Nothing: it is as it was.
    Nothing,
}

/// One file that changes.
#[derive(Debug, Clone)]
pub struct FileChange {
    /// The file, as a person writes it.
    pub file: PathBuf,
    /// Its entries that change.
    pub entries: Vec<EntryChange>,
    pub(super) path: PathBuf,
    /// The hash of what it holds now.
    pub(super) before: String,
    pub(super) after: Vec<u8>,
    pub(super) keep: Keep,
}

/// What would be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The host.
    pub host: Host,
    /// Every file that changes.
    pub files: Vec<FileChange>,
    /// Every entry that was asked for and does not change.
    pub passed: Vec<Passed>,
    /// Files whose records have served: they are as they were already.
    pub(super) settled: Vec<PathBuf>,
}

impl Plan {
    /// Whether no file would change.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether writing would do anything, if only forget a record that has served.
    pub fn has_work(&self) -> bool {
        !self.is_empty() || !self.settled.is_empty()
    }

    /// Writes every file, each in one step, its record before it.
    ///
    /// # Errors
    /// When a file was changed since it was read, or cannot be replaced. Files before it in the plan are written then,
    /// and can be undone.
    pub fn write(&self, records: &Records) -> Result<(), ImportError> {
        if !self.has_work() {
            return Ok(());
        }
        let _lock = records.lock()?;
        // What cannot be written shows here, before anything is.
        let mut staged = Vec::new();
        for change in &self.files {
            if hash(&read(&change.path)?) != change.before {
                let path = change.file.clone();
                return Err(ImportError::Concurrent { path, written: Vec::new() });
            }
            staged.push(Staged::new(&change.path, &change.after)?);
        }
        let mut written = Vec::new();
        for (change, staged) in self.files.iter().zip(staged) {
            match self.write_one(change, staged, records)? {
                Committed::Replaced => written.push(change.file.clone()),
                Committed::ChangedMeanwhile => {
                    return Err(ImportError::Concurrent { path: change.file.clone(), written });
                }
            }
        }
        self.settled.iter().try_for_each(|path| records.forget(self.host, path))
    }

    /// One file, its record around it.
    fn write_one(
        &self,
        change: &FileChange,
        staged: Staged,
        records: &Records,
    ) -> Result<Committed, ImportError> {
        let Keep::Record { record, original } = &change.keep else {
            let committed = staged.commit(&change.before)?;
            if committed == Committed::Replaced {
                records.forget(self.host, &change.path)?;
            }
            return Ok(committed);
        };
        let before = records.snapshot(self.host, &change.path);
        records.save(self.host, record, original)?;
        let committed = staged.commit(&change.before);
        // A fault may come after the exchange; what counts is what the file holds.
        let is_new = || std::fs::read(&change.path).is_ok_and(|bytes| bytes == change.after);
        if !matches!(committed, Ok(Committed::Replaced)) && !is_new() {
            before.put_back()?;
        }
        committed
    }
}

impl Found {
    /// What wrapping these servers would change; all programs that are switched on when none is named.
    ///
    /// # Errors
    /// When a name is unknown or cannot be wrapped, or what is known about a file is damaged.
    pub fn wrap(
        &self,
        names: &[String],
        shim: &Shim,
        records: &Records,
    ) -> Result<Plan, ImportError> {
        names.iter().try_for_each(|name| self.check(name))?;
        let known = records.of(self.host)?;
        let mut plan =
            Plan { host: self.host, files: Vec::new(), passed: Vec::new(), settled: Vec::new() };
        for (index, source) in self.sources.iter().enumerate() {
            let mut chosen = Vec::new();
            for entry in self.entries.iter().filter(|entry| entry.source == index) {
                let named = names.contains(&entry.name);
                if !named && !names.is_empty() {
                    continue;
                }
                match reason_to_pass(&entry.kind, named) {
                    None => chosen.push(entry),
                    Some(why) => plan.passed.push(passed(entry, why)),
                }
            }
            if !chosen.is_empty() {
                let old = known.iter().find(|record| record.path == source.path);
                plan.files.push(self.wrap_in(source, &chosen, shim, old, records)?);
            }
        }
        Ok(plan)
    }

    /// Refuses a name that nothing can be done for.
    fn check(&self, name: &str) -> Result<(), ImportError> {
        let mut named = self.entries.iter().filter(|entry| entry.name == name).peekable();
        if named.peek().is_none() {
            let mut known: Vec<String> =
                self.entries.iter().map(|entry| entry.name.clone()).collect();
            known.sort();
            known.dedup();
            let near = wrasse_config::closest(name, known.iter().map(String::as_str));
            return Err(ImportError::ServerUnknown {
                host: self.host,
                name: name.to_owned(),
                suggestion: near.map(str::to_owned),
                known,
            });
        }
        let mut why = None;
        for entry in named {
            match &entry.kind {
                Kind::Stdio | Kind::Wrapped { .. } | Kind::Disabled => return Ok(()),
                Kind::Remote => why = Some("it is remote; there is no process to end".to_owned()),
                Kind::Unsuited(reason) => why = Some(reason.clone()),
            }
        }
        let why = why.unwrap_or_default();
        Err(ImportError::ServerUnsuited { name: name.to_owned(), why })
    }

    fn wrap_in(
        &self,
        source: &Source,
        entries: &[&Entry],
        shim: &Shim,
        old: Option<&Record>,
        records: &Records,
    ) -> Result<FileChange, ImportError> {
        let unintended = || ImportError::Unintended { path: source.shown.clone() };
        let file = Text { text: &source.text, format: self.host.format() };
        let mut edits = Vec::new();
        let mut meaning = source.root.meaning(&source.text);
        let (mut changes, mut wrapped) = (Vec::new(), Vec::new());
        for entry in entries {
            let node = source.root.at(&entry.path).ok_or_else(unintended)?;
            edits.extend(edit::wrap(file, node, &entry.name, shim).ok_or_else(unintended)?);
            edit::wrapped_meaning(&mut meaning, &entry.path, &entry.name, shim);
            wrapped.push(RecordedEntry {
                name: entry.name.clone(),
                at: entry.at.clone(),
                path: entry.path.clone(),
                args_were: edit::args_are(node),
            });
            changes.push(EntryChange {
                name: entry.name.clone(),
                at: entry.at.clone(),
                line: entry.line,
                before: entry.starts.clone(),
                after: wrapped_line(entry, shim),
            });
        }
        let after = edit::apply(&source.text, edits);
        let root = parse(&after, self.host.format(), &source.shown).map_err(|_| unintended())?;
        if root.meaning(&after) != meaning {
            return Err(unintended());
        }
        let (mut record, original) = self.before_any(source, old, records)?;
        record.results.push(hash(after.as_bytes()));
        record.entries.retain(|old| wrapped.iter().all(|new| new.path != old.path));
        record.entries.extend(wrapped);
        Ok(FileChange {
            file: source.shown.clone(),
            entries: changes,
            path: source.path.clone(),
            before: source.hash.clone(),
            after: after.into_bytes(),
            keep: Keep::Record { record, original },
        })
    }

    /// What the file was before any entry was wrapped, and the record that says so.
    fn before_any(
        &self,
        source: &Source,
        old: Option<&Record>,
        records: &Records,
    ) -> Result<(Record, Vec<u8>), ImportError> {
        let Some(old) = old else {
            return Ok((Record::new(&source.path, &source.hash), source.text.clone().into_bytes()));
        };
        if old.is_ours(&source.hash) || old.original == source.hash {
            return Ok((old.clone(), records.original(self.host, old)?));
        }
        // It was changed since by somebody else: what it would be without us is what there is to go back to.
        let without = unwrapped(self.host, source, &recorded(old))?.text;
        let mut record = Record::new(&source.path, &hash(without.as_bytes()));
        record.entries.clone_from(&old.entries);
        Ok((record, without.into_bytes()))
    }
}

fn reason_to_pass(kind: &Kind, named: bool) -> Option<String> {
    match kind {
        Kind::Stdio => None,
        Kind::Disabled if named => None,
        Kind::Disabled => Some("it is switched off; name it to wrap it all the same".to_owned()),
        Kind::Wrapped { .. } => Some("it goes through wrasse already".to_owned()),
        Kind::Remote => Some("it is remote; there is no process to end".to_owned()),
        Kind::Unsuited(why) => Some(why.clone()),
    }
}

pub(super) fn passed(entry: &Entry, why: impl Into<String>) -> Passed {
    Passed { name: entry.name.clone(), at: entry.at.clone(), why: why.into() }
}

fn wrapped_line(entry: &Entry, shim: &Shim) -> CommandLine {
    let mut args = shim.lead(&entry.name);
    args.push(entry.starts.command.clone());
    args.extend(entry.starts.args.iter().cloned());
    CommandLine { command: shim.program.clone(), args }
}
