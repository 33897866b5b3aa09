//! Receiving the spec.

use core::ffi::CStr;

use crate::{
    protocol::{SPEC_FDS, SPEC_MAX},
    spec::{FIXED, SpecView},
    sys::{Errno, Fd, Strings, Table},
};

/// Whether more is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Part,
    Whole,
}

/// The spec as far as it has come, and the server's descriptors.
pub(super) struct Intake {
    body: Table<u8>,
    got: usize,
    total: usize,
    fds: Option<[Fd; SPEC_FDS]>,
}

/// The vectors that execve wants, pointing into the intake's body.
pub(super) struct Vectors {
    /// The fixed strings, then the arguments, 0, the environment, 0.
    addresses: Table<usize>,
    argc: usize,
}

impl Intake {
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Intake {
            // Only the pages that a spec fills are ever charged.
            body: Table::zeroed(SPEC_MAX)?,
            got: 0,
            total: 0,
            fds: None,
        })
    }

    /// Where the next chunk goes.
    pub(super) fn room(&mut self, most: usize) -> &mut [u8] {
        let got = self.got;
        let room = &mut self.body.as_mut_slice()[got..];
        let len = room.len().min(most);
        &mut room[..len]
    }

    /// Counts a chunk of `len` bytes that was received into [`Intake::room`].
    pub(super) fn take(
        &mut self,
        total: u32,
        offset: u32,
        len: usize,
        fds: Option<[Fd; SPEC_FDS]>,
    ) -> Result<Taken, Errno> {
        let total = usize::try_from(total).map_err(|_| Errno::INVAL)?;
        let offset = usize::try_from(offset).map_err(|_| Errno::INVAL)?;
        if offset == 0 {
            if self.total != 0 || total == 0 || total > SPEC_MAX || fds.is_none() {
                return Err(Errno::INVAL);
            }
            self.total = total;
            self.fds = fds;
        }
        if offset != self.got || total != self.total || len > total - offset || len == 0 {
            return Err(Errno::INVAL);
        }
        self.got += len;
        Ok(if self.got == self.total { Taken::Whole } else { Taken::Part })
    }

    /// The spec, once it is whole.
    pub(super) fn view(&self) -> Result<SpecView<'_>, Errno> {
        if self.total == 0 || self.got != self.total {
            return Err(Errno::PROTO);
        }
        SpecView::parse(&self.body.as_slice()[..self.total]).map_err(|_| Errno::PROTO)
    }

    pub(super) fn fds(&self) -> Option<[i32; SPEC_FDS]> {
        self.fds.as_ref().map(|fds| [fds[0].raw(), fds[1].raw(), fds[2].raw()])
    }

    /// Lays out the vectors.
    pub(super) fn vectors(&self) -> Result<Vectors, Errno> {
        let view = self.view()?;
        let mut addresses = Table::new();
        let argc = view.argc;
        for (index, string) in view.strings().enumerate() {
            if index == FIXED + argc {
                addresses.push(0)?;
            }
            addresses.push(string.as_ptr().expose_provenance())?;
        }
        if view.envc == 0 {
            addresses.push(0)?;
        }
        addresses.push(0)?;
        Ok(Vectors { addresses, argc })
    }

    /// The working directory and the program.
    pub(super) fn paths(&self) -> Result<(&CStr, &CStr), Errno> {
        let mut strings = self.view()?.strings().skip(1);
        let mut next = || CStr::from_bytes_with_nul(strings.next()?).ok();
        Option::zip(next(), next()).ok_or(Errno::PROTO)
    }

    /// The leaf, if there is to be one.
    pub(super) fn leaf(&self) -> Option<&CStr> {
        let path = CStr::from_bytes_with_nul(self.view().ok()?.strings().nth(FIXED - 1)?).ok()?;
        (!path.is_empty()).then_some(path)
    }
}

impl Vectors {
    pub(super) fn argv(&self) -> Strings<'_> {
        // SAFETY: `Intake::vectors` put there the addresses of `argc` checked, NUL-terminated
        // strings and a 0; the intake outlives the exec or the failure of it.
        unsafe { Strings::new(&self.addresses.as_slice()[FIXED..=FIXED + self.argc]) }
    }

    pub(super) fn env(&self) -> Strings<'_> {
        // SAFETY: as above, for the rest, which ends in a 0.
        unsafe { Strings::new(&self.addresses.as_slice()[FIXED + 1 + self.argc..]) }
    }
}
