//! The writing end of a server's stdin.

use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Why nothing, or not everything, was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// We closed it.
    #[error("its stdin is closed")]
    Closed,
    /// The server closed it, or is gone.
    #[error("writing to its stdin failed: {0}")]
    Io(#[source] std::io::Error),
    /// The message is not JSON; a fault of ours.
    #[error("encoding failed: {0}")]
    Encode(#[source] serde_json::Error),
}

type Sink = Box<dyn AsyncWrite + Send + Unpin>;

/// The writer; clones share it. Messages are written whole and one at a time.
#[derive(Clone)]
pub(crate) struct Writer {
    sink: Arc<Mutex<Option<Sink>>>,
    closing: CancellationToken,
}

impl Writer {
    pub(crate) fn new(sink: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        let sink: Sink = Box::new(sink);
        Self { sink: Arc::new(Mutex::new(Some(sink))), closing: CancellationToken::new() }
    }

    /// Writes a message; `begun` is called once its first byte is out. Not cancel-safe: a message that was
    /// begun and dropped leaves half a line.
    pub(crate) async fn write(
        &self,
        bytes: &[u8],
        begun: impl FnOnce() + Send,
    ) -> Result<(), WireError> {
        tokio::select! {
            biased;
            () = self.closing.cancelled() => Err(WireError::Closed),
            written = self.write_now(bytes, begun) => written,
        }
    }

    async fn write_now(&self, bytes: &[u8], begun: impl FnOnce() + Send) -> Result<(), WireError> {
        let mut guard = self.sink.lock().await;
        let sink = guard.as_mut().ok_or(WireError::Closed)?;
        let first = sink.write(bytes).await.map_err(WireError::Io)?;
        if first == 0 {
            return Err(WireError::Io(std::io::ErrorKind::WriteZero.into()));
        }
        begun();
        sink.write_all(&bytes[first..]).await.map_err(WireError::Io)?;
        sink.flush().await.map_err(WireError::Io)
    }

    /// Closes the server's stdin, also while a write is stuck in it (failure mode H3).
    pub(crate) async fn close(&self) {
        self.closing.cancel();
        drop(self.sink.lock().await.take());
    }
}
