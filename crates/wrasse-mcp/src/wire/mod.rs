//! The transport under the SDK: JSON-RPC lines over the pipes of a contained process.
//!
//! Lines are bounded, what is not JSON-RPC is counted and the first such line kept for error texts, the end of
//! the stream is noticed at once, and whether a request was ever begun to be written is known for each. The
//! pipes belong to the instance; closing stdin never waits for a write that is stuck.

mod lines;
mod message;
mod pace;
mod writer;
mod written;

use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, JsonRpcMessage, JsonRpcRequest, RequestId,
    ServerJsonRpcMessage,
};
use rmcp::service::RoleClient;
use rmcp::transport::Transport;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::sync::CancellationToken;

use lines::{LINE_LEN_MAX, Line, LineBuffer};
use pace::{Asked, Pace};
pub(crate) use writer::{WireError, Writer};
use written::Written;

/// How much of the first bad line is kept.
const BAD_LINE_LEN_MAX: usize = 300;

/// Lines that were not JSON-RPC.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct BadLines {
    /// How many.
    pub(crate) count: u64,
    /// The first of them, cut.
    pub(crate) first: Option<String>,
}

/// What the owner of an instance knows of its wire.
#[derive(Debug, Default)]
pub(crate) struct WireState {
    bad: Mutex<BadLines>,
    /// Which calls the server can have seen.
    pub(crate) written: Written,
    /// Cancelled when the server closed its stdout.
    pub(crate) ended: CancellationToken,
}

impl WireState {
    /// The bad lines so far.
    pub(crate) fn bad(&self) -> BadLines {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note_bad(&self, text: String) {
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        bad.count += 1;
        bad.first.get_or_insert(text);
    }
}

/// The transport.
pub(crate) struct Wire<R> {
    server: String,
    reader: R,
    lines: LineBuffer,
    pace: Pace,
    writer: Writer,
    state: Arc<WireState>,
}

impl<R: AsyncRead + Send + Unpin + 'static> Wire<R> {
    pub(crate) fn new(server: String, reader: R, writer: Writer, state: Arc<WireState>) -> Self {
        let (lines, pace) = (LineBuffer::new(LINE_LEN_MAX), Pace::new());
        Self { server, reader, lines, pace, writer, state }
    }

    fn handle(&self, line: &Line) -> Option<ServerJsonRpcMessage> {
        match line {
            Line::Whole(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => None,
            Line::Whole(bytes) => match message::parse(bytes) {
                Ok(message) => Some(message),
                Err(reason) => {
                    let text = readable(bytes);
                    tracing::debug!(server = %self.server, reason, line = text, "not JSON-RPC on stdout");
                    self.state.note_bad(text);
                    None
                }
            },
            Line::TooLong { len, id } => {
                let size = wrasse_types::ByteSize(*len);
                let limit = wrasse_types::ByteSize(LINE_LEN_MAX as u64);
                let reason = format!("the answer is {size}, the limit is {limit}");
                tracing::warn!(server = %self.server, %size, "a line above the limit was discarded");
                self.state.note_bad(format!("(a line of {size})"));
                id.map(|id| message::unreadable(id, reason))
            }
        }
    }
}

/// A line as people can read it, cut.
fn readable(bytes: &[u8]) -> String {
    let kept = &bytes[..bytes.len().min(BAD_LINE_LEN_MAX)];
    let text: String = String::from_utf8_lossy(kept)
        .chars()
        .map(|c| if c.is_control() && c != '\t' { ' ' } else { c })
        .collect();
    if kept.len() < bytes.len() { format!("{text}…") } else { text.trim_end().to_owned() }
}

/// Whether this answers one of our requests.
fn asked(message: &ServerJsonRpcMessage) -> Asked {
    match message {
        JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => Asked::Yes,
        JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => Asked::No,
    }
}

/// The id of a tool call: only what may have an effect is followed.
fn call_id(message: &ClientJsonRpcMessage) -> Option<RequestId> {
    match message {
        JsonRpcMessage::Request(JsonRpcRequest {
            id,
            request: ClientRequest::CallToolRequest(_),
            ..
        }) => Some(id.clone()),
        JsonRpcMessage::Request(_)
        | JsonRpcMessage::Response(_)
        | JsonRpcMessage::Notification(_)
        | JsonRpcMessage::Error(_) => None,
    }
}

impl<R: AsyncRead + Send + Unpin + 'static> Transport<RoleClient> for Wire<R> {
    type Error = WireError;

    fn send(
        &mut self,
        item: ClientJsonRpcMessage,
    ) -> impl Future<Output = Result<(), WireError>> + Send + 'static {
        let id = call_id(&item);
        let bytes = serde_json::to_vec(&item).map(|mut bytes| {
            bytes.push(b'\n');
            bytes
        });
        let writer = self.writer.clone();
        let state = self.state.clone();
        async move {
            let bytes = bytes.map_err(WireError::Encode)?;
            writer.write(&bytes, id.as_ref().map(|id| (&state.written, id))).await
        }
    }

    /// Cancel-safe: what was read stays in the buffer.
    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            self.pace.wait().await;
            while let Some(line) = self.lines.next() {
                if let Some(message) = self.handle(&line) {
                    self.pace.note(asked(&message));
                    return Some(message);
                }
            }
            if self.state.ended.is_cancelled() {
                return None;
            }
            match self.reader.read_buf(self.lines.space()).await {
                Ok(0) | Err(_) => {
                    self.state.ended.cancel();
                    let rest = self.lines.rest();
                    return rest.and_then(|line| self.handle(&line));
                }
                Ok(_) => {}
            }
        }
    }

    async fn close(&mut self) -> Result<(), WireError> {
        self.writer.close().await;
        Ok(())
    }
}
