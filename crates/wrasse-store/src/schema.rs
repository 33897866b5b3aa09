//! The shape of the database, and how an older one is brought up to date.
//!
//! `PRAGMA user_version` is the number of the last migration; `PRAGMA application_id` says that the file is ours.
//! All pending migrations go in one transaction, after a copy of the file was made: either all took, or the file is as
//! it was. A migration that has been released is never changed; a change is a new one.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use crate::rows::Columns;
use crate::{OpenError, StoreError};

#[cfg(test)]
mod tests;

/// "WRAS", so that `file` and this program know whose database it is.
const APPLICATION_ID: u32 = 0x5752_4153;

/// The migrations, in order: the first makes version 1, and so on.
const MIGRATIONS: &[&str] = &[include_str!("schema/v1.sql")];

/// Brings a database to the latest version; an empty one is filled, without a backup.
pub(crate) async fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), OpenError> {
    migrate_with(connection, path, MIGRATIONS).await
}

/// Checks that a database is ours and not newer, and gives its version; 0 means that it is empty.
pub(crate) async fn version(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<u32, OpenError> {
    version_with(connection, path, MIGRATIONS).await
}

/// The latest version.
pub(crate) fn known() -> u32 {
    latest(MIGRATIONS)
}

fn latest(migrations: &[&str]) -> u32 {
    u32::try_from(migrations.len()).unwrap_or(u32::MAX)
}

async fn version_with(
    connection: &mut SqliteConnection,
    path: &Path,
    migrations: &[&str],
) -> Result<u32, OpenError> {
    let shape = read_shape(connection).await.map_err(|error| OpenError::from_store(path, error))?;
    let known = latest(migrations);
    if shape.tables == 0 && shape.version == 0 {
        return Ok(0);
    }
    if shape.application_id != APPLICATION_ID || shape.version == 0 {
        return Err(OpenError::NotOurs { path: path.to_owned() });
    }
    if shape.version > known {
        return Err(OpenError::Newer { path: path.to_owned(), found: shape.version, known });
    }
    Ok(shape.version)
}

struct Shape {
    application_id: u32,
    version: u32,
    tables: u64,
}

async fn read_shape(connection: &mut SqliteConnection) -> Result<Shape, StoreError> {
    let row = sqlx::query(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) AS tables
         FROM pragma_application_id, pragma_user_version",
    )
    .fetch_one(connection)
    .await?;
    Ok(Shape {
        // SQLite keeps it signed.
        application_id: row.number::<i32>("application_id")?.cast_unsigned(),
        version: row.number("user_version")?,
        tables: row.number("tables")?,
    })
}

async fn migrate_with(
    connection: &mut SqliteConnection,
    path: &Path,
    migrations: &[&str],
) -> Result<(), OpenError> {
    let from = version_with(connection, path, migrations).await?;
    let to = latest(migrations);
    if from == to {
        return Ok(());
    }
    let backup = if from == 0 { None } else { Some(back_up(connection, path, from).await?) };
    let pending = migrations.get(usize::try_from(from).unwrap_or(usize::MAX)..).unwrap_or_default();
    apply(connection, pending, to).await.map_err(|source| match source {
        StoreError::Full(_) => OpenError::Full { path: path.to_owned() },
        source => OpenError::Migration { from, to, backup: backup.clone(), source },
    })?;
    if from > 0 {
        tracing::info!(from, to, backup = ?backup, "the database was brought up to date");
    }
    Ok(())
}

async fn apply(
    connection: &mut SqliteConnection,
    pending: &[&str],
    to: u32,
) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    for sql in pending {
        sqlx::raw_sql(AssertSqlSafe(*sql)).execute(&mut *transaction).await?;
    }
    let stamp = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {to}");
    sqlx::raw_sql(AssertSqlSafe(stamp)).execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

/// Copies the database to a new `<file>.bak-v<version>`; an earlier backup is never overwritten.
async fn back_up(
    connection: &mut SqliteConnection,
    path: &Path,
    version: u32,
) -> Result<PathBuf, OpenError> {
    let backup = free_backup_name(path, version);
    let partial = beside(&backup, ".partial");
    let copied = copy_into(connection, &partial).await.and_then(|()| {
        std::fs::File::open(&partial)
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&partial, &backup))
            .map_err(|error| StoreError::from(sqlx::Error::Io(error)))
    });
    if let Err(source) = copied {
        drop(std::fs::remove_file(&partial));
        return Err(OpenError::Backup { path: backup, source });
    }
    Ok(backup)
}

/// `VACUUM INTO` copies what is committed, the write-ahead log included, which copying the file would miss.
async fn copy_into(connection: &mut SqliteConnection, target: &Path) -> Result<(), StoreError> {
    // SQLite accepts an existing empty file and keeps its mode.
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(target)
        .map_err(sqlx::Error::Io)?;
    let Some(target) = target.to_str() else {
        return Err(crate::rows::bad("path", "the state directory's path is not UTF-8"));
    };
    sqlx::query("VACUUM INTO ?").bind(target).execute(connection).await?;
    Ok(())
}

fn free_backup_name(path: &Path, version: u32) -> PathBuf {
    let first = beside(path, &format!(".bak-v{version}"));
    let more = (2_u32..).map(|n| beside(path, &format!(".bak-v{version}-{n}")));
    std::iter::once(first.clone()).chain(more).find(|name| !name.exists()).unwrap_or(first)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The backup of a database that was made last.
pub(crate) fn newest_backup(path: &Path) -> Option<PathBuf> {
    let prefix = format!("{}.bak-v", path.file_name()?.to_str()?);
    std::fs::read_dir(path.parent()?)
        .ok()?
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            name.to_str()
                .is_some_and(|name| name.starts_with(&prefix) && !name.ends_with(".partial"))
        })
        .max_by_key(|entry| entry.metadata().and_then(|metadata| metadata.modified()).ok())
        .map(|entry| entry.path())
}
