//! A shim's end: attaching to the broker of a key, as a server that somebody else has.
//!
//! To the broker go messages as they are, and `bye`; from it come frames. A connection that ends without `bye` is a shim
//! that died.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::UnixStream;

use super::frame::{BYE, FORMAT, Frame, Hello, Welcome, greeting};
use super::launch;
use super::place::Folder;
use crate::lines::{LINE_MAX, Lines};
use crate::link::{Boxed, Link, Stopped};
use crate::options::WrapOptions;

/// How often a broker that is just ending is followed by another try.
const TRIES: u32 = 5;
/// How long the server may take to start; the session gives up a little earlier.
const START_WITHIN: Duration = Duration::from_secs(310);

/// The longest frame: a message, the letter before it, and an id of the host's in place of a shorter one.
const FRAME_MAX: usize = LINE_MAX + 4096;

/// Why a shim is not attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotAttached {
    /// Sharing does not work here; the shim can still have a server of its own.
    CannotShare(String),
    /// The server itself cannot be started.
    NoServer(String),
}

/// Attaches to the broker of this key, and starts one where there is none, whose server starts in `cwd`. Cancel-safe: a
/// broker that nobody attaches to ends.
pub(crate) async fn attach(
    key: String,
    cwd: PathBuf,
    options: WrapOptions,
) -> Result<Link, NotAttached> {
    let cannot = NotAttached::CannotShare;
    let folder = Folder::open(&options.state_dir, &key)
        .map_err(|error| cannot(format!("no place for a broker: {error}")))?;
    for _ in 0..TRIES {
        match UnixStream::connect(folder.socket()).await {
            Ok(stream) => {
                if let Some(link) = greet(stream, &key, &options).await? {
                    return Ok(link);
                }
                // It was just ending. The next one waits until it has.
            }
            Err(error) if is_absent(&error) => {
                launch::broker(&key, &cwd, &options).await.map_err(cannot)?;
            }
            Err(error) => return Err(cannot(format!("its broker cannot be reached: {error}"))),
        }
    }
    Err(cannot(format!("its broker ended {TRIES} times before it answered")))
}

/// `None` when the broker went away without a word.
async fn greet(
    mut stream: UnixStream,
    key: &str,
    options: &WrapOptions,
) -> Result<Option<Link>, NotAttached> {
    let own = rustix::process::geteuid().as_raw();
    if stream.peer_cred().map(|peer| peer.uid()).ok() != Some(own) {
        let why = "the broker of this key belongs to another user";
        return Err(NotAttached::CannotShare(why.to_owned()));
    }
    let idle_ms = options.idle.map(|idle| u64::try_from(idle.as_millis()).unwrap_or(u64::MAX));
    let hello = Hello { format: FORMAT.to_owned(), key: key.to_owned(), idle_ms };
    if stream.write_all(&greeting(&hello)).await.is_err() {
        return Ok(None);
    }
    let mut lines = Lines::with_max(FRAME_MAX);
    let answer = tokio::time::timeout(START_WITHIN, first_line(&mut stream, &mut lines)).await;
    let Ok(answer) = answer else {
        return Err(NotAttached::NoServer("its broker did not answer".to_owned()));
    };
    let Some(line) = answer else { return Ok(None) };
    match serde_json::from_slice(&line) {
        Ok(Welcome::Attached { .. }) => Ok(Some(link(stream, lines))),
        Ok(Welcome::Refused { why }) => Err(NotAttached::CannotShare(why)),
        Ok(Welcome::Failed { fault }) => Err(NotAttached::NoServer(fault)),
        Err(_) => Err(NotAttached::CannotShare("its broker is of another version".to_owned())),
    }
}

