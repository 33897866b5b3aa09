//! `wrasse import`: another host's servers through Wrasse, and back.

mod program;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use wrasse_hosts::import::{
    Found, Host, ImportError, Plan, Records, Shim, Where, entries_only, find, restore,
};

use crate::args::{Common, ImportArgs};
use crate::exit::{CommandResult, Exit, ExpectedError};
use crate::place;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task<'a> {
    Look,
    Wrap(&'a [String]),
    Undo,
    EntriesOnly,
}

impl Task<'_> {
    /// The flags that ask for it.
    fn flags(self) -> String {
        match self {
            Self::Look => String::new(),
            Self::Wrap([]) => " --wrap".to_owned(),
            Self::Wrap(names) => format!(" --wrap {}", show::words(names)),
            Self::Undo => " --undo".to_owned(),
            Self::EntriesOnly => " --undo --entries-only".to_owned(),
        }
    }
}

pub(crate) fn run(common: &Common, args: &ImportArgs) -> CommandResult {
    let host = Host::parse(&args.host)
        .ok_or_else(|| ExpectedError::new(Exit::Usage, format!("unknown host {:?}", args.host)))?;
    let task = task(common, args)?;
    let around = program::surroundings();
    let place = args.file.clone().map_or(Where::Usual, Where::File);
    let state_dir = place::state_dir(common)?;
    let records = Records::below(&state_dir);
    let fail = |error| refused(error, host, args, task);
    let found = || find(host, &around, &place).map_err(fail);
    let mut warnings = Vec::new();
    let plan = match task {
        Task::Look => return look(common, host, args, &found()?),
        Task::Wrap(names) => {
            let program = program::path()?;
            let shim = Shim::new(&program, &program::options(&state_dir, &around)).map_err(fail)?;
            let found = found()?;
            let plan = found.wrap(names, &shim, &records).map_err(fail)?;
            if !plan.is_empty() {
                warnings = program::warnings(&program, &found);
            }
            plan
        }
        Task::Undo => restore(host, &around, &place, &records).map_err(fail)?,
        Task::EntriesOnly => entries_only(host, &around, &place, &records).map_err(fail)?,
    };
    if common.yes {
        write(&plan, &records, &state_dir).map_err(|error| match error {
            Write::State(error) => error,
            Write::Import(error) => fail(error),
        })?;
    }
    let outcome = if common.yes { show::Outcome::Written } else { show::Outcome::DryRun };
    let again = format!("wrasse import {}{}{}", host.name(), file_flag(args), task.flags());
    if common.json {
        show::plan_json(&plan, outcome, &warnings);
    } else {
        show::plan(&plan, outcome, &warnings, &again);
    }
    let nothing_left = plan.is_empty() || common.yes;
    Ok(if nothing_left { ExitCode::SUCCESS } else { Exit::FoundSomething.into() })
}

fn task<'a>(common: &Common, args: &'a ImportArgs) -> Result<Task<'a>, ExpectedError> {
    if common.yes && args.dry_run {
        return Err(ExpectedError::new(Exit::Usage, "--yes writes and --dry-run does not")
            .help("leave one of them out; without --yes nothing is written"));
    }
    Ok(match &args.wrap {
        Some(names) => Task::Wrap(names),
        None if args.entries_only => Task::EntriesOnly,
        None if args.undo => Task::Undo,
        None if common.yes => {
            let host = &args.host;
            return Err(ExpectedError::new(Exit::Usage, "say what to write")
                .help(format!("wrasse import {host} --wrap --yes"))
                .help(format!("wrasse import {host} --undo --yes")));
        }
        None => Task::Look,
    })
}

fn look(common: &Common, host: Host, args: &ImportArgs, found: &Found) -> CommandResult {
    if common.json {
        show::found_json(found);
    } else {
        show::found(found, &format!("wrasse import {}{}", host.name(), file_flag(args)));
    }
    Ok(ExitCode::SUCCESS)
}

