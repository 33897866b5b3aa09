//! The shims that are connected to a broker: bytes in, bytes out, none of them waiting for another.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::UnixStream;

use super::frame::Frame;
use super::hub::CallerId;
use crate::lines::Lines;
use crate::stdio::Queue;

/// What may wait for one shim. One that reads no more is cut off, as the others must not wait for it.
const QUEUE_MAX: usize = 64 * 1024 * 1024;
/// Beyond this its copy of the server's stderr is left out.
const ERRORS_MAX: usize = 64 * 1024;
/// What is read at once.
const READ: usize = 16 * 1024;
/// What is taken of one shim after the end of the server.
const REST_MAX: usize = 1024 * 1024;
/// How often shims that are not read are asked whether they are still there.
const LOOK: Duration = Duration::from_millis(500);

/// How far a shim has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has said nothing yet.
    Stranger,
    /// It waits for the server to start.
    Waiting,
    /// It is a caller of the hub.
    Attached,
}

/// One connected shim.
#[derive(Debug)]
pub(super) struct Guest {
    stream: UnixStream,
    pub(super) standing: Standing,
    pub(super) lines: Lines,
    out: Queue,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Guests {
    guests: BTreeMap<CallerId, Guest>,
    next: CallerId,
    /// Who is looked at first.
    turn: CallerId,
    buffer: Vec<u8>,
}

/// What a shim did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Did {
    /// It wrote; see [`Guest::lines`].
    Write,
    /// It is gone.
    Leave,
}

impl Guests {
    pub(super) fn new() -> Self {
        Self { guests: BTreeMap::new(), next: 1, turn: 0, buffer: vec![0; READ] }
    }

    pub(super) fn admit(&mut self, stream: UnixStream) -> CallerId {
        let id = self.next;
        self.next += 1;
        let guest = Guest {
            stream,
            standing: Standing::Stranger,
            lines: Lines::default(),
            out: Queue::default(),
        };
        self.guests.insert(id, guest);
        id
    }

    pub(super) fn get(&mut self, id: CallerId) -> Option<&mut Guest> {
        self.guests.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: CallerId) {
        self.guests.remove(&id);
    }

    /// Those who wait for the server, or have it.
    pub(super) fn with(&self, standing: Standing) -> Vec<CallerId> {
        let some = self.guests.iter().filter(|(_, guest)| guest.standing == standing);
        some.map(|(id, _)| *id).collect()
    }

    /// The processes of those that are attached.
    pub(super) fn pids(&self) -> Vec<u32> {
        let attached = self.guests.values().filter(|guest| guest.standing == Standing::Attached);
        let pids = attached.filter_map(|guest| guest.stream.peer_cred().ok()?.pid());
        pids.filter_map(|pid| u32::try_from(pid).ok()).collect()
    }

    /// Whether anybody has said what for.
    pub(super) fn is_wanted(&self) -> bool {
        self.guests.values().any(|guest| guest.standing != Standing::Stranger)
    }

    pub(super) fn push(&mut self, id: CallerId, bytes: Vec<u8>) {
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.out.push(bytes);
        }
    }

    /// For everybody who is attached, unless much waits for them already.
    pub(super) fn pass_errors(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        for guest in self.guests.values_mut() {
            if guest.standing == Standing::Attached && guest.out.bytes() < ERRORS_MAX {
                guest.out.push(Frame::Errors(text.clone().into_owned()).encode());
            }
        }
    }

    /// Those who read no more.
    pub(super) fn overfull(&self) -> Vec<CallerId> {
        let full = self.guests.iter().filter(|(_, guest)| guest.out.bytes() > QUEUE_MAX);
        full.map(|(id, _)| *id).collect()
    }

    pub(super) fn all_written(&self) -> bool {
        self.guests.values().all(|guest| guest.out.is_empty())
    }

    /// Writes to whoever takes, and returns when one wrote or left. Cancel-safe.
    pub(super) async fn next(&mut self, read: Read) -> (CallerId, Did) {
        match read {
            Read::Yes => self.wait(read).await,
            // Nothing wakes us for the end of a shim behind data that nobody reads.
            Read::No => loop {
                if let Ok(found) = tokio::time::timeout(LOOK, self.wait(read)).await {
                    return found;
                }
            },
        }
    }

    async fn wait(&mut self, read: Read) -> (CallerId, Did) {
        let Self { guests, turn, buffer, .. } = self;
        let first = *turn;
        let found = poll_fn(|cx| {
            // In turns, so that one who writes without end is not all that is read.
            let order: Vec<CallerId> =
                guests.range(first..).chain(guests.range(..first)).map(|(id, _)| *id).collect();
            for id in order {
                let Some(guest) = guests.get_mut(&id) else { continue };
                match guest.poll(cx, read, buffer) {
                    Poll::Ready(Ok(Did::Write)) => return Poll::Ready((id, Did::Write)),
                    Poll::Ready(Ok(Did::Leave) | Err(_)) => return Poll::Ready((id, Did::Leave)),
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await;
        *turn = found.0 + 1;
        found
    }

    /// Takes what the attached have written and nobody has read yet; who did. One who writes without end is not heard out.
    pub(super) fn read_rest(&mut self) -> Vec<CallerId> {
        let Self { guests, buffer, .. } = self;
        let attached = guests.iter_mut().filter(|(_, guest)| guest.standing == Standing::Attached);
        attached
            .map(|(id, guest)| {
                let mut taken = 0;
                while taken < REST_MAX
                    && let Ok(count @ 1..) = guest.stream.try_read(buffer)
                {
                    guest.lines.push(&buffer[..count]);
                    taken += count;
                }
                *id
            })
            .collect()
    }

    /// Writes until everything is written.
    pub(super) async fn flush(&mut self) {
        while !self.all_written() {
            let written = poll_fn(|cx| {
                let mut gone = Vec::new();
                for (id, guest) in &mut self.guests {
                    if guest.poll_write(cx).is_err() {
                        gone.push(*id);
                    }
                }
                for id in gone {
                    self.guests.remove(&id);
                }
                if self.guests.values().all(|guest| guest.out.is_empty()) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            });
            written.await;
        }
    }
}

/// Whether more is taken from the shims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Yes,
    /// Only from those that are gone: what they left is little, and their end stands behind it.
    No,
}

impl Guest {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        read: Read,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Did>> {
        self.poll_write(cx)?;
        if read == Read::No && !self.has_hung_up() {
            return Poll::Pending;
        }
        loop {
            match self.stream.poll_read_ready(cx)? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => match self.stream.try_read(buffer) {
                    Ok(0) => return Poll::Ready(Ok(Did::Leave)),
                    Ok(count) => {
                        self.lines.push(&buffer[..count]);
                        return Poll::Ready(Ok(Did::Write));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err(error)),
                },
            }
        }
    }

    /// Writes what is taken, and asks to be woken when more is.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.poll_write_ready(cx)? {
                Poll::Pending => return Ok(()),
                Poll::Ready(()) => match self.stream.try_write(self.out.front()) {
                    Ok(count) => self.out.advance(count),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Whether the other end is closed, whatever it left to be read. A server that reads nothing makes shims be read no
    /// further; unless that is asked, it would outlive all of them. `// failure mode A1`
    fn has_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// The uid of the process at the other end.
    pub(super) fn uid(&self) -> Option<u32> {
        self.stream.peer_cred().map(|peer| peer.uid()).ok()
    }
}
