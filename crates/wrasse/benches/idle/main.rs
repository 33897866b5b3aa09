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

use crate::table::{Table, Verdict};

/// How many samples each row takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Quick,
    Full,
}

impl Pace {
    fn samples(self, quick: usize, full: usize) -> usize {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["server"] => server::serve(),
        ["call", rounds, folder] => call::play(rounds.parse().unwrap(), folder.as_ref()),
        // A test runner that asks every target for its tests.
        ["--list", ..] => ExitCode::SUCCESS,
        [] => bench(Pace::Full),
        ["--quick"] => bench(Pace::Quick),
        other => {
            println!("usage: idle [--quick]; unknown arguments {other:?}");
            ExitCode::from(64)
        }
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
    table.print();
    ExitCode::SUCCESS
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
