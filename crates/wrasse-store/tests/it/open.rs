use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use wrasse_store::{Durability, OpenError, Role, StateDir, Store, StoreError};
use wrasse_types::{InstanceId, JobId, RunId, SessionId};

use crate::support::{gateway, key, new_instance, new_run, state_dir};

async fn raw(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    options.connect().await.unwrap()
}

async fn refused(dir: &StateDir) -> OpenError {
    Store::open(dir, Durability::Process, Role::Gateway).await.unwrap_err()
}

async fn fixture_v1(dir: &StateDir) {
    let mut connection = raw(&dir.database()).await;
    sqlx::raw_sql(include_str!("../fixtures/v1.sql")).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn the_database_and_its_companions_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let (_home, dir) = state_dir();
    let store = gateway(&dir).await;
    store.set_meta("a", "b").await.unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["wrasse.db", "wrasse.db-shm", "wrasse.db-wal"]);
    store.close().await;
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "the log was folded back");
}

#[tokio::test]
async fn a_database_of_schema_1_opens_with_everything_in_it() {
    let (_home, dir) = state_dir();
    fixture_v1(&dir).await;
    let store = gateway(&dir).await;
    let session = store.session(&key("agent:hub:main")).await.unwrap().unwrap();
    assert_eq!(session.label.as_deref(), Some("the fixture"));
    let transcript = store.transcript(&session.session_id, None).await.unwrap();
    assert_eq!(transcript[0].body["text"], "Look at the reef.");
    assert_eq!(store.open_runs().await.unwrap()[0].id, RunId::new("r-00facade"));
    assert_eq!(store.job(&JobId::new("daily")).await.unwrap().unwrap().timeout_ms, Some(60_000));
    assert_eq!(store.close_lost_firings(wrasse_types::UnixMillis::now()).await.unwrap(), 1);
    assert_eq!(store.catalogue("f0").await.unwrap().unwrap().server, "filesystem");
    assert_eq!(store.fingerprint_secret()[..3], [0, 1, 2]);
    let ledger = store.ledger();
    let open = ledger.open_instances().await.unwrap();
    assert_eq!(open[0].id, InstanceId::new(1041));
    assert_eq!(open[0].guardian.as_ref().map(|guardian| guardian.pid), Some(4120));
    let next = ledger.begin_instance(new_instance("sqlite")).await.unwrap();
    assert_eq!(next.number(), 1042);
    store.close().await;
}

#[tokio::test]
async fn a_newer_database_is_refused_by_name_and_left_alone() {
    let (_home, dir) = state_dir();
    fixture_v1(&dir).await;
    let mut connection = raw(&dir.database()).await;
    sqlx::raw_sql("PRAGMA user_version = 9").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let before = std::fs::read(dir.database()).unwrap();
    for role in [Role::Gateway, Role::Reader] {
        let refused = Store::open(&dir, Durability::Process, role).await.unwrap_err();
        assert!(matches!(refused, OpenError::Newer { found: 9, .. }), "{refused:?}");
        let text = refused.to_string();
        let expected = "was written by a newer Wrasse (schema 9, this one knows 1)";
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(std::fs::read(dir.database()).unwrap(), before);
}

#[tokio::test]
async fn what_is_not_a_database_is_refused_and_left_alone() {
    let (_home, dir) = state_dir();
    for garbage in ["x", "this is a text and no database, whatever its name may say\n"] {
        std::fs::write(dir.database(), garbage).unwrap();
        let refused = refused(&dir).await;
        assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused:?}");
        let text = refused.to_string();
        for part in [dir.database().to_str().unwrap(), "nothing was changed", "mkdir", "mv"] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
        assert_eq!(std::fs::read_to_string(dir.database()).unwrap(), garbage);
    }
}

#[tokio::test]
async fn a_damaged_database_is_refused_with_its_backup_named() {
    let (_home, dir) = state_dir();
    let store = gateway(&dir).await;
    for n in 0..400 {
        store.insert_run(&new_run(&format!("r-{n:08x}"), &key("main"))).await.unwrap();
    }
    store.close().await;
    let mut bytes = std::fs::read(dir.database()).unwrap();
    let middle = bytes.len() / 2;
    // Past the schema's first pages, so that only a check finds it.
    bytes[middle..middle + 20_000].fill(0xa5);
    std::fs::write(dir.database(), &bytes).unwrap();
    let backup = dir.path().join("wrasse.db.bak-v1");
    std::fs::write(&backup, "").unwrap();

    let refused = refused(&dir).await;
    assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused:?}");
    assert!(refused.to_string().contains(backup.to_str().unwrap()), "{refused}");
    assert!(std::fs::read(dir.database()).unwrap() == bytes, "the file was changed");
}

#[tokio::test]
async fn a_database_of_another_program_is_refused() {
    let (_home, dir) = state_dir();
    let mut connection = raw(&dir.database()).await;
    sqlx::raw_sql("CREATE TABLE theirs (x)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let refused = refused(&dir).await;
    assert!(matches!(refused, OpenError::NotOurs { .. }), "{refused:?}");
}

#[tokio::test]
async fn an_interrupted_creation_is_taken_up_again() {
    let (_home, dir) = state_dir();
    std::fs::write(dir.database(), "").unwrap();
    let store = gateway(&dir).await;
    assert_eq!(store.count_sessions().await.unwrap(), 0);
    store.close().await;
}

#[tokio::test]
async fn a_reader_reads_beside_a_gateway_and_without_one() {
    let (_home, dir) = state_dir();
    let open = || Store::open(&dir, Durability::Process, Role::Reader);
    assert!(matches!(open().await, Err(OpenError::Absent { .. })));
    assert!(!dir.database().exists(), "a reader makes nothing");

    let store = gateway(&dir).await;
    store.set_meta("colour", "blue").await.unwrap();
    let reader = open().await.unwrap();
    assert_eq!(reader.get_meta("colour").await.unwrap().as_deref(), Some("blue"));
    assert_eq!(reader.fingerprint_secret(), store.fingerprint_secret());
    store.close().await;
    reader.close().await;

    let reader = open().await.unwrap();
    assert_eq!(reader.get_meta("colour").await.unwrap().as_deref(), Some("blue"));
    assert!(matches!(reader.set_meta("colour", "red").await, Err(StoreError::ReadOnly)));
    let ledger = reader.ledger();
    let refused = ledger.begin_instance(new_instance("sqlite")).await;
    assert!(matches!(refused, Err(StoreError::ReadOnly)));
    ledger.event(InstanceId::new(1), "nothing comes of it");
    assert_eq!(ledger.open_instances().await.unwrap(), []);
    reader.close().await;
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let (_home, dir) = state_dir();
    let store = gateway(&dir).await;
    let ledger = store.ledger();
    store.close().await;
    store.close().await;
    assert!(matches!(store.session(&key("main")).await, Err(StoreError::Closed)));
    let span = SessionId::new("x");
    assert!(matches!(store.transcript(&span, None).await, Err(StoreError::Closed)));
    let refused = ledger.begin_instance(new_instance("sqlite")).await;
    assert!(matches!(refused, Err(StoreError::Closed)));
    ledger.event(InstanceId::new(1), "never blocks or fails");
}
