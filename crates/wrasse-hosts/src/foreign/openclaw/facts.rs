//! What each version of OpenClaw does with the servers of a session, as far as we know it. The same table for people,
//! with its sources, is `docs/hosts/openclaw.md`; a test holds the two together.

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

/// What becomes of the servers of a session that can be continued while nobody speaks with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Idle {
    /// They stay.
    Stay,
    /// They end after ten minutes, or as `mcp.sessionIdleTtlMs` says.
    TenMinutesOrSet,
    /// They end after ten minutes; some patches still heed the setting.
    TenMinutesHardlySet,
    /// They end after ten minutes, whatever is set.
    TenMinutes,
    /// They stay, unless `mcp.sessionIdleTtlMs` is set.
    StayUnlessSet,
}

/// One line of the table of idle sessions, as it stands in `docs/hosts/openclaw.md`.
#[derive(Debug)]
pub(super) struct Period {
    since: Version,
    pub(super) idle: Idle,
    /// Which releases.
    pub(super) releases: &'static str,
    /// When they end a session's servers.
    pub(super) after: &'static str,
    /// What `mcp.sessionIdleTtlMs` does.
    pub(super) setting: &'static str,
    pub(super) sources: &'static str,
}

const PERIODS: [Period; 5] = [
    Period {
        since: Version(0, 0, 0),
        idle: Idle::Stay,
        releases: "before 2026.5",
        after: "never",
        setting: "unknown to it",
        sources: "measured on 2026.4.15; asked for in #71110",
    },
    Period {
        since: Version(2026, 5, 0),
        idle: Idle::TenMinutesOrSet,
        releases: "2026.5 and 2026.6",
        after: "10 idle minutes; until #91124 a run that let go began them anew, so often never",
        setting: "sets the time, 0 is never",
        sources: "#91075, #91124, #92702; the first release with it is not known",
    },
    Period {
        since: Version(2026, 7, 0),
        idle: Idle::TenMinutesHardlySet,
        releases: "2026.7",
        after: "10 idle minutes",
        setting: "removed on the way to 2026.8.1 (#111382), in which patch is not known",
        sources: "#111382, #134495",
    },
    Period {
        since: Version(2026, 8, 0),
        idle: Idle::TenMinutes,
        releases: "2026.8",
        after: "10 idle minutes, background work or not",
        setting: "refused",
        sources: "#130818, #134495, #140447",
    },
    Period {
        since: Version(2026, 9, 0),
        idle: Idle::StayUnlessSet,
        releases: "since 2026.9",
        after: "never, unless set",
        setting: "sets the time, 0 is never",
        sources: "measured on 2026.9.6; #141125",
    },
];

/// What a version does with an idle session.
pub(super) fn period(version: Version) -> &'static Period {
    let [first, ..] = &PERIODS;
    PERIODS.iter().rev().find(|period| version >= period.since).unwrap_or(first)
}

