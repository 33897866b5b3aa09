//! Starting the server.

use super::intake::{Intake, OomOrder, Vectors};
use crate::{
    protocol::Stage,
    sys::{self, Access, Errno, Fd, Forked, Others, Pid, Signal, SignalSet},
};

/// The length of what a child reports when it cannot become the server.
pub(super) const REPORT: usize = 5;
/// How much sooner than us the kernel should take a server. Raising needs no privilege.
const OOM_SCORE: &[u8] = b"300";

/// A server that is starting.
pub(super) struct Start {
    pub(super) pid: Pid,
    /// Closes when exec succeeds, else brings a report.
    pub(super) outcome: Fd,
}

/// Forks the server.
pub(super) fn start(intake: Intake) -> Result<Start, (Stage, Errno)> {
    let vectors = intake.vectors().map_err(|errno| (Stage::Spec, errno))?;
    let guardian = sys::own_pid();
    let (outcome, report) = sys::pipe().map_err(|errno| (Stage::Fds, errno))?;
    match sys::fork().map_err(|errno| (Stage::Fork, errno))? {
        Forked::Child => {
            let (stage, errno) = become_server(&intake, &vectors, guardian);
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

/// Reads what [`start`]'s child wrote.
pub(super) fn read_report(report: [u8; REPORT]) -> (Stage, Errno) {
    let [stage, errno @ ..] = report;
    (Stage::from_code(stage).unwrap_or(Stage::Exec), Errno(i32::from_le_bytes(errno)))
}

fn become_server(intake: &Intake, vectors: &Vectors, guardian: Pid) -> (Stage, Errno) {
    if let Err(errno) = sys::new_group(0) {
        return (Stage::Fork, errno);
    }
    if let Err(errno) = sys::die_with_parent(Signal::KILL) {
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
    let (cwd, program) = match intake.paths() {
        Ok(paths) => paths,
        Err(errno) => return (Stage::Spec, errno),
    };
    if let Err(errno) = sys::change_directory(cwd) {
        return (Stage::Chdir, errno);
    }
    match intake.oom() {
        OomOrder::Inherited => {}
        OomOrder::ServerFirst => {
            if let Ok(score) = sys::open(c"/proc/self/oom_score_adj", Access::Write) {
                // A preference: a refusal changes who the kernel takes, nothing else.
                drop(sys::write(score.raw(), OOM_SCORE));
            }
        }
    }
    sys::reset_dispositions(SignalSet::EMPTY);
    sys::block_only(SignalSet::EMPTY);
    (Stage::Exec, sys::execute(program, vectors.argv(), vectors.env()))
}
