//! The lock on a state directory: one gateway, or one local run, at a time.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use wrasse_types::UnixMillis;

/// Who holds a lock, as it wrote into the lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    /// Its process.
    pub pid: u32,
    /// What for: `gateway run`, `agent --local`.
    pub purpose: String,
    /// Since when.
    pub started_at: UnixMillis,
}

/// Why a lock was not got.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("the state directory {} is in use {}", dir.display(), held_by(holder.as_ref()))]
    Held {
        /// The state directory.
        dir: PathBuf,
        /// The other process; absent in the instant between its taking the lock and its saying so.
        holder: Option<LockHolder>,
    },
    /// The operating system refused.
    #[error("the lock file {} cannot be used: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

fn held_by(holder: Option<&LockHolder>) -> String {
    let Some(LockHolder { pid, purpose, started_at }) = holder else {
        return "by another process that has just started: try again, or name another directory with --state-dir"
            .to_owned();
    };
    let cure = if purpose.starts_with("gateway") {
        "stop it with 'wrasse gateway stop'".to_owned()
    } else {
        format!("wait until process {pid} is done")
    };
    format!(
        "by process {pid} ({purpose}) since {started_at}: {cure}, or name another directory with --state-dir"
    )
}

/// A held lock. The kernel drops it with the process, however that ends.
///
/// INVARIANT: the file is close-on-exec (std opens every file so), or the lock would live on in a server.
#[derive(Debug)]
pub struct StateLock {
    file: File,
}

impl Drop for StateLock {
    fn drop(&mut self) {
        // The name of a holder that is gone helps nobody. The file itself stays: removing it would let two
        // processes lock two files of one name.
        drop(self.file.set_len(0));
    }
}

/// Takes the lock, or says who has it.
pub(crate) fn take(dir: &Path, path: PathBuf, purpose: &str) -> Result<StateLock, LockError> {
    let io = |source| LockError::Io { path: path.clone(), source };
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(LockError::Held { dir: dir.to_owned(), holder: read_holder(&mut file) });
        }
        Err(errno) => return Err(io(errno.into())),
    }
    let holder = LockHolder {
        pid: std::process::id(),
        purpose: purpose.to_owned(),
        started_at: UnixMillis::now(),
    };
    let said = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(&serde_json::to_vec(&holder)?));
    if let Err(error) = said {
        // On a full disk the lock still holds; only its name is missing.
        tracing::warn!(%error, path = %path.display(), "the lock file could not be written");
    }
    Ok(StateLock { file })
}

/// Says who holds the lock now; `None` when nobody does.
pub(crate) fn holder(path: &Path) -> Option<LockHolder> {
    let mut file = File::open(path).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => read_holder(&mut file),
        Ok(()) | Err(_) => None,
    }
}

fn read_holder(file: &mut File) -> Option<LockHolder> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
