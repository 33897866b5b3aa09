//! The small executable: `wrasse wrap` becomes it, so that a host pays for a shim and not for a gateway.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::options::{FORMAT, WrapOptions};
use crate::tuning;

/// The name of the file.
pub const NAME: &str = "wrasse-shim";

/// Becomes the executable at `path`, if it is one of this version. Returns only when that came to nothing.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing is started: this process goes on as another program"
)]
pub fn become_shim(path: &Path, options: &WrapOptions) -> io::Error {
    match is_of_this_version(path) {
        Ok(true) => {
            let mut command = Command::new(path);
            command.args(options.to_args()).envs(tuning::for_shim()).exec()
        }
        Ok(false) => io::Error::other(format!("{} is of another version", path.display())),
        Err(error) => error,
    }
}

/// Whether a file is an executable that understands our arguments. It says so somewhere in its data; executing it to
/// ask would be too late to turn back.
fn is_of_this_version(path: &Path) -> io::Result<bool> {
    let content = std::fs::read(path)?;
    let marker = FORMAT.as_bytes();
    Ok(content.windows(marker.len()).any(|part| part == marker))
}
