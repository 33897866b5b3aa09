//! The process that started us: when it is gone, nobody is served any more.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, getppid, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use wrasse_contain::watch_fd;

/// How often the parent is looked at where the kernel does not say when it dies.
const LOOK: Duration = Duration::from_millis(250);

/// Our parent, as it was when we started.
#[derive(Debug)]
pub(crate) struct Host {
    pid: Option<Pid>,
    watch: Option<AsyncFd<OwnedFd>>,
}

impl Host {
    /// Looks who our parent is. A parent outside our pid namespace cannot be watched, and has no number here.
    pub(crate) fn new() -> Self {
        let pid = getppid();
        let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let watch = pidfd.and_then(|fd| watch_fd(fd, Interest::READABLE).ok());
        Self { pid, watch }
    }

    /// Whether it is gone.
    pub(crate) fn is_gone(&self) -> bool {
        // Had it died before its pidfd was opened, the number opened may be another process; our own parent is then
        // another one as well.
        if getppid() != self.pid {
            return true;
        }
        self.watch.as_ref().is_some_and(|watch| {
            let fd = watch.get_ref().as_fd();
            let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
        })
    }

    /// Waits until it is gone. Cancel-safe.
    pub(crate) async fn gone(&self) {
        while !self.is_gone() {
            match &self.watch {
                Some(watch) => {
                    if let Ok(mut guard) = watch.readable().await {
                        guard.clear_ready();
                    }
                }
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }
}
