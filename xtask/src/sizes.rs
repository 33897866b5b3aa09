//! No file past 800 lines, all counted.

use std::path::{Path, PathBuf};

use anyhow::bail;

const LINES_MAX: usize = 800;
/// Where our code is.
const FOLDERS: [&str; 2] = ["crates", "xtask"];

pub(crate) fn check() -> anyhow::Result<()> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(Path::new(folder), &mut files)?;
    }
    let mut over = Vec::new();
    for file in &files {
        let lines = std::fs::read_to_string(file)?.lines().count();
        if lines > LINES_MAX {
            over.push(format!("{}: {lines} lines", file.display()));
        }
    }
    if !over.is_empty() {
        bail!("files past {LINES_MAX} lines:\n  {}", over.join("\n  "));
    }
    println!("{} files, none past {LINES_MAX} lines", files.len());
    Ok(())
}

/// Adds what a folder has, whether git knows it or not: there need not be a git here.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let (entry, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        if kind.is_dir() {
            collect(&entry, files)?;
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            files.push(entry);
        }
    }
    Ok(())
}
