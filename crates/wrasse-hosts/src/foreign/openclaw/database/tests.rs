//! Databases in every state that a writer leaves them in. The writer is python's, which shares no code with us.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Obeys a line at a time, and answers each.
const WRITER: &str = "
import sqlite3, sys, os
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute('PRAGMA journal_mode=' + sys.argv[2])
for line in sys.stdin:
    if line == 'die\\n': os._exit(0)
    if line == 'close\\n': db.close()
    else: db.execute(line)
    print('done', flush=True)
";

struct Writer(Child);

impl Writer {
    #[expect(clippy::disallowed_methods, reason = "an independent writer of the database")]
    fn start(file: &Path, journal: &str) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", WRITER]).arg(file).arg(journal);
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn say(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
        if line == "die" {
            self.0.wait().unwrap();
            return;
        }
        let mut answer = String::new();
        let mut stdout = std::io::BufReader::with_capacity(1, self.0.stdout.as_mut().unwrap());
        stdout.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n", "{line}");
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A folder with a database of one table with one row, and its writer.
fn written(journal: &str) -> (tempfile::TempDir, PathBuf, Writer) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("50% of it?.sqlite");
    let mut writer = Writer::start(&file, journal);
    writer.say("CREATE TABLE t (n INTEGER)");
    writer.say("INSERT INTO t VALUES (1)");
    (dir, file, writer)
}

/// Every file of a folder: how long it is, when it was written, what it holds.
fn listing(dir: &Path) -> BTreeMap<PathBuf, (i64, i64, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            let data = std::fs::metadata(&path).unwrap();
            let text = std::fs::read(&path).unwrap();
            (path, (data.mtime(), data.mtime_nsec(), text))
        })
        .collect()
}

async fn count(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(connection).await
}

/// Reads, and proves that nothing changed.
fn check(file: &Path, way: Way, rows: i64, what: &str) {
    let dir = file.parent().unwrap();
    let before = listing(dir);
    let seen = Beside::of(file, &std::fs::File::open(file).unwrap()).unwrap();
    assert_eq!(seen.way(), way, "{what}: {seen:?}");
    assert_eq!(reading(file, count).unwrap(), rows, "{what}");
    let after = listing(dir);
    assert!(before == after, "{what}: {:?} became {:?}", before.keys(), after.keys());
}

#[test]
fn nothing_changes_beside_a_database_whose_writer_lives_left_or_died() {
    let (_dir, file, mut writer) = written("WAL");
    check(&file, Way::Shared, 1, "live");
    writer.say("INSERT INTO t VALUES (2)");
    check(&file, Way::Shared, 2, "live, and at work meanwhile");
    writer.say("PRAGMA wal_checkpoint(TRUNCATE)");
    check(&file, Way::Shared, 2, "live, with an empty log");
    writer.say("INSERT INTO t VALUES (3)");
    writer.say("die");
    check(&file, Way::Shared, 3, "dead, with its log and its index");
    std::fs::remove_file(beside(&file, "-shm")).unwrap();
    check(&file, Way::Copied, 3, "dead, with its log");
    let folder = file.parent().unwrap();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o500)).unwrap();
    check(&file, Way::Copied, 3, "dead, in a folder where only root can write");
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut writer = Writer::start(&file, "WAL");
    writer.say("INSERT INTO t VALUES (4)");
    check(&file, Way::Shared, 4, "started again");
    writer.say("close");
    check(&file, Way::Still, 4, "closed");
    std::fs::write(beside(&file, "-wal"), "").unwrap();
    check(&file, Way::Still, 4, "closed, with an empty log");
}

#[test]
fn a_database_without_a_log_and_one_behind_a_link_are_read_as_they_are() {
    let (_dir, file, mut writer) = written("DELETE");
    check(&file, Way::Shared, 1, "no write-ahead log");
    writer.say("close");
    let (_dir, file, _writer) = written("WAL");
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link.sqlite");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let before = (listing(file.parent().unwrap()), listing(elsewhere.path()));
    assert_eq!(reading(&link, count).unwrap(), 1);
    let after = (listing(file.parent().unwrap()), listing(elsewhere.path()));
    assert!(before == after, "{:?}", after.1.keys());
}

#[test]
fn an_empty_database_is_not_opened_since_its_log_would_be_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("db");
    std::fs::write(&file, "").unwrap();
    std::fs::write(beside(&file, "-wal"), "x").unwrap();
    assert!(reading(&file, count).is_err());
    assert_eq!(listing(dir.path()).len(), 2);
}

/// Between the look at a closed database and its end a host may start: what was read then may be of two moments.
#[test]
fn what_starts_to_write_meanwhile_is_seen() {
    for left in ["closed", "dead"] {
        let (_dir, file, mut writer) = written("WAL");
        if left == "closed" {
            writer.say("close");
        } else {
            writer.say("die");
            std::fs::remove_file(beside(&file, "-shm")).unwrap();
        }
        let writers = std::sync::Mutex::new(Vec::new());
        let reads = AtomicUsize::new(0);
        let found = reading(&file, async |connection| {
            if reads.fetch_add(1, Ordering::Relaxed) == 0 {
                let mut writer = Writer::start(&file, "WAL");
                writer.say("INSERT INTO t VALUES (2)");
                writers.lock().unwrap().push(writer);
            }
            count(connection).await
        });
        assert_eq!((found.unwrap(), reads.into_inner()), (2, 2), "{left}");
    }
}

/// SQLite creates a log that is missing, so none may go between the look and the opening.
#[test]
fn a_writer_that_closes_meanwhile_leaves_its_log_to_us() {
    let (_dir, file, mut writer) = written("WAL");
    let held = held(&file).unwrap();
    writer.say("close");
    assert_eq!(Beside::of(&file, &held).unwrap().way(), Way::Shared);
    drop(held);
    check(&file, Way::Shared, 1, "closed under a reader");
}