fn kept(version: Option<Version>) -> Disposal {
    let changed = "never before 2026.5; after 10 idle minutes from then to 2026.8 (#91075, #134495), with mcp.sessionIdleTtlMs \
                   to set them until 2026.7 (#111382); since 2026.9 only where that is set (#141125)";
    let Some(version) = version else {
        return Disposal {
            ends: None,
            blame: Blame::Unknown,
            what: "its version is not known, so neither is what it does with them",
            changed,
            advice: WRAP,
        };
    };
    let set_or_wrap =
        "set mcp.sessionIdleTtlMs (300000 is 5 minutes), or: wrasse import openclaw --wrap";
    let (ends, blame, what, advice) = match period(version).idle {
        Idle::Stay => (
            false,
            Blame::Design,
            "keeps a session's servers as long as the session can be continued; there is no idle time to set",
            WRAP,
        ),
        Idle::TenMinutesOrSet => (
            true,
            Blame::Design,
            "ends a session's servers after 10 idle minutes or as mcp.sessionIdleTtlMs says; until #91124 in 2026.6 each run \
             that let go began these anew, so that they often never ended",
            set_or_wrap,
        ),
        Idle::TenMinutesHardlySet => (
            true,
            Blame::Design,
            "ends a session's servers after 10 idle minutes; whether mcp.sessionIdleTtlMs still counts depends on the patch",
            WRAP,
        ),
        Idle::TenMinutes => (
            true,
            Blame::Design,
            "ends a session's servers after 10 idle minutes, background work included; it cannot be set",
            WRAP,
        ),
        Idle::StayUnlessSet => (
            false,
            Blame::Config,
            "keeps a session's servers as long as the session can be continued, unless mcp.sessionIdleTtlMs is set",
            set_or_wrap,
        ),
    };
    Disposal { ends: Some(ends), blame, what, changed, advice }
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

    /// The last release that does otherwise, and the first of each.
    #[test]
    fn each_version_does_what_is_known_of_it() {
        let cron = Situation::Ended(Ending::CronRun);
        let sub_agent = Situation::Ended(Ending::SubAgent);
        let deleted = Situation::Ended(Ending::Deleted);
        let reset = Situation::Ended(Ending::Replaced);
        for (version, situation, ends, blame) in [
            ("2026.4.15", cron, Some(false), Blame::Bug),
            ("2026.4.21", cron, Some(false), Blame::Bug),
            ("2026.4.22", cron, Some(true), Blame::Bug),
            ("2026.9.6", cron, Some(true), Blame::Bug),
            ("2026.4.21", sub_agent, Some(false), Blame::Bug),
            ("2026.4.22", sub_agent, Some(true), Blame::Bug),
            ("2026.9.6", sub_agent, Some(true), Blame::Bug),
            ("2026.4.15", deleted, Some(false), Blame::Bug),
            ("2026.5.31", deleted, Some(false), Blame::Bug),
            ("2026.6.0", deleted, Some(true), Blame::Bug),
            ("2026.5.31", reset, Some(false), Blame::Bug),
            ("2026.6.0", reset, Some(true), Blame::Bug),
            ("of tomorrow", cron, None, Blame::Unknown),
            ("2026.4.15", Situation::Kept, Some(false), Blame::Design),
            ("2026.4.29", Situation::Kept, Some(false), Blame::Design),
            ("2026.5.0", Situation::Kept, Some(true), Blame::Design),
            ("2026.6.11", Situation::Kept, Some(true), Blame::Design),
            ("2026.7.0", Situation::Kept, Some(true), Blame::Design),
            ("2026.8.2", Situation::Kept, Some(true), Blame::Design),
            ("2026.9.0-beta.2", Situation::Kept, Some(false), Blame::Config),
            ("2026.9.6", Situation::Kept, Some(false), Blame::Config),
            ("2027.1.0", Situation::Kept, Some(false), Blame::Config),
            ("of tomorrow", Situation::Kept, None, Blame::Unknown),
            ("2026.4.15", Situation::HostGone, Some(false), Blame::Bug),
            ("2026.9.6", Situation::HostGone, Some(false), Blame::Bug),
        ] {
            let found = disposal(Version::parse(version), situation);
            assert_eq!((found.ends, found.blame), (ends, blame), "{version} {situation:?}");
        }
        for (version, expected) in [
            ("2026.4.29", Idle::Stay),
            ("2026.5.0", Idle::TenMinutesOrSet),
            ("2026.6.31", Idle::TenMinutesOrSet),
            ("2026.7.0", Idle::TenMinutesHardlySet),
            ("2026.7.31", Idle::TenMinutesHardlySet),
            ("2026.8.0", Idle::TenMinutes),
            ("2026.8.31", Idle::TenMinutes),
            ("2026.9.0", Idle::StayUnlessSet),
            ("2026.10.0", Idle::StayUnlessSet),
        ] {
            assert_eq!(period(Version::parse(version).unwrap()).idle, expected, "{version}");
        }
    }

    /// Releases and numbers of issues, in order, each once.
    fn sources(text: &str) -> std::collections::BTreeSet<&str> {
        text.split(|letter: char| !letter.is_ascii_digit() && letter != '.' && letter != '#')
            .map(|word| word.trim_end_matches('.'))
            .filter(|word| word.starts_with("2026.") || word.starts_with('#'))
            .collect()
    }

    /// The cells of the lines of a page that are part of a table.
    fn rows(page: &str) -> Vec<Vec<&str>> {
        let lines = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        lines.map(|line| line.split(" | ").collect()).collect()
    }

    #[test]
    fn the_page_for_people_says_the_same() {
        let page = include_str!("../../../../../docs/hosts/openclaw.md");
        assert!(page.contains(&format!("Checked on {CHECKED_ON}")), "{CHECKED_ON}");
        let rows = rows(page);
        for (title, ending) in [
            ("an isolated cron run ends", Ending::CronRun),
            ("a sub-agent for one run ends", Ending::SubAgent),
            ("`sessions.delete`, `sessions.reset`", Ending::Deleted),
        ] {
            let row = rows.iter().find(|row| row[0] == title).unwrap();
            let says = disposal(None, Situation::Ended(ending)).changed;
            assert_eq!(sources(row[3]), sources(says), "{title}");
        }
        let of_idle = |row: &&Vec<&str>| PERIODS.iter().any(|period| period.releases == row[0]);
        let page: Vec<&Vec<&str>> = rows.iter().filter(of_idle).collect();
        let program: Vec<Vec<&str>> = PERIODS
            .iter()
            .map(|period| vec![period.releases, period.after, period.setting, period.sources])
            .collect();
        assert_eq!(page, program.iter().collect::<Vec<_>>());
        // And what a person is told about one process names no other release or issue than these rows.
        let told = disposal(None, Situation::Kept).changed;
        let known: String = program.concat().join(" ");
        assert!(sources(told).is_subset(&sources(&known)), "{told}");
    }
}
