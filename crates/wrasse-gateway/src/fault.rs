//! Refusals of methods: a stable word, one sentence, a command that would help.

use wrasse_store::StoreError;
use wrasse_types::wire::RpcFault;

/// Makes a fault.
pub(crate) fn fault(code: &str, message: impl Into<String>, help: Option<&str>) -> RpcFault {
    RpcFault { code: code.to_owned(), message: message.into(), help: help.map(str::to_owned) }
}

/// The parameters are wrong.
pub(crate) fn invalid(message: impl Into<String>) -> RpcFault {
    fault("invalid", message, None)
}

/// What was named does not exist.
pub(crate) fn not_found(message: impl Into<String>, help: &str) -> RpcFault {
    fault("not_found", message, Some(help))
}

/// A rule forbids it.
pub(crate) fn refused(message: impl Into<String>, help: &str) -> RpcFault {
    fault("refused", message, Some(help))
}

/// The gateway takes nothing new.
pub(crate) fn draining() -> RpcFault {
    fault(
        "draining",
        "the gateway is shutting down and takes nothing new",
        Some("wrasse gateway status"),
    )
}

/// The store failed.
pub(crate) fn store(error: &StoreError) -> RpcFault {
    tracing::error!(%error, "the store failed a method");
    let mut text = format!("the store failed: {error}");
    if let Some(source) = std::error::Error::source(error) {
        text.push_str(&format!(" ({source})"));
    }
    fault("internal", text, Some("wrasse doctor"))
}
