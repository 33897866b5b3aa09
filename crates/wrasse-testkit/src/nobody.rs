//! Being another user: whether that can be had, and running one of the kit's programs again as one without any privilege.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::station::text;

const NOBODY: u32 = 65_534;
const PROGRAMS: [&str; 5] =
    ["wrasse", "wrasse-fixture", "wrasse-oracle", "wrasse-storm", "wrasse-soak"];

/// Whether we can execute a program in this folder, which is open to it, as this user. Root may lack the privilege in a
/// container, and the number in a user namespace; and a folder above may be closed to others, or execute nothing.
///
/// # Errors
/// What stands in the way.
#[expect(clippy::disallowed_methods, reason = "asks the machine")]
pub fn can_be(uid: u32, folder: &Path) -> Result<(), String> {
    if rustix::process::getuid().as_raw() == uid {
        return Err(format!("this is the user {uid} already"));
    }
    let probe = folder.join("probe");
    // By another process: while one of ours has it open to write, it is not executed.
    let script = "echo '#!/bin/sh' >\"$0\" && chmod 755 \"$0\"";
    let made = Command::new("sh").args(["-c", script]).arg(&probe).status();
    assert!(made.is_ok_and(|status| status.success()), "{}", probe.display());
    match Command::new(&probe).current_dir("/").gid(uid).uid(uid).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(text(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("{} cannot be executed as user {uid}: {error}", probe.display())),
    }
}

/// Copies the programs to where an ordinary user may read them, and runs this one again as such a user.
/// A file named after `--record` is opened for everybody to write.
#[expect(clippy::disallowed_methods, reason = "starts itself as another user")]
pub fn again(words: &[String]) -> ExitCode {
    let run = || -> std::io::Result<ExitCode> {
        open_record(words)?;
        let folder = copies()?;
        let own = std::env::current_exe()?;
        let status = Command::new(folder.path().join(own.file_name().unwrap_or_default()))
            .args(words)
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .env_remove("TMPDIR")
            .gid(NOBODY)
            .uid(NOBODY)
            .status()?;
        let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        Ok(ExitCode::from(code))
    };
    run().unwrap_or_else(|error| {
        eprintln!("cannot go on as an ordinary user: {error}");
        ExitCode::FAILURE
    })
}

/// Makes the file that results are recorded in, for everybody to write.
fn open_record(words: &[String]) -> std::io::Result<()> {
    let named = words.windows(2).find(|pair| pair[0] == "--record");
    let Some([_, path]) = named else { return Ok(()) };
    let file = std::fs::File::options().create(true).append(true).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o666))
}

fn copies() -> std::io::Result<tempfile::TempDir> {
    let exe = std::env::current_exe()?;
    let from = exe.parent().unwrap_or(Path::new("/"));
    let folder = tempfile::Builder::new().prefix("wrasse-nobody-").tempdir()?;
    let open = |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755));
    open(folder.path())?;
    for name in PROGRAMS.iter().filter(|name| from.join(name).is_file()) {
        let copy = folder.path().join(name);
        std::fs::copy(from.join(name), &copy)?;
        open(&copy)?;
    }
    Ok(folder)
}
