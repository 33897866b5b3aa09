//! `wrasse reap --foreign`, and `wrasse why` for what other hosts started.

mod listing;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use wrasse_hosts::foreign::{
    Class, Grace, Options, Outcome, Reaped, Report, Scope, Set, discover, past, reap as end, story,
};
use wrasse_hosts::import::Surroundings;
use wrasse_store::StateDir;

use crate::args::{Common, ReapArgs};
use crate::exit::{CommandResult, Exit, ExpectedError};
use crate::output::json as print_json;
use crate::place;

/// What `reap --foreign` and `import` wrote down lies here, in the state dir.
const LEDGER: &str = "reaped.jsonl";

/// What to look at, by the caller's own environment.
fn options(below: Option<u32>, watch: Duration) -> Options {
    let env: std::collections::BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let home = env.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let scope = Scope { below, ..Scope::of_caller() };
    Options { scope, around: Surroundings { env, home, cwd }, watch }
}

/// What `doctor --host` looks at.
pub(crate) fn everything() -> Options {
    options(None, Duration::ZERO)
}

fn look(options: &Options) -> Result<Report, ExpectedError> {
    discover(options).map_err(|error| {
        ExpectedError::new(Exit::Failed, format!("cannot read the process table: {error}"))
    })
}

/// Lists what other hosts left behind, and with `--yes` ends what may be ended.
pub(crate) fn reap(common: &Common, args: &ReapArgs) -> CommandResult {
    let options = options(args.below, args.watch);
    let report = look(&options)?;
    if !common.yes {
        let chosen = chosen(common, args, &report)?;
        listing::keep(common, &report);
        if common.json {
            print_json(&show::json(&report, &[]));
        } else {
            show::report(&report, args, &chosen);
        }
        let found = report.sets.iter().any(|set| is_endable(set.class));
        return Ok(if found { Exit::FoundSomething.into() } else { ExitCode::SUCCESS });
    }
    let chosen = chosen(common, args, &report)?;
    let path = place::state_dir(common)?;
    let state = StateDir::open(&path)
        .map_err(|error| ExpectedError::new(Exit::Failed, error.to_string()))?;
    let done = end(&report, &chosen, &options, Grace::default(), &state.path().join(LEDGER))
        .map_err(|error| {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            ExpectedError::new(Exit::Failed, format!("{error}{}", source.unwrap_or_default()))
                .help("wrasse reap --foreign   shows what is left")
        })?;
    if common.json {
        print_json(&show::json(&report, &done));
    } else {
        show::ended(&report, &done);
    }
    let all = done.iter().all(|reaped| reaped.outcome == Outcome::Ended);
    Ok(if all { ExitCode::SUCCESS } else { Exit::Failed.into() })
}

fn is_endable(class: Class) -> bool {
    match class {
        Class::Orphan | Class::Finished => true,
        Class::InUse | Class::Unknown => false,
    }
}

/// The sets that were asked for: those named, else every orphan, with `--finished` those too.
fn chosen<'a>(
    common: &Common,
    args: &ReapArgs,
    report: &'a Report,
) -> Result<Vec<&'a Set>, ExpectedError> {
    if args.ids.is_empty() {
        let wanted = |set: &&Set| match set.class {
            Class::Orphan => true,
            Class::Finished => args.finished,
            Class::InUse | Class::Unknown => false,
        };
        return Ok(report.sets.iter().filter(wanted).collect());
    }
    let mut chosen: Vec<&Set> = Vec::new();
    for id in &args.ids {
        let set = named(common, report, id)?;
        if !is_endable(set.class) {
            return Err(ExpectedError::new(
                Exit::Failed,
                format!("{id} is {}: {}; nothing was ended", set.class.name(), set.why),
            )
            .help(format!(
                "wrasse why {}   tells more",
                set.trees.first().map_or(0, |tree| tree.root.pid)
            ))
            .help("end its session, or stop its host, if it is to end"));
        }
        if !chosen.iter().any(|known| known.number == set.number) {
            chosen.push(set);
        }
    }
    Ok(chosen)
}

/// A set by the number that the last listing gave it, or by a process of it. A number means what was shown, whatever
/// has come and gone since.
fn named<'a>(common: &Common, report: &'a Report, id: &str) -> Result<&'a Set, ExpectedError> {
    let unknown = |why: &str| {
        ExpectedError::new(Exit::Failed, format!("{id}: {why}; nothing was ended"))
            .help("wrasse reap --foreign --all   lists the sets and their numbers")
    };
    let number: u32 = id.trim_start_matches('#').parse().map_err(|_| unknown("not a number"))?;
    if let Some(set) = report.set_of(number) {
        return Ok(set);
    }
    match listing::recall(common, number) {
        listing::Recalled::Root(root) => report
            .sets
            .iter()
            .find(|set| set.trees.iter().any(|tree| tree.root == root))
            .ok_or_else(|| unknown("that set is gone")),
        listing::Recalled::NoSuch => {
            Err(unknown("no set of that number was listed, and no process of a set has it"))
        }
        listing::Recalled::Never => {
            Err(unknown("nothing was listed yet that it could be a number of"))
        }
    }
}

/// What is known about a process that no gateway of ours holds. `None` when it is nothing that we know.
pub(crate) fn why(common: &Common, pid: u32) -> Result<Option<ExitCode>, ExpectedError> {
    let report = look(&options(None, Duration::ZERO))?;
    if let Some(story) = story(&report, pid) {
        if common.json {
            let set = report.set_of(pid).map(|set| show::set_json(&report, set));
            let facts: serde_json::Map<_, _> = story
                .facts
                .iter()
                .map(|(label, text)| ((*label).to_owned(), json!(text)))
                .collect();
            print_json(&json!({
                "schema": 1, "kind": "foreign", "title": story.title, "facts": facts, "blame": story.blame, "set": set,
            }));
        } else {
            show::story(&story.title, &story.facts);
        }
        return Ok(Some(ExitCode::SUCCESS));
    }
    let Ok(state) = place::state_dir(common) else { return Ok(None) };
    let Some(reaped) = past(&state.join(LEDGER), pid) else { return Ok(None) };
    if common.json {
        print_json(&json!({ "schema": 1, "kind": "reaped", "record": reaped }));
    } else {
        show::past(pid, &reaped);
    }
    Ok(Some(ExitCode::SUCCESS))
}

/// The line of `wrasse ps` about what is not ours; `None` when there is nothing.
pub(crate) fn footer() -> Option<String> {
    show::footer(&look(&everything()).ok()?)
}

/// Processes of a line of the ledger.
fn processes(reaped: &Reaped) -> usize {
    reaped.processes.len()
}
