//! Putting files back: whole where they are as we left them, else entry by entry.

use serde_json::Value as Json;

use super::ImportError;
use super::edit::{self, ArgsWere};
use super::entry::{CommandLine, Entry, Kind, command_line};
use super::file::{failed, hash};
use super::found::{Found, Source, Where, find, line_of_entry, load};
use super::host::{Host, Surroundings};
use super::plan::{EntryChange, FileChange, Keep, Plan, passed};
use super::record::{Record, RecordedEntry, Records};
use super::tree::{Node, parse};

/// How many differing keys a refusal names.
const NAMED_MAX: usize = 5;

/// A text without Wrasse, and what that changed.
pub(super) struct Unwrapped {
    pub(super) text: String,
    changes: Vec<EntryChange>,
}

/// What putting every recorded file back byte for byte would change.
///
/// # Errors
/// When a file was changed since it was wrapped, or nothing says what it was before.
pub fn restore(
    host: Host,
    around: &Surroundings,
    place: &Where,
    records: &Records,
) -> Result<Plan, ImportError> {
    let known = wanted(records.of(host)?, around, place);
    let mut plan = Plan { host, files: Vec::new(), passed: Vec::new(), settled: Vec::new() };
    for record in &known {
        match restore_one(host, around, record, records)? {
            Some(change) => plan.files.push(change),
            None => plan.settled.push(record.path.clone()),
        }
    }
    // Entries that go through Wrasse in files of which nothing is known.
    let Some(found) = beside(&known, host, around, place)? else { return Ok(plan) };
    let unknown: Vec<&Entry> = wrapped(&found)
        .filter(|entry| known.iter().all(|record| record.path != found.sources[entry.source].path))
        .collect();
    if plan.files.is_empty() && !unknown.is_empty() {
        let records = records.dir().join(host.name());
        return Err(ImportError::RecordMissing { host, entries: unknown.len(), records });
    }
    let why = "nothing says what its file was before: --entries-only takes wrasse out of it";
    plan.passed.extend(unknown.into_iter().map(|entry| passed(entry, why)));
    Ok(plan)
}

/// What taking Wrasse out of every entry, and leaving the rest of each file as it is now, would change.
///
/// # Errors
/// When a file cannot be read or understood.
pub fn entries_only(
    host: Host,
    around: &Surroundings,
    place: &Where,
    records: &Records,
) -> Result<Plan, ImportError> {
    let known = wanted(records.of(host)?, around, place);
    let mut plan = Plan { host, files: Vec::new(), passed: Vec::new(), settled: Vec::new() };
    for record in &known {
        let shown = around.shown(&record.path);
        if !record.path.exists() {
            return Err(gone(host, around, record, records));
        }
        let source = load(host, &record.path, &shown)?;
        match unwrapped_in(host, source, recorded(record))? {
            Some(change) => plan.files.push(change),
            None => plan.settled.push(record.path.clone()),
        }
    }
    let Some(found) = beside(&known, host, around, place)? else { return Ok(plan) };
    for (index, source) in found.sources.iter().enumerate() {
        let here = || wrapped(&found).filter(|entry| entry.source == index);
        if let Some(record) = known.iter().find(|record| record.path == source.path) {
            let is_new = |entry: &&Entry| record.entries.iter().all(|old| old.path != entry.path);
            let why = "import did not wrap it; when the rest is undone, this command takes it too";
            plan.passed.extend(here().filter(is_new).map(|entry| passed(entry, why)));
        } else {
            let targets = here().map(Target::of).collect();
            plan.files.extend(unwrapped_in(host, source.clone(), targets)?);
        }
    }
    Ok(plan)
}

/// The host's files; `None` where there are none but those that are known, which need not be the usual ones.
fn beside(
    known: &[Record],
    host: Host,
    around: &Surroundings,
    place: &Where,
) -> Result<Option<Found>, ImportError> {
    match find(host, around, place) {
        Err(ImportError::NotFound { .. }) if !known.is_empty() => Ok(None),
        found => found.map(Some),
    }
}

/// An entry to take Wrasse out of.
#[derive(Debug, Clone)]
pub(super) struct Target {
    name: String,
    at: String,
    path: Vec<String>,
    args_were: ArgsWere,
}

impl Target {
    /// An entry of which nothing else is known.
    fn of(entry: &Entry) -> Self {
        let Entry { name, at, path, .. } = entry.clone();
        Self { name, at, path, args_were: ArgsWere::List }
    }
}

/// The entries that a record names.
pub(super) fn recorded(record: &Record) -> Vec<Target> {
    let target = |entry: &RecordedEntry| Target {
        name: entry.name.clone(),
        at: entry.at.clone(),
        path: entry.path.clone(),
        args_were: entry.args_were,
    };
    record.entries.iter().map(target).collect()
}

fn unwrapped_in(
    host: Host,
    source: Source,
    targets: Vec<Target>,
) -> Result<Option<FileChange>, ImportError> {
    let Unwrapped { text, changes } = unwrapped(host, &source, &targets)?;
    Ok((!changes.is_empty()).then(|| FileChange {
        file: source.shown,
        entries: changes,
        path: source.path,
        before: source.hash,
        after: text.into_bytes(),
        keep: Keep::Nothing,
    }))
}

