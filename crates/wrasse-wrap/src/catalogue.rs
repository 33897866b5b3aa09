//! What a server offers, kept so that it need not run to be asked.
//!
//! An entry belongs to one server as one kind of host sees it: its key covers the command, arguments, working
//! directory, environment and program file, and what the host offered in its opening request, as servers may offer
//! more to a host that can do more.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::place::{self, Place};

/// The version of the files. Others are not read.
const VERSION: u32 = 1;
/// How many entries are kept; beyond that the oldest go.
const ENTRIES_MAX: usize = 512;

/// The lists that a server can be asked for whole.
pub const LISTS: [(&str, &str, &str); 4] = [
    ("tools/list", "tools", "tools"),
    ("resources/list", "resources", "resources"),
    ("resources/templates/list", "resourceTemplates", "resources"),
    ("prompts/list", "prompts", "prompts"),
];

/// An answer as a server gave it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A result.
    Result(Box<RawValue>),
    /// An error.
    Error(Box<RawValue>),
}

impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Result(one), Self::Result(two)) | (Self::Error(one), Self::Error(two)) => {
                let value = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).ok();
                one.get() == two.get() || value(one) == value(two)
            }
            (Self::Result(_), Self::Error(_)) | (Self::Error(_), Self::Result(_)) => false,
        }
    }
}

/// What is known of one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    version: u32,
    /// The name that the server goes by.
    pub name: String,
    /// The answer to the host's opening request.
    pub opening: Answer,
    /// Whole lists, by method. A method that is missing was never learnt.
    pub lists: BTreeMap<String, Answer>,
}

impl Entry {
    /// What is known after the opening.
    pub fn new(name: &str, opening: Answer) -> Self {
        Self { version: VERSION, name: name.to_owned(), opening, lists: BTreeMap::new() }
    }

    /// The capabilities that the server declared.
    pub fn capabilities(&self) -> Value {
        match &self.opening {
            Answer::Result(result) => {
                crate::envelope::member(result, "capabilities").unwrap_or_default()
            }
            Answer::Error(_) => Value::Null,
        }
    }
}

/// Entries of one server, by what a host opened with.
pub trait Shelf: std::fmt::Debug {
    /// What is known under an opening.
    fn load(&self, opening: &str) -> Option<Entry>;
    /// Keeps an entry.
    ///
    /// # Errors
    /// When it cannot be written; a shim works without.
    fn save(&self, opening: &str, entry: &Entry) -> io::Result<()>;
}

/// Entries of one server as files.
#[derive(Debug, Clone)]
pub struct Catalogue {
    place: Place,
    identity: Vec<Vec<u8>>,
}

impl Catalogue {
    /// The entries of the server that `identity` tells from every other, in this place.
    pub fn new(place: Place, identity: Vec<Vec<u8>>) -> Self {
        Self { place, identity }
    }

    /// The key of an entry: a keyed hash, as what it covers may hold secrets.
    pub fn key(&self, opening: &str) -> String {
        let parts = self.identity.iter().map(Vec::as_slice);
        self.place.keyed_hash(parts.chain([opening.as_bytes()]))
    }

    fn path(&self, opening: &str) -> PathBuf {
        self.place.catalogue().join(format!("{}.json", self.key(opening)))
    }

    /// Removes the oldest entries beyond the number that is kept.
    fn prune(&self) {
        let Ok(files) = std::fs::read_dir(self.place.catalogue()) else { return };
        let age = |path: &Path| {
            let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
            modified.unwrap_or(SystemTime::UNIX_EPOCH)
        };
        let mut files: Vec<_> = files.flatten().map(|file| file.path()).collect();
        if files.len() <= ENTRIES_MAX {
            return;
        }
        files.sort_by_cached_key(|path| age(path));
        for path in &files[..files.len() - ENTRIES_MAX] {
            // Another shim may have removed it already, and no entry is ever missed.
            drop(std::fs::remove_file(path));
        }
    }
}

impl Shelf for Catalogue {
    fn load(&self, opening: &str) -> Option<Entry> {
        let bytes = std::fs::read(self.path(opening)).ok()?;
        serde_json::from_slice(&bytes).ok().filter(|entry: &Entry| entry.version == VERSION)
    }

    fn save(&self, opening: &str, entry: &Entry) -> io::Result<()> {
        if self.place.fault.is_some() {
            // It was said once that nothing can be kept here.
            return Ok(());
        }
        place::write(&self.path(opening), &serde_json::to_vec(entry)?)?;
        self.prune();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::raw;

    #[test]
    fn keeps_what_it_was_given_and_forgets_what_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::new(Place::open(dir.path()), vec![b"npx".to_vec()]);
        assert_eq!(catalogue.load("k"), None);
        let opening = raw(&serde_json::json!({ "capabilities": { "tools": {} } }));
        let mut entry = Entry::new("fs", Answer::Result(opening));
        let odd = RawValue::from_string(r#"{"z": 1.50, "a": "\u00e9"}"#.to_owned()).unwrap();
        entry.lists.insert("tools/list".to_owned(), Answer::Result(odd.clone()));
        catalogue.save("k", &entry).unwrap();
        let read = catalogue.load("k").unwrap();
        assert_eq!(read, entry);
        assert!(read.capabilities()["tools"].is_object());
        let Answer::Result(kept) = &read.lists["tools/list"] else { panic!("{read:?}") };
        assert_eq!(kept.get(), odd.get(), "as it was written, to the letter");
        std::fs::write(catalogue.path("k"), b"{\"version\":1,").unwrap();
        assert_eq!(catalogue.load("k"), None);
        std::fs::write(catalogue.path("k"), br#"{"version":2,"name":"x"}"#).unwrap();
        assert_eq!(catalogue.load("k"), None);
    }

    #[test]
    fn the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::new(Place::open(dir.path()), Vec::new());
        let entry = Entry::new("x", Answer::Error(raw(&Value::Null)));
        for number in 0..ENTRIES_MAX + 3 {
            catalogue.save(&format!("k{number}"), &entry).unwrap();
        }
        assert_eq!(std::fs::read_dir(catalogue.place.catalogue()).unwrap().count(), ENTRIES_MAX);
        assert!(catalogue.load(&format!("k{}", ENTRIES_MAX + 2)).is_some());
    }
}
