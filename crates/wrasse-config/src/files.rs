//! How files are read: injected, so that tests need no disk.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Reads files for the loader.
pub trait ReadFile {
    /// The whole text of a file.
    ///
    /// # Errors
    /// When the file cannot be read or is not UTF-8.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// The path with every symbolic link followed.
    ///
    /// # Errors
    /// When the file is not there.
    fn real_path(&self, path: &Path) -> io::Result<PathBuf>;
}

/// The disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskFiles;

impl ReadFile for DiskFiles {
    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        std::fs::canonicalize(path)
    }
}

/// Files in memory, for tests.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles(pub BTreeMap<PathBuf, String>);

impl ReadFile for MemoryFiles {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        if self.0.contains_key(path) {
            Ok(path.to_owned())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}
