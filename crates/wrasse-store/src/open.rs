//! Opening the database: refuse what cannot be trusted before anything is written, then bring it up to date.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::task::JoinSet;

use crate::ledger::{Queue, Writer};
use crate::rows::Columns;
use crate::store::Inner;
use crate::{OpenError, StateDir, Store, StoreError, meta, schema};

/// How long a statement waits for a lock that another process holds on the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Up to this size the whole file is checked at every start; above it only after an unclean end, since a check reads
/// all of it.
const ALWAYS_CHECKED_BYTES: u64 = 16 << 20;

/// What a committed row survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The death of any process.
    Process,
    /// Loss of power too, at the price of a disk flush for each commit.
    Power,
}

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// To read and write. The caller holds the state directory's lock.
    Gateway,
    /// To read, while a gateway runs or while none does.
    Reader,
}

impl Store {
    /// Opens the database of a state directory; a gateway's is made, or brought up to date, if need be.
    ///
    /// # Errors
    /// Every refusal leaves the file as it was and says what to do about it.
    pub async fn open(
        dir: &StateDir,
        durability: Durability,
        role: Role,
    ) -> Result<Self, OpenError> {
        let path = dir.database();
        match role {
            Role::Gateway => open_gateway(&path, durability).await,
            Role::Reader => open_reader(&path).await,
        }
    }
}

async fn open_gateway(path: &Path, durability: Durability) -> Result<Store, OpenError> {
    let found = look(path)?;
    if found.is_none() {
        create_private(path)?;
    }
    let options = options(path).synchronous(match durability {
        Durability::Process => SqliteSynchronous::Normal,
        Durability::Power => SqliteSynchronous::Full,
    });
    let mut connection = connect(&options, path).await?;
    let secret = prepare(&mut connection, path, found).await?;
    let writer = pool(1).connect_lazy_with(options);
    let readers = pool(2).connect_lazy_with(self::options(path).read_only(true));
    // The file must have a connection at every moment from here on, or SQLite folds the log for nothing.
    let ledger = Queue::new(next_lease(&mut connection).await.map_err(|e| named(path, e))?);
    drop(writer.acquire().await.map_err(|e| named(path, e.into()))?);
    close(connection, path).await?;
    let mut tasks = JoinSet::new();
    let handle = tasks.spawn(Writer::new(Arc::clone(&ledger), writer.clone()).run());
    drop(handle);
    Ok(Store {
        inner: Arc::new(Inner {
            role: Role::Gateway,
            writer: Some(writer),
            readers,
            ledger,
            secret,
            tasks: Mutex::new(tasks),
        }),
    })
}

async fn open_reader(path: &Path) -> Result<Store, OpenError> {
    if look(path)?.is_none() {
        return Err(OpenError::Absent { path: path.to_owned() });
    }
    let options = options(path).read_only(true);
    let mut connection = connect(&options, path).await?;
    let version = schema::version(&mut connection, path).await?;
    if version < schema::known() {
        let (path, known) = (path.to_owned(), schema::known());
        return Err(match version {
            0 => OpenError::Absent { path },
            found => OpenError::Older { path, found, known },
        });
    }
    let secret = meta::read_secret(&mut connection).await.map_err(|e| named(path, e))?;
    close(connection, path).await?;
    let ledger = Queue::new(0);
    ledger.close();
    Ok(Store {
        inner: Arc::new(Inner {
            role: Role::Reader,
            writer: None,
            readers: pool(2).connect_lazy_with(options),
            ledger,
            secret: secret.unwrap_or_default(),
            tasks: Mutex::new(JoinSet::new()),
        }),
    })
}

/// Checks, migrates and completes a database through its first connection; gives its secret.
async fn prepare(
    connection: &mut SqliteConnection,
    path: &Path,
    found: Option<Found>,
) -> Result<[u8; 32], OpenError> {
    let version = schema::version(connection, path).await?;
    let migrating = version > 0 && version < schema::known();
    let doubtful = found.is_some_and(|found| found.unclean || found.bytes <= ALWAYS_CHECKED_BYTES);
    if migrating || doubtful {
        check(connection, path).await?;
    }
    write_ahead(connection, path).await?;
    schema::migrate(connection, path).await?;
    let read = meta::read_secret(connection).await.map_err(|e| named(path, e))?;
    match read {
        Some(secret) => Ok(secret),
        None => meta::make_secret(connection).await.map_err(|e| named(path, e)),
    }
}

