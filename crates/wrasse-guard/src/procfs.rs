//! The few facts of `/proc` that a walk needs.

use core::ffi::CStr;

use crate::sys::{self, Access, Errno, Fd, Pid, Table};

/// Who a process is: its number alone says nothing, since numbers are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) parent: Pid,
    /// The kernel's letter for its state.
    pub(crate) state: u8,
    /// Threads that it has; one that ended and waits to be reaped still counts as one.
    pub(crate) threads: u32,
    /// When it started, in ticks since boot.
    pub(crate) start: u64,
}

impl Stat {
    /// It has ended and only waits to be reaped. A first thread that ended before the others looks
    /// like that too, and such a process lives on.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X') && self.threads <= 1
    }
}

/// A path below `/proc`, built without an allocator.
struct Path {
    bytes: [u8; 64],
    len: usize,
}

impl Path {
    fn new() -> Self {
        let mut path = Path { bytes: [0; 64], len: 0 };
        path.text(b"/proc/");
        path
    }

    /// Appends; the longest path built here has 50 bytes, so nothing is ever cut.
    fn text(&mut self, text: &[u8]) {
        for byte in text {
            if self.len + 1 < self.bytes.len() {
                self.bytes[self.len] = *byte;
                self.len += 1;
            }
        }
    }

    fn number(&mut self, number: Pid) {
        let mut digits = [0_u8; 10];
        self.text(decimal(number.unsigned_abs(), &mut digits));
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

/// Writes a number in decimal and returns the digits.
pub(crate) fn decimal(number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut rest = number;
    let mut at = digits.len();
    loop {
        at -= 1;
        let [digit, ..] = (rest % 10).to_le_bytes();
        digits[at] = b'0' + digit;
        rest /= 10;
        if rest == 0 {
            return &digits[at..];
        }
    }
}

/// Reads the digits that `text` begins with.
pub(crate) fn parse_pid(text: &[u8]) -> Option<Pid> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0, |number: Pid, byte| {
        if !byte.is_ascii_digit() {
            return None;
        }
        number.checked_mul(10)?.checked_add(Pid::from(byte - b'0'))
    })
}

/// Reads a number of decimal digits and nothing else.
pub(crate) fn parse_number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number.checked_mul(10)?.checked_add(u64::from(byte - b'0')))?
    })
}

/// Whether `/proc` is mounted and speaks of our PID namespace; with another one's numbers every
/// signal would go to a stranger.
pub(crate) fn is_ours() -> bool {
    let mut link = [0_u8; 16];
    sys::read_link(c"/proc/self", &mut link)
        .ok()
        .and_then(|len| parse_pid(link.get(..len)?))
        .is_some_and(|pid| pid == sys::own_pid())
}

/// Reads who `pid` is.
pub(crate) fn stat(pid: Pid) -> Result<Stat, Errno> {
    let mut path = Path::new();
    path.number(pid);
    path.text(b"/stat");
    let file = sys::open(path.as_c_str(), Access::Read)?;
    let mut buffer = [0_u8; 512];
    let len = sys::read(&file, &mut buffer)?;
    buffer.get(..len).and_then(parse_stat).ok_or(Errno::PROTO)
}

fn parse_stat(text: &[u8]) -> Option<Stat> {
    // The name may hold spaces and parentheses; the last one closes it.
    let after_name = text.iter().rposition(|byte| *byte == b')')? + 2;
    let mut fields = text.get(after_name..)?.split(|byte| *byte == b' ');
    let state = *fields.next()?.first()?;
    let parent = parse_pid(fields.next()?)?;
    // Fields 20 and 22 of the line; the state was field 3.
    let threads = parse_pid(fields.nth(15)?)?.unsigned_abs();
    let start = parse_number(fields.nth(1)?)?;
    Some(Stat { parent, state, threads, start })
}

/// Whether the kernel lists the children of a process (CONFIG_PROC_CHILDREN).
pub(crate) fn lists_children() -> bool {
    !matches!(sys::open(c"/proc/thread-self/children", Access::Read), Err(Errno::NOENT))
}

/// How children are found.
#[derive(Debug)]
pub(crate) enum Children {
    /// The kernel lists them per thread.
    Listed,
    /// It does not (CONFIG_PROC_CHILDREN is off): all of `/proc` as (pid, parent), read anew by
    /// every [`Children::refresh`].
    Scanned(Table<[Pid; 2]>),
}

impl Children {
    /// Finds out which of the two there is.
    pub(crate) fn detect() -> Self {
        if lists_children() { Children::Listed } else { Children::Scanned(Table::new()) }
    }

