//! The one server that a shim or a broker has at a time: starting it, hearing it, writing to it, ending it.

use std::fmt;
use std::future::pending;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use wrasse_contain::Ladder;
use wrasse_scope::clock::{self, BootInstant};

use crate::lines::Lines;
use crate::link::{Boxed, Link, Stopped};
use crate::server::LastWords;
use crate::stdio::Queue;

/// How long a server that closed its stdin or stdout may take to be seen dead.
const DEATH: Duration = Duration::from_secs(2);
/// How long what a server wrote before its end is listened to. It ends with the pipes, which nobody of an empty tree
/// holds: only a stranger to whom the server gave them makes anybody wait this long.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Something that the server did. Bytes are in the buffers that were given.
pub(crate) enum ServerEvent {
    Started(Result<Box<Link>, String>),
    /// It has taken some of what waits for it.
    Took,
    /// So many bytes on its stdout.
    Output(usize),
    /// So many bytes on its stderr.
    Errors(usize),
    Exited(String),
    /// Its end is proven, or given up, and everything that it wrote was heard.
    Stopped(Stopped),
}

/// What is read into.
#[derive(Debug)]
pub(crate) struct Buffers {
    pub(crate) server: Vec<u8>,
    pub(crate) errors: Vec<u8>,
}

impl Buffers {
    pub(crate) fn new(size: usize) -> Self {
        Self { server: vec![0; size], errors: vec![0; size / 4] }
    }
}

/// What is known of a server that has ended.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) how: String,
    pub(crate) last_words: String,
}

/// The server, in whatever state; empty when there is none.
#[derive(Default)]
pub(crate) struct Slot {
    starting: Option<Boxed<Result<Link, String>>>,
    stopping: Option<Boxed<Stopped>>,
    /// It is gone, and its last words are listened to until then.
    stopped: Option<(Stopped, BootInstant)>,
    /// INVARIANT: there is a way to stop what runs and is not being stopped.
    stop: Option<Box<dyn FnOnce(Ladder) -> Boxed<Stopped>>>,
    instance: Option<u64>,
    exited: Option<Boxed<String>>,
    stdin: Option<Box<dyn AsyncWrite + Unpin>>,
    stdout: Option<Box<dyn AsyncRead + Unpin>>,
    stderr: Option<Box<dyn AsyncRead + Unpin>>,
    pub(crate) to_server: Queue,
    pub(crate) lines: Lines,
    last_words: LastWords,
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
        self.starting.is_none()
            && self.stop.is_none()
            && self.stopping.is_none()
            && self.stopped.is_none()
    }

    pub(crate) fn is_starting(&self) -> bool {
        self.starting.is_some()
    }

    /// Whether a broker has the server, and this is a connection to it.
    pub(crate) fn is_shared(&self) -> bool {
        let runs = self.stop.is_some() || self.stopping.is_some() || self.stopped.is_some();
        runs && self.instance.is_none()
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

    fn close_if_written(&mut self) {
        if self.closing && self.to_server.is_empty() {
            self.stdin = None;
        }
    }

    /// Begins the ladder, once: stdin is closed as soon as what waits is written. A start that is under way is given up,
    /// which kills what it made.
    pub(crate) fn stop(&mut self, how: &str, ladder: Ladder) {
        if self.starting.take().is_some() {
            self.to_server.clear();
        }
        self.closing = true;
        self.close_if_written();
        self.exited = None;
        if let Some(stop) = self.stop.take() {
            how.clone_into(&mut self.how);
            self.stopping = Some(stop(ladder));
        }
    }

    /// Waits for the next thing that the server does, and writes to it meanwhile; `heard` is whether there is room for its
    /// output. Cancel-safe.
    pub(crate) async fn next(&mut self, buffers: &mut Buffers, heard: bool) -> ServerEvent {
        loop {
            // What it writes no more is bounded by its pipe.
            let heard = heard || self.stopped.is_some();
            let silent = self.stdout.is_none() && self.stderr.is_none();
            let Self { starting, stopping, stopped, exited, stdin, stdout, stderr, .. } = self;
            let to_server = &mut self.to_server;
            // In order: no deadline passes over words that have come, and no flood of words over what is to be written.
            tokio::select! {
                biased;
                started = or_never(starting) => return ServerEvent::Started(started.map(Box::new)),
                how = or_never(exited) => return ServerEvent::Exited(how),
                done = or_never(stopping) => *stopped = Some((done, clock::now() + LAST_WORDS)),
                written = write_some(stdin, to_server) => match written {
                    Ok(()) => {
                        self.close_if_written();
                        return ServerEvent::Took;
                    }
                    Err(_) => {
                        self.stdin = None;
                        self.to_server.clear();
                        self.broken("closed its standard input");
                    }
                },
                count = read_some(stdout, &mut buffers.server), if heard => match count {
                    Some(count) => return ServerEvent::Output(count),
                    None => {
                        self.stdout = None;
                        self.broken("closed its standard output");
                    }
                },
                count = read_some(stderr, &mut buffers.errors) => match count {
                    Some(count) => {
                        self.last_words.push(&buffers.errors[..count]);
                        return ServerEvent::Errors(count);
                    }
                    None => self.stderr = None,
                },
                done = last_words(*stopped, silent) => {
                    *stopped = None;
                    return ServerEvent::Stopped(done);
                }
            }
        }
    }

    /// The server has closed an end of its own: mostly that is how its death shows first, and how it died is worth a
    /// moment's wait. A server that lives on is of no use to anybody.
    fn broken(&mut self, how: &'static str) {
        if let Some(exited) = self.exited.take() {
            self.exited = Some(Box::pin(async move {
                let exited = tokio::time::timeout(DEATH, exited).await;
                exited.unwrap_or_else(|_| how.to_owned())
            }));
        }
    }

    /// Empties the slot.
    pub(crate) fn ended(&mut self) -> Gone {
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

/// A future's value, once; without a future, never.
pub(crate) async fn or_never<T>(future: &mut Option<Boxed<T>>) -> T {
    match future {
        Some(running) => {
            let value = running.await;
            *future = None;
            value
        }
        None => pending().await,
    }
}

/// Completes when nothing more is to be heard of a server that has stopped, or no longer waited for.
async fn last_words(stopped: Option<(Stopped, BootInstant)>, silent: bool) -> Stopped {
    match stopped {
        Some((stopped, _)) if silent => stopped,
        Some((stopped, until)) => {
            clock::sleep_until(until).await;
            stopped
        }
        None => pending().await,
    }
}

async fn write_some(
    stdin: &mut Option<Box<dyn AsyncWrite + Unpin>>,
    queue: &mut Queue,
) -> io::Result<()> {
    match stdin {
        Some(stdin) if !queue.is_empty() => {
            let count = stdin.write(queue.front()).await?;
            queue.advance(count);
            Ok(())
        }
        Some(_) | None => pending().await,
    }
}

/// How much was read; `None` at the end.
async fn read_some(
    from: &mut Option<Box<dyn AsyncRead + Unpin>>,
    buffer: &mut [u8],
) -> Option<usize> {
    match from {
        Some(from) => from.read(buffer).await.ok().filter(|count| *count > 0),
        None => pending().await,
    }
}
