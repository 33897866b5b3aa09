//! Where things are: the state dir, the configuration, the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wrasse_config::{DiskFiles, Faults, LoadOptions, Loaded, StateDirBy};
use wrasse_contain::warden::launch_directory;

use crate::args::Common;
use crate::exit::{Exit, ExpectedError};

/// The state dir a person chose, or the default, and which of the two it is.
fn asked_state_dir(common: &Common) -> Result<(PathBuf, StateDirBy), ExpectedError> {
    let variable = || std::env::var_os("WRASSE_STATE_DIR").filter(|v| !v.is_empty());
    let (chosen, by) = if let Some(dir) = &common.state_dir {
        (dir.clone(), StateDirBy::Person)
    } else if let Some(dir) = variable() {
        (PathBuf::from(dir), StateDirBy::Person)
    } else {
        let home = home().ok_or_else(|| {
            ExpectedError::new(Exit::ConfigFault, "no state dir: HOME is not set")
                .help("give --state-dir DIR, or set WRASSE_STATE_DIR")
        })?;
        (home.join(".wrasse"), StateDirBy::Default)
    };
    let absolute = if chosen.is_absolute() {
        std::path::absolute(&chosen)
    } else {
        launch_directory().and_then(|launched_in| std::path::absolute(launched_in.join(&chosen)))
    };
    let absolute = absolute.map_err(|error| {
        ExpectedError::new(Exit::ConfigFault, format!("state dir {}: {error}", chosen.display()))
    })?;
    Ok((absolute, by))
}

/// The state dir: `--state-dir`, `$WRASSE_STATE_DIR`, `stateDir` of the configuration, `~/.wrasse`.
///
/// The configuration has no say when it is faulty; who needs it valid loads it and says so.
pub(crate) fn state_dir(common: &Common) -> Result<PathBuf, ExpectedError> {
    let (asked, by) = asked_state_dir(common)?;
    Ok(match by {
        StateDirBy::Person => asked,
        StateDirBy::Default => load(common).map_or(asked, |loaded| loaded.config.state_dir),
    })
}

/// The state dir of `wrasse wrap`: no configuration is read for it. Without a home nothing can be kept, and the shim
/// says so and works.
pub(crate) fn wrap_state_dir(common: &Common) -> PathBuf {
    asked_state_dir(common).map_or_else(|_| PathBuf::from("/dev/null/wrasse"), |(dir, _)| dir)
}

/// The state dirs in whose ledgers dead shims may be: the gateway's own, and that of `wrasse wrap` where a configuration
/// makes it another.
pub(crate) fn shim_state_dirs(common: &Common, own: &Path) -> Vec<PathBuf> {
    let shims = wrap_state_dir(common);
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let other = (real(own) != real(&shims)).then_some(shims);
    std::iter::once(own.to_owned()).chain(other).collect()
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").filter(|home| !home.is_empty()).map(Into::into)
}

/// What loading the configuration may look at.
fn load_options(common: &Common) -> Result<LoadOptions, ExpectedError> {
    // Variables whose name or value is not UTF-8 cannot be named in a configuration.
    let env: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let (state_dir, state_dir_by) = asked_state_dir(common)?;
    Ok(LoadOptions {
        path: common.config.clone(),
        state_dir,
        state_dir_by,
        env,
        cwd: launch_directory().unwrap_or_else(|_| PathBuf::from("/")),
        home: home(),
        cpu_count: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    })
}

/// Loads the configuration, or gives every fault of it.
pub(crate) fn try_load(common: &Common) -> Result<Result<Loaded, Faults>, ExpectedError> {
    Ok(wrasse_config::load_with_tree(&load_options(common)?, &DiskFiles))
}

/// Loads the configuration, or says every fault of it.
pub(crate) fn load(common: &Common) -> Result<Loaded, ExpectedError> {
    try_load(common)?.map_err(|faults| {
        let count = faults.0.len();
        let noun = if count == 1 { "fault" } else { "faults" };
        ExpectedError::new(
            Exit::ConfigFault,
            format!("{count} configuration {noun}; nothing was started\n{faults}"),
        )
        .help("wrasse config schema   lists every key")
    })
}
