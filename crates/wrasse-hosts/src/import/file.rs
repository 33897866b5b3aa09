//! Reading and replacing one file, so that no moment shows half of it and nothing of it but its bytes changes.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, XattrFlags, renameat_with};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::ImportError;

/// The hash of some bytes, in hexadecimal.
pub(super) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes an error of the operating system one of ours.
pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImportError {
    move |source| ImportError::Io { what, path: path.to_owned(), source }
}

/// The whole of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ImportError> {
    // A pipe would be waited for.
    let refuse = || Err(io::Error::other("it is not a regular file"));
    let is_file = std::fs::metadata(path).map(|metadata| metadata.is_file());
    is_file
        .and_then(|is_file| if is_file { std::fs::read(path) } else { refuse() })
        .map_err(failed("read", path))
}

/// New bytes beside the file they are to replace; dropped uncommitted, they are removed.
#[derive(Debug)]
pub(super) struct Staged {
    target: PathBuf,
    fresh: PathBuf,
    done: bool,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Committed {
    /// The file is replaced, on the disk too.
    Replaced,
    /// Somebody changed it meanwhile: it is as they left it.
    ChangedMeanwhile,
}

impl Staged {
    /// Writes new bytes beside a file, with its mode, owner and extended attributes. The path has no symbolic link.
    pub(super) fn new(target: &Path, bytes: &[u8]) -> Result<Self, ImportError> {
        let old = std::fs::metadata(target).map_err(failed("read", target))?;
        let (dir, name) = split(target);
        let (file, fresh) = create_beside(dir, &name).map_err(failed("write into", dir))?;
        let staged = Self { target: target.to_owned(), fresh, done: false };
        staged.fill(file, &old, bytes)?;
        Ok(staged)
    }

    fn fill(
        &self,
        mut file: File,
        old: &std::fs::Metadata,
        bytes: &[u8],
    ) -> Result<(), ImportError> {
        let fresh = file.metadata().map_err(failed("read", &self.fresh))?;
        if (fresh.uid(), fresh.gid()) != (old.uid(), old.gid()) {
            std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid())).map_err(|_| {
                ImportError::OwnerLost { path: self.target.clone(), owner: old.uid() }
            })?;
        }
        copy_attributes(&self.target, &file);
        // After the owner: changing that takes bits away.
        file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))
            .and_then(|()| file.write_all(bytes))
            .and_then(|()| file.sync_all())
            .map_err(failed("write", &self.fresh))
    }

    /// Puts the new bytes in the place of the file, if that still holds what was read from it.
    pub(super) fn commit(mut self, expected: &str) -> Result<Committed, ImportError> {
        // Both exchange their names at once; only then is looked at what stood there, so that no change of somebody
        // else falls between the look and the exchange.
        match renameat_with(CWD, &self.fresh, CWD, &self.target, RenameFlags::EXCHANGE) {
            Ok(()) => {
                // What lies beside the file now is not ours to remove unseen.
                self.done = true;
                if hash(&read(&self.fresh)?) != expected {
                    renameat_with(CWD, &self.fresh, CWD, &self.target, RenameFlags::EXCHANGE)
                        .map_err(|error| failed("put back", &self.target)(error.into()))?;
                    self.done = false;
                    return Ok(Committed::ChangedMeanwhile);
                }
                std::fs::remove_file(&self.fresh).map_err(failed("remove", &self.fresh))?;
            }
            Err(Errno::BUSY) => return Err(self.refused(Errno::BUSY.into())),
            // Not every file system can, and each says so in its own way.
            Err(_) => {
                if hash(&read(&self.target)?) != expected {
                    return Ok(Committed::ChangedMeanwhile);
                }
                std::fs::rename(&self.fresh, &self.target).map_err(|error| self.refused(error))?;
            }
        }
        self.done = true;
        let (dir, _) = split(&self.target);
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))?;
        Ok(Committed::Replaced)
    }

    fn refused(&self, error: io::Error) -> ImportError {
        if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) {
            return ImportError::Mounted { path: self.target.clone() };
        }
        failed("replace", &self.target)(error)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.done {
            drop(std::fs::remove_file(&self.fresh));
        }
    }
}

/// Writes a file of our own, 0600, in one step.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), ImportError> {
    let (dir, name) = split(path);
    let (mut file, fresh) = create_beside(dir, &name).map_err(failed("write into", dir))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&fresh, path))
        .and_then(|()| File::open(dir)?.sync_all())
        .map_err(failed("write", path))
}

/// A new file, closed to others, whose name nobody takes for the file's.
fn create_beside(dir: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    let mut attempt = 0_u32;
    loop {
        let path = dir.join(format!(".{name}.wrasse-{}-{attempt}", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The directory and the name of a full path.
fn split(path: &Path) -> (&Path, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    (path.parent().unwrap_or(Path::new("/")), name)
}

/// Access lists and labels. Where one cannot be set the mode stands for itself.
fn copy_attributes(from: &Path, to: &File) {
    let mut names = vec![0_u8; 64 * 1024];
    let Ok(length) = rustix::fs::listxattr(from, &mut names[..]) else { return };
    let mut value = vec![0_u8; 64 * 1024];
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if let Ok(length) = rustix::fs::getxattr(from, name, &mut value[..]) {
            let _ = rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty());
        }
    }
}
