//! Finds the program a server names, by the `PATH` of the environment the server is given (never by ours).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::SpawnError;

/// What is searched when the environment holds no `PATH`, as the C library does it.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Resolves `command` to an absolute path.
pub(crate) fn program(
    command: &OsStr,
    env: &[(OsString, OsString)],
    cwd: &Path,
) -> Result<PathBuf, SpawnError> {
    if command.as_bytes().contains(&b'/') {
        let program = cwd.join(command);
        return match runnable(&program) {
            Found::Runnable => Ok(program),
            Found::File => Err(SpawnError::NotExecutable { program }),
            Found::Nothing => Err(SpawnError::NotFound {
                command: command.to_owned(),
                path: OsString::from("not searched"),
            }),
        };
    }
    // The last of two equal names is the one that an exec'd program sees.
    let path = env.iter().rev().find(|(name, _)| name == "PATH");
    let path = path.map_or_else(|| OsString::from(DEFAULT_PATH), |(_, value)| value.clone());
    let mut not_executable = None;
    if !command.is_empty() {
        for dir in std::env::split_paths(&path) {
            let program = cwd.join(dir).join(command);
            match runnable(&program) {
                Found::Runnable => return Ok(program),
                Found::File => not_executable = not_executable.or(Some(program)),
                Found::Nothing => {}
            }
        }
    }
    match not_executable {
        Some(program) => Err(SpawnError::NotExecutable { program }),
        None => Err(SpawnError::NotFound { command: command.to_owned(), path }),
    }
}

enum Found {
    Runnable,
    File,
    Nothing,
}

fn runnable(program: &Path) -> Found {
    let Ok(metadata) = std::fs::metadata(program) else { return Found::Nothing };
    if metadata.is_file() && rustix::fs::access(program, Access::EXEC_OK).is_ok() {
        Found::Runnable
    } else {
        Found::File
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(path: &str) -> Vec<(OsString, OsString)> {
        vec![("PATH".into(), path.into())]
    }

    #[test]
    fn searches_the_path_it_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let tool = dir.path().join("tool");
        std::fs::write(&tool, "#!/bin/sh\n").unwrap();
        let path = env(&format!("/nonexistent:{}", dir.path().display()));
        let find = |name: &str| program(OsStr::new(name), &path, Path::new("/"));

        assert!(
            matches!(find("tool"), Err(SpawnError::NotExecutable { program }) if program == tool)
        );
        rustix::fs::chmod(&tool, rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        assert_eq!(find("tool").unwrap(), tool);
        let text = find("absent").unwrap_err().to_string();
        assert!(text.contains("absent") && text.contains("/nonexistent:"), "{text}");
        assert!(matches!(find(""), Err(SpawnError::NotFound { .. })));
        assert!(matches!(find("/absent"), Err(SpawnError::NotFound { .. })));
        let here = program(OsStr::new("./tool"), &[], dir.path()).unwrap();
        assert!(here.is_absolute());
        assert!(program(OsStr::new("sh"), &[], Path::new("/")).is_ok());
    }
}
