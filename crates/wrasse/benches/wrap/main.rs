//! `cargo bench -p wrasse --bench wrap`: what a wrapped server costs another host, each row beside its budget.
//!
//! Not a test: it prints verdicts and exits 0. The shim is the one that cargo built beside this bench. The bench is a
//! subreaper, so that brokers, which belong to no host, are below it and in its sums.
//!
//! The program executes itself again as the MCP server that calls are timed with (`server`). `--quick` takes few
//! samples.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench: it talks to a terminal, starts the program under test, and stops where it breaks"
)]

mod host;
mod rows;
#[path = "../idle/server.rs"]
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
        options => table::play("wrap", options, bench),
    }
}

fn bench(pace: Pace) -> ExitCode {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let mut table = Table::new("wrap: shims, and servers behind them");
    rows::shims(&mut table);
    rows::calls(pace, &mut table);
    rows::first_calls(pace, &mut table);
    rows::sessions(&mut table);
    host::reap();
    let left = wrasse_testkit::processes::descendants(std::process::id());
    for process in &left {
        table.note(format!("left: {process:?}"));
    }
    table.row(
        "left behind by the hosts of this bench, by its own scan",
        format!("{} processes", left.len()),
        "-",
        "0",
        Verdict::of(left.len(), 0),
    );
    table.print()
}
