//! The place of the one server that a shim has at a time.

use std::fmt;
use std::pin::Pin;

use wrasse_contain::{Contained, ExitWatch, Ladder, PipeReceiver, PipeSender, StopOutcome};

use crate::lines::Lines;
use crate::server::{LastWords, Launcher, Running};
use crate::stdio::Queue;

pub(super) type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

/// What is known of a server that has ended.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) instance: u64,
    pub(super) how: String,
    pub(super) last_words: String,
}

/// The server, in whatever state; empty when there is none.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) starting: Option<Boxed<Result<Running, String>>>,
    pub(super) stopping: Option<Boxed<StopOutcome>>,
    /// INVARIANT: there is a tree while nothing stops it and it runs.
    tree: Option<Contained>,
    instance: Option<u64>,
    pub(super) exit: Option<ExitWatch>,
    pub(super) stdin: Option<PipeSender>,
    pub(super) stdout: Option<PipeReceiver>,
    pub(super) stderr: Option<PipeReceiver>,
    pub(super) to_server: Queue,
    pub(super) lines: Lines,
    pub(super) last_words: LastWords,
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
    pub(super) fn is_empty(&self) -> bool {
        self.starting.is_none() && self.instance.is_none()
    }

    pub(super) fn is_starting(&self) -> bool {
        self.starting.is_some()
    }

    pub(super) fn instance(&self) -> Option<u64> {
        self.instance
    }

    pub(super) fn start(&mut self, launcher: Launcher) {
        self.starting = Some(Box::pin(launcher.start()));
    }

    pub(super) fn start_failed(&mut self) {
        *self = Self::default();
    }

    pub(super) fn run(&mut self, running: Running) {
        // What the host wrote while the server was being started is for this server.
        let to_server = std::mem::take(&mut self.to_server);
        let Running { tree, instance, stdin, stdout, stderr, unwritten: _ } = running;
        *self = Self {
            exit: Some(tree.exited()),
            tree: Some(tree),
            instance: Some(instance),
            stdin: Some(stdin),
            stdout: Some(stdout),
            stderr: Some(stderr),
            to_server,
            ..Self::default()
        };
    }

    pub(super) fn close_stdin(&mut self) {
        self.stdin = None;
        self.to_server.clear();
    }

    pub(super) fn close_stdin_when_written(&mut self) {
        self.closing = true;
        self.written();
    }

    /// Something was written, perhaps all.
    pub(super) fn written(&mut self) {
        if self.closing && self.to_server.is_empty() {
            self.stdin = None;
        }
    }

    /// Begins the ladder, once. A start that is under way is given up, which kills what it made.
    pub(super) fn stop(&mut self, how: &str, ladder: Ladder) {
        if self.starting.take().is_some() {
            self.to_server.clear();
        }
        self.exit = None;
        if let Some(tree) = self.tree.take() {
            how.clone_into(&mut self.how);
            self.stopping = Some(Box::pin(tree.stop(ladder)));
        }
    }

    /// What the server wrote before its end and nobody has read.
    pub(super) fn last_lines(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Some(stdout) = self.stdout.take() else { return bytes };
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = stdout.try_read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..count]);
        }
        bytes
    }

    /// Empties the slot.
    pub(super) fn ended(&mut self) -> Gone {
        let mut words = [0; 2048];
        while let Some(Ok(count @ 1..)) = self.stderr.as_ref().map(|err| err.try_read(&mut words)) {
            self.last_words.push(&words[..count]);
        }
        let gone = Gone {
            instance: self.instance.unwrap_or(0),
            how: std::mem::take(&mut self.how),
            last_words: self.last_words.shown(),
        };
        *self = Self::default();
        gone
    }

    /// Lets go of everything, which kills it.
    pub(super) fn abandon(&mut self) {
        *self = Self::default();
    }
}
