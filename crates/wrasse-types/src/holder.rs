//! Who holds a lease.

use serde::{Deserialize, Serialize};

use crate::{AgentId, RunId, SessionKey};

/// The kinds of holder. A holder is always something that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HolderKind {
    /// A run.
    Run,
    /// A session that asked to keep an instance.
    Session,
    /// A scheduled job.
    Job,
    /// A connection through a door.
    Door,
    /// A start to learn what a server offers.
    Catalogue,
    /// A person at the command line.
    Operator,
}

/// A holder, with enough to name it to a person without asking the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// The kind.
    pub kind: HolderKind,
    /// Its id: a run id, a session key, a job id, or a word.
    pub id: String,
    /// The session it works for, if any.
    pub session_key: Option<SessionKey>,
    /// The agent it works for, if any.
    pub agent: Option<AgentId>,
}

impl Holder {
    /// A run as holder.
    pub fn run(id: &RunId, session_key: SessionKey) -> Self {
        let agent = session_key.agent();
        Self {
            kind: HolderKind::Run,
            id: id.to_string(),
            session_key: Some(session_key),
            agent: Some(agent),
        }
    }

    /// A person as holder, who runs the named command.
    pub fn operator(command: &str) -> Self {
        Self { kind: HolderKind::Operator, id: command.to_owned(), session_key: None, agent: None }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            HolderKind::Run => write!(f, "run {}", self.id),
            HolderKind::Session => write!(f, "session {}", self.id),
            HolderKind::Job => write!(f, "job {}", self.id),
            HolderKind::Door => write!(f, "door {}", self.id),
            HolderKind::Catalogue => write!(f, "catalogue {}", self.id),
            HolderKind::Operator => write!(f, "operator ({})", self.id),
        }
    }
}
