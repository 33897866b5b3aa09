//! What can go wrong, told apart by what a person can do about it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a read or a write failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The file system, or the quota, is full. Nothing of the operation was written.
    #[error("the disk that holds the database is full: free some space; nothing was written")]
    Full(#[source] Arc<sqlx::Error>),
    /// The database did not answer in time.
    #[error("the database did not answer in time")]
    Busy(#[source] Arc<sqlx::Error>),
    /// The operating system failed a read or a write.
    #[error("the database file could not be read or written")]
    Io(#[source] Arc<sqlx::Error>),
    /// The file is damaged.
    #[error(
        "the database is damaged: stop the gateway, then move wrasse.db* of the state directory away or restore a backup"
    )]
    Corrupt(#[source] Arc<sqlx::Error>),
    /// The store, or the ledger's queue, has been closed.
    #[error("the store is closed")]
    Closed,
    /// The ledger's queue holds too many writes that somebody waits for.
    #[error("the ledger has too many writes waiting")]
    Congested,
    /// The store was opened to read only.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// What was named does not exist.
    #[error("there is no {what} {id:?}")]
    NotFound {
        /// The kind of thing.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// A row holds what this version cannot read.
    #[error("column {column} of the database holds what cannot be read: {why}")]
    BadRow {
        /// The column.
        column: String,
        /// What is wrong with it.
        why: String,
    },
    /// Any other refusal of the database.
    #[error("the database refused")]
    Database(#[source] Arc<sqlx::Error>),
}

impl StoreError {
    /// Whether the same operation may succeed later with nothing else changed but the machine's state.
    pub fn retry_may_help(&self) -> bool {
        match self {
            Self::Full(_) | Self::Busy(_) | Self::Io(_) | Self::Congested => true,
            Self::Corrupt(_)
            | Self::Closed
            | Self::ReadOnly
            | Self::NotFound { .. }
            | Self::BadRow { .. }
            | Self::Database(_) => false,
        }
    }
}

/// SQLite's primary result codes, <https://www.sqlite.org/rescode.html>.
pub(crate) mod code {
    pub(crate) const BUSY: i32 = 5;
    pub(crate) const LOCKED: i32 = 6;
    pub(crate) const READONLY: i32 = 8;
    pub(crate) const IOERR: i32 = 10;
    pub(crate) const CORRUPT: i32 = 11;
    pub(crate) const FULL: i32 = 13;
    pub(crate) const CANTOPEN: i32 = 14;
    pub(crate) const NOTADB: i32 = 26;
}

/// The primary code: the low byte of the extended code that sqlx reports as text.
pub(crate) fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed) {
            return Self::Closed;
        }
        let primary = primary_code(&error);
        let timed_out = matches!(error, sqlx::Error::PoolTimedOut);
        let error = Arc::new(error);
        match primary {
            Some(code::FULL) => Self::Full(error),
            Some(code::BUSY | code::LOCKED) => Self::Busy(error),
            Some(code::IOERR | code::CANTOPEN) => Self::Io(error),
            Some(code::CORRUPT | code::NOTADB) => Self::Corrupt(error),
            Some(code::READONLY) => Self::ReadOnly,
            Some(_) | None if timed_out => Self::Busy(error),
            Some(_) | None => Self::Database(error),
        }
    }
}

