//! Descriptors, files, directories, polling.

use core::{ffi::CStr, mem::ManuallyDrop};

use super::{Errno, answer, arch, call, number, signed, small};

const AT_FDCWD: i32 = -100;
const F_GETFD: usize = 1;
const F_SETFD: usize = 2;
const FD_CLOEXEC: usize = 1;
const CLOSE_RANGE_CLOEXEC: usize = 4;
const CLOSE_RANGE: usize = 436;
const O_CLOEXEC: usize = 0o2_000_000;
const O_NONBLOCK: usize = 0o4_000;

/// How to open a file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Access {
    Read,
    ReadWrite,
    Write,
    Directory,
    Path,
}

/// An owned descriptor.
#[derive(Debug)]
pub(crate) struct Fd(i32);

impl Fd {
    /// Takes over a descriptor that nobody else owns.
    pub(crate) fn own(raw: i32) -> Self {
        Fd(raw)
    }

    pub(crate) fn raw(&self) -> i32 {
        self.0
    }

    /// Gives the number up to whoever calls.
    pub(crate) fn into_raw(self) -> i32 {
        ManuallyDrop::new(self).0
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        close(self.0);
    }
}

fn close(raw: i32) {
    // SAFETY: closing a number touches no memory. Linux frees it even when it reports an error.
    unsafe { call(number::CLOSE, [signed(raw), 0, 0, 0, 0, 0]) };
}

pub(crate) fn open(path: &CStr, access: Access) -> Result<Fd, Errno> {
    open_below(AT_FDCWD, path, access)
}

/// Opens what is in a directory.
pub(crate) fn open_at(directory: &Fd, name: &CStr, access: Access) -> Result<Fd, Errno> {
    open_below(directory.0, name, access)
}

fn open_below(directory: i32, path: &CStr, access: Access) -> Result<Fd, Errno> {
    let flags = match access {
        Access::Read => 0,
        Access::Write => 1,
        Access::ReadWrite => 2,
        Access::Directory => arch::O_DIRECTORY,
        Access::Path => 0o10_000_000,
    };
    let arguments =
        [signed(directory), path.as_ptr().expose_provenance(), flags | O_CLOEXEC, 0, 0, 0];
    // SAFETY: the path is NUL-terminated.
    answer(unsafe { call(number::OPENAT, arguments) }).map(|raw| Fd(small(raw)))
}

pub(crate) fn read(fd: &Fd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let arguments = [signed(fd.0), buffer.as_mut_ptr().expose_provenance(), buffer.len(), 0, 0, 0];
    // SAFETY: the kernel writes at most `len` bytes into the buffer.
    answer(unsafe { call(number::READ, arguments) })
}

/// Writes to a raw number: also used for descriptors that the process was born with.
pub(crate) fn write(raw: i32, bytes: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel reads `len` bytes of the slice.
    answer(unsafe {
        call(number::WRITE, [signed(raw), bytes.as_ptr().expose_provenance(), bytes.len(), 0, 0, 0])
    })
}

/// Removes an empty directory.
pub(crate) fn remove_directory(path: &CStr) -> Result<(), Errno> {
    remove_directory_below(AT_FDCWD, path)
}

/// Removes an empty directory that is in a directory.
pub(crate) fn remove_directory_at(directory: &Fd, name: &CStr) -> Result<(), Errno> {
    remove_directory_below(directory.0, name)
}

fn remove_directory_below(directory: i32, path: &CStr) -> Result<(), Errno> {
    const AT_REMOVEDIR: usize = 0x200;
    let arguments = [signed(directory), path.as_ptr().expose_provenance(), AT_REMOVEDIR, 0, 0, 0];
    // SAFETY: the path is NUL-terminated.
    answer(unsafe { call(number::UNLINKAT, arguments) }).map(drop)
}

pub(crate) fn read_link(path: &CStr, buffer: &mut [u8]) -> Result<usize, Errno> {
    let arguments = [
        signed(AT_FDCWD),
        path.as_ptr().expose_provenance(),
        buffer.as_mut_ptr().expose_provenance(),
        buffer.len(),
        0,
        0,
    ];
    // SAFETY: the path is NUL-terminated and the buffer is writable for its length.
    answer(unsafe { call(number::READLINKAT, arguments) })
}

/// Reads directory entries; 0 at the end.
pub(crate) fn directory_entries(fd: &Fd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let arguments = [signed(fd.0), buffer.as_mut_ptr().expose_provenance(), buffer.len(), 0, 0, 0];
    // SAFETY: the kernel writes at most `len` bytes into the buffer.
    answer(unsafe { call(number::GETDENTS64, arguments) })
}

