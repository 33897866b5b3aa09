//! Binding and serving.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use wrasse_gateway::Gateway;
use wrasse_scope::Scope;

use crate::auth::Token;
use crate::rpc::{Door, call, healthz, readyz};

/// The largest request body, in bytes.
const BODY_MAX: usize = 8 << 20;

/// Why the door could not open or stay open.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port could not be bound.
    #[error("cannot listen on 127.0.0.1:{port}: {source}")]
    Bind {
        /// The port.
        port: u16,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Serving ended with a fault.
    #[error("the HTTP server failed: {0}")]
    Serve(#[source] std::io::Error),
}

/// A bound, not yet serving port.
#[derive(Debug)]
pub struct Served {
    listener: TcpListener,
    address: SocketAddr,
}

impl Served {
    /// The port that was bound; differs from the one asked for only when that was 0.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

/// Binds the port on loopback. The socket is close-on-exec, so no server ever holds it (failure mode G10).
///
/// # Errors
/// When the port is taken or not permitted.
pub async fn bind(port: u16) -> Result<Served, ServeError> {
    let fail = |source| ServeError::Bind { port, source };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok(Served { listener, address })
}

/// Serves until the scope is cancelled, then answers what is in flight and returns.
///
/// # Errors
/// When accepting fails for good.
pub async fn serve(
    served: Served,
    gateway: Gateway,
    token: Token,
    scope: Scope,
) -> Result<(), ServeError> {
    let stop = scope.token();
    let door = Door { gateway, token: Arc::new(token), scope };
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/health", get(healthz))
        .route("/readyz", get(readyz))
        .route("/ready", get(readyz))
        .route("/rpc/{method}", post(call))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(door);
    axum::serve(served.listener, router)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
        .map_err(ServeError::Serve)
}
