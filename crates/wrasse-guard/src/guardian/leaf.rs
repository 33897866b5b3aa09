//! The cgroup v2 directory of one tree: one more way to end it, and one more witness that it is empty.
//! Everything here may fail, and then the tree ends as it does without.

use core::ffi::CStr;

use crate::sys::{self, Access, Errno, Fd, Table};

/// How long members that are not below us may take to end.
const EMPTY_WITHIN_MS: u64 = 500;

/// An open leaf.
pub(super) struct Leaf {
    directory: Fd,
    /// Its path, with its NUL: the spec is gone when it is needed.
    path: Table<u8>,
}

impl Leaf {
    pub(super) fn open(path: &CStr) -> Result<Self, Errno> {
        let directory = sys::open(path, Access::Directory)?;
        // Any other directory takes a file of this name, and whoever enters it would be nowhere.
        sys::open_at(&directory, c"cgroup.procs", Access::Write)?;
        let mut kept = Table::new();
        for byte in path.to_bytes_with_nul() {
            kept.push(*byte)?;
        }
        Ok(Leaf { directory, path: kept })
    }

    pub(super) fn directory(&self) -> &Fd {
        &self.directory
    }

    /// Moves the calling process into it.
    pub(super) fn enter(&self) -> Result<(), Errno> {
        self.write(c"cgroup.procs", b"0")
    }

    /// Kills every member, in one step that no fork escapes; not there before Linux 5.14.
    pub(super) fn kill(&self) {
        drop(self.write(c"cgroup.kill", b"1"));
    }

    /// Sees to it that nobody is left, for a while: members that are not below us were moved here by
    /// somebody who may, and go with the tree. We have no child left by now, which alone is the proof.
    pub(super) fn empty(&self) {
        let until = sys::now_ms() + EMPTY_WITHIN_MS;
        while self.is_populated() && sys::now_ms() < until {
            self.kill();
            sys::poll(&mut [], Some(2));
        }
    }

    /// Removes it.
    pub(super) fn remove(&self) {
        if let Ok(path) = CStr::from_bytes_with_nul(self.path.as_slice()) {
            drop(sys::remove_directory(path));
        }
    }

    fn write(&self, name: &CStr, text: &[u8]) -> Result<(), Errno> {
        let file = sys::open_at(&self.directory, name, Access::Write)?;
        sys::write(file.raw(), text).map(drop)
    }

    fn is_populated(&self) -> bool {
        let mut text = [0; 128];
        let read = sys::open_at(&self.directory, c"cgroup.events", Access::Read)
            .and_then(|file| sys::read(&file, &mut text));
        read.is_ok_and(|len| text[..len].split(|byte| *byte == b'\n').any(|l| l == b"populated 1"))
    }
}
