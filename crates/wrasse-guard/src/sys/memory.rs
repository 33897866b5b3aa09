//! A growing array in memory of its own: the guard has no allocator, and the gateway's tree walk
//! must not depend on one either when memory is short.

use core::marker::PhantomData;

use super::{Errno, answer, call, number};

const PROT_READ_WRITE: usize = 3;
const MAP_PRIVATE_ANONYMOUS: usize = 0x22;
const MREMAP_MAYMOVE: usize = 1;

/// An array of plain values in mapped memory; pages are charged when they are first written.
#[derive(Debug)]
pub(crate) struct Table<T: Copy> {
    address: usize,
    bytes: usize,
    // INVARIANT: `len` values are initialised (the kernel's zero pages count) and fit `bytes`.
    len: usize,
    values: PhantomData<T>,
}

/// What any pattern of bits, zero included, is a value of.
///
/// # Safety
/// All-zero bytes must be a valid value.
pub(crate) unsafe trait Zeroed: Copy {}
// SAFETY: zero is a number.
unsafe impl Zeroed for u8 {}
// SAFETY: zero is a number.
unsafe impl Zeroed for u64 {}
// SAFETY: zero is a number.
unsafe impl Zeroed for usize {}

impl<T: Copy> Table<T> {
    /// An empty one, which maps nothing yet.
    pub(crate) const fn new() -> Self {
        Table { address: 0, bytes: 0, len: 0, values: PhantomData }
    }

    pub(crate) fn push(&mut self, value: T) -> Result<(), Errno> {
        let end = (self.len + 1).checked_mul(size_of::<T>()).ok_or(Errno::NOMEM)?;
        if end > self.bytes {
            self.grow(end.max(self.bytes * 2).next_multiple_of(4096))?;
        }
        // SAFETY: the mapping is page-aligned and holds `len + 1` values.
        let place = unsafe { self.pointer().add(self.len) };
        // SAFETY: as above; what was there needs no drop.
        unsafe { place.write(value) };
        self.len += 1;
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: `len` values are initialised, and the mapping lives as long as `self`.
        unsafe { core::slice::from_raw_parts(self.pointer(), self.len) }
    }

    fn pointer(&self) -> *mut T {
        core::ptr::with_exposed_provenance_mut(self.address)
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Errno> {
        let result = if self.bytes == 0 {
            let arguments = [0, bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, usize::MAX, 0];
            // SAFETY: a new mapping, placed by the kernel.
            unsafe { call(number::MMAP, arguments) }
        } else {
            let arguments = [self.address, self.bytes, bytes, MREMAP_MAYMOVE, 0, 0];
            // SAFETY: the mapping is ours, and `&mut self` says that nobody looks into it.
            unsafe { call(number::MREMAP, arguments) }
        };
        self.address = answer(result)?;
        self.bytes = bytes;
        Ok(())
    }
}

impl<T: Zeroed> Table<T> {
    /// One of `len` zeroes.
    pub(crate) fn zeroed(len: usize) -> Result<Self, Errno> {
        let mut table = Table::new();
        let bytes = len.checked_mul(size_of::<T>()).ok_or(Errno::NOMEM)?;
        table.grow(bytes.max(1).next_multiple_of(4096))?;
        table.len = len;
        Ok(table)
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: `len` values are initialised, and `&mut self` makes the view unique.
        unsafe { core::slice::from_raw_parts_mut(self.pointer(), self.len) }
    }
}

impl<T: Copy> Drop for Table<T> {
    fn drop(&mut self) {
        if self.bytes != 0 {
            // SAFETY: the mapping is ours and nothing refers to it any more.
            unsafe { call(number::MUNMAP, [self.address, self.bytes, 0, 0, 0, 0]) };
        }
    }
}

/// Whole words as bytes, for the kernel's structures.
pub(crate) fn bytes_of(words: &mut [u64]) -> &mut [u8] {
    let len = size_of_val(words);
    // SAFETY: any bytes are words and the other way round; the length is the same.
    unsafe { core::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), len) }
}
