//! The host's end: our own stdin, stdout and stderr.
//!
//! They are other people's: a terminal, a file, a pipe that a logger shares, one end of a socket pair. `O_NONBLOCK` is a
//! property of what is open, not of our descriptor, so setting it would change it for whoever else has it. Instead each
//! read and write is asked for first, and is so small that it cannot block after a yes.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::SendFlags;
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};
use wrasse_contain::watch_fd;

/// What a pipe that is writable takes without blocking.
const PIPE_CHUNK: usize = 4096;

/// A descriptor that is asked before it is used.
#[derive(Debug)]
struct Asked {
    fd: BorrowedFd<'static>,
    /// `None` where epoll refuses: a file or `/dev/null`, which never blocks.
    watch: Option<AsyncFd<OwnedFd>>,
}

impl Asked {
    fn new(fd: BorrowedFd<'static>, interest: Interest) -> io::Result<Self> {
        let watch = match watch_fd(fd.try_clone_to_owned()?, interest) {
            Ok(watch) => Some(watch),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            Err(error) => return Err(error),
        };
        Ok(Self { fd, watch })
    }

    fn is(&self, what: PollFlags) -> bool {
        let mut fds = [PollFd::new(&self.fd, what)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // HUP and ERR are told without being asked for, and mean that nothing will block.
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    async fn wait(&self, interest: Interest, what: PollFlags) -> io::Result<()> {
        let Some(watch) = &self.watch else { return Ok(()) };
        // Asked before waiting: `hung_up` takes the news of data away, and for data that is there it does not come again.
        while !self.is(what) {
            let mut guard = watch.ready(interest).await?;
            if !self.is(what) {
                guard.clear_ready();
            }
        }
        Ok(())
    }

    /// Waits until the other side is gone, whatever is still to be read.
    async fn hung_up(&self) {
        let Some(watch) = &self.watch else { return std::future::pending().await };
        loop {
            let Ok(mut guard) = watch.ready(Interest::READABLE).await else {
                return std::future::pending().await;
            };
            if guard.ready().is_read_closed() {
                return;
            }
            // Data alone is no news here; the readiness comes again with the end.
            guard.clear_ready_matching(Ready::READABLE);
        }
    }
}

/// Our stdin.
#[derive(Debug)]
pub(crate) struct HostInput(Asked);

impl HostInput {
    pub(crate) fn new() -> io::Result<Self> {
        Asked::new(rustix::stdio::stdin(), Interest::READABLE).map(Self)
    }

    /// Reads some bytes; 0 at the end. Cancel-safe.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.0.wait(Interest::READABLE, PollFlags::IN).await?;
            match rustix::io::read(self.0.fd, &mut *buffer) {
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(Errno::CONNRESET | Errno::IO) => return Ok(0),
                other => return Ok(other?),
            }
        }
    }

    /// Waits until the host's end is closed, while nothing is read. Cancel-safe.
    pub(crate) async fn hung_up(&self) {
        self.0.hung_up().await;
    }

    /// What the host wrote before it closed its end and nobody has read. The kernel holds a bounded amount of that.
    pub(crate) fn rest(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        while self.0.is(PollFlags::IN) {
            match rustix::io::read(self.0.fd, &mut chunk) {
                Err(Errno::INTR) => {}
                Ok(count @ 1..) => bytes.extend_from_slice(&chunk[..count]),
                Ok(_) | Err(_) => break,
            }
        }
        bytes
    }
}

/// What is to be written to somebody, in order.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    parts: VecDeque<Vec<u8>>,
    /// How much of the first part is written.
    written: usize,
    bytes: usize,
}

impl Queue {
    pub(crate) fn push_line(&mut self, mut line: Vec<u8>) {
        line.push(b'\n');
        self.push(line);
    }

    pub(crate) fn push(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.parts.push_back(bytes);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn front(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| &part[self.written..])
    }

    pub(crate) fn advance(&mut self, by: usize) {
        self.written += by;
        self.bytes -= by;
        if self.parts.front().is_some_and(|part| part.len() <= self.written) {
            self.parts.pop_front();
            self.written = 0;
        }
    }
}

/// Our stdout or stderr.
#[derive(Debug)]
pub(crate) struct HostOutput {
    asked: Asked,
    kind: FileType,
    pub(crate) queue: Queue,
}

impl HostOutput {
    pub(crate) fn new(fd: BorrowedFd<'static>) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
        let asked = Asked::new(fd, Interest::WRITABLE)?;
        Ok(Self { asked, kind, queue: Queue::default() })
    }

    /// Writes some of the queue. Cancel-safe. Pending while the queue is empty.
    pub(crate) async fn write_some(&mut self) -> io::Result<()> {
        if self.queue.is_empty() {
            return std::future::pending().await;
        }
        loop {
            self.asked.wait(Interest::WRITABLE, PollFlags::OUT).await?;
            let part = self.queue.front();
            let sent = match self.kind {
                FileType::Socket => {
                    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                    rustix::net::send(self.asked.fd, part, flags)
                }
                FileType::RegularFile => rustix::io::write(self.asked.fd, part),
                _ => rustix::io::write(self.asked.fd, &part[..part.len().min(PIPE_CHUNK)]),
            };
            match sent {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    // A socket that polls as writable and takes nothing: do not spin on it.
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
                other => {
                    self.queue.advance(other?);
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::fd::AsFd as _;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    fn input() -> (HostInput, OwnedFd) {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        // The shim's own stdin is never closed either.
        let reader: &'static OwnedFd = Box::leak(Box::new(reader));
        (HostInput(Asked::new(reader.as_fd(), Interest::READABLE).unwrap()), writer)
    }

    #[tokio::test]
    async fn data_that_waited_while_nothing_was_read_is_read_after_it() {
        let (input, host) = input();
        rustix::io::write(&host, b"before").unwrap();
        let mut buffer = [0; 3];
        assert_eq!(input.read(&mut buffer).await.unwrap(), 3);
        let mut hung_up = pin!(input.hung_up());
        let once = poll_fn(|cx| Poll::Ready(hung_up.as_mut().poll(cx).is_ready())).await;
        assert!(!once, "the host is there");
        // The host waits for an answer and writes nothing more.
        let read =
            tokio::time::timeout(std::time::Duration::from_secs(20), input.read(&mut buffer));
        assert_eq!(read.await.expect("what is there is read").unwrap(), 3);
        assert_eq!(&buffer, b"ore");
    }

    #[tokio::test]
    async fn what_was_written_before_the_end_is_not_lost() {
        let (input, host) = input();
        rustix::io::write(&host, &[b'x'; 10_000]).unwrap();
        drop(host);
        input.hung_up().await;
        assert_eq!(input.rest().len(), 10_000);
        assert_eq!(input.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
