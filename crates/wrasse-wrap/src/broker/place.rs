//! `<state dir>/wrap/broker/`: a socket and a lock for each server that is shared now.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// The folder, open: a path through its descriptor is short enough for a socket's address, wherever the folder is.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    open: File,
    key: String,
}

/// Held for as long as a broker may have anything that runs.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
    path: PathBuf,
}

impl Folder {
    /// Opens the folder, and makes it if it is missing. It must be ours, and nobody else's.
    pub(super) fn open(state_dir: &Path, key: &str) -> io::Result<Self> {
        let path = state_dir.join("wrap/broker");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = File::from(rustix::fs::open(&path, flags, Mode::empty())?);
        let metadata = open.metadata()?;
        let own = rustix::process::geteuid().as_raw();
        if metadata.uid() != own || metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other(format!(
                "{} belongs to uid {} with mode {:o}: it must be yours alone (chmod 700)",
                path.display(),
                metadata.uid(),
                metadata.mode() & 0o777
            )));
        }
        Ok(Self { path, open, key: key.to_owned() })
    }

    /// The socket, by a path that is always short.
    pub(super) fn socket(&self) -> PathBuf {
        format!("/proc/self/fd/{}/{}.sock", self.open.as_raw_fd(), self.key).into()
    }

    /// Takes the lock, unless a broker has it.
    pub(super) fn try_lock(&self) -> io::Result<Option<Lock>> {
        let path = self.path.join(format!("{}.lock", self.key));
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
        // Whoever had it may have removed the file meanwhile, and a third may hold the new one.
        let same = std::fs::metadata(&path)
            .is_ok_and(|found| file.metadata().is_ok_and(|own| own.ino() == found.ino()));
        Ok(same.then_some(Lock { _file: file, path }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still held, so that nobody can hold a file that has no name.
        drop(std::fs::remove_file(&self.path));
    }
}
