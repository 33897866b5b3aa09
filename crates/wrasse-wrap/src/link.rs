//! What a server is to the loop: something to write to, something to read from, an end to wait for and an end to bring
//! about. A tree of our own is one; a connection to somebody who has the tree is another.

use std::fmt;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use wrasse_contain::Ladder;

/// A future that belongs to this one thread.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

/// How an end came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Nothing is left, and that is proven.
    pub proven_empty: bool,
    /// Processes that are still there. Somebody goes on ending them.
    pub survivors: u32,
    /// What the server exited with, if it did.
    pub code: Option<i32>,
}

/// A server that runs.
pub struct Link {
    /// The number that its processes carry, where they are ours.
    pub instance: Option<u64>,
    /// Its stdin. Dropping it is the end of its input.
    pub stdin: Box<dyn AsyncWrite + Unpin>,
    /// Its stdout.
    pub stdout: Box<dyn AsyncRead + Unpin>,
    /// Its stderr, where it is ours.
    pub stderr: Option<Box<dyn AsyncRead + Unpin>>,
    /// Completes when it has ended, with how, as in "the server …".
    pub exited: Boxed<String>,
    /// Ends it and waits for that. Dropped without being called, it kills.
    pub stop: Box<dyn FnOnce(Ladder) -> Boxed<Stopped>>,
    /// The ledger could not be written: should everything of ours die at once, nobody could prove what is left.
    pub unwritten: Option<String>,
    /// It is not shared, though that was asked for: why.
    pub note: Option<String>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("instance", &self.instance).finish_non_exhaustive()
    }
}
