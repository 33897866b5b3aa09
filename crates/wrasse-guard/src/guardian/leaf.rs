//! The cgroup v2 directory of one tree: one more way to end it, and one more witness that it is empty.
//! Everything here may fail, and then the tree ends as it does without.

use core::ffi::CStr;

use crate::sys::{self, Access, Errno, Fd, Table};

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

    /// Kills whoever is left in it when we have no child any more; how many those are. Members that are not below us
    /// were moved here by somebody who may, and go with the tree, which is not empty before. Where the kernel cannot
    /// kill them (before Linux 5.14), that we have no child is the whole proof.
    pub(super) fn clear(&self) -> u32 {
        if !self.is_populated() || self.write(c"cgroup.kill", b"1").is_err() {
            return 0;
        }
        // In cgroups below it there may be more.
        self.members().max(1)
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

    fn members(&self) -> u32 {
        let Ok(file) = sys::open_at(&self.directory, c"cgroup.procs", Access::Read) else {
            return 0;
        };
        let (mut text, mut lines) = ([0; 512], 0_u32);
        while let Ok(len @ 1..) = sys::read(&file, &mut text) {
            lines = text[..len].iter().fold(lines, |lines, byte| lines + u32::from(*byte == b'\n'));
        }
        lines
    }

    fn is_populated(&self) -> bool {
        let mut text = [0; 128];
        let read = sys::open_at(&self.directory, c"cgroup.events", Access::Read)
            .and_then(|file| sys::read(&file, &mut text));
        read.is_ok_and(|len| text[..len].split(|byte| *byte == b'\n').any(|l| l == b"populated 1"))
    }
}
