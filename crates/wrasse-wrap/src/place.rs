//! Where shims keep what they know: `<state dir>/wrap/`.
//!
//! ```text
//! wrap/installation      the number that our processes carry; it holds its own inode, as a copy must not match
//! wrap/key               32 random bytes, so that a catalogue key tells nobody what environment it covers
//! wrap/catalogue/<key>.json
//! wrap/shims/<id>.json   the ledger, see [`crate::ledger`]
//! ```
//!
//! Nothing is locked: every file is written beside its place and renamed over it.

use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The folder, and what is random in it.
#[derive(Debug, Clone)]
pub struct Place {
    state_dir: PathBuf,
    /// The number of this installation, part of every mark.
    pub installation: u16,
    secret: [u8; 32],
    /// Why nothing can be kept here, if so.
    pub fault: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    number: u16,
    device: u64,
    inode: u64,
}

impl Place {
    /// Opens the folder, and makes what is missing. When that is refused, nothing is kept, and `fault` says why.
    pub fn open(state_dir: &Path) -> Self {
        let wrap = state_dir.join("wrap");
        let mut fault = None;
        let mut try_to = |result: io::Result<()>, path: &Path| {
            if let Err(error) = result {
                fault.get_or_insert_with(|| format!("{}: {error}", path.display()));
            }
        };
        try_to(close_to_others(state_dir), state_dir);
        for folder in ["catalogue", "shims"] {
            let folder = wrap.join(folder);
            try_to(make_folder(&folder), &folder);
        }
        let mut installation = random_number();
        let path = wrap.join("installation");
        try_to(read_or_make_number(&path).map(|number| installation = number), &path);
        let mut secret = random();
        let path = wrap.join("key");
        try_to(read_or_make_secret(&path).map(|kept| secret = kept), &path);
        Self { state_dir: state_dir.to_owned(), installation, secret, fault }
    }

    /// The state dir itself.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Where catalogue entries are.
    pub fn catalogue(&self) -> PathBuf {
        self.state_dir.join("wrap/catalogue")
    }

    /// Where the ledger is.
    pub fn shims(&self) -> PathBuf {
        shims(&self.state_dir)
    }

    /// A hash that only who has the secret can make.
    pub fn keyed_hash<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> String {
        let mut hash = Sha256::new();
        hash.update(self.secret);
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hex(&hash.finalize()[..16])
    }
}

/// Where the ledger of a state dir is.
pub fn shims(state_dir: &Path) -> PathBuf {
    state_dir.join("wrap/shims")
}

/// The number of an installation that already is one.
pub fn installation_of(state_dir: &Path) -> Option<u16> {
    read_number(&state_dir.join("wrap/installation")).ok().flatten()
}

/// Writes a file whole or not at all; nobody else may read it.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = write_beside(path, content)?;
    std::fs::rename(&fresh, path).inspect_err(|_| drop(std::fs::remove_file(&fresh)))
}

fn write_beside(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", hex(&random::<6>())));
    let fresh = path.with_file_name(name);
    let options = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh);
    let written = options.and_then(|mut file| file.write_all(content));
    match written {
        Ok(()) => Ok(fresh),
        Err(error) => {
            drop(std::fs::remove_file(&fresh));
            Err(error)
        }
    }
}

