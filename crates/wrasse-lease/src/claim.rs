//! What is asked for: keys, claims and retention.

use std::time::Duration;

use wrasse_types::{Holder, ServerName};

/// What an instance is found by. Two claims with the same key get the same instance, at most one of which lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The server.
    pub server: ServerName,
    /// Whose instance it is: a session key, an agent, or a word for all. Opaque here.
    pub owner: String,
    /// The fingerprint of the server's definition.
    pub fingerprint: String,
}

/// How long an instance is kept when nobody holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// Not at all: the end of the last lease ends the instance.
    Run,
    /// Until this long after the last call.
    For(Duration),
    /// Until its owner ends.
    UntilOwnerEnds,
}

/// A wish for an instance. Granted, it is a [`Lease`](crate::Lease).
#[derive(Debug, Clone)]
pub struct Claim<S> {
    /// Which instance.
    pub key: Key,
    /// How to start it if it does not live.
    pub spec: S,
    /// How long to keep it; the latest claim on an instance decides.
    pub retention: Retention,
    /// Who asks.
    pub holder: Holder,
    /// What for, as "tool call sqlite__read_query".
    pub reason: String,
}
