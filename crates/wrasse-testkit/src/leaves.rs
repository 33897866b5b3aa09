//! The cgroups that gateways make for their trees, found without a line of the program under test.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Those of the installation that a state dir is, at any depth below our own cgroup. None where there is no cgroup v2.
pub fn of(state_dir: &Path) -> Vec<PathBuf> {
    let Ok(text) = std::fs::read(state_dir.join("installation")) else { return Vec::new() };
    let installation: Value = serde_json::from_slice(&text).unwrap();
    let prefix = format!("wrasse-{:04x}-", installation["number"].as_u64().unwrap());
    let mut found = Vec::new();
    if let Some(own) = own() {
        look(&own, &prefix, &mut found);
    }
    found
}

/// Only gateways make directories of this name, and only in those of others can more be.
fn look(folder: &Path, prefix: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with("wrasse-")) else { continue };
        if name.starts_with(prefix) {
            found.push(entry.path());
        }
        look(&entry.path(), prefix, found);
    }
}

fn own() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    let cgroup = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let below = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(mount.split(' ').nth(1)?).join(below))
}
