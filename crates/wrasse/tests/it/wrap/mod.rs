//! `wrasse wrap` between a scripted host and a server, every process real.

mod broken;
mod ends;
mod lazy;
mod nested;
mod proxy;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use wrasse_testkit::hosted::Hosted;
use wrasse_testkit::station::{PATIENCE, Station, eventually};

/// What the issue allows a tree to outlive its host by.
const AFTER_HOST: Duration = Duration::from_secs(2);

/// The command line of a fixture server.
fn fixture(station: &Station, words: &[&str]) -> Vec<String> {
    let mut command = vec![station.program("wrasse-fixture").display().to_string()];
    command.extend(words.iter().map(|word| (*word).to_owned()));
    command
}

/// A host that wraps a fixture server with these flags.
fn wrap(station: &mut Station, flags: &[&str], server: &[&str]) -> Hosted {
    let command = fixture(station, server);
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    Hosted::wrapped(station, flags, &words)
}

/// Whatever is in the ledger's folder.
fn files(station: &Station) -> Vec<PathBuf> {
    let Ok(files) = std::fs::read_dir(station.path("state").join("wrap/shims")) else {
        return Vec::new();
    };
    files.map(|file| file.unwrap().path()).collect()
}

/// The ledger's rows: one that is just being written has another name.
fn rows(station: &Station) -> Vec<PathBuf> {
    let is_row = |path: &PathBuf| path.extension().is_some_and(|end| end == "json");
    files(station).into_iter().filter(is_row).collect()
}

/// What the ledger says of its only shim.
fn row(station: &Station) -> Value {
    let rows = rows(station);
    assert_eq!(rows.len(), 1, "{rows:?}");
    serde_json::from_slice(&std::fs::read(&rows[0]).unwrap()).unwrap()
}

fn pid_of(value: &Value) -> u32 {
    u32::try_from(value["pid"].as_u64().unwrap_or_else(|| panic!("no pid in {value}"))).unwrap()
}

/// Nothing runs, and no row is left, half-written ones included.
fn assert_flat(station: &mut Station) {
    station.assert_empty();
    assert_eq!(files(station), Vec::<PathBuf>::new(), "{}", station.log());
}

/// Fills the catalogue: a first session that learns everything.
fn learn(station: &mut Station, server: &[&str]) {
    let mut host = wrap(station, &[], server);
    host.initialize(&json!({}));
    host.request("tools/list", &json!({}));
    wait_learnt(station);
    assert_eq!(host.end(station), 0);
}

/// Waits until some entry of the catalogue has every list.
fn wait_learnt(station: &Station) {
    let catalogue = station.path("state").join("wrap/catalogue");
    eventually("the lists are learnt", PATIENCE, || {
        let Ok(files) = std::fs::read_dir(&catalogue) else { return false };
        let texts = files.filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok());
        texts.into_iter().any(|text| text.contains("\"tools/list\""))
    });
}
