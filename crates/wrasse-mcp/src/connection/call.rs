//! One tool call.
//!
//! It ends at the answer, at the silence limit (which progress moves), at the total limit, at the caller's
//! cancellation, or as soon as the instance is gone, whichever is first (failure modes H5, H6).

use std::time::Duration;

use rmcp::model::{CallToolRequest, CallToolRequestParams, ClientRequest, ServerResult};
use rmcp::service::{PeerRequestOptions, RequestHandle, RoleClient, ServiceError};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use wrasse_lease::ExitNote;
use wrasse_scope::clock;

use super::Connection;
use super::handler::Listening;

/// How long we wait to learn how a server that closed its output ended.
const EXIT_GRACE: Duration = Duration::from_millis(400);
/// How long the server has to take a cancellation.
const CANCEL_GRACE: Duration = Duration::from_millis(500);
/// How long a server that let a call time out has to answer a ping.
const PING_LIMIT: Duration = Duration::from_secs(5);

/// The limits of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallLimits {
    /// The longest silence.
    pub(crate) silence: Duration,
    /// The longest call, progress or not.
    pub(crate) total: Duration,
}

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum CallFault {
    /// The caller cancelled it; the server was told.
    Cancelled,
    /// A limit passed; the server was told.
    TimedOut(Duration),
    /// The server answered with a protocol error.
    Refused(String),
    /// The instance is gone.
    Lost {
        /// Whether any of the request was written: if not, nothing can have happened.
        begun: bool,
        /// How it ended.
        note: String,
    },
}

impl Connection {
    /// Calls a tool; arguments that are no object are none. Not cancel-safe: dropping it does not tell the server; cancel the token instead.
    pub(crate) async fn call(
        &self,
        tool: &str,
        arguments: Value,
        limits: CallLimits,
        token: &CancellationToken,
        progress: impl Fn() + Send,
    ) -> Result<Value, CallFault> {
        if let Some(note) = self.gone_note() {
            return Err(CallFault::Lost { begun: false, note });
        }
        let mut params = CallToolRequestParams::new(tool.to_owned());
        params.arguments = match arguments {
            Value::Object(arguments) => Some(arguments),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => None,
        };
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let sent = self.peer.send_cancellable_request(request, PeerRequestOptions::no_options());
        let handle = match sent.await {
            Ok(handle) => handle,
            Err(_closed) => {
                return Err(CallFault::Lost { begun: false, note: self.last_note().await });
            }
        };
        let id = handle.id.clone();
        let listening = self.signals.listen(handle.progress_token.clone());
        let ended = self.answer(handle, &listening, limits, token, progress).await;
        let begun = self.wire.written.settle(&id);
        match ended {
            Ok(result) => Ok(result),
            Err(CallFault::Lost { note, .. }) => Err(CallFault::Lost { begun, note }),
            Err(fault) => Err(fault),
        }
    }

    async fn answer(
        &self,
        mut handle: RequestHandle<RoleClient>,
        listening: &Listening,
        limits: CallLimits,
        token: &CancellationToken,
        progress: impl Fn() + Send,
    ) -> Result<Value, CallFault> {
        let began = clock::now();
        let last = began + limits.total;
        let mut silent_until = began + limits.silence;
        let mut gone = self.gone.clone();
        loop {
            tokio::select! {
                biased;
                answer = &mut handle.rx => return match answer {
                    Ok(answer) => self.read(answer).await,
                    Err(_closed) => Err(self.lost().await),
                },
                () = token.cancelled() => {
                    self.tell_cancelled(handle, "cancelled by the caller").await;
                    return Err(CallFault::Cancelled);
                }
                // The note is cloned inside, so that no lock is held over another arm's await.
                note = async { gone.wait_for(Option::is_some).await.ok().and_then(|note| note.clone()) } => {
                    return Err(CallFault::Lost { begun: true, note: note_text(note) });
                }
                () = self.wire.ended.cancelled() => {
                    // The answer may have come just before the end.
                    if let Ok(Ok(answer)) = clock::timeout(EXIT_GRACE, &mut handle.rx).await {
                        return self.read(answer).await;
                    }
                    return Err(self.lost().await);
                }
                () = listening.moved.notified() => {
                    progress();
                    silent_until = clock::now() + limits.silence;
                }
                () = clock::sleep_until(silent_until.min(last)) => {
                    let waited = began.elapsed();
                    self.tell_cancelled(handle, "timed out").await;
                    return Err(CallFault::TimedOut(waited));
                }
            }
        }
    }

    async fn read(&self, answer: Result<ServerResult, ServiceError>) -> Result<Value, CallFault> {
        match answer {
            Ok(ServerResult::CustomResult(result)) => Ok(result.0),
            Ok(other) => Ok(serde_json::to_value(other).unwrap_or(Value::Null)),
            Err(ServiceError::McpError(error)) => {
                Err(CallFault::Refused(format!("{} ({})", error.message, error.code.0)))
            }
            Err(ServiceError::TransportSend(_) | ServiceError::TransportClosed) => {
                Err(self.lost().await)
            }
            Err(other) => Err(CallFault::Refused(other.to_string())),
        }
    }

    async fn tell_cancelled(&self, handle: RequestHandle<RoleClient>, reason: &str) {
        let told = handle.cancel(Some(reason.to_owned()));
        if clock::timeout(CANCEL_GRACE, told).await.is_err() {
            tracing::debug!(server = %self.server, "a cancellation could not be delivered");
        }
    }

    /// Whether the server answers at all; one that does not is marked, and its instance ends.
    pub(crate) async fn check_hearing(&self) {
        let ping = ClientRequest::PingRequest(rmcp::model::PingRequest::default());
        let sent = self.peer.send_cancellable_request(ping, PeerRequestOptions::no_options());
        let answered = clock::timeout(PING_LIMIT, async {
            match sent.await {
                // An error is an answer too.
                Ok(handle) => handle.rx.await.is_ok(),
                Err(_closed) => false,
            }
        });
        if !matches!(answered.await, Ok(true)) {
            self.deaf.cancel();
        }
    }

    /// Why the instance is gone; `None` while it is not.
    pub(crate) fn gone_note(&self) -> Option<String> {
        let note = self.gone.borrow().clone()?;
        Some(note.text)
    }

    async fn lost(&self) -> CallFault {
        CallFault::Lost { begun: true, note: self.last_note().await }
    }

    /// How the instance ended; waits a moment for it to be known.
    async fn last_note(&self) -> String {
        let mut gone = self.gone.clone();
        let known = clock::timeout(EXIT_GRACE, gone.wait_for(Option::is_some)).await;
        note_text(known.ok().and_then(Result::ok).and_then(|note| note.clone()))
    }
}

fn note_text(note: Option<ExitNote>) -> String {
    note.map_or_else(|| "was stopped".to_owned(), |note| note.text)
}
