//! Newtypes for every id, so that no two kinds can be confused.

use serde::{Deserialize, Serialize};

/// Says why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {kind}: {rule}")]
pub struct IdError {
    text: String,
    kind: &'static str,
    rule: &'static str,
}

impl IdError {
    pub(crate) fn session_key(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            kind: "session key",
            rule: "'main', 'agent:<id>:<name>' or a name; no white space, at most 512 bytes",
        }
    }
}

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a text that is already known to be such an id, as one read back from the store is.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text form.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

string_id!(
    /// A run: `r-` and eight or more hexadecimal digits.
    RunId
);
string_id!(
    /// A scheduled job: a UUID, or the id its definition in the config gives it.
    JobId
);
string_id!(
    /// One span of a session between two resets: a UUID.
    SessionId
);
string_id!(
    /// The name of a server under `mcp.servers`.
    ServerName
);
string_id!(
    /// A configured agent: `[a-z0-9][a-z0-9_-]{0,63}`.
    AgentId
);

impl AgentId {
    /// The id of the agent that exists when none is configured.
    pub const MAIN: &'static str = "main";

    /// Checks and wraps an id as a person wrote it; letters are lower-cased.
    ///
    /// # Errors
    /// When the text does not have the form of an agent id.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let lower = text.to_ascii_lowercase();
        let head_ok = lower.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let rest_ok = lower
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
        if head_ok && rest_ok && lower.len() <= 64 {
            Ok(Self(lower))
        } else {
            Err(IdError {
                text: text.to_owned(),
                kind: "agent id",
                rule: "letters, digits, '-' and '_', at most 64, beginning with a letter or digit",
            })
        }
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u64);

        impl $name {
            /// Wraps a number that the ledger gave out.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The number behind the prefix.
            pub const fn number(self) -> u64 {
                self.0
            }

            /// Reads the text form back.
            ///
            /// # Errors
            /// When the prefix or the number is missing.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix).and_then(|digits| digits.parse().ok()).map(Self).ok_or_else(
                    || IdError {
                        text: text.to_owned(),
                        kind: $kind,
                        rule: concat!("'", $prefix, "' and a number"),
                    },
                )
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&format!(concat!($prefix, "{}"), self.0))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

number_id!(
    /// An instance, numbered by the ledger: `i-1041`. Never reused within an installation; the number is also
    /// what the instance's processes carry as their mark.
    InstanceId, "i-", "instance id"
);
number_id!(
    /// A lease, numbered by the ledger: `l-2207`.
    LeaseId, "l-", "lease id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_ids_are_checked_and_lower_cased() {
        assert_eq!(AgentId::parse("Hub_1").unwrap().as_str(), "hub_1");
        for bad in ["", "-x", "a b", "a:b", &"x".repeat(65)] {
            assert!(AgentId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbered_ids_read_back() {
        let id = InstanceId::new(1041);
        assert_eq!(id.to_string(), "i-1041");
        assert_eq!(InstanceId::parse("i-1041").unwrap(), id);
        assert!(InstanceId::parse("1041").is_err());
    }
}
