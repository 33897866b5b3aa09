//! Licences and duplicate versions of what ships, by cargo-deny where it is installed, else over `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use serde_json::Value;

use crate::shell::{capture, cargo, has, run};

/// Licences that may ship.
const LICENCES: [&str; 12] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unlicense",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
];

/// Names that stand in more than one version, each with the reason it is borne.
/// A name leaves this list when the newer side is the only one left.
const DUPLICATES: [(&str, &str); 9] = [
    ("base64", "sqlx-core is behind reqwest"),
    ("block-buffer", "below sha2"),
    ("cpufeatures", "below sha2"),
    ("crypto-common", "below sha2"),
    ("digest", "below sha2"),
    ("getrandom", "ring is behind everybody"),
    ("hashbrown", "sqlx-core is behind indexmap"),
    ("sha2", "sqlx-core is behind rmcp"),
    ("syn", "croner's derive macros are behind serde; build time only"),
];

pub(crate) fn check() -> anyhow::Result<()> {
    if has("cargo-deny", "--version") {
        return run(&mut cargo(&["deny", "check", "licenses", "bans", "sources"]));
    }
    let text = capture(&mut cargo(&["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let shipped = shipped(&metadata);
    let mut faults = Vec::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in list(&metadata["packages"]) {
        let (name, id) = (word(&package["name"]), word(&package["id"]));
        if !shipped.contains(id) || package["source"].is_null() {
            continue;
        }
        versions.entry(name).or_default().insert(word(&package["version"]));
        let licence = word(&package["license"]);
        if !allowed(licence) {
            faults.push(format!("{name}: licence {licence:?} is not on the list"));
        }
    }
    for (name, found) in versions.iter().filter(|(_, found)| found.len() > 1) {
        if !DUPLICATES.iter().any(|(borne, _)| borne == name) {
            faults.push(format!("{name}: in versions {found:?}"));
        }
    }
    for (name, _) in DUPLICATES {
        if versions.get(name).is_none_or(|found| found.len() < 2) {
            faults.push(format!("{name}: no longer a duplicate; take it off the list"));
        }
    }
    if !faults.is_empty() {
        bail!("dependencies:\n  {}", faults.join("\n  "));
    }
    println!("{} packages ship; licences and versions are in order", versions.len());
    Ok(())
}

/// Ids of the packages that the `wrasse` binary is built from on Linux, build scripts included.
fn shipped(metadata: &Value) -> BTreeSet<&str> {
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"]["nodes"]).iter().map(|node| (word(&node["id"]), node)).collect();
    let root = list(&metadata["packages"])
        .iter()
        .find(|package| package["name"] == "wrasse" && package["source"].is_null())
        .map_or("", |package| word(&package["id"]));
    let (mut seen, mut open) = (BTreeSet::new(), vec![root]);
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        for dep in nodes.get(id).map_or(&[][..], |node| list(&node["deps"])) {
            let wanted = |kind: &Value| kind["kind"] != "dev" && for_linux(word(&kind["target"]));
            if list(&dep["dep_kinds"]).iter().any(wanted) {
                open.push(word(&dep["pkg"]));
            }
        }
    }
    seen
}

/// Whether a target condition can hold on Linux; conditions we cannot read count as if they could.
fn for_linux(target: &str) -> bool {
    const ELSEWHERE: [&str; 9] = [
        "windows",
        "macos",
        "apple",
        "wasm",
        "android",
        "hermit",
        "wasi",
        "redox",
        "target_os = \"ios\"",
    ];
    target.contains("not(") || !ELSEWHERE.iter().any(|other| target.contains(other))
}

fn allowed(expression: &str) -> bool {
    let clean = expression.replace(['(', ')'], "").replace('/', " OR ");
    clean.split(" AND ").all(|all| all.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_expressions() {
        assert!(allowed("MIT OR Apache-2.0"));
        assert!(allowed("MIT/Apache-2.0"));
        assert!(allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(!allowed("GPL-3.0"));
        assert!(!allowed("MIT AND GPL-3.0"));
        assert!(!allowed(""));
    }

    #[test]
    fn target_conditions() {
        assert!(!for_linux("cfg(windows)"));
        assert!(for_linux("cfg(not(windows))"));
        assert!(for_linux("cfg(unix)"));
        assert!(for_linux(""));
    }
}
