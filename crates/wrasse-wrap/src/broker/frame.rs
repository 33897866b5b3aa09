//! What shim and broker say to each other.
//!
//! The first line each way is a greeting that names the version, so that two versions never go further than that. Then a
//! shim writes messages of MCP as they are, and [`BYE`]; a broker writes lines that begin with a letter for their kind.

use serde::{Deserialize, Serialize};

/// The version of the greeting and of all that follows.
pub(super) const FORMAT: &str = concat!("wrasse-broker/", env!("CARGO_PKG_VERSION"), "/1");

/// The first line of a shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// [`FORMAT`] of the shim.
    pub(super) format: String,
    /// What the shim wants to share.
    pub(super) key: String,
    /// How long its host lets an unused server stay; `None` for as long as the host.
    pub(super) idle_ms: Option<u64>,
}

/// The first line of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Welcome {
    /// Come in; the server runs.
    Attached {
        /// The broker's own process.
        pid: u32,
    },
    /// Another version, another key, another user: why.
    Refused {
        /// A sentence.
        why: String,
    },
    /// The server cannot be started.
    Failed {
        /// A sentence.
        fault: String,
    },
}

/// A shim leaves in order. It may have begun a line.
pub(super) const BYE: &[u8] = b"\nbye\n";

/// One line of a broker after the greetings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// A message of MCP.
    Message(Vec<u8>),
    /// The server has ended.
    Ended(Ending),
    /// What a person should read.
    Say(String),
    /// What the server wrote to its stderr.
    Errors(String),
}

/// How a server ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ending {
    /// As in "the server …".
    pub(super) how: String,
    /// The end of its stderr.
    pub(super) last_words: String,
}

impl Frame {
    /// As a line, with its end.
    pub(super) fn encode(self) -> Vec<u8> {
        let (kind, mut body) = match self {
            Self::Message(line) => (b'm', line),
            Self::Ended(ending) => (b'e', serde_json::to_vec(&ending).unwrap_or_default()),
            Self::Say(text) => (b's', json(&text)),
            Self::Errors(text) => (b'x', json(&text)),
        };
        body.insert(0, kind);
        body.push(b'\n');
        body
    }

    /// From a line, its end left out. `None` when it is none.
    pub(super) fn decode(mut line: Vec<u8>) -> Option<Self> {
        let kind = *line.first()?;
        line.remove(0);
        match kind {
            b'm' => Some(Self::Message(line)),
            b'e' => serde_json::from_slice(&line).ok().map(Self::Ended),
            b's' => serde_json::from_slice(&line).ok().map(Self::Say),
            b'x' => serde_json::from_slice(&line).ok().map(Self::Errors),
            _ => None,
        }
    }
}

fn json(text: &str) -> Vec<u8> {
    serde_json::Value::from(text).to_string().into_bytes()
}

/// A greeting as a line, with its end.
pub(super) fn greeting(greeting: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(greeting).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_there_and_back() {
        let ending = Ending { how: "exited".to_owned(), last_words: "a\nb".to_owned() };
        for frame in [
            Frame::Message(b"{\"a\":1}".to_vec()),
            Frame::Ended(ending),
            Frame::Say("two\nlines".to_owned()),
            Frame::Errors("é".to_owned()),
        ] {
            let mut line = frame.clone().encode();
            assert_eq!(line.pop(), Some(b'\n'));
            assert!(!line.contains(&b'\n'));
            assert_eq!(Frame::decode(line), Some(frame));
        }
        for bad in [&b""[..], b"?", b"e{}", b"s1"] {
            assert_eq!(Frame::decode(bad.to_vec()), None);
        }
    }
}
