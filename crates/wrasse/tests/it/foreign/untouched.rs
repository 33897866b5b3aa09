//! What is read of another host's state stays as it was: no file comes, goes, grows or is touched.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use wrasse_testkit::foreign_host::Via;
use wrasse_testkit::station::text;

use super::cast::{Cast, Fate, Kind, class};
use super::database::{self, Connection};

/// How the gateway's databases stand when they are read.
#[derive(Debug, Clone, Copy)]
enum Gateway {
    Lives,
    Closed,
    /// What a crash leaves: the log and its index.
    Died,
    /// And somebody removed the index, which is of no use after a crash.
    DiedTidied,
}

/// Every file below a folder: how long it is, and when it was written to the nanosecond.
fn listing(folder: &Path, found: &mut BTreeMap<PathBuf, (u64, i64, i64)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let data = std::fs::symlink_metadata(&path).unwrap();
        if data.is_dir() {
            listing(&path, found);
        }
        found.insert(path, (data.size(), data.mtime(), data.mtime_nsec()));
    }
}

#[test]
fn no_command_changes_anything_in_the_state_of_another_host() {
    for (kind, gateway) in [
        (Kind::Databases, Gateway::Lives),
        (Kind::Databases, Gateway::Closed),
        (Kind::Databases, Gateway::Died),
        (Kind::Databases, Gateway::DiedTidied),
        (Kind::Files, Gateway::Lives),
        (Kind::Files, Gateway::Closed),
        (Kind::Files, Gateway::DiedTidied),
    ] {
        let mut cast = Cast::new();
        let actor = cast.enter(kind);
        cast.session(actor, Fate::CronEnded, Via::Pipes, &["deaf"]);
        cast.session(actor, Fate::Kept, Via::Pipes, &["deaf"]);
        cast.record();
        // And the same for the caller's own installation, which `doctor` looks at.
        let own = cast.station.path("home/.openclaw");
        let state = cast.actors[actor].state.clone();
        match kind {
            Kind::Databases => database::write(&own, &cast.actors[actor].sessions),
            Kind::Files | Kind::Claude | Kind::Stranger => {
                database::tasks(&own, &cast.actors[actor].sessions);
            }
        }
        let look = || {
            let mut found = BTreeMap::new();
            listing(&own, &mut found);
            listing(&state, &mut found);
            found
        };
        let databases =
            look().into_keys().filter(|path| path.extension() == Some("sqlite".as_ref()));
        let mut open = Vec::new();
        for file in databases {
            match gateway {
                Gateway::Lives => open.push(Connection::open(&file)),
                Gateway::Closed => Connection::open(&file).close(),
                Gateway::Died => {}
                Gateway::DiedTidied => {
                    std::fs::remove_file(file.with_extension("sqlite-shm")).unwrap();
                }
            }
        }
        let before = look();
        let root = cast.servers[1].root;
        let (below, pid) = (cast.station.oracle.pid().to_string(), root.to_string());
        let fixed = ["reap", "--foreign", "--below", &below, "--watch", super::cast::WATCH];
        for words in [
            [&fixed[..], &["--json"]].concat(),
            [&fixed[..], &["--all"]].concat(),
            vec!["why", &pid],
            vec!["doctor", "--host", "openclaw"],
            vec!["doctor"],
            vec!["ps"],
            [&fixed[..], &["--finished", "--yes", "--json"]].concat(),
        ] {
            let output = cast.station.cli(&words);
            let after = look();
            let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
            let changed: Vec<_> = after
                .iter()
                .filter(|(path, data)| before.get(*path) != Some(*data))
                .map(|(path, _)| path)
                .chain(before.keys().filter(|path| !after.contains_key(*path)))
                .collect();
            assert!(changed.is_empty(), "{kind:?} {gateway:?} {words:?}: {changed:?}\n{said}");
            // It was read, not passed over.
            if words.contains(&"--json") {
                let report = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(class(&report, root), Some("in-use"), "{gateway:?}: {report:#}");
            } else if words.contains(&"why") {
                assert!(said.contains("it can be continued"), "{gateway:?}: {said}");
            } else if words.contains(&"--host") && kind == Kind::Databases {
                assert!(said.contains("openclaw 2026.9.6"), "{gateway:?}: {said}");
            }
        }
        assert!(cast.servers[1].lives());
        open.into_iter().for_each(Connection::close);
        cast.leave();
    }
}
