//! No file past 800 lines, all counted.

use anyhow::bail;

use crate::shell::capture;

const LINES_MAX: usize = 800;

pub(crate) fn check() -> anyhow::Result<()> {
    let mut git = std::process::Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"]);
    let files = capture(&mut git)?;
    let mut over = Vec::new();
    for file in files.lines() {
        // A file that git still lists and that is gone from the tree has no size.
        let Ok(text) = std::fs::read_to_string(file) else { continue };
        let lines = text.lines().count();
        if lines > LINES_MAX {
            over.push(format!("{file}: {lines} lines"));
        }
    }
    if !over.is_empty() {
        bail!("files past {LINES_MAX} lines:\n  {}", over.join("\n  "));
    }
    println!("{} files, none past {LINES_MAX} lines", files.lines().count());
    Ok(())
}
