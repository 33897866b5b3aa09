//! `initialize`, in the era that has it.

use std::sync::Arc;

use rmcp::model::ProtocolVersion;
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, Peer, RoleClient, serve_client_with_lifecycle,
};
use serde_json::Value;
use tokio::io::AsyncRead;

use super::{Handler, Introduction, Keeper, Signals};
use crate::wire::{Wire, WireState, Writer};

/// Why there is no connection. What the process did is for the caller to find out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeFault {
    /// The stream ended, or could not be written to.
    #[error("it closed the connection during the handshake")]
    Closed,
    /// It answered with an error.
    #[error("it refused to initialize: {0}")]
    Refused(String),
    /// It speaks a version that we do not.
    #[error("it answered initialize with protocol version {0:?}; Wrasse offers {offered} and speaks the versions before it", offered = ProtocolVersion::V_2025_11_25.as_str())]
    Version(String),
    /// It answered something else.
    #[error("it did not answer initialize as the protocol asks: {0}")]
    Odd(String),
}

/// A connection before its tools are known.
pub(crate) struct Peering {
    pub(crate) peer: Peer<RoleClient>,
    pub(crate) introduction: Introduction,
    pub(crate) keeper: Keeper,
}

/// Offers 2025-11-25 and takes that or an earlier version; a server that echoes what it does not speak, or
/// answers with a version that has no handshake, is refused. Dropping the future closes the streams.
pub(crate) async fn handshake(
    server: &str,
    stdout: impl AsyncRead + Send + Unpin + 'static,
    writer: Writer,
    state: Arc<WireState>,
    signals: Arc<Signals>,
) -> Result<Peering, HandshakeFault> {
    let wire = Wire::new(server.to_owned(), stdout, writer.clone(), state);
    let handler = Handler { server: server.to_owned(), signals };
    let service =
        Box::pin(serve_client_with_lifecycle(handler, wire, ClientLifecycleMode::Initialize))
            .await
            .map_err(fault)?;
    let peer = service.peer().clone();
    let keeper = Keeper { writer, service };
    let Some(info) = peer.peer_info() else {
        return Err(HandshakeFault::Odd("no answer was kept".to_owned()));
    };
    let newest = ProtocolVersion::V_2025_11_25;
    if !ProtocolVersion::known_up_to(&newest).contains(&info.protocol_version) {
        return Err(HandshakeFault::Version(info.protocol_version.to_string()));
    }
    let capabilities = &info.capabilities;
    let introduction = Introduction {
        protocol: info.protocol_version.to_string(),
        server_info: serde_json::to_value(&info.server_info).unwrap_or(Value::Null),
        instructions: info.instructions.clone(),
        has_tools: capabilities.tools.is_some(),
        has_resources: capabilities.resources.is_some(),
        has_prompts: capabilities.prompts.is_some(),
        announces_changes: capabilities.tools.as_ref().and_then(|tools| tools.list_changed)
            == Some(true),
    };
    Ok(Peering { peer, introduction, keeper })
}

fn fault(error: ClientInitializeError) -> HandshakeFault {
    match error {
        ClientInitializeError::ConnectionClosed(_)
        | ClientInitializeError::TransportError { .. }
        | ClientInitializeError::Cancelled => HandshakeFault::Closed,
        ClientInitializeError::JsonRpcError(error) => {
            HandshakeFault::Refused(format!("{} ({})", error.message, error.code.0))
        }
        ClientInitializeError::ExpectedInitResult(_) => {
            HandshakeFault::Odd("its answer is no initialize result".to_owned())
        }
        other => HandshakeFault::Odd(other.to_string()),
    }
}