/// A pipe: the read end does not block.
pub(crate) fn pipe() -> Result<(Fd, Fd), Errno> {
    let mut ends = [-1_i32; 2];
    let arguments = [ends.as_mut_ptr().expose_provenance(), O_CLOEXEC | O_NONBLOCK, 0, 0, 0, 0];
    // SAFETY: the kernel writes two descriptors.
    answer(unsafe { call(number::PIPE2, arguments) })?;
    Ok((Fd(ends[0]), Fd(ends[1])))
}

/// Makes `to` another name of `from`, inherited over exec.
pub(crate) fn duplicate_onto(from: i32, to: i32) -> Result<(), Errno> {
    // SAFETY: no memory is touched.
    answer(unsafe { call(number::DUP3, [signed(from), signed(to), 0, 0, 0, 0]) }).map(drop)
}

pub(crate) fn is_open(raw: i32) -> bool {
    // SAFETY: no memory is touched.
    answer(unsafe { call(number::FCNTL, [signed(raw), F_GETFD, 0, 0, 0, 0]) }).is_ok()
}

pub(crate) fn set_close_on_exec(raw: i32) -> Result<(), Errno> {
    // SAFETY: no memory is touched.
    answer(unsafe { call(number::FCNTL, [signed(raw), F_SETFD, FD_CLOEXEC, 0, 0, 0]) }).map(drop)
}

/// What to do with every descriptor from 3 on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Others {
    Close,
    CloseOnExec,
}

pub(crate) fn others(what: Others) {
    let flags = match what {
        Others::Close => 0,
        Others::CloseOnExec => CLOSE_RANGE_CLOEXEC,
    };
    let last = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
    // SAFETY: no memory is touched; owned descriptors are the caller's concern.
    if answer(unsafe { call(CLOSE_RANGE, [3, last, flags, 0, 0, 0]) }).is_ok() {
        return;
    }
    // Before Linux 5.9 (5.11 for the flag) there is no such call: go over the numbers.
    let (soft, _) = super::limit(super::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    for raw in 3..i32::try_from(soft.min(65_536)).unwrap_or(1024) {
        match what {
            Others::Close => close(raw),
            // A number that is not open is no fault here.
            Others::CloseOnExec => drop(set_close_on_exec(raw)),
        }
    }
}

/// Whether a range of descriptors can be closed by one call.
pub(crate) fn closes_ranges() -> bool {
    // A range in which nothing can be open.
    let last = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
    // SAFETY: no memory is touched.
    answer(unsafe { call(CLOSE_RANGE, [last, last, CLOSE_RANGE_CLOEXEC, 0, 0, 0]) }).is_ok()
}

/// Gives 0, 1 and 2 a meaning when whoever started us closed them; else the next descriptors we
/// open would become the server's stdio.
pub(crate) fn mend_standard(from: i32) {
    for raw in from..3 {
        if !is_open(raw)
            && let Ok(null) = open(c"/dev/null", Access::ReadWrite)
        {
            if null.raw() == raw {
                // It took the free number itself, but it must survive exec.
                let raw = null.into_raw();
                // SAFETY: no memory is touched.
                unsafe { call(number::FCNTL, [signed(raw), F_SETFD, 0, 0, 0, 0]) };
            } else if duplicate_onto(null.raw(), raw).is_err() {
                return;
            }
        }
    }
}

/// One entry of a poll set; a negative descriptor is skipped.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Poll {
    fd: i32,
    events: i16,
    found: i16,
}

impl Poll {
    pub(crate) fn readable(fd: Option<&Fd>) -> Self {
        const POLLIN: i16 = 1;
        Poll { fd: fd.map_or(-1, Fd::raw), events: POLLIN, found: 0 }
    }

    /// Readable, closed or faulty: all of them want a read.
    pub(crate) fn fired(&self) -> bool {
        self.found != 0
    }
}

/// Waits until something fires or the time is over (`None`: for ever).
pub(crate) fn poll(set: &mut [Poll], timeout_ms: Option<u64>) {
    let time = timeout_ms.map(|ms| [ms / 1000, (ms % 1000) * 1_000_000]);
    let time = time.as_ref().map_or(0, |time| core::ptr::from_ref(time).expose_provenance());
    let arguments = [set.as_mut_ptr().expose_provenance(), set.len(), time, 0, 0, 0];
    // SAFETY: `Poll` is the kernel's pollfd, the time its timespec; both live across the call. An
    // error (EINTR after SIGCONT) leaves nothing fired, which the loop takes as a wake-up.
    if answer(unsafe { call(number::PPOLL, arguments) }).is_err() {
        for entry in set {
            entry.found = 0;
        }
    }
}
