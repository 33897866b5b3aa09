//! Processes: fork, exec, wait, signal, attributes, time.

use core::ffi::CStr;

use super::{Errno, Fd, Pid, Signal, answer, call, number, signed, small};

const SIGCHLD: usize = 17;
const P_ALL: usize = 0;
const P_PID: usize = 1;
const WNOHANG: usize = 1;
const WEXITED: usize = 4;
const WNOWAIT: usize = 0x0100_0000;
const WALL: usize = 0x4000_0000;
const AT_EMPTY_PATH: usize = 0x1000;
const PIDFD_SEND_SIGNAL: usize = 424;
const PIDFD_OPEN: usize = 434;
const CLONE3: usize = 435;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const PRIO_PROCESS: usize = 0;
const PR_SET_PDEATHSIG: usize = 1;
const PR_SET_NAME: usize = 15;
const PR_SET_CHILD_SUBREAPER: usize = 36;
const CLOCK_MONOTONIC: usize = 1;

pub(crate) const RLIMIT_DATA: usize = 2;
pub(crate) const RLIMIT_NOFILE: usize = 7;
pub(crate) const RLIMIT_LOCKS: usize = 10;

fn plain(number: usize, arguments: [usize; 3]) -> Result<usize, Errno> {
    let [a, b, c] = arguments;
    // SAFETY: only called, in this file, for calls whose arguments are numbers.
    answer(unsafe { call(number, [a, b, c, 0, 0, 0]) })
}

pub(crate) fn own_pid() -> Pid {
    plain(number::GETPID, [0; 3]).map_or(-1, small)
}

pub(crate) fn parent_pid() -> Pid {
    plain(number::GETPPID, [0; 3]).map_or(-1, small)
}

/// Which side of a fork we are on.
pub(crate) enum Forked {
    Child,
    Parent(Pid),
}

/// Forks. The caller must have one thread, which both roles of the guard have.
pub(crate) fn fork() -> Result<Forked, Errno> {
    // SAFETY: without CLONE_VM and with no stack given the child has its own copy of everything.
    match answer(unsafe { call(number::CLONE, [SIGCHLD, 0, 0, 0, 0, 0]) })? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(small(pid))),
    }
}

/// Forks straight into a cgroup, given by its open directory, on the same condition as [`fork`].
/// Moving a process there afterwards makes the kernel wait for every processor, for milliseconds.
pub(crate) fn fork_into(cgroup: &Fd) -> Result<Forked, Errno> {
    /// The kernel's clone_args in its third version, which is the first that knows the last field.
    #[repr(C)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    let wanted = CloneArgs {
        flags: CLONE_INTO_CGROUP,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: 17,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: u64::from(cgroup.raw().unsigned_abs()),
    };
    let address = core::ptr::from_ref(&wanted).expose_provenance();
    // SAFETY: as in `fork`; the kernel reads one clone_args of this size.
    let forked = unsafe { call(CLONE3, [address, size_of::<CloneArgs>(), 0, 0, 0, 0]) };
    match answer(forked)? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(small(pid))),
    }
}

/// A NULL-terminated vector of NUL-terminated strings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strings<'a>(&'a [usize]);

impl<'a> Strings<'a> {
    /// # Safety
    /// Every address but the last must be that of a NUL-terminated string that outlives `'a`; the
    /// last must be 0.
    pub(crate) unsafe fn new(addresses: &'a [usize]) -> Self {
        Strings(addresses)
    }
}

/// Executes `program`; returns only on failure.
pub(crate) fn execute(program: &CStr, argv: Strings<'_>, env: Strings<'_>) -> Errno {
    let arguments = [
        program.as_ptr().expose_provenance(),
        argv.0.as_ptr().expose_provenance(),
        env.0.as_ptr().expose_provenance(),
        0,
        0,
        0,
    ];
    // SAFETY: both vectors are terminated, as `Strings` promises.
    answer(unsafe { call(number::EXECVE, arguments) }).err().unwrap_or(Errno::INVAL)
}

