//! What can go wrong with a turn, and whether another try may help.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The kind of a fault. The names are those of the `error` key of scripted replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelFault {
    /// The endpoint did not accept the key.
    Auth,
    /// Too many requests, or no quota left.
    RateLimited,
    /// The endpoint is busy.
    Overloaded,
    /// The endpoint failed.
    Server,
    /// The endpoint could not be reached, or the connection broke.
    Network,
    /// The endpoint was silent for too long.
    Timeout,
    /// The conversation is longer than the model can read.
    ContextOverflow,
    /// The endpoint does not do what was asked.
    Refused,
    /// The answer could not be understood.
    BadReply,
    /// The provider speaks a dialect that is not implemented.
    Unsupported,
    /// The reference names nothing that is configured, or what is configured cannot work.
    NotConfigured,
}

impl ModelFault {
    /// The name in logs and in scripts.
    pub const fn name(self) -> &'static str {
        match self {
            ModelFault::Auth => "auth",
            ModelFault::RateLimited => "rate_limited",
            ModelFault::Overloaded => "overloaded",
            ModelFault::Server => "server",
            ModelFault::Network => "network",
            ModelFault::Timeout => "timeout",
            ModelFault::ContextOverflow => "context_overflow",
            ModelFault::Refused => "refused",
            ModelFault::BadReply => "bad_reply",
            ModelFault::Unsupported => "unsupported",
            ModelFault::NotConfigured => "not_configured",
        }
    }
}

impl fmt::Display for ModelFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One model failed to answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("model {model}: {message}")]
pub struct ModelError {
    /// The kind.
    pub kind: ModelFault,
    /// What happened and what to do about it. Holds no secret.
    pub message: String,
    /// The model, as `provider/model`, or the reference as it was given.
    pub model: String,
    /// How long the endpoint asked to wait.
    pub retry_after: Option<Duration>,
}

impl ModelError {
    pub(crate) fn new(
        kind: ModelFault,
        model: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, message: message.into(), model: model.into(), retry_after: None }
    }

    /// Whether the next model of the chain is worth a try: it always is, since every fault is of one model or
    /// of its endpoint; even an overflow, as the next may read more.
    pub const fn fallback_may_help(&self) -> bool {
        true
    }

    /// Whether the same model may answer a moment later.
    pub const fn retry_may_help(&self) -> bool {
        match self.kind {
            ModelFault::RateLimited
            | ModelFault::Overloaded
            | ModelFault::Server
            | ModelFault::Network => true,
            // A timeout is not tried again: whoever waits has waited long enough for this endpoint.
            ModelFault::Auth
            | ModelFault::Timeout
            | ModelFault::ContextOverflow
            | ModelFault::Refused
            | ModelFault::BadReply
            | ModelFault::Unsupported
            | ModelFault::NotConfigured => false,
        }
    }
}

/// A turn that brought no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TurnFailure {
    /// The token was cancelled.
    #[error("the model turn was cancelled")]
    Cancelled,
    /// The only model of the chain failed.
    #[error(transparent)]
    Single(ModelError),
    /// Every model of the chain failed, in its order.
    #[error("no model of the chain answered: {}", list(.0))]
    Exhausted(Vec<ModelError>),
}

impl TurnFailure {
    /// The faults, in the order of the chain; none if it was cancelled.
    pub fn errors(&self) -> &[ModelError] {
        match self {
            TurnFailure::Cancelled => &[],
            TurnFailure::Single(error) => std::slice::from_ref(error),
            TurnFailure::Exhausted(errors) => errors,
        }
    }
}

fn list(errors: &[ModelError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
