//! The guard as a program: no runtime, no libc, no allocator. Compiled by `build.rs` with plain
//! `rustc`; never a module of the library.
#![no_std]
#![no_main]
// Or memcpy below would be compiled to a call of memcpy.
#![no_builtins]
// The library's public parts have no users here.
#![allow(dead_code, reason = "the library's interface is compiled along")]

mod dispatch;
mod guardian;
mod mark;
mod procfs;
mod protocol;
mod spec;
mod sys;
mod walk;
mod warden;

use core::ffi::CStr;

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {entry}",
    "ud2",
    entry = sym entry,
);
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "mov x0, sp",
    "and sp, x0, #-16",
    "bl {entry}",
    "brk #1",
    entry = sym entry,
);

/// What the kernel left on the stack: argc, the arguments, 0, the environment, 0.
unsafe extern "C" fn entry(stack: *const usize) -> ! {
    // SAFETY: the kernel's layout of a new process's stack.
    let argc = unsafe { stack.read() };
    let argument = |index: usize| {
        // SAFETY: only asked for indices below argc.
        let address = unsafe { stack.add(1 + index).read() };
        // SAFETY: arguments are NUL-terminated and live as long as the process.
        let text = unsafe { CStr::from_ptr(core::ptr::with_exposed_provenance(address)) };
        text.to_bytes()
    };
    if argc < 2 {
        usage()
    }
    let Some(role) = dispatch::role(argument(0), argument(1)) else { usage() };
    // SAFETY: as above; `argc` addresses follow argc.
    let argv = dispatch::table(&mut (0..argc).map(|index| unsafe { stack.add(1 + index).read() }));
    // SAFETY: the environment follows the arguments and their 0, and ends in one.
    let env = (argc + 2..).map(|index| unsafe { stack.add(index).read() });
    let env = dispatch::table(&mut env.take_while(|address| *address != 0));
    match (argv, env) {
        (Ok(argv), Ok(env)) => dispatch::play(role, argv, env),
        _ => sys::exit(70),
    }
}

fn usage() -> ! {
    drop(sys::write(2, b"wrasse-guard: started by wrasse, not by hand\n"));
    sys::exit(64)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The server then dies by PDEATHSIG, and the gateway adopts and ends the rest.
    sys::exit(101)
}

// What the compiler calls without being asked; `core` expects them from a libc.

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    for index in 0..len {
        // SAFETY: the caller's contract.
        unsafe { to.add(index).write(from.add(index).read()) };
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if to.addr() <= from.addr() {
        // SAFETY: forwards, a byte is read before it is overwritten.
        return unsafe { memcpy(to, from, len) };
    }
    for index in (0..len).rev() {
        // SAFETY: the caller's contract.
        unsafe { to.add(index).write(from.add(index).read()) };
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, len: usize) -> *mut u8 {
    let [byte, ..] = value.to_le_bytes();
    for index in 0..len {
        // SAFETY: the caller's contract.
        unsafe { to.add(index).write(byte) };
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    for index in 0..len {
        // SAFETY: the caller's contract.
        let (a, b) = unsafe { (a.add(index).read(), b.add(index).read()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    // SAFETY: the caller's contract.
    unsafe { memcmp(a, b, len) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut len = 0;
    // SAFETY: the caller's contract: NUL-terminated.
    while unsafe { text.add(len).read() } != 0 {
        len += 1;
    }
    len
}