/// Executes the file behind `fd`; returns only on failure.
pub(crate) fn execute_fd(fd: i32, argv: Strings<'_>, env: Strings<'_>) -> Errno {
    let arguments = [
        signed(fd),
        c"".as_ptr().expose_provenance(),
        argv.0.as_ptr().expose_provenance(),
        env.0.as_ptr().expose_provenance(),
        AT_EMPTY_PATH,
        0,
    ];
    // SAFETY: both vectors are terminated, as `Strings` promises.
    answer(unsafe { call(number::EXECVEAT, arguments) }).err().unwrap_or(Errno::INVAL)
}

pub(crate) fn exit(code: i32) -> ! {
    loop {
        // SAFETY: ends the process; nothing is left to be unsafe.
        unsafe { call(number::EXIT_GROUP, [signed(code), 0, 0, 0, 0, 0]) };
    }
}

/// What waiting found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// This child has ended, and is still unreaped.
    Ended(Pid),
    /// There are children; none has ended.
    Running,
    /// There is no child at all, of any kind (`__WALL`).
    NoChild,
}

/// Looks for an ended child without reaping it, so that its pid stays its own meanwhile.
pub(crate) fn peek_ended() -> Waited {
    // siginfo_t: 128 bytes, si_pid at 16.
    let mut info = [0_u64; 16];
    let options = WEXITED | WNOHANG | WNOWAIT | WALL;
    let arguments = [P_ALL, 0, info.as_mut_ptr().expose_provenance(), options, 0, 0];
    // SAFETY: the kernel writes one siginfo.
    match answer(unsafe { call(number::WAITID, arguments) }) {
        Ok(_) => {
            let [a, b, c, d, ..] = info[2].to_ne_bytes();
            match Pid::from_ne_bytes([a, b, c, d]) {
                0 => Waited::Running,
                pid => Waited::Ended(pid),
            }
        }
        Err(Errno::CHILD) => Waited::NoChild,
        Err(_) => Waited::Running,
    }
}

/// Whether `pid` is a child of ours, living or not yet reaped.
pub(crate) fn is_child(pid: Pid) -> bool {
    let options = WEXITED | WNOHANG | WNOWAIT | WALL;
    // SAFETY: nothing is written where no siginfo is given.
    answer(unsafe { call(number::WAITID, [P_PID, signed(pid), 0, options, 0, 0]) }).is_ok()
}

/// Reaps one ended child of ours and returns its status.
pub(crate) fn reap(pid: Pid) -> Option<i32> {
    let mut status = 0_i32;
    let arguments = [
        signed(pid),
        core::ptr::from_mut(&mut status).expose_provenance(),
        WNOHANG | WALL,
        0,
        0,
        0,
    ];
    // SAFETY: the kernel writes one int.
    match answer(unsafe { call(number::WAIT4, arguments) }) {
        Ok(found) if small(found) == pid => Some(status),
        Ok(_) | Err(_) => None,
    }
}

/// Signals an unreaped child of ours, whose number therefore cannot mean anybody else.
pub(crate) fn signal_child(pid: Pid, signal: Signal) -> Result<(), Errno> {
    if pid <= 1 {
        return Err(Errno::INVAL);
    }
    plain(number::KILL, [signed(pid), signed(signal.0), 0]).map(drop)
}

/// Signals the process group of an unreaped child of ours that leads it.
pub(crate) fn signal_group(leader: Pid, signal: Signal) -> Result<(), Errno> {
    if leader <= 1 {
        return Err(Errno::INVAL);
    }
    plain(number::KILL, [signed(-leader), signed(signal.0), 0]).map(drop)
}

pub(crate) fn pidfd_open(pid: Pid) -> Result<Fd, Errno> {
    if pid <= 1 {
        return Err(Errno::INVAL);
    }
    pidfd_of(pid)
}

/// Also for pid 1, which may be the gateway that we watch, but which nobody signals.
pub(crate) fn pidfd_of(pid: Pid) -> Result<Fd, Errno> {
    plain(PIDFD_OPEN, [signed(pid), 0, 0]).map(|raw| Fd::own(small(raw)))
}

pub(crate) fn pidfd_signal(pidfd: &Fd, signal: Signal) -> Result<(), Errno> {
    plain(PIDFD_SEND_SIGNAL, [signed(pidfd.raw()), signed(signal.0), 0]).map(drop)
}

pub(crate) fn new_session() -> Result<(), Errno> {
    plain(number::SETSID, [0; 3]).map(drop)
}

