//! The state directory: private to its user, locked by one gateway at a time.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wrasse_types::UnixMillis;

use crate::lock::{LockError, LockHolder, StateLock};

/// The database's file name; its companions begin with it.
const DATABASE: &str = "wrasse.db";
const LOCK: &str = "lock";
const INSTALLATION: &str = "installation";
const TOKEN: &str = "token";
const ENDPOINT: &str = "endpoint.json";
/// A directory that holds one of these is a state directory, whoever made it.
const OURS: [&str; 4] = [DATABASE, LOCK, TOKEN, "wrasse.json5"];

/// Why a state directory, or a file of it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// The operating system refused.
    #[error("{} cannot be used: {source}; name another state directory with --state-dir or WRASSE_STATE_DIR", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It exists and is not a directory.
    #[error("{} is not a directory; name another state directory with --state-dir or WRASSE_STATE_DIR", path.display())]
    NotADirectory {
        /// What was named.
        path: PathBuf,
    },
    /// It is open to others and holds things that are not ours, so it is not ours to close.
    #[error(
        "{} is open to other users and holds other files; name a directory of its own with --state-dir or \
         WRASSE_STATE_DIR, or close this one with 'chmod 700 {}'",
        path.display(), path.display()
    )]
    OpenToOthers {
        /// The directory.
        path: PathBuf,
    },
    /// It is on a network file system.
    #[error(
        "{} is on {file_system}, where locks and SQLite's write-ahead log are not safe; \
         put the state directory on a local disk: --state-dir or WRASSE_STATE_DIR",
        path.display()
    )]
    FileSystem {
        /// The directory.
        path: PathBuf,
        /// The file system's name.
        file_system: &'static str,
    },
}

/// Where the gateway listens, for the command line to find it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its loopback port.
    pub port: u16,
    /// The gateway's process, by its number in its PID namespace.
    pub pid: u32,
    /// The warden's process, likewise.
    pub warden_pid: Option<u32>,
    /// That PID namespace; absent where `/proc` did not say, and from older gateways.
    #[serde(default)]
    pub pid_namespace: Option<u64>,
    /// When it began to serve.
    pub started_at: UnixMillis,
}

impl Endpoint {
    /// Whether the numbers in it mean to us what they meant to the gateway. In doubt they do, as they mostly do.
    pub fn numbers_are_ours(&self) -> bool {
        match (self.pid_namespace, own_pid_namespace()) {
            (Some(theirs), Some(ours)) => theirs == ours,
            (None, _) | (_, None) => true,
        }
    }
}

/// The PID namespace of this process.
pub fn own_pid_namespace() -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").ok().map(|namespace| namespace.ino())
}

/// A state directory that exists and is private.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Opens a directory, or makes it (0700).
    ///
    /// # Errors
    /// When it cannot be made or closed to others, or lies on a network file system.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        let path = std::path::absolute(path).map_err(|source| io(path, source))?;
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                close_to_others(&path, metadata.permissions().mode())?;
            }
            Ok(_) => return Err(StateDirError::NotADirectory { path }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(&path)?,
            Err(source) => return Err(io(&path, source)),
        }
        let network = crate::file_system::network(&path).map_err(|source| io(&path, source))?;
        if let Some(file_system) = network {
            return Err(StateDirError::FileSystem { path, file_system });
        }
        Ok(Self { path })
    }

    /// Where it is, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Takes the lock that whoever writes to the database must hold.
    ///
    /// # Errors
    /// [`LockError::Held`] names the holder, since when, and what to do.
    pub fn lock(&self, purpose: &str) -> Result<StateLock, LockError> {
        crate::lock::take(&self.path, self.path.join(LOCK), purpose)
    }

    /// Says who holds the lock at this moment, without taking it.
    pub fn lock_holder(&self) -> Option<LockHolder> {
        crate::lock::holder(&self.path.join(LOCK))
    }

    /// The random number of this installation, made at first use; a copied directory gets another. Call it under the lock.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn installation(&self) -> Result<u16, StateDirError> {
        let path = self.path.join(INSTALLATION);
        crate::installation::read_or_make(&path).map_err(|source| io(&path, source))
    }

    /// The token that clients of the gateway show, made at first use: 256 random bits in hexadecimal.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn token(&self) -> Result<String, StateDirError> {
        let path = self.path.join(TOKEN);
        crate::token::read_or_make(&path).map_err(|source| io(&path, source))
    }

    /// Says where the gateway listens.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_endpoint(&self, endpoint: &Endpoint) -> Result<(), StateDirError> {
        let path = self.path.join(ENDPOINT);
        let write = || {
            let fresh = crate::token::write_beside(&path, &serde_json::to_vec(endpoint)?)?;
            std::fs::rename(fresh, &path)
        };
        write().map_err(|source| io(&path, source))
    }

    /// Reads where the gateway listens, or listened if it died: whether it lives is for the reader to find out.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read_endpoint(&self) -> Result<Option<Endpoint>, StateDirError> {
        let path = self.path.join(ENDPOINT);
        match std::fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).map(Some).map_err(|error| io(&path, error.into()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(io(&path, source)),
        }
    }

    /// Removes the endpoint file, as the gateway does last.
    ///
    /// # Errors
    /// When the file is there and cannot be removed.
    pub fn remove_endpoint(&self) -> Result<(), StateDirError> {
        let path = self.path.join(ENDPOINT);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(&path, error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn io(path: &Path, source: std::io::Error) -> StateDirError {
    StateDirError::Io { path: path.to_owned(), source }
}

fn make(path: &Path) -> Result<(), StateDirError> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|source| io(parent, source))?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(io(path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Closes a directory that is empty or ours. Any other is not ours to close: it could be `/tmp`.
fn close_to_others(path: &Path, mode: u32) -> Result<(), StateDirError> {
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let ours = OURS.iter().any(|name| path.join(name).exists());
    let mut entries = std::fs::read_dir(path).map_err(|source| io(path, source))?;
    if !ours && entries.next().is_some() {
        return Err(StateDirError::OpenToOthers { path: path.to_owned() });
    }
    match std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)) {
        // A volume that belongs to another user, as orchestrators mount them. The files in it are private.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            tracing::warn!(path = %path.display(), "the state directory is open to others and not ours to close");
            Ok(())
        }
        closed => closed.map_err(|source| io(path, source)),
    }
}
