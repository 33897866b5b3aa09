//! What each version of OpenClaw does with the servers of a session, as far as we know it. The same table for people,
//! with its sources, is `docs/hosts/openclaw.md`; both change together.

use super::records::Ending;

/// When the table was last checked against the releases.
pub const CHECKED_ON: &str = "2026-11-22";

/// A release: year, month, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Reads `2026.4.15`, `2026.9.0-beta.2`.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.trim().trim_start_matches('v').split(['-', '+']).next()?;
        let mut parts = plain.split('.').map(|part| part.parse::<u32>().ok());
        let version = Self(parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
        (2000..3000).contains(&version.0).then_some(version)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// What a session's servers are left in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Situation {
    /// A session that never runs again.
    Ended(Ending),
    /// A session that can be continued.
    Kept,
    /// The gateway is gone.
    HostGone,
}

/// Whose doing it is that they are still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Blame {
    /// The host should have ended them.
    Bug,
    /// The host means to keep them.
    Design,
    /// A setting would end them.
    Config,
    /// Nobody can say, without the version.
    Unknown,
}

/// What a version does in a situation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disposal {
    /// Whether that version ends the servers; `None` when its number is not known.
    pub ends: Option<bool>,
    /// Whose doing.
    pub blame: Blame,
    /// What it does, in a sentence.
    pub what: &'static str,
    /// Since when that is so, or is otherwise.
    pub changed: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

const WRAP: &str = "wrasse import openclaw --wrap";
const UPGRADE_OR_WRAP: &str =
    "upgrade to 2026.9.5 or newer, or: wrasse import openclaw --wrap   (works with every version)";

/// What a version does with the servers of a session in a situation.
pub fn disposal(version: Option<Version>, situation: Situation) -> Disposal {
    let since = |first: Version| version.map(|version| version >= first);
    match situation {
        Situation::Ended(Ending::CronRun) => ended(
            since(Version(2026, 4, 22)),
            "ends a cron run's servers with the run",
            "keeps a cron run's servers until the gateway exits; cleanup: \"delete\" does not change that",
            "isolated cron runs end their servers since 2026.4.22 (#69145); isolated heartbeats since 2026.9.5 (#143433)",
        ),
        Situation::Ended(Ending::SubAgent) => ended(
            since(Version(2026, 4, 22)),
            "ends a sub-agent's servers with its run",
            "keeps a sub-agent's servers until the gateway exits; cleanup: \"delete\" does not change that",
            "sub-agents for one run end their servers since 2026.4.22 (#68827), helper agents since 2026.4.24 (#71106)",
        ),
        Situation::Ended(Ending::Deleted | Ending::Replaced) => ended(
            since(Version(2026, 6, 0)),
            "ends a session's servers when it is deleted or reset",
            "ends a session's servers only on a reset typed into a chat, not by sessions.reset or sessions.delete",
            "deleting and resetting end the servers since 2026.6 (#93559)",
        ),
        Situation::Kept => kept(version),
        Situation::HostGone => Disposal {
            ends: Some(false),
            blame: Blame::Bug,
            what: "no version ends what outlives a killed gateway: a server that ignores the end of its stdin, or a daemon it \
                   started",
            changed: "2026.9 ends more of it at an orderly stop; after a kill no code of it runs",
            advice: "end them: wrasse reap --foreign --yes · for good: wrasse import openclaw --wrap",
        },
    }
}

fn ended(
    ends: Option<bool>,
    newer: &'static str,
    older: &'static str,
    changed: &'static str,
) -> Disposal {
    match ends {
        Some(true) => Disposal {
            ends,
            blame: Blame::Bug,
            what: newer,
            changed,
            advice: "that they are still there is a path it forgot, or they are another session's: restart the gateway to be \
                     rid of them · for good: wrasse import openclaw --wrap",
        },
        Some(false) => {
            Disposal { ends, blame: Blame::Bug, what: older, changed, advice: UPGRADE_OR_WRAP }
        }
        None => Disposal {
            ends,
            blame: Blame::Unknown,
            what: "its version is not known, so neither is what it does with them",
            changed,
            advice: WRAP,
        },
    }
}

fn kept(version: Option<Version>) -> Disposal {
    let changed = "ended after 10 idle minutes in 2026.5 to 2026.6 and 2026.8 (#91075, #134495); since 2026.9 only with \
                   mcp.sessionIdleTtlMs (#141125)";
    match version {
        None => Disposal {
            ends: None,
            blame: Blame::Unknown,
            what: "its version is not known, so neither is what it does with them",
            changed,
            advice: WRAP,
        },
        Some(version) if version >= Version(2026, 9, 0) => Disposal {
            ends: Some(false),
            blame: Blame::Config,
            what: "keeps a session's servers as long as the session can be continued, unless mcp.sessionIdleTtlMs is set",
            changed,
            advice: "set mcp.sessionIdleTtlMs (300000 is 5 minutes), or: wrasse import openclaw --wrap",
        },
        Some(version) if version >= Version(2026, 8, 0) => Disposal {
            ends: Some(true),
            blame: Blame::Design,
            what: "ends a session's servers after 10 idle minutes, background work included",
            changed,
            advice: WRAP,
        },
        Some(_) => Disposal {
            ends: Some(false),
            blame: Blame::Design,
            what: "keeps a session's servers as long as the session can be continued; there is no idle time to set that \
                   lasts",
            changed,
            advice: WRAP,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_releases() {
        assert_eq!(Version::parse("2026.4.15"), Some(Version(2026, 4, 15)));
        assert_eq!(Version::parse("v2026.9.0-beta.2"), Some(Version(2026, 9, 0)));
        assert_eq!(Version::parse("2026.9"), Some(Version(2026, 9, 0)));
        for bad in ["", "1.2.3", "x", "2026", "2026.x"] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
        assert!(
            Version(2026, 4, 22) > Version(2026, 4, 15)
                && Version(2026, 10, 0) > Version(2026, 9, 6)
        );
    }

    #[test]
    fn the_two_measured_releases_do_what_was_measured() {
        let old = Version::parse("2026.4.15");
        let new = Version::parse("2026.9.6");
        for ending in [Ending::CronRun, Ending::SubAgent, Ending::Deleted, Ending::Replaced] {
            assert_eq!(disposal(old, Situation::Ended(ending)).ends, Some(false), "{ending:?}");
            assert_eq!(disposal(new, Situation::Ended(ending)).ends, Some(true), "{ending:?}");
            assert_eq!(disposal(None, Situation::Ended(ending)).ends, None);
        }
        assert_eq!(disposal(old, Situation::Kept).blame, Blame::Design);
        assert_eq!(disposal(new, Situation::Kept).blame, Blame::Config);
        assert_eq!(disposal(new, Situation::HostGone).ends, Some(false));
    }
}