/// What lies where the database should be.
#[derive(Clone, Copy)]
struct Found {
    bytes: u64,
    /// The last to use it did not fold its log back, so it was killed, or still lives.
    unclean: bool,
}

/// Looks at the file without SQLite, which would take an unknown one for its own to overwrite in some cases.
fn look(path: &Path) -> Result<Option<Found>, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let bytes = file.metadata().map_err(io)?.len();
    let mut header = Vec::with_capacity(16);
    Read::by_ref(&mut file).take(16).read_to_end(&mut header).map_err(io)?;
    if bytes > 0 && header != b"SQLite format 3\0" {
        return Err(OpenError::Corrupt {
            path: path.to_owned(),
            detail: "it does not begin as a database does".to_owned(),
            backup: schema::newest_backup(path),
        });
    }
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let unclean = std::fs::metadata(log).is_ok_and(|metadata| metadata.len() > 0);
    Ok(Some(Found { bytes, unclean }))
}

/// SQLite would make the file as the umask says; its companions take their mode from it.
fn create_private(path: &Path) -> Result<(), OpenError> {
    let made =
        std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    made.map(drop).map_err(|source| OpenError::Io { path: path.to_owned(), source })
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        // Small caches: the kernel has the file in its own.
        .pragma("cache_size", "-512")
        .pragma("journal_size_limit", "4194304")
        .disable_statement_logging()
}

/// No age limits: without them the pool needs no task of its own.
fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

async fn connect(
    options: &SqliteConnectOptions,
    path: &Path,
) -> Result<SqliteConnection, OpenError> {
    options.connect().await.map_err(|error| named(path, error.into()))
}

async fn close(connection: SqliteConnection, path: &Path) -> Result<(), OpenError> {
    sqlx::Connection::close(connection).await.map_err(|error| named(path, error.into()))
}

fn named(path: &Path, error: StoreError) -> OpenError {
    OpenError::from_store(path, error)
}

async fn check(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let row = sqlx::query("PRAGMA quick_check(1)").fetch_one(connection).await;
    let verdict = row.map_err(StoreError::from).and_then(|row| row.text("quick_check"));
    match verdict.map_err(|error| named(path, error))? {
        fine if fine == "ok" => Ok(()),
        detail => {
            let detail = detail.lines().collect::<Vec<_>>().join("; ");
            let backup = schema::newest_backup(path);
            Err(OpenError::Corrupt { path: path.to_owned(), detail, backup })
        }
    }
}

async fn write_ahead(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let row = sqlx::query("PRAGMA journal_mode = WAL").fetch_one(connection).await;
    let mode = row.map_err(StoreError::from).and_then(|row| row.text("journal_mode"));
    let mode = mode.map_err(|error| named(path, error))?;
    match mode.parse::<SqliteJournalMode>() {
        Ok(SqliteJournalMode::Wal) => Ok(()),
        Ok(_) | Err(_) => Err(OpenError::Unsupported { path: path.to_owned(), mode }),
    }
}

/// The number the next lease gets. `sqlite_sequence` remembers those that were pruned.
async fn next_lease(connection: &mut SqliteConnection) -> Result<u64, StoreError> {
    let row = sqlx::query(
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'leases'), 0) + 1 AS next",
    )
    .fetch_one(connection)
    .await?;
    row.number("next")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pragma(store: &Store, sql: &'static str) -> i64 {
        let row = sqlx::query(sql).fetch_one(store.writer().unwrap()).await.unwrap();
        sqlx::Row::get(&row, 0)
    }

    #[tokio::test]
    async fn durability_decides_how_commits_are_flushed() {
        for (durability, synchronous) in [(Durability::Process, 1), (Durability::Power, 2)] {
            let dir = tempfile::tempdir().unwrap();
            let dir = StateDir::open(&dir.path().join("state")).unwrap();
            let store = Store::open(&dir, durability, Role::Gateway).await.unwrap();
            assert_eq!(pragma(&store, "PRAGMA synchronous").await, synchronous);
            assert_eq!(pragma(&store, "PRAGMA foreign_keys").await, 1);
            store.close().await;
        }
    }
}
