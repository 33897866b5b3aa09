//! The ledger's files alone; what a sweep ends is shown by the end-to-end tests.

use std::time::SystemTime;

use super::*;

const TWO_DAYS: Duration = Duration::from_secs(2 * 24 * 3600);

fn own_row(place: &Place) -> ShimRow {
    ShimRow::of_this_process(place, "s", vec!["server".to_owned()], "private")
}

fn instance(instance: u64, guardian: ProcessRow) -> InstanceRow {
    InstanceRow { instance, guardian, server: None, since: UnixMillis::now(), calls: 0 }
}

fn names(state_dir: &Path) -> Vec<String> {
    let files = std::fs::read_dir(place::shims(state_dir)).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn age(path: &Path, age: Duration) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[tokio::test]
async fn what_was_torn_is_removed_when_it_is_old_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::open(dir.path());
    let folder = place.shims();
    Row::new(&place, own_row(&place)).change(|row| row.id = "own".to_owned()).unwrap();
    age(&folder.join("own.json"), TWO_DAYS);
    let newer = br#"{"version":99,"of":"a later Wrasse"}"#;
    for (name, content) in [
        (".old.json.abc", &b"{"[..]),
        (".new.json.abc", b"{"),
        ("old.json", b""),
        ("new.json", b"{\"ver"),
        ("newer.json", newer),
    ] {
        std::fs::write(folder.join(name), content).unwrap();
        if !name.contains("new.") {
            age(&folder.join(name), TWO_DAYS);
        }
    }
    sweep(dir.path()).await.unwrap();
    assert_eq!(names(dir.path()), [".new.json.abc", "new.json", "newer.json", "own.json"]);
}

#[tokio::test]
async fn rows_of_the_dead_go_and_of_the_living_stay() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::open(dir.path());
    let row = |id: &str, change: fn(&mut ShimRow)| {
        let row = Row::new(&place, own_row(&place));
        row.change(|row| {
            row.id = id.to_owned();
            change(row);
        })
        .unwrap();
    };
    row("alive", |_| {});
    row("dead", |row| row.process.start_ticks += 1);
    row("earlier", |row| row.boot_id = "another".to_owned());
    row("elsewhere", |row| row.pid_namespace = "pid:[1]".to_owned());
    assert_eq!(sweep(dir.path()).await.unwrap(), SweepReport::default());
    assert_eq!(names(dir.path()), ["alive.json", "elsewhere.json"]);
}

/// A start that was given up is no server, and its row stays for a sweep.
#[test]
fn an_instance_that_never_came_up_is_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::open(dir.path());
    let own = ProcessRow::of(std::process::id()).unwrap();
    let row = Row::new(&place, own_row(&place));
    row.change(|row| {
        let gone = ProcessRow { start_ticks: own.start_ticks + 1, ..own.clone() };
        let lost = InstanceRow { server: Some(own.clone()), ..instance(3, gone.clone()) };
        row.instances = vec![instance(1, own.clone()), instance(2, gone), lost];
    })
    .unwrap();
    let shown = live(dir.path()).remove(0).instances;
    assert_eq!(shown.iter().map(|row| row.instance).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(rows(dir.path())[0].1.instances.len(), 3);
}
