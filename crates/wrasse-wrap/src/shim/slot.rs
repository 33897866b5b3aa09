//! The place of the one server that a shim has at a time.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wrasse_contain::Ladder;

use crate::lines::Lines;
use crate::link::{Boxed, Link, Stopped};
use crate::server::LastWords;
use crate::stdio::Queue;

/// How long a server that closed its stdin or stdout may take to be seen dead.
const DEATH: Duration = Duration::from_millis(500);

/// What is known of a server that has ended.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) how: String,
    pub(crate) last_words: String,
}

/// The server, in whatever state; empty when there is none.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) starting: Option<Boxed<Result<Link, String>>>,
    pub(crate) stopping: Option<Boxed<Stopped>>,
    /// INVARIANT: there is a way to stop what runs and is not being stopped.
    stop: Option<Box<dyn FnOnce(Ladder) -> Boxed<Stopped>>>,
    instance: Option<u64>,
    pub(crate) exited: Option<Boxed<String>>,
    pub(crate) stdin: Option<Box<dyn AsyncWrite + Unpin>>,
    pub(crate) stdout: Option<Box<dyn AsyncRead + Unpin>>,
    pub(crate) stderr: Option<Box<dyn AsyncRead + Unpin>>,
    pub(crate) to_server: Queue,
    pub(crate) lines: Lines,
    pub(crate) last_words: LastWords,
    how: String,
    /// Stdin is closed as soon as everything is written.
    closing: bool,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("starting", &self.starting.is_some())
            .field("instance", &self.instance)
            .field("stopping", &self.stopping.is_some())
            .finish_non_exhaustive()
    }
}

impl Slot {
    pub(crate) fn is_empty(&self) -> bool {
        self.starting.is_none() && self.stop.is_none() && self.stopping.is_none()
    }

    pub(crate) fn is_starting(&self) -> bool {
        self.starting.is_some()
    }

    pub(crate) fn instance(&self) -> Option<u64> {
        self.instance
    }

    pub(crate) fn start(&mut self, starting: Boxed<Result<Link, String>>) {
        self.starting = Some(starting);
    }

    pub(crate) fn start_failed(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn run(&mut self, link: Link) {
        // What the host wrote while the server was being started is for this server.
        let to_server = std::mem::take(&mut self.to_server);
        let Link { instance, stdin, stdout, stderr, exited, stop, unwritten: _, note: _ } = link;
        *self = Self {
            exited: Some(exited),
            stop: Some(stop),
            instance,
            stdin: Some(stdin),
            stdout: Some(stdout),
            stderr,
            to_server,
            ..Self::default()
        };
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
        self.to_server.clear();
    }

    pub(crate) fn close_stdin_when_written(&mut self) {
        self.closing = true;
        self.written();
    }

    /// Something was written, perhaps all.
    pub(crate) fn written(&mut self) {
        if self.closing && self.to_server.is_empty() {
            self.stdin = None;
        }
    }

    /// Begins the ladder, once. A start that is under way is given up, which kills what it made.
    pub(crate) fn stop(&mut self, how: &str, ladder: Ladder) {
        if self.starting.take().is_some() {
            self.to_server.clear();
        }
        self.exited = None;
        if let Some(stop) = self.stop.take() {
            how.clone_into(&mut self.how);
            let stopping = stop(ladder);
            self.stopping = Some(Box::pin(async move {
                let stopped = stopping.await;
                // The runtime looks at the pipes once more: what the server wrote last is there, and it may not know.
                tokio::task::yield_now().await;
                stopped
            }));
        }
    }

    /// The server has closed an end of its own: mostly that is how its death shows first, and how it died is worth a
    /// moment's wait. A server that lives on is of no use to anybody.
    pub(crate) fn broken(&mut self, how: &'static str) {
        if let Some(exited) = self.exited.take() {
            self.exited = Some(Box::pin(async move {
                let exited = tokio::time::timeout(DEATH, exited).await;
                exited.unwrap_or_else(|_| how.to_owned())
            }));
        }
    }

    /// Listens to the pipes for a moment after the end: nothing is asked any more, and an answer may still be in them.
    pub(crate) fn linger(&mut self) {
        if let Some(stopping) = self.stopping.take() {
            self.stopping = Some(Box::pin(async move {
                let stopped = stopping.await;
                tokio::time::sleep(LAST_WORDS).await;
                stopped
            }));
        }
    }

    /// What the server wrote before its end and nobody has read.
    pub(crate) fn last_lines(&mut self) -> Vec<u8> {
        self.stdout.take().map(|mut stdout| rest(&mut *stdout)).unwrap_or_default()
    }

    /// Empties the slot.
    pub(crate) fn ended(&mut self) -> Gone {
        if let Some(stderr) = &mut self.stderr {
            let words = rest(&mut **stderr);
            self.last_words.push(&words);
        }
        let how = std::mem::take(&mut self.how);
        let gone = Gone { how, last_words: self.last_words.shown() };
        *self = Self::default();
        gone
    }

    /// Lets go of everything, which kills it.
    pub(crate) fn abandon(&mut self) {
        *self = Self::default();
    }
}

/// How long the pipes of a server that is gone are still listened to.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_millis(30);

/// What can be read without waiting. After much reading the runtime would have us make room for other tasks and says that
/// nothing is there; there is no later for what is read here.
fn rest(from: &mut (dyn AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let all = std::future::poll_fn(|context| {
        loop {
            let mut buffer = ReadBuf::new(&mut chunk);
            match Pin::new(&mut *from).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => bytes.extend(buffer.filled()),
                Poll::Ready(_) | Poll::Pending => return Poll::Ready(()),
            }
        }
    });
    let mut all = std::pin::pin!(tokio::task::coop::unconstrained(all));
    let done = all.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    debug_assert!(done.is_ready(), "it waits for nothing");
    bytes
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn the_rest_is_read_however_much_was_read_before() {
        let (mut server, mut shim) = tokio::io::duplex(64 * 1024);
        server.write_all(&[b'x'; 50_000]).await.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut read = 0;
        // Until the runtime says that it is enough.
        loop {
            let mut byte = [0];
            let mut buffer = ReadBuf::new(&mut byte);
            if Pin::new(&mut shim).poll_read(&mut context, &mut buffer).is_pending() {
                break;
            }
            read += 1;
        }
        assert!((1..50_000).contains(&read), "{read}");
        assert_eq!(rest(&mut shim).len(), 50_000 - read);
    }
}
