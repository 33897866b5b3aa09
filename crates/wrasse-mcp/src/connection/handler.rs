//! What the client answers to a server, and what it takes note of.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{
    ClientCapabilities, ClientConfig, ClientResult, ErrorCode, ErrorData, Implementation,
    ProgressToken, ProtocolVersion, ServerNotification, ServerRequest,
};
use rmcp::service::{NotificationContext, RequestContext, RoleClient, Service};
use tokio::sync::Notify;

/// What notifications of a server move.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Somebody waits on each of these for progress of one call.
    progress: Mutex<HashMap<ProgressToken, Arc<Notify>>>,
    /// The server said that its tools changed.
    pub(crate) tools_changed: Notify,
}

impl Signals {
    /// Listens to the progress of one call until the guard is dropped.
    pub(crate) fn listen(self: &Arc<Self>, token: ProgressToken) -> Listening {
        let moved = Arc::new(Notify::new());
        self.progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(token.clone(), Arc::clone(&moved));
        Listening { signals: Arc::clone(self), token, moved }
    }

    fn moved(&self, token: &ProgressToken) {
        let listeners = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listener) = listeners.get(token) {
            listener.notify_one();
        }
    }
}

/// A call that listens to its progress.
pub(crate) struct Listening {
    signals: Arc<Signals>,
    token: ProgressToken,
    pub(crate) moved: Arc<Notify>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut listeners = self.signals.progress.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.remove(&self.token);
    }
}

/// The handler given to the SDK.
#[derive(Debug)]
pub(crate) struct Handler {
    pub(crate) server: String,
    pub(crate) signals: Arc<Signals>,
}

impl Handler {
    /// Nobody can be asked on behalf of an agent, and no capability for it was offered.
    fn refuse(&self, method: &str) -> ErrorData {
        tracing::info!(server = %self.server, method, "refused a request of a server");
        ErrorData::new(
            ErrorCode::METHOD_NOT_FOUND,
            format!("{method} is not offered: this client answers for agents that run unattended"),
            None,
        )
    }
}

impl Service<RoleClient> for Handler {
    async fn handle_request(
        &self,
        request: ServerRequest,
        _context: RequestContext<RoleClient>,
    ) -> Result<ClientResult, ErrorData> {
        match request {
            ServerRequest::PingRequest(_) => Ok(ClientResult::empty(())),
            // Roots, sampling, elicitation, and whatever else a server may think of.
            other => {
                let sent = serde_json::to_value(&other).unwrap_or_default();
                let method = sent.get("method").and_then(serde_json::Value::as_str);
                Err(self.refuse(method.unwrap_or("this request")))
            }
        }
    }

    async fn handle_notification(
        &self,
        notification: ServerNotification,
        _context: NotificationContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        match notification {
            ServerNotification::ProgressNotification(progress) => {
                self.signals.moved(&progress.params.progress_token);
            }
            ServerNotification::ToolListChangedNotification(_) => {
                self.signals.tools_changed.notify_one();
            }
            other => tracing::trace!(server = %self.server, ?other, "notification"),
        }
        Ok(())
    }

    fn get_info(&self) -> ClientConfig {
        let us = Implementation::new("wrasse", env!("CARGO_PKG_VERSION"));
        let mut info = ClientConfig::new(ClientCapabilities::default(), us);
        info.protocol_version = ProtocolVersion::V_2025_11_25;
        info
    }
}