/// The text of a source without Wrasse in those of the entries that still go through it.
pub(super) fn unwrapped(
    host: Host,
    source: &Source,
    targets: &[Target],
) -> Result<Unwrapped, ImportError> {
    let unintended = || ImportError::Unintended { path: source.shown.clone() };
    let mut meaning = source.root.meaning(&source.text);
    let (mut edits, mut changes, mut paths) = (Vec::new(), Vec::new(), Vec::new());
    for target in targets {
        let Some(node) = source.root.at(&target.path) else { continue };
        let before = command_line(node, &source.text);
        let (Some(at), Some(after)) = (before.original_at(), before.unwrapped()) else { continue };
        edits.extend(edit::unwrap(&source.text, node, target.args_were).ok_or_else(unintended)?);
        edit::unwrapped_meaning(&mut meaning, &target.path, at);
        paths.push(&target.path);
        changes.push(EntryChange {
            name: target.name.clone(),
            at: target.at.clone(),
            line: line_of_entry(node, &source.text),
            before,
            after,
        });
    }
    let text = edit::apply(&source.text, edits);
    let root = parse(&text, host.format(), &source.shown).map_err(|_| unintended())?;
    let mut found = root.meaning(&text);
    for path in paths {
        edit::without_empty_args(&mut meaning, path);
        edit::without_empty_args(&mut found, path);
    }
    if found != meaning {
        return Err(unintended());
    }
    Ok(Unwrapped { text, changes })
}

fn wrapped(found: &Found) -> impl Iterator<Item = &Entry> {
    found.entries.iter().filter(|entry| matches!(entry.kind, Kind::Wrapped { .. }))
}

/// The records that are asked for.
fn wanted(records: Vec<Record>, around: &Surroundings, place: &Where) -> Vec<Record> {
    let Where::File(path) = place else { return records };
    let path = around.expand(&path.to_string_lossy());
    let real = std::fs::canonicalize(&path).unwrap_or(path);
    records.into_iter().filter(|record| record.path == real).collect()
}

fn gone(host: Host, around: &Surroundings, record: &Record, records: &Records) -> ImportError {
    let original = records.original_path(host, &record.path);
    ImportError::FileGone { path: around.shown(&record.path), original }
}

/// What puts one file back; nothing when it is as it was.
fn restore_one(
    host: Host,
    around: &Surroundings,
    record: &Record,
    records: &Records,
) -> Result<Option<FileChange>, ImportError> {
    let shown = around.shown(&record.path);
    let now = match std::fs::read(&record.path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(gone(host, around, record, records));
        }
        Err(error) => return Err(failed("read", &shown)(error)),
    };
    let before = hash(&now);
    if before == record.original {
        return Ok(None);
    }
    let original = records.original(host, record)?;
    if !record.is_ours(&before) {
        return Err(ImportError::ChangedSince {
            changed: changed_since(host, around, record, &original),
            original: records.original_path(host, &record.path),
            path: shown,
        });
    }
    let source = load(host, &record.path, &shown)?;
    let entries = entry_changes(host, &source, record, &original);
    Ok(Some(FileChange {
        file: shown,
        entries,
        path: record.path.clone(),
        before,
        after: original,
        keep: Keep::Nothing,
    }))
}

/// What a restored file starts instead, for who looks at it before.
fn entry_changes(
    host: Host,
    source: &Source,
    record: &Record,
    original: &[u8],
) -> Vec<EntryChange> {
    let text = String::from_utf8_lossy(original);
    let Ok(root) = parse(&text, host.format(), &source.shown) else { return Vec::new() };
    let starts = |node: Option<&Node>, text: &str| {
        node.map_or_else(CommandLine::default, |node| command_line(node, text))
    };
    let change = |entry: &RecordedEntry| {
        let now = source.root.at(&entry.path);
        EntryChange {
            name: entry.name.clone(),
            at: entry.at.clone(),
            line: now.map_or(1, |node| line_of_entry(node, &source.text)),
            before: starts(now, &source.text),
            after: starts(root.at(&entry.path), &text),
        }
    };
    record.entries.iter().map(change).collect()
}

/// The keys in which a file differs from what it would be had nobody but us changed it.
fn changed_since(
    host: Host,
    around: &Surroundings,
    record: &Record,
    original: &[u8],
) -> Vec<String> {
    let shown = around.shown(&record.path);
    let Ok(source) = load(host, &record.path, &shown) else {
        return vec!["it cannot be understood any more".to_owned()];
    };
    let text = String::from_utf8_lossy(original);
    let (Ok(old), Ok(new)) =
        (parse(&text, host.format(), &shown), unwrapped(host, &source, &recorded(record)))
    else {
        return vec!["it cannot be compared".to_owned()];
    };
    let Ok(now) = parse(&new.text, host.format(), &shown) else {
        return vec!["it cannot be compared".to_owned()];
    };
    let (mut old, mut now) = (old.meaning(&text), now.meaning(&new.text));
    for entry in &record.entries {
        edit::without_empty_args(&mut old, &entry.path);
        edit::without_empty_args(&mut now, &entry.path);
    }
    let mut keys = Vec::new();
    differing(&old, &now, "", &mut keys);
    if keys.is_empty() {
        return vec!["only spaces, comments or the order of keys".to_owned()];
    }
    if keys.len() > NAMED_MAX {
        let more = keys.len() - NAMED_MAX;
        keys.truncate(NAMED_MAX);
        keys.push(format!("and {more} more"));
    }
    keys
}

fn differing(old: &Json, new: &Json, path: &str, out: &mut Vec<String>) {
    if old == new {
        return;
    }
    let (Json::Object(old), Json::Object(new)) = (old, new) else {
        out.push(if path.is_empty() { "all of it".to_owned() } else { path.to_owned() });
        return;
    };
    let mut keys: Vec<&String> =
        old.keys().chain(new.keys().filter(|k| !old.contains_key(*k))).collect();
    keys.dedup();
    for key in keys {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let null = Json::Null;
        differing(old.get(key).unwrap_or(&null), new.get(key).unwrap_or(&null), &below, out);
    }
}
