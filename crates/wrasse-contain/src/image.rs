//! Where the guard program is executed from: a file in the state directory, a sealed memfd, or our own
//! executable.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags, StatVfsMountFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::{ContainError, Guard};

const OURSELVES: &str = "/proc/self/exe";

/// A guard program that can be executed.
#[derive(Debug)]
pub(crate) enum Program {
    /// A file with the right content.
    File(PathBuf),
    /// A sealed memfd.
    Memfd(OwnedFd),
    /// Our own executable, which becomes the guard by its `argv[0]`.
    Itself,
}

impl Program {
    /// What to execute. Of a memfd it is a path that only this process, and a child before it executes, has.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Memfd(fd) => PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())),
            Self::Itself => PathBuf::from(OURSELVES),
        }
    }

    /// The word for it in reports.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Memfd(_) => "memfd",
            Self::Itself => "self",
        }
    }
}

/// The first source, in the order that `guard` asks for, that passes `probe`; what did not do is noted.
pub(crate) fn locate(
    guard: Guard,
    state_dir: &Path,
    notes: &mut Vec<String>,
    mut probe: impl FnMut(&Program) -> io::Result<()>,
) -> Result<Program, ContainError> {
    let image = wrasse_guard::IMAGE;
    let sources: &[Guard] = match guard {
        Guard::Auto => &[Guard::File, Guard::Memfd, Guard::Itself],
        Guard::File => &[Guard::File],
        Guard::Memfd => &[Guard::Memfd],
        Guard::Itself => &[Guard::Itself],
    };
    let mut tried = String::new();
    for source in sources {
        let made = match source {
            Guard::File if !image.is_empty() => file(state_dir, image).map(Program::File),
            Guard::Memfd if !image.is_empty() => memfd(image).map(Program::Memfd),
            Guard::File | Guard::Memfd => {
                Err(io::Error::other("this build holds no guard program of its own"))
            }
            Guard::Auto | Guard::Itself => Ok(Program::Itself),
        };
        match made.and_then(|program| probe(&program).map(|()| program)) {
            Ok(program) => {
                if !tried.is_empty() {
                    notes.push(format!("guard program from {}: {tried}", program.word()));
                }
                return Ok(program);
            }
            Err(error) => {
                let separator = if tried.is_empty() { "" } else { "; " };
                let name = match source {
                    Guard::File => "file",
                    Guard::Memfd => "memfd",
                    Guard::Auto | Guard::Itself => "self",
                };
                // Writing to a string cannot fail.
                let _infallible = write!(tried, "{separator}{name}: {error}");
            }
        }
    }
    Err(ContainError::NoGuard { tried })
}

/// Makes sure that the guard file is there with the right content.
fn file(state_dir: &Path, image: &[u8]) -> io::Result<PathBuf> {
    let dir = state_dir.join("bin");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    if rustix::fs::statvfs(&dir)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(io::Error::other(format!("{} is on a noexec mount", dir.display())));
    }
    let hash = hex(&Sha256::digest(image));
    let path = dir.join(format!("wrasse-guard-{}", &hash[..16]));
    if !is_good(&path, image) {
        write_file(&dir, &path, image)?;
        if !is_good(&path, image) {
            return Err(io::Error::other(format!(
                "{} changes while it is written",
                path.display()
            )));
        }
    }
    Ok(path)
}

/// Only a file that nobody else can change, with exactly our content, is executed.
fn is_good(path: &Path, image: &[u8]) -> bool {
    let flags = OpenOptions::new().read(true).custom_flags(nofollow()).open(path);
    let Ok(mut file) = flags else { return false };
    let Ok(metadata) = file.metadata() else { return false };
    let mut content = Vec::new();
    metadata.is_file()
        && metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.mode() & 0o7777 == 0o500
        && metadata.len() == image.len() as u64
        && file.read_to_end(&mut content).is_ok()
        && Sha256::digest(&content) == Sha256::digest(image)
}

fn nofollow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()
}

fn write_file(dir: &Path, path: &Path, image: &[u8]) -> io::Result<()> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let mut name = OsString::from(".wrasse-guard-");
    name.push(hex(&random));
    let temporary = dir.join(name);
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o500).open(&temporary)?;
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o500))?;
        file.write_all(image)?;
        drop::<File>(file);
        std::fs::rename(&temporary, path)
    };
    let written = write();
    if written.is_err() {
        // What is left of a failed attempt is of no use to anybody.
        drop(std::fs::remove_file(&temporary));
    }
    written
}

/// A sealed memfd that holds the image.
fn memfd(image: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let create = |flags| rustix::fs::memfd_create("wrasse-guard", flags);
    // Where memfds are not executable by default this must be said; older kernels do not know the word.
    let fd = match create(flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => create(flags)?,
        other => other?,
    };
    let mut file = File::from(fd);
    file.write_all(image)?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), b"right").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"right");
        let mode = std::fs::metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o500);

        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(name.len(), "wrasse-guard-".len() + 16);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"wrong").unwrap();
        assert_eq!(file(dir.path(), b"right").unwrap(), path);
        assert_eq!(std::fs::read(&path).unwrap(), b"right");

        let aside = dir.path().join("aside");
        std::fs::write(&aside, b"right").unwrap();
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&aside, &path).unwrap();
        assert_eq!(file(dir.path(), b"right").unwrap(), path);
        assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
        let left: Vec<_> = std::fs::read_dir(dir.path().join("bin")).unwrap().collect();
        assert_eq!(left.len(), 1, "no temporary file is left");
    }

    #[test]
    fn a_memfd_cannot_be_changed() {
        let mut file = File::from(memfd(b"image").unwrap());
        assert!(file.write_all(b"x").is_err());
        assert!(file.set_len(0).is_err());
    }

    #[test]
    fn falls_back_and_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let mut notes = Vec::new();
        let refuse = |program: &Program| match program {
            Program::Itself => Ok(()),
            Program::File(_) | Program::Memfd(_) => Err(io::Error::other("refused")),
        };
        let program = locate(Guard::Auto, dir.path(), &mut notes, refuse).unwrap();
        assert_eq!(program.word(), "self");
        assert_eq!(notes.len(), 1, "{notes:?}");
        let error = locate(Guard::Memfd, dir.path(), &mut notes, refuse).unwrap_err();
        assert!(error.to_string().contains("memfd: "), "{error}");
    }
}
