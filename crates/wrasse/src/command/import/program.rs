//! Where this program is called, and its path as it should stand in another host's file.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use wrasse_hosts::import::{Found, Surroundings};

use crate::exit::{Exit, ExpectedError};

/// What the places of hosts' files depend on. A variable that is not UTF-8 names no file of theirs.
pub(super) fn surroundings() -> Surroundings {
    Surroundings {
        env: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        home: std::env::var_os("HOME").filter(|home| !home.is_empty()).map(Into::into),
        cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
    }
}

/// Where this program is: the name it was called by where that leads here, so that a link that an update turns over
/// stays good; else the file itself.
pub(super) fn path() -> Result<PathBuf, ExpectedError> {
    let itself = std::env::current_exe().and_then(std::fs::canonicalize).map_err(|error| {
        ExpectedError::new(
            Exit::Failed,
            format!("this program's own file cannot be found: {error}"),
        )
        .help("call it again by its full path")
    })?;
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let leads_here = |path: &PathBuf| std::fs::canonicalize(path).is_ok_and(|path| path == itself);
    let candidate = if called.components().count() > 1 {
        std::path::absolute(&called).ok()
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join(&called))
            .find(|file| file.is_file())
    };
    let plain = |path: &PathBuf| path.components().all(|part| part.as_os_str() != "..");
    Ok(candidate.filter(leads_here).filter(plain).unwrap_or(itself))
}

/// What `wrap` must be told because it would not find it out: a state dir other than the usual one.
pub(super) fn options(state_dir: &Path, around: &Surroundings) -> Vec<String> {
    let usual = around.home.as_ref().map(|home| home.join(".wrasse"));
    if usual.as_deref() == Some(state_dir) {
        Vec::new()
    } else {
        vec!["--state-dir".to_owned(), state_dir.display().to_string()]
    }
}

/// What may become of the path once it stands in the files.
pub(super) fn warnings(program: &Path, found: &Found) -> Vec<String> {
    let mut warnings = Vec::new();
    let shown = program.display();
    if is_passing(program) {
        warnings.push(format!(
            "{shown} is a build or a temporary file: when it goes, the servers no longer start; install wrasse first"
        ));
    }
    let others: Vec<&Path> = found.owned_by_others().collect();
    if !others.is_empty() && !reachable_by_others(program) {
        warnings.push(format!(
            "{shown} cannot be executed by every user, and {} belongs to another one; install it as /usr/local/bin/wrasse",
            others[0].display()
        ));
    }
    warnings
}

fn is_passing(program: &Path) -> bool {
    let temporary = [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into(), "/dev/shm".into()];
    let part = |name: &str| program.components().any(|part| part.as_os_str() == name);
    temporary.iter().any(|dir| program.starts_with(dir))
        || (part("target") && (part("debug") || part("release")))
        || part("_npx")
}

/// Whether everybody may execute the file and go through every directory above it.
fn reachable_by_others(program: &Path) -> bool {
    program
        .ancestors()
        .filter(|path| !path.as_os_str().is_empty())
        .all(|path| std::fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o001 != 0))
}
