//! `cargo bench -p wrasse-contain --bench contain`: what containment costs, each row beside its budget.
//!
//! Not a test: it prints verdicts and exits 0. Absolute times mean little on a shared machine, so wherever a
//! comparison makes sense the same work is done by other means in the same run, and printed beside.
//!
//! The program executes itself again as the members of the trees it ends (`tree`) and as the peer that ends the
//! same trees with a process group (`peer`). `--quick` takes few samples.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench: it talks to a terminal, starts uncontained processes to compare with, and stops where it breaks"
)]

mod peer;
mod ready;
mod rows;
mod strangers;
mod table;
mod tree;

use std::process::ExitCode;

use wrasse_contain::{ContainOptions, Containment, Guard};

use crate::table::{Pace, Table, Verdict};
use crate::tree::Tag;

fn main() -> ExitCode {
    let args = table::arguments();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["tree", role, count, tag] => tree::play(role, count.parse().unwrap(), tag),
        ["peer", shape, count, tag] => peer::play(shape, count.parse().unwrap(), tag),
        options => table::play("contain", options, bench),
    }
}

fn bench(pace: Pace) -> ExitCode {
    // The gateway's own runtime is of this kind.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let state = tempfile::Builder::new()
        .prefix("wrasse-bench-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap();
    let mut table = Table::new("contain: trees and guardians, the floor alone");
    runtime.block_on(async {
        let containment = Containment::start(ContainOptions {
            state_dir: state.path().to_owned(),
            guard: Guard::Auto,
            installation: 0xbe7c,
        })
        .unwrap();
        let report = containment.report();
        table.note(format!(
            "guard: {}, layers: {:?}, mark: {}, notes: {:?}",
            report.guard, report.layers, report.rlimit_mark, report.notes
        ));
        rows::force(&containment, pace, &mut table).await;
        rows::guardian_memory(&containment, &mut table).await;
        rows::spawn_cost(&containment, pace, &mut table).await;
        rows::accounting(&containment, pace, &mut table).await;
        rows::cycles(&containment, pace, &mut table).await;
        containment.kill_all().await;
        left_behind(&containment, &mut table);
    });
    table.print()
}

/// The bench's own scan, at the end: nothing that carries a tag of this run, no child, no leftover.
fn left_behind(containment: &Containment, table: &mut Table) {
    let tagged = Tag::every_member_of_this_run();
    let children = wrasse_testkit::processes::descendants(std::process::id());
    let leftovers = containment.leftovers();
    let verdict = if tagged.is_empty() && children.is_empty() && leftovers.is_empty() {
        Verdict::Within
    } else {
        table.note(format!("left: {tagged:?} {children:?} {leftovers:?}"));
        tree::end(&tagged);
        Verdict::Missed
    };
    table.row(
        "left behind by this bench, by its own scan",
        format!("{} processes, {} children", tagged.len(), children.len()),
        format!("{} marked leftovers", leftovers.len()),
        "0",
        verdict,
    );
}
