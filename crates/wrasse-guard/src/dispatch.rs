//! From an argument vector to a role.

use core::ffi::CStr;

use crate::{
    guardian,
    protocol::{GUARDIAN_NAME, GUARDIAN_ROLE, WARDEN_NAME, WARDEN_ROLE},
    sys::{self, Access, Errno, Table},
    warden,
};

/// What a process was executed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Above one tree.
    Guardian,
    /// Above the gateway.
    Warden,
}

/// The role that the first two arguments name, if any.
#[must_use]
pub fn role(argv0: &[u8], argv1: &[u8]) -> Option<Role> {
    if argv0.starts_with(GUARDIAN_NAME.as_bytes()) && argv1 == GUARDIAN_ROLE.as_bytes() {
        Some(Role::Guardian)
    } else if argv0.starts_with(WARDEN_NAME.as_bytes()) && argv1 == WARDEN_ROLE.as_bytes() {
        Some(Role::Warden)
    } else {
        None
    }
}

/// Plays `role`. Both vectors hold the addresses of NUL-terminated strings that live for ever.
pub(crate) fn play(role: Role, argv: Table<usize>, env: Table<usize>) -> ! {
    match role {
        Role::Guardian => guardian::run(),
        Role::Warden => warden::run(argv, env),
    }
}

/// Copies addresses.
pub(crate) fn table(addresses: &mut dyn Iterator<Item = usize>) -> Result<Table<usize>, Errno> {
    let mut table = Table::new();
    for address in addresses {
        table.push(address)?;
    }
    Ok(table)
}

/// Reads a file of NUL-terminated words.
pub(crate) fn words(path: &CStr) -> Result<Table<u8>, Errno> {
    let file = sys::open(path, Access::Read)?;
    let mut words = Table::new();
    let mut buffer = [0; 512];
    loop {
        let len = sys::read(&file, &mut buffer)?;
        for byte in &buffer[..len] {
            words.push(*byte)?;
        }
        if len == 0 {
            // A process may have overwritten its arguments and the last terminator with them.
            if words.as_slice().last().is_some_and(|byte| *byte != 0) {
                words.push(0)?;
            }
            return Ok(words);
        }
    }
}

/// Where each word begins; valid as long as the table is neither changed nor dropped.
pub(crate) fn addresses(words: &Table<u8>) -> Result<Table<usize>, Errno> {
    let words = words.as_slice().split_inclusive(|byte| *byte == 0);
    table(&mut words.map(|word| word.as_ptr().expose_provenance()))
}
