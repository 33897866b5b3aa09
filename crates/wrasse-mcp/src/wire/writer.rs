//! The writing end of a server's stdin.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rmcp::model::RequestId;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::written::Written;

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

    /// Writes a message; what may have an effect comes with the record of what was begun. Not cancel-safe: a
    /// message that was begun and dropped leaves half a line.
    pub(crate) async fn write(
        &self,
        bytes: &[u8],
        call: Option<(&Written, &RequestId)>,
    ) -> Result<(), WireError> {
        tokio::select! {
            biased;
            () = self.closing.cancelled() => Err(WireError::Closed),
            written = self.write_now(bytes, call) => written,
        }
    }

    async fn write_now(
        &self,
        bytes: &[u8],
        call: Option<(&Written, &RequestId)>,
    ) -> Result<(), WireError> {
        let mut guard = self.sink.lock().await;
        let sink = guard.as_mut().ok_or(WireError::Closed)?;
        let first = poll_fn(|context| first_bytes(sink, bytes, call, context)).await?;
        sink.write_all(&bytes[first..]).await.map_err(WireError::Io)?;
        sink.flush().await.map_err(WireError::Io)
    }

    /// Closes the server's stdin, also while a write is stuck in it (failure mode H3).
    pub(crate) async fn close(&self) {
        self.closing.cancel();
        drop(self.sink.lock().await.take());
    }
}

/// One attempt to write the first bytes. The record is made before the kernel gets them, and undone only when
/// it took none.
fn first_bytes(
    sink: &mut Sink,
    bytes: &[u8],
    call: Option<(&Written, &RequestId)>,
    context: &mut Context<'_>,
) -> Poll<Result<usize, WireError>> {
    if call.is_some_and(|(written, id)| !written.begin(id)) {
        return Poll::Ready(Err(WireError::Closed));
    }
    let attempt = Pin::new(sink).poll_write(context, bytes);
    let nothing = !matches!(attempt, Poll::Ready(Ok(count)) if count > 0);
    if let (true, Some((written, id))) = (nothing, call) {
        written.undo(id);
    }
    attempt.map(|attempt| match attempt {
        Ok(0) => Err(WireError::Io(std::io::ErrorKind::WriteZero.into())),
        Ok(count) => Ok(count),
        Err(error) => Err(WireError::Io(error)),
    })
}
