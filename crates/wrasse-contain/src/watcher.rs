//! The thread that reads every guardian's socket, notices every guardian's death, and ends the patience
//! with those that do not answer. It is a thread of its own, not a task, so that it works while the
//! runtime is busy, blocked or gone.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::guardian::Guardian;
use crate::registry::Registry;

/// Between the end of a guardian's socket and that of the guardian itself.
const DYING: Duration = Duration::from_millis(5);

/// Runs for as long as the process.
pub(crate) fn run(registry: &Registry) {
    loop {
        let guardians = registry.guardians();
        let ready = wait(registry, &guardians);
        drain_wake(registry.wake_fd());
        for (guardian, what) in guardians.iter().zip(ready) {
            if what.socket {
                guardian.receive();
            }
            if what.died || guardian.is_dying_unwatched() {
                // Its last words may have come after the socket was looked at.
                guardian.receive();
                registry.reap(guardian);
            } else if guardian.is_lost() {
                guardian.condemn();
            }
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Ready {
    socket: bool,
    died: bool,
}

fn wait(registry: &Registry, guardians: &[Arc<Guardian>]) -> Vec<Ready> {
    let mut fds = vec![PollFd::from_borrowed_fd(registry.wake_fd(), PollFlags::IN)];
    let mut with_pidfd = Vec::new();
    for (index, guardian) in guardians.iter().enumerate() {
        if let Some(pidfd) = guardian.pidfd() {
            fds.push(PollFd::from_borrowed_fd(pidfd, PollFlags::IN));
            with_pidfd.push(index);
        }
    }
    let mut with_socket = Vec::new();
    for (index, guardian) in guardians.iter().enumerate() {
        if let Some(socket) = guardian.readable_socket() {
            fds.push(PollFd::from_borrowed_fd(socket, PollFlags::IN));
            with_socket.push(index);
        }
    }
    let deadline = guardians.iter().filter_map(|guardian| guardian.deadline());
    let dying = guardians.iter().filter(|guardian| guardian.is_dying_unwatched());
    let deadline = deadline.chain(dying.map(|_| Instant::now() + DYING)).min();
    let timeout = deadline.map(|deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        }
    });
    let mut ready = vec![Ready::default(); guardians.len()];
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return ready,
        Err(errno) => {
            // Only a lack of memory is possible: go on slowly rather than not at all.
            tracing::error!(%errno, "cannot watch guardians");
            std::thread::sleep(std::time::Duration::from_millis(100));
            return ready;
        }
    }
    let fired = |fd: &PollFd<'_>| !fd.revents().is_empty();
    for (index, fd) in with_pidfd.iter().zip(&fds[1..]) {
        ready[*index].died = fired(fd);
    }
    for (index, fd) in with_socket.iter().zip(&fds[1 + with_pidfd.len()..]) {
        ready[*index].socket = fired(fd);
    }
    ready
}

fn drain_wake(wake: BorrowedFd<'_>) {
    let mut counter = [0_u8; 8];
    // It does not block, and what it counts does not matter.
    if let Err(errno) = rustix::io::read(wake, &mut counter)
        && errno != rustix::io::Errno::AGAIN
    {
        tracing::error!(%errno, "cannot read the wake-up descriptor");
    }
}
