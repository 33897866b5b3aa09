//! Starting the gateway below the warden.

use core::ffi::CStr;

use super::{complain, leaves::Leaves, siblings::Siblings};
use crate::{
    procfs,
    protocol::WARDEN_VARIABLE,
    sys::{self, Access, Errno, Fd, Forked, Pid, SignalSet, Strings, Table},
};

const NAME: usize = WARDEN_VARIABLE.len();
/// "WRASSE_WARDEN=", ten digits, NUL.
const VARIABLE: usize = NAME + 12;

/// What the warden was told to start.
pub(super) struct Launch {
    /// The executable, opened before an upgrade may have replaced it; `None` when it was not given.
    program: Option<Fd>,
    path: &'static CStr,
    /// The gateway's own vector, then a 0.
    argv: Table<usize>,
    env: Table<usize>,
    pub(super) leaves: Leaves,
    /// Signals that stay ignored.
    kept: SignalSet,
    started_before: bool,
    /// Our variable, which `env` points to: mapped, so that it stays where it is.
    _variable: Table<u8>,
}

impl Launch {
    /// Reads the warden's arguments. Both vectors hold the addresses of strings that live for ever.
    pub(super) fn new(argv: Table<usize>, env: Table<usize>, kept: SignalSet) -> Option<Self> {
        let [_, _, fd, leaves, path, rest @ ..] = argv.as_slice() else { return None };
        if rest.is_empty() {
            return None;
        }
        let program = match string(*fd).to_bytes() {
            b"-" => None,
            digits => Some(procfs::parse_pid(digits).filter(|raw| *raw > 2)?),
        };
        let (leaves, path) = (Leaves::below(string(*leaves)), string(*path));
        let mut own_argv = Table::new();
        for address in rest.iter().copied().chain([0]) {
            own_argv.push(address).ok()?;
        }
        let mut variable = Table::zeroed(VARIABLE).ok()?;
        name_warden(variable.as_mut_slice());
        let mut own_env = Table::new();
        for address in env.as_slice() {
            let bytes = string(*address).to_bytes();
            let value = bytes.strip_prefix(WARDEN_VARIABLE.as_bytes());
            // An outer warden's is not ours.
            if value.is_none_or(|value| value.first() != Some(&b'=')) {
                own_env.push(*address).ok()?;
            }
        }
        own_env.push(variable.as_slice().as_ptr().expose_provenance()).ok()?;
        own_env.push(0).ok()?;
        // Nothing else that the caller left open is the gateway's, but it may be meant for it
        // (LISTEN_FDS), so only our own descriptor is hidden.
        let program = program.filter(|raw| sys::set_close_on_exec(*raw).is_ok()).map(Fd::own);
        Some(Launch {
            program,
            path,
            argv: own_argv,
            env: own_env,
            leaves,
            kept,
            started_before: false,
            _variable: variable,
        })
    }

    /// Forks and executes the gateway. What cannot be executed is seen as exit code 127.
    pub(super) fn start(&mut self, siblings: &mut Siblings) -> Result<Pid, Errno> {
        // Once more means: after an upgrade, perhaps. The first time it is what was launched.
        let renewed =
            if self.started_before { sys::open(self.path, Access::Path).ok() } else { None };
        self.started_before = true;
        let limit = siblings.limit_for_gateway();
        match sys::fork()? {
            Forked::Child => {
                self.become_gateway(renewed.as_ref(), limit);
                sys::exit(127)
            }
            Forked::Parent(pid) => Ok(pid),
        }
    }

    fn become_gateway(&self, renewed: Option<&Fd>, limit: Option<u64>) {
        // A fresh child leads no group, so this cannot be refused.
        drop(sys::new_session());
        // As for a guardian: one that a hostile server stopped must wake to end its trees when we die.
        drop(sys::signal_when_parent_dies(sys::Signal::CONT));
        if let Ok(null) = sys::open(c"/dev/null", Access::Read) {
            drop(sys::duplicate_onto(null.raw(), 0));
        }
        if let Some(limit) = limit {
            // Refused: then the siblings' orphans cannot be told apart, and theirs are few.
            drop(sys::set_limit(sys::RLIMIT_LOCKS, limit));
        }
        sys::reset_dispositions(self.kept);
        sys::block_only(SignalSet::EMPTY);
        // SAFETY: both tables hold addresses of NUL-terminated strings that live for ever, the
        // mapped variable's included, and end in 0.
        let argv = unsafe { Strings::new(self.argv.as_slice()) };
        // SAFETY: as above.
        let env = unsafe { Strings::new(self.env.as_slice()) };
        for fd in [renewed, self.program.as_ref()].into_iter().flatten() {
            sys::execute_fd(fd.raw(), argv, env);
        }
        sys::execute(self.path, argv, env);
        complain(b"wrasse-warden: failed to execute ");
        complain(self.path.to_bytes());
        complain(b"\n");
    }
}

/// Writes `WRASSE_WARDEN=<own pid>`.
fn name_warden(variable: &mut [u8]) {
    let mut digits = [0; 10];
    let digits = procfs::decimal(sys::own_pid().unsigned_abs(), &mut digits);
    let text = WARDEN_VARIABLE.as_bytes().iter().chain(b"=").chain(digits);
    for (to, from) in variable.iter_mut().zip(text) {
        *to = *from;
    }
}

/// One of the vectors' strings.
fn string(address: usize) -> &'static CStr {
    // SAFETY: both vectors hold addresses of NUL-terminated strings that live for ever: the
    // kernel's, or a copy that nobody frees.
    unsafe { CStr::from_ptr(core::ptr::with_exposed_provenance(address)) }
}