fn file_flag(args: &ImportArgs) -> String {
    let quoted = |path: &PathBuf| show::words(&[path.display().to_string()]);
    args.file.as_ref().map(|path| format!(" --file {}", quoted(path))).unwrap_or_default()
}

enum Write {
    State(ExpectedError),
    Import(ImportError),
}

fn write(plan: &Plan, records: &Records, state_dir: &Path) -> Result<(), Write> {
    if plan.has_work() {
        // Makes it private, or refuses what is not a state dir.
        wrasse_store::StateDir::open(state_dir)
            .map_err(|error| Write::State(ExpectedError::new(Exit::Failed, error.to_string())))?;
    }
    plan.write(records).map_err(Write::Import)
}

/// A refusal with its exit code and what would help.
fn refused(error: ImportError, host: Host, args: &ImportArgs, task: Task<'_>) -> ExpectedError {
    let this = format!("wrasse import {}{}", host.name(), file_flag(args));
    let exit = match &error {
        ImportError::ServerUnknown { .. }
        | ImportError::ServerUnsuited { .. }
        | ImportError::ProgramUnsuited { .. } => Exit::Usage,
        ImportError::Syntax { .. } | ImportError::NotText { .. } | ImportError::Include { .. } => {
            Exit::ConfigFault
        }
        ImportError::Unintended { .. } => Exit::Internal,
        ImportError::NotFound { .. }
        | ImportError::Io { .. }
        | ImportError::ChangedSince { .. }
        | ImportError::FileGone { .. }
        | ImportError::RecordMissing { .. }
        | ImportError::RecordDamaged { .. }
        | ImportError::Concurrent { .. }
        | ImportError::OwnerLost { .. }
        | ImportError::Mounted { .. } => Exit::Failed,
    };
    let entries_only = format!(
        "{this} --undo --entries-only   takes wrasse out of each server and leaves the rest"
    );
    let shown = ExpectedError::new(exit, error.to_string());
    match error {
        ImportError::NotFound { .. } => {
            shown.help(format!("{this} --file PATH   when it is elsewhere"))
        }
        ImportError::ServerUnknown { suggestion, known, .. } => match suggestion {
            Some(name) => shown.help(format!("{this} --wrap {name}   did you mean this?")),
            None if known.is_empty() => shown.help(format!("{this}   lists what it has: nothing")),
            None => shown.help(format!("it has {}", known.join(", "))),
        },
        ImportError::ServerUnsuited { .. } => shown.help(format!("{this}   lists its servers")),
        ImportError::ProgramUnsuited { .. } => {
            shown.help("install it as /usr/local/bin/wrasse, and call that")
        }
        ImportError::Syntax { .. } | ImportError::NotText { .. } | ImportError::Include { .. } => {
            shown.help(format!("mend the file, then: {this}{}", task.flags()))
        }
        ImportError::ChangedSince { original, .. } => shown
            .help(entries_only)
            .help(format!("{}   is the file as it was before", original.display())),
        ImportError::FileGone { original, .. } => {
            shown.help(format!("cp {} …   brings it back as it was", original.display()))
        }
        ImportError::RecordMissing { .. } => shown
            .help(entries_only)
            .help("--state-dir DIR   when it was wrapped with another state dir"),
        ImportError::RecordDamaged { path, .. } => {
            shown.help(format!("mv {} {0}.damaged", path.display())).help(entries_only)
        }
        ImportError::Concurrent { .. } => {
            shown.help(format!("{this}{} --yes   again", task.flags()))
        }
        ImportError::OwnerLost { owner, .. } => {
            shown.help(format!("sudo -u '#{owner}' {this}{} --yes", task.flags()))
        }
        ImportError::Mounted { .. } => shown
            .help("change the file it is mounted from, outside the container, with --file PATH"),
        ImportError::Io { .. } => shown.help(format!("{this}   as the user it belongs to")),
        ImportError::Unintended { .. } => shown.help(
            "this is a bug of wrasse: report it with the shape of the entry, without its secrets",
        ),
    }
}
