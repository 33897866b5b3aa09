//! The write end of a server's stdin, which remembers who ended first: the input or the server.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use crate::view::View;

/// Whether the server's input was ended while the server lived.
#[derive(Debug, Clone, Default)]
pub(crate) struct InputEnded(Arc<AtomicBool>);

impl InputEnded {
    pub(crate) fn before_the_server(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The write end of a server's stdin. Dropping it is the end of the server's input.
#[derive(Debug)]
pub struct PipeSender {
    pipe: pipe::Sender,
    watch: watch::Receiver<View>,
    ended: InputEnded,
}

impl PipeSender {
    pub(crate) fn new(pipe: pipe::Sender, watch: watch::Receiver<View>, ended: InputEnded) -> Self {
        Self { pipe, watch, ended }
    }
}

impl Drop for PipeSender {
    fn drop(&mut self) {
        // Before the pipe itself is closed, so that an exit it causes cannot be seen here.
        if !self.watch.borrow().leader_over() {
            self.ended.0.store(true, Ordering::Release);
        }
    }
}

impl AsyncWrite for PipeSender {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.pipe.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}
