//! Whether the wall clock was set since a gateway started. Starts of processes are counted from boot, records are by the
//! clock as it was: after a step of it every start is moved against every record.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use wrasse_types::UnixMillis;

use super::files::folder;
use super::records::{SLACK_MS, text};
use crate::foreign::Identity;

/// A gateway takes its lock within this of its start, also on a slow machine.
const STARTS_WITHIN_MS: i64 = 5 * 60 * 1000;

/// Whether the clock was set since a gateway took its lock, which notes when that was and which process it is. Without
/// such a lock nothing is known, and nothing said.
pub fn was_set(env: &BTreeMap<String, String>, gateway: Identity, started: UnixMillis) -> bool {
    let temporary = env.get("TMPDIR").filter(|path| !path.is_empty());
    let temporary = temporary.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    let folders = folder(&temporary).into_iter().filter(|path| named(path, "openclaw", ""));
    let locks = folders.flat_map(|path| folder(&path));
    locks
        .filter(|path| named(path, "gateway.", ".lock"))
        .filter_map(|path| created(&path, gateway))
        .any(|at| !(started.get() - SLACK_MS..=started.get() + STARTS_WITHIN_MS).contains(&at))
}

fn named(path: &Path, start: &str, end: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(start) && name.ends_with(end))
}

fn created(lock: &Path, gateway: Identity) -> Option<i64> {
    let lock: Value = serde_json::from_slice(&std::fs::read(lock).ok()?).ok()?;
    let of_it = lock.get("pid")?.as_u64() == Some(u64::from(gateway.pid))
        && lock.get("startTime")?.as_u64() == Some(gateway.start_ticks);
    let at = text(&lock, "createdAt").and_then(UnixMillis::parse)?;
    of_it.then(|| at.get())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lock_that_is_older_or_much_younger_than_its_process_says_that_the_clock_was_set() {
        let dir = tempfile::tempdir().unwrap();
        let env = BTreeMap::from([("TMPDIR".to_owned(), dir.path().display().to_string())]);
        let (gateway, started) = (Identity { pid: 7, start_ticks: 42 }, 1_795_000_000_000);
        let set = |at: i64, ticks: u64| {
            let folder = dir.path().join("openclaw-0");
            std::fs::create_dir_all(&folder).unwrap();
            let created = UnixMillis::new(at).to_string();
            let lock =
                json!({ "pid": 7, "createdAt": created, "configPath": "/c", "startTime": ticks });
            std::fs::write(folder.join("gateway.0a1b2c3d.lock"), lock.to_string()).unwrap();
            was_set(&env, gateway, UnixMillis::new(started))
        };
        assert!(!was_set(&env, gateway, UnixMillis::new(started)), "no lock says nothing");
        assert!(!set(started + 2000, 42));
        assert!(set(started - 1000, 42), "it was set forward");
        assert!(set(started + 3_600_000, 42), "it was set back");
        assert!(!set(started - 1000, 41), "another process's");
    }
}
