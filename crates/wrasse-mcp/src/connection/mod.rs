//! One server spoken to: handshake, tool list, calls.
//!
//! A [`Connection`] is what leases hand out. It owns no process and outlives none: once its instance is gone,
//! every pending and later call fails at once with the reason.

mod call;
mod handler;
mod handshake;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use rmcp::service::{Peer, RoleClient, RunningService};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wrasse_lease::ExitNote;
use wrasse_types::ServerName;

use crate::backend::BornParts;
use crate::launch::Launch;
use crate::wire::{WireState, Writer};
pub(crate) use call::{CallFault, CallLimits};
pub(crate) use handler::{Handler, Signals};
pub(crate) use handshake::{HandshakeFault, Peering, handshake};
pub(crate) use tools::{ListFault, ToolEntry, entries};

/// How an instance is used while it is ready. Clones are the same.
pub(crate) type Handle = Arc<Connection>;

/// What a server said of itself.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    pub(crate) protocol: String,
    pub(crate) server_info: Value,
    pub(crate) instructions: Option<String>,
    pub(crate) has_tools: bool,
    pub(crate) has_resources: bool,
    pub(crate) has_prompts: bool,
    pub(crate) announces_changes: bool,
}

/// One server spoken to.
pub(crate) struct Connection {
    pub(crate) server: ServerName,
    pub(crate) fingerprint: String,
    pub(crate) introduction: Introduction,
    pub(crate) wire: Arc<WireState>,
    pub(crate) signals: Arc<Signals>,
    /// Why the instance is gone, once it is.
    pub(crate) gone: watch::Receiver<Option<ExitNote>>,
    /// Cancelled by a call that proved the server deaf.
    pub(crate) deaf: CancellationToken,
    pub(crate) request_timeout: Duration,
    pub(crate) tools: watch::Sender<Arc<Vec<ToolEntry>>>,
    peer: Peer<RoleClient>,
}

impl Connection {
    /// Takes over a server that has introduced itself.
    pub(crate) fn new(
        launch: &Launch,
        introduction: Introduction,
        peer: Peer<RoleClient>,
        gone: watch::Receiver<Option<ExitNote>>,
        parts: &BornParts,
        tools: Arc<Vec<ToolEntry>>,
    ) -> Self {
        Self {
            server: launch.server.clone(),
            fingerprint: launch.fingerprint.clone(),
            introduction,
            wire: Arc::clone(&parts.wire),
            signals: Arc::clone(&parts.signals),
            gone,
            deaf: CancellationToken::new(),
            request_timeout: launch.request_timeout,
            tools: watch::Sender::new(tools),
            peer,
        }
    }

    /// Asks for the whole tool list.
    pub(crate) async fn list_tools(&self, limit: Duration) -> Result<Vec<ToolEntry>, ListFault> {
        tools::list(&self.peer, limit).await
    }
}

impl Peering {
    /// Asks for the whole tool list; a server that declares no tools is not asked.
    pub(crate) async fn list_tools(&self, limit: Duration) -> Result<Vec<ToolEntry>, ListFault> {
        if self.introduction.has_tools {
            tools::list(&self.peer, limit).await
        } else {
            Ok(Vec::new())
        }
    }
}

/// What keeps a connection open; whoever stops the instance has it.
pub(crate) struct Keeper {
    pub(crate) writer: Writer,
    service: RunningService<RoleClient, Handler>,
}

impl Keeper {
    /// Closes the server's stdin. What it still says is read until it is gone.
    pub(crate) async fn close_stdin(&self) {
        self.writer.close().await;
    }

    /// Ends the SDK's task, after the process is gone.
    pub(crate) async fn finish(mut self) {
        if let Err(error) = self.service.close_with_timeout(Duration::from_secs(1)).await {
            tracing::warn!(%error, "the protocol task of a server panicked");
        }
    }
}
