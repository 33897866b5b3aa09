//! From options to one tree: search, read, include, overlay, environment, substitution.

mod document;
mod dotenv;
mod environment;
mod sources;

pub(crate) use document::Documents;
pub(crate) use environment::{Environment, Substituted};
pub(crate) use sources::{Notes, Sources};

use std::path::{Path, PathBuf};

use crate::LoadOptions;

/// The variable that names the configuration file.
pub(crate) const CONFIG_VARIABLE: &str = "WRASSE_CONFIG";

/// The files that are looked for, first found wins: `--config`, `$WRASSE_CONFIG`, `<state dir>/wrasse.json5`.
///
/// A file that was named must be there; only the last one may be absent.
pub fn search(options: &LoadOptions) -> Vec<PathBuf> {
    let named = options.env.get(CONFIG_VARIABLE).filter(|path| !path.is_empty());
    options
        .path
        .iter()
        .cloned()
        .chain(named.map(PathBuf::from))
        .map(|path| expand(&path.to_string_lossy(), &options.cwd, options.home.as_deref()))
        .chain([options.state_dir.join("wrasse.json5")])
        .collect()
}

/// Turns `~`, `~/x` and relative paths into full ones.
pub(crate) fn expand(text: &str, dir: &Path, home: Option<&Path>) -> PathBuf {
    if let (Some(rest), Some(home)) = (text.strip_prefix('~'), home) {
        if rest.is_empty() {
            return home.to_owned();
        }
        if let Some(rest) = rest.strip_prefix('/') {
            return home.join(rest);
        }
    }
    // Joining a full path gives that path.
    plain(&dir.join(text))
}

/// Removes `.` and `x/..` by text, for paths that need not exist.
pub(crate) fn plain(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !out.pop() {
                    out.push("..");
                }
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => out.push(part),
        }
    }
    out
}
