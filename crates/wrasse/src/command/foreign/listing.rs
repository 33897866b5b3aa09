//! The numbers of the last listing, so that they go on meaning what was shown.

use serde_json::{Value, json};
use wrasse_hosts::foreign::{Identity, Report};
use wrasse_store::StateDir;

use crate::args::Common;
use crate::place;

const FILE: &str = "foreign.json";

/// What a number of a listing means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recalled {
    /// The set with this process.
    Root(Identity),
    /// Nothing that was listed.
    NoSuch,
    /// There is no listing.
    Never,
}

/// Writes the numbers down. A listing that cannot be written is still shown; its numbers are refused later.
pub(super) fn keep(common: &Common, report: &Report) {
    let sets: Vec<Value> = report
        .sets
        .iter()
        .filter_map(|set| {
            let root = set.trees.first()?.root;
            Some(json!({ "number": set.number, "pid": root.pid, "start_ticks": root.start_ticks }))
        })
        .collect();
    let Ok(path) = place::state_dir(common) else { return };
    let Ok(state) = StateDir::open(&path) else { return };
    let file = state.path().join(FILE);
    let new = state.path().join(format!("{FILE}.new"));
    let text = json!({ "schema": 1, "sets": sets }).to_string();
    if std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &file)).is_err() {
        drop(std::fs::remove_file(&new));
    }
}

/// What a number of the last listing means.
pub(super) fn recall(common: &Common, number: u32) -> Recalled {
    let read = || -> Option<Value> {
        let file = place::state_dir(common).ok()?.join(FILE);
        serde_json::from_slice(&std::fs::read(file).ok()?).ok()
    };
    let Some(listing) = read() else { return Recalled::Never };
    let sets = listing["sets"].as_array().map_or(&[][..], Vec::as_slice);
    let root = sets.iter().find(|set| set["number"] == number).and_then(|set| {
        let pid = u32::try_from(set["pid"].as_u64()?).ok()?;
        Some(Identity { pid, start_ticks: set["start_ticks"].as_u64()? })
    });
    root.map_or(Recalled::NoSuch, Recalled::Root)
}
