use std::os::unix::fs::PermissionsExt;

use sqlx::ConnectOptions;

use super::*;

const V1: &str = include_str!("v1.sql");
const V2: &str =
    "ALTER TABLE sessions ADD COLUMN colour TEXT; CREATE TABLE shells (id INTEGER) STRICT";
const BAD_V3: &str =
    "CREATE TABLE half_done (id INTEGER) STRICT; INSERT INTO no_such_table VALUES (1)";
const FIXTURE: &str = include_str!("../../tests/fixtures/v1.sql");

struct Fixture {
    dir: tempfile::TempDir,
    connection: SqliteConnection,
}

impl Fixture {
    async fn v1() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = connect(&dir.path().join("wrasse.db")).await;
        sqlx::raw_sql(AssertSqlSafe(FIXTURE)).execute(&mut connection).await.unwrap();
        Self { dir, connection }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("wrasse.db")
    }

    async fn migrate(&mut self, migrations: &[&str]) -> Result<(), OpenError> {
        let path = self.path();
        migrate_with(&mut self.connection, &path, migrations).await
    }

    async fn version(&mut self) -> u32 {
        read_shape(&mut self.connection).await.unwrap().version
    }

    async fn tables_named(&mut self, name: &str) -> i64 {
        let row = sqlx::query("SELECT count(*) AS n FROM sqlite_master WHERE name = ?")
            .bind(name)
            .fetch_one(&mut self.connection)
            .await
            .unwrap();
        row.integer("n").unwrap()
    }
}

async fn connect(path: &Path) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    options.create_if_missing(true).connect().await.unwrap()
}

async fn labels(connection: &mut SqliteConnection) -> Vec<String> {
    let rows = sqlx::query("SELECT label FROM sessions WHERE label IS NOT NULL")
        .fetch_all(connection)
        .await
        .unwrap();
    rows.iter().map(|row| row.text("label").unwrap()).collect()
}

#[tokio::test]
async fn an_older_database_is_brought_up_to_date_after_a_backup() {
    let mut fixture = Fixture::v1().await;
    fixture.migrate(&[V1, V2]).await.unwrap();
    assert_eq!(fixture.version().await, 2);
    assert_eq!(labels(&mut fixture.connection).await, ["the fixture"]);
    assert_eq!(fixture.tables_named("shells").await, 1);

    let backup = fixture.dir.path().join("wrasse.db.bak-v1");
    assert_eq!(newest_backup(&fixture.path()), Some(backup.clone()));
    assert_eq!(std::fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let mut copy = connect(&backup).await;
    let shape = read_shape(&mut copy).await.unwrap();
    assert_eq!((shape.version, shape.application_id), (1, APPLICATION_ID));
    assert_eq!(labels(&mut copy).await, ["the fixture"]);
    assert!(!fixture.dir.path().join("wrasse.db.bak-v1.partial").exists());
}

#[tokio::test]
async fn all_pending_migrations_are_one_transaction() {
    let mut fixture = Fixture::v1().await;
    let refused = fixture.migrate(&[V1, V2, BAD_V3]).await.unwrap_err();
    let OpenError::Migration { from: 1, to: 3, backup: Some(backup), .. } = &refused else {
        panic!("{refused:?}")
    };
    assert!(backup.exists());
    assert!(refused.to_string().contains("from schema 1 to 3; it is as it was"), "{refused}");
    assert_eq!(fixture.version().await, 1);
    assert_eq!(fixture.tables_named("shells").await, 0, "the good one was undone too");
    assert_eq!(fixture.tables_named("half_done").await, 0);
    assert_eq!(labels(&mut fixture.connection).await, ["the fixture"]);
}

#[tokio::test]
async fn an_earlier_backup_is_never_overwritten() {
    let mut fixture = Fixture::v1().await;
    let kept = fixture.dir.path().join("wrasse.db.bak-v1");
    std::fs::write(&kept, "an earlier one").unwrap();
    fixture.migrate(&[V1, V2]).await.unwrap();
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "an earlier one");
    assert!(fixture.dir.path().join("wrasse.db.bak-v1-2").exists());
}

#[tokio::test]
async fn without_a_backup_there_is_no_migration() {
    let mut fixture = Fixture::v1().await;
    std::fs::create_dir(fixture.dir.path().join("wrasse.db.bak-v1.partial")).unwrap();
    let refused = fixture.migrate(&[V1, V2]).await.unwrap_err();
    assert!(matches!(refused, OpenError::Backup { .. }), "{refused:?}");
    assert_eq!(fixture.version().await, 1);
}

#[tokio::test]
async fn an_empty_database_needs_no_backup() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wrasse.db");
    let mut connection = connect(&path).await;
    migrate_with(&mut connection, &path, &[V1, V2]).await.unwrap();
    assert_eq!(read_shape(&mut connection).await.unwrap().version, 2);
    assert_eq!(newest_backup(&path), None);
}

/// What was released is never changed: a fixture of it must have the tables that its migration makes.
#[tokio::test]
async fn the_fixture_is_what_the_first_migration_makes() {
    let mut fixture = Fixture::v1().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wrasse.db");
    let mut fresh = connect(&path).await;
    migrate_with(&mut fresh, &path, &[V1]).await.unwrap();
    assert_eq!(shapes(&mut fixture.connection).await, shapes(&mut fresh).await);
}

async fn shapes(connection: &mut SqliteConnection) -> Vec<String> {
    let rows = sqlx::query("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
        .fetch_all(connection)
        .await
        .unwrap();
    rows.iter().map(|row| row.text("sql").unwrap()).collect()
}