/// A state dir that somebody made and nobody used is ours alone from now on, as the gateway would have it.
fn close_to_others(state_dir: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::metadata(state_dir) else { return Ok(()) };
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if ours && metadata.mode() & 0o077 != 0 && std::fs::read_dir(state_dir)?.next().is_none() {
        std::fs::set_permissions(state_dir, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)?;
    Ok(())
}

fn read_or_make_number(path: &Path) -> io::Result<u16> {
    if let Some(number) = read_number(path)? {
        return Ok(number);
    }
    // A copy, or damaged: replaced. Of several that do so the last is right, and records carry their number.
    let replaced = path.exists();
    let number = random_number();
    // The inode is known only once the file exists, and neither a link nor a rename changes it.
    let fresh = write_beside(path, b"")?;
    let placed = std::fs::metadata(&fresh).and_then(|metadata| {
        let own = Written { number, device: metadata.dev(), inode: metadata.ino() };
        std::fs::write(&fresh, serde_json::to_vec(&own)?)?;
        if replaced && read_number(path)?.is_none() {
            std::fs::rename(&fresh, path)?;
        } else {
            place_first(&fresh, path)?;
        }
        Ok(read_number(path)?.unwrap_or(number))
    });
    drop(std::fs::remove_file(&fresh));
    placed
}

/// Puts a file in its place unless somebody else was first, who then is right.
fn place_first(fresh: &Path, path: &Path) -> io::Result<()> {
    match std::fs::hard_link(fresh, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            // A file system without links.
            std::fs::rename(fresh, path)
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn read_number(path: &Path) -> io::Result<Option<u16>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = std::fs::metadata(path)?;
    let Ok(written) = serde_json::from_slice::<Written>(&text) else { return Ok(None) };
    let same = written.device == metadata.dev() && written.inode == metadata.ino();
    Ok(same.then_some(written.number))
}

fn read_or_make_secret(path: &Path) -> io::Result<[u8; 32]> {
    let read = || -> Option<[u8; 32]> { std::fs::read(path).ok()?.try_into().ok() };
    if let Some(secret) = read() {
        return Ok(secret);
    }
    let fresh = write_beside(path, &random::<32>())?;
    let placed = place_first(&fresh, path).and_then(|()| match read() {
        Some(_) => Ok(()),
        // Damaged: what the catalogue holds is learnt anew.
        None => std::fs::rename(&fresh, path),
    });
    drop(std::fs::remove_file(&fresh));
    placed?;
    read().ok_or_else(|| io::Error::other("it changes while it is written"))
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0_u8; N];
    if getrandom::fill(&mut bytes).is_err() {
        // No source of randomness at all: the numbers must differ, and need not be secret to do so.
        let mut hash = Sha256::new();
        hash.update(std::process::id().to_le_bytes());
        hash.update(wrasse_scope::clock::now().since_boot().as_nanos().to_le_bytes());
        for (byte, from) in bytes.iter_mut().zip(hash.finalize()) {
            *byte = from;
        }
    }
    bytes
}

/// Any number but the two that a mark without an installation could hold by accident.
fn random_number() -> u16 {
    let numbers = random::<32>();
    let mut numbers = numbers.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    numbers.find(|number| *number != 0 && *number != u16::MAX).unwrap_or(1)
}

/// Bytes as text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_another_installation_and_files_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = Place::open(dir.path());
        assert_eq!(first.fault, None);
        assert_eq!(Place::open(dir.path()).installation, first.installation);
        assert_eq!(installation_of(dir.path()), Some(first.installation));
        assert_eq!(first.keyed_hash([&b"a"[..]]), Place::open(dir.path()).keyed_hash([&b"a"[..]]));
        assert_ne!(first.keyed_hash([&b"ab"[..], b""]), first.keyed_hash([&b"a"[..], b"b"]));
        let mode = std::fs::metadata(dir.path().join("wrap/key")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);

        let copy = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(copy.path().join("wrap")).unwrap();
        for file in ["wrap/installation", "wrap/key"] {
            std::fs::copy(dir.path().join(file), copy.path().join(file)).unwrap();
        }
        assert_eq!(installation_of(copy.path()), None);
        let other = Place::open(copy.path());
        assert_eq!(other.fault, None);
        assert_eq!(Place::open(copy.path()).installation, other.installation);
        let left: Vec<_> = std::fs::read_dir(copy.path().join("wrap")).unwrap().collect();
        assert_eq!(left.len(), 4, "no temporary file is left: {left:?}");
    }

    #[test]
    fn many_first_comers_agree() {
        let dir = tempfile::tempdir().unwrap();
        let numbers: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..16).map(|_| scope.spawn(|| Place::open(dir.path()))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for place in &numbers {
            assert_eq!(place.installation, numbers[0].installation);
            assert_eq!(place.secret, numbers[0].secret);
        }
    }

    #[test]
    fn a_place_that_cannot_be_written_is_a_fault_and_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("wrap"), b"a file").unwrap();
        let place = Place::open(dir.path());
        assert!(place.fault.unwrap().contains("wrap/catalogue"));
        assert_ne!(place.installation, 0);
    }
}