    /// Call before each pass over the tree.
    pub(crate) fn refresh(&mut self) {
        match self {
            Children::Listed => {}
            Children::Scanned(known) => {
                known.clear();
                numbers_in(c"/proc", &mut |pid| {
                    if let Ok(stat) = stat(pid) {
                        // Out of memory: the next pass tries again.
                        drop(known.push([pid, stat.parent]));
                    }
                });
            }
        }
    }

    /// Calls `found` for every child of every thread of `parent`.
    pub(crate) fn each(&self, parent: Pid, found: &mut dyn FnMut(Pid)) {
        match self {
            Children::Listed => {
                let mut tasks = Path::new();
                tasks.number(parent);
                tasks.text(b"/task");
                numbers_in(tasks.as_c_str(), &mut |thread| {
                    let mut list = Path::new();
                    list.number(parent);
                    list.text(b"/task/");
                    list.number(thread);
                    list.text(b"/children");
                    if let Ok(file) = sys::open(list.as_c_str(), Access::Read) {
                        numbers_of(&file, found);
                    }
                });
            }
            Children::Scanned(known) => {
                for [pid, its_parent] in known.as_slice() {
                    if *its_parent == parent {
                        found(*pid);
                    }
                }
            }
        }
    }
}

/// Reads numbers that are separated by spaces.
fn numbers_of(file: &Fd, found: &mut dyn FnMut(Pid)) {
    let mut buffer = [0_u8; 1024];
    let mut number: Option<Pid> = None;
    while let Ok(len) = sys::read(file, &mut buffer) {
        if len == 0 {
            break;
        }
        for byte in &buffer[..len] {
            if byte.is_ascii_digit() {
                let digit = Pid::from(byte - b'0');
                number = Some(number.unwrap_or(0).saturating_mul(10).saturating_add(digit));
            } else if let Some(number) = number.take() {
                found(number);
            }
        }
    }
    if let Some(number) = number {
        found(number);
    }
}

/// Calls `found` for every entry of a directory whose name is a number.
fn numbers_in(path: &CStr, found: &mut dyn FnMut(Pid)) {
    let Ok(directory) = sys::open(path, Access::Directory) else { return };
    entries_of(&directory, &mut |name, _| {
        if let Some(pid) = parse_pid(name.to_bytes()) {
            found(pid);
        }
    });
}

/// What a directory's entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    Other,
}

/// Calls `found` for every entry of a directory. One that is removed meanwhile hides no other.
pub(crate) fn entries_of(directory: &Fd, found: &mut dyn FnMut(&CStr, Kind)) {
    const TYPE: usize = 18;
    const NAME: usize = 19;
    const DIRECTORY: u8 = 4;
    let mut buffer = [0_u64; 256];
    while let Ok(len) = sys::directory_entries(directory, sys::bytes_of(&mut buffer)) {
        if len == 0 {
            return;
        }
        let mut entries = sys::bytes_of(&mut buffer).get(..len).unwrap_or_default();
        // struct linux_dirent64: u64 ino, u64 off, u16 reclen, u8 type, name.
        while let (Some([low, high, kind]), Some(name)) =
            (entries.get(16..=TYPE), entries.get(NAME..))
        {
            let kind = if *kind == DIRECTORY { Kind::Directory } else { Kind::Other };
            if let Ok(name) = CStr::from_bytes_until_nul(name) {
                found(name, kind);
            }
            let size = usize::from(u16::from_le_bytes([*low, *high]));
            entries = entries.get(size.max(NAME)..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_past_a_hostile_name() {
        let line = b"42 (a) S 1 (b) R 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 0 0\n";
        assert_eq!(
            parse_stat(line),
            Some(Stat { parent: 7, state: b'R', threads: 1, start: 98_765 })
        );
        assert_eq!(parse_stat(b"42 (a) S"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn numbers_are_written_and_read() {
        let mut digits = [0; 10];
        for number in [0, 7, 10, 4_194_304, u32::MAX] {
            let text = decimal(number, &mut digits);
            assert_eq!(text, std::format!("{number}").as_bytes());
        }
        assert_eq!(parse_pid(b"4194304"), Some(4_194_304));
        assert_eq!(parse_pid(b""), None);
        assert_eq!(parse_pid(b"12a"), None);
        assert_eq!(parse_pid(b"99999999999"), None);
    }

    #[test]
    fn proc_is_ours_and_knows_us() {
        assert!(is_ours());
        let own = stat(sys::own_pid()).unwrap();
        assert_eq!(own.parent, sys::parent_pid());
    }
}
