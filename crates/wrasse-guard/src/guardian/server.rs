//! Starting the server.

use core::ffi::CStr;

use super::intake::{Intake, Vectors};
use super::leaf::Leaf;
use crate::{
    procfs,
    protocol::{Degraded, Stage},
    spec::Limits,
    sys::{
        self, Access, Errno, Fd, Forked, Others, Pid, RLIMIT_DATA, RLIMIT_NOFILE, Signal, SignalSet,
    },
};

/// The length of one report of a child.
pub(super) const REPORT: usize = 5;
/// What a report begins with that is not about a failed stage.
const REFUSED: u8 = 255;
const OOM_SCORE: &CStr = c"/proc/self/oom_score_adj";

/// A server that is starting.
pub(super) struct Start {
    pub(super) pid: Pid,
    /// Closes when exec succeeds; may bring reports before.
    pub(super) outcome: Fd,
}

/// What a child says before it becomes the server.
pub(super) enum Report {
    /// It goes on without these.
    Refused(Degraded),
    /// It cannot become the server.
    Failed(Stage, Errno),
}

impl Report {
    /// Reads what a child wrote.
    pub(super) fn read(report: [u8; REPORT]) -> Self {
        match report {
            [REFUSED, what, ..] => Report::Refused(Degraded(what)),
            [stage, errno @ ..] => Report::Failed(
                Stage::from_code(stage).unwrap_or(Stage::Exec),
                Errno(i32::from_le_bytes(errno)),
            ),
        }
    }
}

/// Forks the server, into its leaf where there is one.
pub(super) fn start(intake: Intake, leaf: Option<&Leaf>) -> Result<Start, (Stage, Errno)> {
    let vectors = intake.vectors().map_err(|errno| (Stage::Spec, errno))?;
    let guardian = sys::own_pid();
    let (outcome, report) = sys::pipe().map_err(|errno| (Stage::Fds, errno))?;
    let (forked, to_enter) = match leaf.map(|leaf| sys::fork_into(leaf.directory())) {
        Some(Ok(forked)) => (forked, None),
        // No such call (old kernels, filters), or refused: it enters by itself, if that works.
        Some(Err(_)) => (sys::fork().map_err(|errno| (Stage::Fork, errno))?, leaf),
        None => (sys::fork().map_err(|errno| (Stage::Fork, errno))?, None),
    };
    match forked {
        Forked::Child => {
            let (stage, errno) = become_server(&intake, &vectors, guardian, to_enter, &report);
            let [a, b, c, d] = errno.0.to_le_bytes();
            // Nobody hears it if this fails; the exit still ends the start.
            drop(sys::write(report.raw(), &[stage.code(), a, b, c, d]));
            sys::exit(127)
        }
        Forked::Parent(pid) => {
            // On both sides of the fork: whoever comes first, a signal to the group finds it.
            // Refused once the child has executed, when it has done so itself.
            drop(sys::new_group(pid));
            // The spec and our copies of the server's descriptors go here: while we held those,
            // nobody would see the server's end.
            Ok(Start { pid, outcome })
        }
    }
}

fn become_server(
    intake: &Intake,
    vectors: &Vectors,
    guardian: Pid,
    leaf: Option<&Leaf>,
    report: &Fd,
) -> (Stage, Errno) {
    if let Err(errno) = sys::new_group(0) {
        return (Stage::Fork, errno);
    }
    if let Err(errno) = sys::signal_when_parent_dies(Signal::KILL) {
        return (Stage::Limits, errno);
    }
    // It may have died before we asked.
    if sys::parent_pid() != guardian {
        return (Stage::Fork, Errno::SRCH);
    }
    let Some(fds) = intake.fds() else { return (Stage::Fds, Errno::INVAL) };
    for (to, from) in (0..).zip(fds) {
        if let Err(errno) = sys::duplicate_onto(from, to) {
            return (Stage::Fds, errno);
        }
    }
    sys::others(Others::CloseOnExec);
    let (cwd, program, limits) = match (intake.paths(), intake.view()) {
        (Ok((cwd, program)), Ok(view)) => (cwd, program, view.limits),
        (Err(errno), _) | (_, Err(errno)) => return (Stage::Spec, errno),
    };
    if let Err(errno) = sys::change_directory(cwd) {
        return (Stage::Chdir, errno);
    }
    let mut refused = limit(limits);
    if leaf.is_some_and(|leaf| leaf.enter().is_err()) {
        refused |= Degraded::LEAF;
    }
    if refused != 0 {
        // A limit is not worth a start; that it is missing is worth a word.
        drop(sys::write(report.raw(), &[REFUSED, refused, 0, 0, 0]));
    }
    sys::reset_dispositions(SignalSet::EMPTY);
    sys::block_only(SignalSet::EMPTY);
    (Stage::Exec, sys::execute(program, vectors.argv(), vectors.env()))
}

/// Limits ourselves, and whatever comes of us; returns what was refused.
fn limit(limits: Limits) -> u8 {
    let mut refused = 0;
    if limits.nice > 0 && raise_niceness(i32::from(limits.nice)).is_err() {
        refused |= Degraded::NICE;
    }
    if limits.oom_score_adj > 0 && raise_oom_score(limits.oom_score_adj).is_err() {
        refused |= Degraded::OOM;
    }
    if limits.data_max > 0 {
        let hard = sys::limit(RLIMIT_DATA).map_or(u64::MAX, |(_, hard)| hard);
        if sys::set_limit(RLIMIT_DATA, limits.data_max.min(hard)).is_err() {
            refused |= Degraded::DATA;
        }
    }
    if limits.descriptors > 0 {
        // The gateway's own is no server's; and lowering is not refused.
        drop(sys::set_soft_limit(RLIMIT_NOFILE, u64::from(limits.descriptors)));
    }
    refused
}

fn raise_niceness(wanted: i32) -> Result<(), Errno> {
    if sys::niceness()? >= wanted { Ok(()) } else { sys::set_niceness(wanted) }
}

/// Raising needs no privilege.
fn raise_oom_score(wanted: u16) -> Result<(), Errno> {
    let mut text = [0; 8];
    let len = sys::read(&sys::open(OOM_SCORE, Access::Read)?, &mut text)?;
    let number = text[..len].split(|byte| *byte == b'\n').next().unwrap_or_default();
    // A negative one is no number to `parse_pid`, and lower than what is wanted.
    if procfs::parse_pid(number).is_some_and(|inherited| inherited >= i32::from(wanted)) {
        return Ok(());
    }
    let mut digits = [0; 10];
    let file = sys::open(OOM_SCORE, Access::Write)?;
    sys::write(file.raw(), procfs::decimal(u32::from(wanted), &mut digits)).map(drop)
}
