//! The soak: `wrasse-soak [--cycles N] [--jobs J] [--only gateway|pid-one]
//! [--servers NAMES] [--json] [--as-nobody]`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use wrasse_testkit::namespace::{AS_ANYBODY, AS_ROOT, permits};
use wrasse_testkit::nobody;
use wrasse_testkit::soak::{Options, report, run};

const GATEWAY: &str = "gateway";
const PID_ONE: &str = "pid-one";

struct Args {
    cycles: u64,
    jobs: u64,
    only: Option<String>,
    servers: Vec<String>,
    json: bool,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]
fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let before = words.len();
    words.retain(|word| word != "--as-nobody");
    if words.len() < before {
        return nobody::again(&words);
    }
    let args = match parse(&words) {
        Ok(args) => args,
        Err(fault) => {
            eprintln!("wrasse-soak: {fault}");
            return ExitCode::from(64);
        }
    };
    let mut flat = true;
    for part in [GATEWAY, PID_ONE] {
        if args.only.as_ref().is_some_and(|only| only != part) {
            continue;
        }
        let launcher = if part == GATEWAY {
            Vec::new()
        } else {
            match [&AS_ROOT[..], &AS_ANYBODY].into_iter().find(|way| permits(way).is_ok()) {
                Some(way) => way.iter().map(|word| (*word).to_owned()).collect(),
                None => {
                    println!("SKIPPED {PID_ONE}: this machine permits no PID namespace");
                    continue;
                }
            }
        };
        if !args.json {
            println!("{part}: {} cycles, {} at once", args.cycles, args.jobs);
        }
        let options = Options {
            cycles: args.cycles,
            jobs: args.jobs,
            servers: args.servers.clone(),
            launcher,
        };
        let summary = run(&options, &|over| progress(part, over, args.cycles));
        flat &= summary.flat();
        if args.json {
            println!("{}", report(part, &summary));
        } else {
            println!("{summary}");
        }
    }
    if flat { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// On a terminal one line that is written over, elsewhere one now and then.
#[expect(clippy::print_stderr, reason = "a program for a terminal")]
fn progress(part: &str, over: u64, cycles: u64) {
    if std::io::stderr().is_terminal() {
        let end = if over == cycles { "\n" } else { "" };
        eprint!("\r{part}: {over} of {cycles}{end}");
        drop(std::io::stderr().flush());
    } else if over.is_multiple_of(250) {
        eprintln!("{part}: {over} of {cycles}");
    }
}

fn parse(words: &[String]) -> Result<Args, String> {
    let mut args = Args { cycles: 1000, jobs: 4, only: None, servers: Vec::new(), json: false };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--json" {
            args.json = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
        let number = || value.parse::<u64>().map_err(|error| format!("{word} {value}: {error}"));
        match word.as_str() {
            "--cycles" => args.cycles = number()?,
            "--jobs" => args.jobs = number()?,
            "--servers" => args.servers = value.split(',').map(str::to_owned).collect(),
            "--only" if value == GATEWAY || value == PID_ONE => args.only = Some(value.clone()),
            "--only" => return Err(format!("--only {GATEWAY} or {PID_ONE}, not {value}")),
            unknown => return Err(format!("unknown option {unknown}")),
        }
    }
    Ok(args)
}
