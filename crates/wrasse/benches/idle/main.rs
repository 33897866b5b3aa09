//! `cargo bench -p wrasse --bench idle`: what the gateway costs when nothing happens, each row beside its budget.
//!
//! Not a test: it prints verdicts and exits 0. The gateway is the program that cargo built beside this bench, started
//! as people start it. The bench is a subreaper, so that nothing that the gateway might leave escapes its own count.
//!
//! The program executes itself again as the MCP servers of the configuration (`server`) and as the process that
//! compares a call with raw pipes (`call`). `--quick` takes few samples.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench: it talks to a terminal, starts the program under test, and stops where it breaks"
)]

mod call;
mod place;
mod rows;
mod server;
#[path = "../../../wrasse-contain/benches/contain/table.rs"]
mod table;

use std::process::ExitCode;

use crate::table::{Pace, Table, Verdict};

fn main() -> ExitCode {
    let args = table::arguments();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["server"] => server::serve(),
        ["call", rounds, folder] => call::play(rounds.parse().unwrap(), folder.as_ref()),
        options => table::play("idle", options, bench),
    }
}

fn bench(pace: Pace) -> ExitCode {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let mut table = Table::new("idle: the gateway under its warden, three servers configured");
    rows::binary(&mut table);
    rows::ready(pace, &mut table);
    rows::memory(pace, &mut table);
    rows::sessions(pace, &mut table);
    rows::call(pace, &mut table);
    left_behind(&mut table);
    table.print()
}

/// The bench's own scan, at the end: everything it started is below it or was inherited by it.
fn left_behind(table: &mut Table) {
    let left = wrasse_testkit::processes::descendants(std::process::id());
    for process in &left {
        table.note(format!("left: {process:?}"));
    }
    place::end(&left);
    table.row(
        "left behind by the gateways of this bench, by its own scan",
        format!("{} processes", left.len()),
        "-",
        "0",
        Verdict::of(left.len(), 0),
    );
}
