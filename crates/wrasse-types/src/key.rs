//! Session keys: `agent:<id>:<rest>`, as OpenClaw users know them.

use serde::{Deserialize, Serialize};

use crate::id::{AgentId, IdError};

/// The key under which a session is found: always `agent:<id>:<rest>`, lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionKey(String);

/// What kind of conversation a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// `agent:<id>:main`.
    Main,
    /// `agent:<id>:cron:<job>` and `agent:<id>:cron:<job>:run:<session>`.
    Cron,
    /// `agent:<id>:subagent:<uuid>`.
    Subagent,
    /// Any other key.
    Other,
}

impl SessionKey {
    /// The main session of an agent.
    pub fn main(agent: &AgentId) -> Self {
        Self(format!("agent:{agent}:main"))
    }

    /// The session of a sub-agent.
    pub fn subagent(agent: &AgentId, uuid: &str) -> Self {
        Self(format!("agent:{agent}:subagent:{uuid}"))
    }

    /// The session of one isolated firing of a job.
    pub fn cron_run(agent: &AgentId, job: &str, session: &str) -> Self {
        Self(format!("agent:{agent}:cron:{job}:run:{session}").to_lowercase())
    }

    /// Wraps a key that was read back from the store.
    pub fn from_store(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Reads a key as a person writes it: `main`, a full `agent:<id>:…`, or any other word, which becomes
    /// `agent:<default agent>:<word>`.
    ///
    /// # Errors
    /// When the key is empty, has white space or control characters, is longer than 512 bytes, or names an
    /// impossible agent.
    pub fn parse(text: &str, default_agent: &AgentId) -> Result<Self, IdError> {
        let lower = text.trim().to_lowercase();
        let odd = |c: char| c.is_whitespace() || c.is_control();
        let checked = if let Some(rest) = lower.strip_prefix("agent:") {
            let (agent, rest) = rest.split_once(':').unwrap_or((rest, ""));
            AgentId::parse(agent)?;
            if rest.is_empty() { format!("agent:{agent}:main") } else { lower }
        } else {
            format!("agent:{default_agent}:{lower}")
        };
        if text.trim().is_empty() || checked.chars().any(odd) || checked.len() > 512 {
            return Err(IdError::session_key(text));
        }
        Ok(Self(checked))
    }

    /// The agent part.
    pub fn agent(&self) -> AgentId {
        AgentId::new(self.0.split(':').nth(1).unwrap_or(AgentId::MAIN))
    }

    /// The kind of conversation.
    pub fn kind(&self) -> SessionKind {
        match self.0.split(':').nth(2) {
            Some("main") => SessionKind::Main,
            Some("cron") => SessionKind::Cron,
            Some("subagent") => SessionKind::Subagent,
            _ => SessionKind::Other,
        }
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_as_people_write_them() {
        let main = AgentId::new("main");
        let parse = |text: &str| SessionKey::parse(text, &main).map(|key| key.as_str().to_owned());
        assert_eq!(parse("main").unwrap(), "agent:main:main");
        assert_eq!(parse("Trip").unwrap(), "agent:main:trip");
        assert_eq!(parse("agent:hub:main").unwrap(), "agent:hub:main");
        assert_eq!(parse("agent:hub").unwrap(), "agent:hub:main");
        assert!(parse("").is_err());
        assert!(parse("a b").is_err());
        assert!(parse("agent:!:x").is_err());
    }

    #[test]
    fn kinds() {
        let hub = AgentId::new("hub");
        assert_eq!(SessionKey::main(&hub).kind(), SessionKind::Main);
        assert_eq!(SessionKey::subagent(&hub, "u").kind(), SessionKind::Subagent);
        assert_eq!(SessionKey::cron_run(&hub, "j", "s").kind(), SessionKind::Cron);
        assert_eq!(SessionKey::cron_run(&hub, "j", "s").agent(), hub);
    }
}
