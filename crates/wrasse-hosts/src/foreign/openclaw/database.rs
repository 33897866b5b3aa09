//! Opening a database of another program so that nothing changes beside it: no file comes, goes, or is touched.
//!
//! Opening one read-only is not enough. Of a database with a write-ahead log SQLite makes the log and its index
//! (`-wal`, `-shm`) where they are missing, works a dead writer's log into the index, and leaves both. So what stands
//! beside the database decides how it is read:
//!
//! | beside it | its writer | read |
//! | --- | --- | --- |
//! | log and index | lives, or died and left both | where it is, by SQLite's own locks; the index is not written |
//! | no log, or an empty one | closed it | as a file that nobody changes |
//! | a log without an index | died, and somebody tidied up | as a private copy |
//!
//! The last two hold only while nobody starts to write, so they are read again when anything beside the database changed
//! meanwhile. No log can go between the look and the opening, which would make SQLite create it: the last of its users
//! deletes it under an exclusive lock of the database, which our shared lock keeps off.

use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, fcntl_lock};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use wrasse_types::UnixMillis;

/// How long a reader waits for the writer.
const BUSY: Duration = Duration::from_secs(5);
/// How often a database is read whose writers start and stop meanwhile.
const READS_MAX: usize = 5;
/// Where the header says whether there is a write-ahead log, and that there is.
const JOURNAL_AT: u64 = 18;
const WRITE_AHEAD: [u8; 2] = [2, 2];

/// Does some reading in a database. Blocks: it is a moment's work of a command that has no runtime.
pub(super) fn reading<T>(
    file: &Path,
    work: impl AsyncFn(&mut SqliteConnection) -> Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The log lies beside the database itself, wherever the path leads to it from.
    let file = std::fs::canonicalize(file)?;
    for _ in 0..READS_MAX {
        if let Some(found) = runtime.block_on(attempt(&file, &work))? {
            return Ok(found);
        }
    }
    Err(std::io::Error::other("its writer starts and stops all the time").into())
}

/// Reads once; nothing when what was read may be of two moments.
async fn attempt<T>(
    file: &Path,
    work: &impl AsyncFn(&mut SqliteConnection) -> Result<T, sqlx::Error>,
) -> Result<Option<T>, sqlx::Error> {
    let held = held(file)?;
    let before = Beside::of(file, &held)?;
    let way = before.way();
    let copied = match way {
        Way::Shared | Way::Still => None,
        Way::Copied => Some(Copy::of(file)?),
    };
    let options = match (way, &copied) {
        (Way::Copied, Some(copy)) => SqliteConnectOptions::new().filename(copy.0.join("db")),
        (Way::Still, _) => only_read(file, "immutable=1"),
        (Way::Shared | Way::Copied, _) => only_read(file, "readonly_shm=1"),
    };
    let mut connection = options.busy_timeout(BUSY).disable_statement_logging().connect().await?;
    // All that is read is of one moment.
    sqlx::query("BEGIN").execute(&mut connection).await?;
    let found = work(&mut connection).await;
    connection.close().await?;
    if way != Way::Shared && Beside::of(file, &held)? != before {
        return Ok(None);
    }
    // A process loses its locks of a file as soon as it closes any descriptor of it.
    drop(held);
    found.map(Some)
}

/// A database where it is, as a URI, whose parameters say more than the options can.
fn only_read(file: &Path, parameter: &str) -> SqliteConnectOptions {
    let mut uri = "file:".to_owned();
    for byte in file.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => uri.push(char::from(*byte)),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    let options = SqliteConnectOptions::new().filename(format!("{uri}?{parameter}"));
    options.read_only(true).create_if_missing(false)
}

/// The file of a database under a shared lock, as every reader has it.
fn held(file: &Path) -> std::io::Result<std::fs::File> {
    let held = std::fs::File::open(file)?;
    let until = Instant::now() + BUSY;
    loop {
        match fcntl_lock(&held, FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Ok(held),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// How a database is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Beside its writer.
    Shared,
    /// As nobody changes it.
    Still,
    /// From a copy of ours.
    Copied,
}

/// What can be seen of a database and its log from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Beside {
    write_ahead: bool,
    database: Seen,
    log: Option<Seen>,
    index: bool,
}

/// Which file, how long, and when it was written last: seconds and nanoseconds.
type Seen = (u64, u64, i64, i64);

impl Beside {
    fn of(file: &Path, held: &std::fs::File) -> std::io::Result<Self> {
        let mut journal = [0; 2];
        // What is too short for a header has nothing to read, and SQLite deletes a log beside it.
        held.read_exact_at(&mut journal, JOURNAL_AT)?;
        let seen =
            |data: &std::fs::Metadata| (data.ino(), data.len(), data.mtime(), data.mtime_nsec());
        let log = match std::fs::metadata(beside(file, "-wal")) {
            Ok(data) => Some(seen(&data)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            write_ahead: journal == WRITE_AHEAD,
            database: seen(&std::fs::metadata(file)?),
            log,
            index: beside(file, "-shm").try_exists()?,
        })
    }

    fn way(&self) -> Way {
        match (self.log, self.index) {
            (Some(_), true) => Way::Shared,
            (Some((_, 1.., ..)), false) => Way::Copied,
            // With a rollback journal SQLite writes nothing that a reader could leave behind.
            (None, _) if !self.write_ahead => Way::Shared,
            (Some((_, 0, ..)), false) | (None, _) => Way::Still,
        }
    }
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A copy of a database and its log, in a folder that only we can read and that goes when this is dropped.
struct Copy(PathBuf);

impl Copy {
    fn of(file: &Path) -> std::io::Result<Self> {
        let unique = format!("wrasse-records-{}-{}", std::process::id(), UnixMillis::now().get());
        let folder = std::env::temp_dir().join(unique);
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let copy = Self(folder);
        std::fs::copy(file, copy.0.join("db"))?;
        std::fs::copy(beside(file, "-wal"), copy.0.join("db-wal"))?;
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // A copy that stays is litter in the temporary folder, no more.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[cfg(test)]
mod tests;
