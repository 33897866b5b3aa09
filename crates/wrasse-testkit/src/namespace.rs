//! PID namespaces in which the program under test is PID 1.

use std::process::Command;

use crate::station::text;

/// A namespace as root makes it.
pub const AS_ROOT: [&str; 5] = ["unshare", "-p", "-f", "--mount-proc", "--kill-child"];
/// A namespace as anybody may make it, where the machine permits user namespaces.
pub const AS_ANYBODY: [&str; 7] =
    ["unshare", "-U", "-r", "-p", "-f", "--mount-proc", "--kill-child"];

/// Whether the machine lets us make such a namespace.
///
/// # Errors
/// What it says when it does not.
#[expect(clippy::disallowed_methods, reason = "asks the machine")]
pub fn permits(launcher: &[&str]) -> Result<(), String> {
    let tried = Command::new(launcher[0]).args(&launcher[1..]).arg("true").output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(text(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
