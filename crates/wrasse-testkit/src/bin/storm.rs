//! The storm: `wrasse-storm [--rounds N] [--from N] [--seed S] [--jobs J] [--only CLASS]… [--guard WAY]
//! [--layers LIST] [--real-servers NODE_MODULES] [--record FILE] [--as-nobody]`.

use std::path::PathBuf;
use std::process::ExitCode;

use wrasse_testkit::nobody;
use wrasse_testkit::storm::{Kill, Options, run};

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]
fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let before = words.len();
    words.retain(|word| word != "--as-nobody");
    if words.len() < before {
        return nobody::again(&words);
    }
    let options = match options(&words) {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("wrasse-storm: {fault}");
            return ExitCode::from(64);
        }
    };
    println!(
        "seed {}, rounds {}..{}, {} at once",
        options.seed, options.from, options.rounds, options.jobs
    );
    let summary = run(options);
    for (kill, met) in &summary.met {
        println!("{:<18}{met}", kill.name());
    }
    println!("{summary}");
    if summary.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn options(words: &[String]) -> Result<Options, String> {
    let mut options = Options { rounds: 100, jobs: 4, seed: seed(), ..Options::default() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
        let number = || value.parse::<u64>().map_err(|error| format!("{word} {value}: {error}"));
        match word.as_str() {
            "--rounds" => options.rounds = number()?,
            "--from" => options.from = number()?,
            "--seed" => options.seed = number()?,
            "--jobs" => options.jobs = usize::try_from(number()?).map_err(|e| e.to_string())?,
            "--minutes" => {
                options.time_max = Some(std::time::Duration::from_secs(60 * number()?));
            }
            "--only" => {
                let kill = Kill::ALL.into_iter().find(|kill| kill.name() == value);
                options.only.push(kill.ok_or_else(|| format!("no class {value}"))?);
            }
            "--servers" => options.servers = value.split(',').map(str::to_owned).collect(),
            "--guard" => options.guard = Some(value.clone()),
            "--layers" => options.layers = Some(value.split(',').map(str::to_owned).collect()),
            "--real-servers" => options.real_servers = Some(PathBuf::from(value)),
            "--record" => options.record = Some(PathBuf::from(value)),
            unknown => return Err(format!("unknown option {unknown}")),
        }
    }
    Ok(options)
}

fn seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.as_secs())
}