/// Makes `pid` (0: ourselves) the leader of its own process group.
pub(crate) fn new_group(pid: Pid) -> Result<(), Errno> {
    plain(number::SETPGID, [signed(pid), signed(pid), 0]).map(drop)
}

pub(crate) fn change_directory(path: &CStr) -> Result<(), Errno> {
    // SAFETY: the path is NUL-terminated.
    answer(unsafe { call(number::CHDIR, [path.as_ptr().expose_provenance(), 0, 0, 0, 0, 0]) })
        .map(drop)
}

/// Our own niceness.
pub(crate) fn niceness() -> Result<i32, Errno> {
    // The call gives 20 minus it, so as to be never negative.
    plain(number::GETPRIORITY, [PRIO_PROCESS, 0, 0]).map(|value| 20 - small(value))
}

pub(crate) fn set_niceness(value: i32) -> Result<(), Errno> {
    plain(number::SETPRIORITY, [PRIO_PROCESS, 0, signed(value)]).map(drop)
}

/// Has the kernel send us `signal` when our parent dies.
pub(crate) fn signal_when_parent_dies(signal: Signal) -> Result<(), Errno> {
    plain(number::PRCTL, [PR_SET_PDEATHSIG, signed(signal.0), 0]).map(drop)
}

/// Orphaned descendants become our children.
pub(crate) fn become_subreaper() -> Result<(), Errno> {
    plain(number::PRCTL, [PR_SET_CHILD_SUBREAPER, 1, 0]).map(drop)
}

/// The name in `ps -o comm`, which otherwise is the descriptor number of the program.
pub(crate) fn set_name(name: &CStr) {
    // SAFETY: the name is NUL-terminated. A refusal costs a name.
    unsafe { call(number::PRCTL, [PR_SET_NAME, name.as_ptr().expose_provenance(), 0, 0, 0, 0]) };
}

/// The soft and the hard limit.
pub(crate) fn limit(resource: usize) -> Result<(u64, u64), Errno> {
    let mut limit = [0_u64; 2];
    let arguments = [0, resource, 0, limit.as_mut_ptr().expose_provenance(), 0, 0];
    // SAFETY: the kernel writes one rlimit64.
    answer(unsafe { call(number::PRLIMIT64, arguments) })?;
    Ok((limit[0], limit[1]))
}

/// Sets both limits to `value`.
pub(crate) fn set_limit(resource: usize, value: u64) -> Result<(), Errno> {
    let limit = [value; 2];
    let arguments = [0, resource, limit.as_ptr().expose_provenance(), 0, 0, 0];
    // SAFETY: the kernel reads one rlimit64.
    answer(unsafe { call(number::PRLIMIT64, arguments) }).map(drop)
}

/// Sets the soft limit alone. Lowering it is never refused.
pub(crate) fn set_soft_limit(resource: usize, soft: u64) -> Result<(), Errno> {
    let (_, hard) = limit(resource)?;
    let limit = [soft.min(hard), hard];
    let arguments = [0, resource, limit.as_ptr().expose_provenance(), 0, 0, 0];
    // SAFETY: the kernel reads one rlimit64.
    answer(unsafe { call(number::PRLIMIT64, arguments) }).map(drop)
}

/// The hard limit of another process.
pub(crate) fn hard_limit_of(pid: Pid, resource: usize) -> Result<u64, Errno> {
    let mut limit = [0_u64; 2];
    let arguments = [signed(pid), resource, 0, limit.as_mut_ptr().expose_provenance(), 0, 0];
    // SAFETY: the kernel writes one rlimit64.
    answer(unsafe { call(number::PRLIMIT64, arguments) })?;
    Ok(limit[1])
}

/// Milliseconds of a clock that only goes forward.
pub(crate) fn now_ms() -> u64 {
    let mut time = [0_u64; 2];
    let arguments = [CLOCK_MONOTONIC, time.as_mut_ptr().expose_provenance(), 0, 0, 0, 0];
    // SAFETY: the kernel writes one timespec; it cannot refuse this clock.
    unsafe { call(number::CLOCK_GETTIME, arguments) };
    time[0] * 1000 + time[1] / 1_000_000
}