async fn first_line(stream: &mut UnixStream, lines: &mut Lines) -> Option<Vec<u8>> {
    let mut bytes = [0; 4096];
    loop {
        if let Some(line) = lines.next_line() {
            return Some(line);
        }
        match stream.read(&mut bytes).await {
            Ok(count @ 1..) => lines.push(&bytes[..count]),
            Ok(_) | Err(_) => return None,
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// What the parts of a link share.
#[derive(Debug)]
struct Inner {
    stream: UnixStream,
    lines: Lines,
    /// The server's messages, not read yet.
    stdout: VecDeque<u8>,
    /// The server's stderr, not read yet.
    stderr: VecDeque<u8>,
    /// How the server ended.
    how: Option<String>,
    wake_exited: Option<Waker>,
    wake_stderr: Option<Waker>,
}

type Shared = Rc<RefCell<Inner>>;

fn link(stream: UnixStream, lines: Lines) -> Link {
    let shared = Rc::new(RefCell::new(Inner {
        stream,
        lines,
        stdout: VecDeque::new(),
        stderr: VecDeque::new(),
        how: None,
        wake_exited: None,
        wake_stderr: None,
    }));
    let (exited, stop) = (Rc::clone(&shared), Rc::clone(&shared));
    Link {
        instance: None,
        stdin: Box::new(ToBroker(Rc::clone(&shared))),
        stdout: Box::new(Messages(Rc::clone(&shared))),
        stderr: Some(Box::new(Errors(shared))),
        exited: Box::pin(std::future::poll_fn(move |cx| exited.borrow_mut().poll_exited(cx))),
        stop: Box::new(move |_| leave(&stop)),
        unwritten: None,
        note: None,
    }
}

/// Leaves. What becomes of the server is the broker's to decide and to prove.
fn leave(shared: &Shared) -> Boxed<Stopped> {
    // A line that was begun is ended, so that this stands on its own. Should it not be taken at once, the end of the
    // connection says the same, less kindly.
    drop(shared.borrow().stream.try_write(BYE));
    Box::pin(std::future::ready(Stopped { proven_empty: true, survivors: 0, code: None }))
}

impl Inner {
    /// Takes in what has come; pending when that is nothing.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 16 * 1024];
        loop {
            let ready = ready!(self.stream.poll_read_ready(cx));
            match ready.and_then(|()| self.stream.try_read(&mut bytes)) {
                Ok(count @ 1..) => self.lines.push(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Ok(_) | Err(_) => self.has_ended("was ended with the broker that shared it"),
            }
            self.take_frames();
            return Poll::Ready(());
        }
    }

    fn take_frames(&mut self) {
        while let Some(line) = self.lines.next_line() {
            match Frame::decode(line) {
                Some(Frame::Message(line)) => {
                    self.stdout.extend(line);
                    self.stdout.push_back(b'\n');
                }
                Some(Frame::Errors(text)) => self.errors(&text),
                Some(Frame::Say(text)) => self.errors(&format!("wrasse wrap: {text}\n")),
                Some(Frame::Ended(ending)) => {
                    self.errors(&ending.last_words);
                    self.has_ended(&ending.how);
                }
                None => {}
            }
        }
    }

    fn errors(&mut self, text: &str) {
        self.stderr.extend(text.as_bytes());
        if let Some(waker) = self.wake_stderr.take() {
            waker.wake();
        }
    }

    fn has_ended(&mut self, how: &str) {
        self.how.get_or_insert_with(|| how.to_owned());
        for waker in [self.wake_exited.take(), self.wake_stderr.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    fn poll_exited(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        // Only after everything that it said.
        if let Some(how) = self.how.clone().filter(|_| self.stdout.is_empty()) {
            return Poll::Ready(how);
        }
        self.wake_exited = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Moves bytes from a queue to a reader's buffer.
fn hand_over(queue: &mut VecDeque<u8>, buffer: &mut ReadBuf<'_>) {
    let (front, _) = queue.as_slices();
    let count = front.len().min(buffer.remaining());
    buffer.put_slice(&front[..count]);
    queue.drain(..count);
}

#[derive(Debug)]
struct ToBroker(Shared);

impl AsyncWrite for ToBroker {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let inner = self.0.borrow();
        if inner.how.is_some() {
            // It has ended, which is told elsewhere; what is written now is for nobody.
            return Poll::Ready(Ok(bytes.len()));
        }
        loop {
            ready!(inner.stream.poll_write_ready(cx))?;
            match inner.stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Whether it is gone, and why, is for the reading side to say.
                Err(_) => return Poll::Pending,
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug)]
struct Messages(Shared);

impl AsyncRead for Messages {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        while inner.stdout.is_empty() {
            if inner.how.is_some() {
                return Poll::Ready(Ok(()));
            }
            ready!(inner.poll_fill(cx));
        }
        hand_over(&mut inner.stdout, buffer);
        if inner.stdout.is_empty()
            && inner.how.is_some()
            && let Some(waker) = inner.wake_exited.take()
        {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug)]
struct Errors(Shared);

impl AsyncRead for Errors {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        if inner.stderr.is_empty() {
            if inner.how.is_some() {
                return Poll::Ready(Ok(()));
            }
            inner.wake_stderr = Some(cx.waker().clone());
            return Poll::Pending;
        }
        hand_over(&mut inner.stderr, buffer);
        Poll::Ready(Ok(()))
    }
}
