//! Running one of the kit's programs again as an ordinary user without any privilege.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

const NOBODY: u32 = 65_534;
const PROGRAMS: [&str; 5] =
    ["wrasse", "wrasse-fixture", "wrasse-oracle", "wrasse-storm", "wrasse-soak"];

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
