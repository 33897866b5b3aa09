//! What a file was before it was changed: kept in the state dir, written and synced before the file is.
//!
//! `<state dir>/import/<host>/<id>.json` says which file it is about, what it held before and after, and which entries
//! were changed; `<id>.original` beside it holds the bytes from before. Both are 0600: they hold what the file holds.
//! A later wrap of more entries keeps the first original, so one undo undoes them all.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::edit::ArgsWere;
use super::file::{failed, hash, write_private};
use super::{Host, ImportError};

const SCHEMA: u32 = 1;

/// One entry that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RecordedEntry {
    pub(super) name: String,
    /// The keys that lead to it as the host sees them.
    pub(super) at: String,
    /// The keys that lead to it in its file.
    pub(super) path: Vec<String>,
    pub(super) args_were: ArgsWere,
}

/// What is known about one file that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    schema: u32,
    /// The file, symbolic links followed.
    pub(super) path: PathBuf,
    /// The hash of what it held before.
    pub(super) original: String,
    /// The hashes of what we left in it, the first wrap's first.
    pub(super) results: Vec<String>,
    pub(super) entries: Vec<RecordedEntry>,
}

impl Record {
    pub(super) fn new(path: &Path, original: &str) -> Self {
        Self {
            schema: SCHEMA,
            path: path.to_owned(),
            original: original.to_owned(),
            results: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// Whether a file with this hash is as we left it.
    pub(super) fn is_ours(&self, hash: &str) -> bool {
        self.results.iter().any(|result| result == hash)
    }
}

/// The records of a state dir.
#[derive(Debug, Clone)]
pub struct Records {
    dir: PathBuf,
}

impl Records {
    /// Those below a state dir, which need not exist.
    pub fn below(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("import") }
    }

    /// Where they lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Every record of a host.
    pub(super) fn of(&self, host: Host) -> Result<Vec<Record>, ImportError> {
        let dir = self.dir.join(host.name());
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("read", &dir)(error)),
        };
        let mut records = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed("read", &dir))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                records.push(read(&path)?);
            }
        }
        records.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(records)
    }

    /// The bytes from before.
    pub(super) fn original(&self, host: Host, record: &Record) -> Result<Vec<u8>, ImportError> {
        let path = self.original_path(host, &record.path);
        let bytes = super::file::read(&path)?;
        if hash(&bytes) != record.original {
            let why = "what it holds is not what the file held before".to_owned();
            return Err(ImportError::RecordDamaged { path, why });
        }
        Ok(bytes)
    }

    /// Where the bytes from before lie.
    pub(super) fn original_path(&self, host: Host, file: &Path) -> PathBuf {
        self.stem(host, file).with_extension("original")
    }

    /// Keeps a record, the bytes first.
    pub(super) fn save(
        &self,
        host: Host,
        record: &Record,
        original: &[u8],
    ) -> Result<(), ImportError> {
        let stem = self.stem(host, &record.path);
        let dir = self.dir.join(host.name());
        make_private(&dir)?;
        write_private(&stem.with_extension("original"), original)?;
        let text = serde_json::to_vec_pretty(record)
            .map_err(|error| failed("write", &stem)(error.into()))?;
        write_private(&stem.with_extension("json"), &text)
    }

    /// Forgets a record, the bytes last.
    pub(super) fn forget(&self, host: Host, file: &Path) -> Result<(), ImportError> {
        let stem = self.stem(host, file);
        ["json", "original"]
            .iter()
            .try_for_each(|extension| remove(&stem.with_extension(extension)))
    }

    /// What is kept about a file at this moment.
    pub(super) fn snapshot(&self, host: Host, file: &Path) -> Snapshot {
        let stem = self.stem(host, file);
        // The bytes before the record that speaks of them, as in `save`.
        let parts = ["original", "json"].map(|extension| {
            let path = stem.with_extension(extension);
            let bytes = std::fs::read(&path).ok();
            (path, bytes)
        });
        Snapshot(parts)
    }

    /// Waits until no other import of this state dir writes; the lock lasts as long as what is returned.
    pub(super) fn lock(&self) -> Result<File, ImportError> {
        make_private(&self.dir)?;
        let path = self.dir.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open", &path))?;
        file.lock().map_err(failed("lock", &path))?;
        Ok(file)
    }

    fn stem(&self, host: Host, file: &Path) -> PathBuf {
        let id = hash(file.as_os_str().as_encoded_bytes());
        self.dir.join(host.name()).join(&id[..16])
    }
}

/// What was kept about a file before it was to be changed.
#[derive(Debug)]
pub(super) struct Snapshot([(PathBuf, Option<Vec<u8>>); 2]);

impl Snapshot {
    /// Makes it so again, since the file was not changed after all.
    pub(super) fn put_back(self) -> Result<(), ImportError> {
        for (path, bytes) in self.0 {
            match bytes {
                Some(bytes) => write_private(&path, &bytes)?,
                None => remove(&path)?,
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<(), ImportError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed("remove", path)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn read(path: &Path) -> Result<Record, ImportError> {
    let damaged = |why: String| ImportError::RecordDamaged { path: path.to_owned(), why };
    let bytes = super::file::read(path)?;
    let record: Record =
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if record.schema == SCHEMA {
        Ok(record)
    } else {
        Err(damaged(format!("it is of schema {}, this program knows {SCHEMA}", record.schema)))
    }
}

fn make_private(dir: &Path) -> Result<(), ImportError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("make", dir))
}
