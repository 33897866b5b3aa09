//! From an argument vector to a role.

use crate::sys::{Errno, Table};
use crate::{
    guardian,
    protocol::{GUARDIAN_NAME, GUARDIAN_ROLE, WARDEN_NAME, WARDEN_ROLE},
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