/// Why the database could not be opened. The file is as it was in every case.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not a database, or a damaged one.
    #[error(
        "the database {} is damaged ({detail}); nothing was changed. Move it away with its companions, \
         as in 'mkdir {0}.damaged && mv {0} {0}-* {0}.damaged/', and start with an empty one{1}",
        path.display(), restore(path, backup.as_deref())
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite found.
        detail: String,
        /// The newest backup beside it, if there is one.
        backup: Option<PathBuf>,
    },
    /// It is a database of some other program.
    #[error(
        "{} is a database of another program, not of Wrasse; nothing was changed. Move it away or name another state directory",
        path.display()
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// It was written by a later version.
    #[error(
        "{} was written by a newer Wrasse (schema {found}, this one knows {known}); nothing was changed. \
         Run the newer version, or name another state directory",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version it has.
        found: u32,
        /// The latest version this program knows.
        known: u32,
    },
    /// It was written by an earlier version, and was opened to read only.
    #[error(
        "{} was written by an older Wrasse (schema {found}, this one has {known}); \
         'wrasse gateway run' brings it up to date, keeping a backup",
        path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// The version it has.
        found: u32,
        /// The latest version this program knows.
        known: u32,
    },
    /// There is none, and it was opened to read only.
    #[error("there is no database {}: no gateway has run on this state directory yet", path.display())]
    Absent {
        /// The file.
        path: PathBuf,
    },
    /// Another process is writing to it.
    #[error(
        "{} is locked by another process that does not hold the state directory's lock, as a database browser; close it",
        path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file system cannot keep a write-ahead log.
    #[error(
        "the file system of {} does not support SQLite's write-ahead log (journal mode stayed {mode:?}); \
         put the state directory on a local disk: --state-dir or WRASSE_STATE_DIR",
        path.display()
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The journal mode that SQLite kept.
        mode: String,
    },
    /// There is no room.
    #[error("the disk that holds {} is full: free some space", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The backup that goes before a migration could not be made, so there was no migration.
    #[error("no backup of the database could be made at {}, so it was not brought up to date: {source}", path.display())]
    Backup {
        /// The backup file.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// A migration failed; the database is as it was.
    #[error(
        "the database could not be brought from schema {from} to {to}; it is as it was, a copy is {}: {source}",
        backup.as_ref().map_or_else(|| "not needed".to_owned(), |path| path.display().to_string())
    )]
    Migration {
        /// The version it has.
        from: u32,
        /// The version it should have got.
        to: u32,
        /// The backup that was made.
        backup: Option<PathBuf>,
        /// Why.
        source: StoreError,
    },
    /// The operating system refused.
    #[error("{} cannot be opened: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Any other failure.
    #[error("{} cannot be opened: {source}", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
}

impl OpenError {
    /// Names the file in an error that a first statement met.
    pub(crate) fn from_store(path: &Path, error: StoreError) -> Self {
        let path = path.to_owned();
        match error {
            StoreError::Corrupt(source) => {
                let backup = crate::schema::newest_backup(&path);
                Self::Corrupt { detail: source.to_string(), backup, path }
            }
            StoreError::Full(_) => Self::Full { path },
            StoreError::Busy(_) => Self::Locked { path },
            source @ (StoreError::Io(_)
            | StoreError::Closed
            | StoreError::Congested
            | StoreError::ReadOnly
            | StoreError::NotFound { .. }
            | StoreError::BadRow { .. }
            | StoreError::Database(_)) => Self::Store { path, source },
        }
    }
}

fn restore(path: &Path, backup: Option<&Path>) -> String {
    backup.map_or_else(String::new, |backup| {
        format!(", or put the backup in its place: cp {} {}", backup.display(), path.display())
    })
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions, SqliteConnection};

    use super::*;

    async fn connection(path: &Path) -> SqliteConnection {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        options.create_if_missing(true).connect().await.unwrap()
    }

    #[tokio::test]
    async fn a_full_database_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = connection(&dir.path().join("x.db")).await;
        sqlx::raw_sql("PRAGMA max_page_count = 4; CREATE TABLE t (b BLOB)")
            .execute(&mut connection)
            .await
            .unwrap();
        let refused = sqlx::query("INSERT INTO t VALUES (zeroblob(100000))")
            .execute(&mut connection)
            .await
            .unwrap_err();
        let error = StoreError::from(refused);
        assert!(matches!(error, StoreError::Full(_)), "{error:?}");
        assert!(error.retry_may_help());
    }

    #[tokio::test]
    async fn a_locked_database_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let mut holder = connection(&path).await;
        sqlx::raw_sql("CREATE TABLE t (b); BEGIN EXCLUSIVE").execute(&mut holder).await.unwrap();
        let mut other = connection(&path).await;
        sqlx::raw_sql("PRAGMA busy_timeout = 0").execute(&mut other).await.unwrap();
        let refused =
            sqlx::query("INSERT INTO t VALUES (1)").execute(&mut other).await.unwrap_err();
        assert!(matches!(StoreError::from(refused), StoreError::Busy(_)));
    }
}
