//! A process that does not run although nobody stopped it: a tracer holds it, and `/proc` calls it `t`, not `T`.

use std::convert::Infallible;
use std::ffi::{c_int, c_long};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

const PTRACE_SEIZE: c_int = 0x4206;
const PTRACE_INTERRUPT: c_int = 0x4207;

/// Holds a child of this program until it is dropped or the child is killed.
pub(crate) struct Held {
    let_go: Option<Sender<Infallible>>,
    /// A tracer is a thread, and what it holds goes on when it ends.
    tracer: Option<JoinHandle<()>>,
}

impl Held {
    pub(crate) fn still(pid: u32) -> Self {
        let (let_go, told) = channel();
        let (holds, held) = channel();
        let tracer = std::thread::spawn(move || {
            for request in [PTRACE_SEIZE, PTRACE_INTERRUPT] {
                trace(request, pid);
            }
            holds.send(()).unwrap();
            let Err(_over) = told.recv();
        });
        held.recv().unwrap();
        Self { let_go: Some(let_go), tracer: Some(tracer) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.let_go.take());
        self.tracer.take().map(JoinHandle::join).unwrap().unwrap();
    }
}

#[expect(unsafe_code, reason = "no safe interface traces a process")]
fn trace(request: c_int, pid: u32) {
    unsafe extern "C" {
        fn ptrace(request: c_int, ...) -> c_long;
    }
    // SAFETY: the C library's; both requests take a number and two words that are not read as addresses.
    let answer = unsafe { ptrace(request, c_int::try_from(pid).unwrap(), 0_usize, 0_usize) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
}
