//! What was found, as it is shown.

use std::path::PathBuf;

use wrasse_types::UnixMillis;

use super::known::KnownServer;
use super::live::LiveHost;
use super::openclaw::Ending;
use super::processes::Identity;
use super::trees::Tree;
use super::watch::Activities;

/// What may be done about a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// No host lives that could use it, and nobody holds its stdin.
    Orphan,
    /// A live host holds it, and will never use it again, by its own records.
    Finished,
    /// A run uses it, or a session that can be continued has it.
    InUse,
    /// Not certain enough to touch.
    Unknown,
}

impl Class {
    /// Every class, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Orphan, Self::Finished, Self::InUse, Self::Unknown];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Orphan => "orphan",
            Self::Finished => "finished",
            Self::InUse => "in use",
            Self::Unknown => "unknown",
        }
    }
}

/// The session that started a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The session's key.
    pub key: String,
    /// Its id.
    pub id: String,
    /// What people call it.
    pub label: Option<String>,
    /// Why it is never run again, if so.
    pub ending: Option<Ending>,
    /// How its last run ended.
    pub outcome: Option<String>,
    /// When that was, or when it was written to last.
    pub last: Option<UnixMillis>,
}

/// The servers that one session started together.
#[derive(Debug, Clone)]
pub struct Set {
    /// Its number in this report.
    pub number: usize,
    /// What may be done about it.
    pub class: Class,
    /// Why it is of that class.
    pub why: String,
    /// The live host it belongs to, by its place in the report.
    pub host: Option<usize>,
    /// The session that started it.
    pub owner: Option<Owner>,
    /// Its servers.
    pub trees: Vec<Tree>,
    /// What each of its processes had used and moved when it was watched last.
    pub(super) last_seen: Activities,
}

impl Set {
    /// Every process of it.
    pub fn processes(&self) -> impl Iterator<Item = Identity> + '_ {
        self.trees.iter().flat_map(|tree| tree.members.iter().copied())
    }

    /// Anonymous and shared memory of all its processes.
    pub fn memory_bytes(&self) -> u64 {
        self.trees.iter().map(|tree| tree.memory_bytes).sum()
    }

    /// When its first server started.
    pub fn since(&self) -> UnixMillis {
        let first = self.trees.iter().map(|tree| tree.started_at).min();
        first.unwrap_or_else(UnixMillis::now)
    }
}

/// Everything that was found.
#[derive(Debug)]
pub struct Report {
    /// How many processes were looked at.
    pub looked_at: usize,
    /// Whose, when only one user's were.
    pub uid: Option<u32>,
    /// The servers that configuration files name.
    pub servers: Vec<KnownServer>,
    /// The files they were read from.
    pub files: Vec<PathBuf>,
    /// The hosts that run.
    pub hosts: Vec<LiveHost>,
    /// What was found, in the order of the classes, the oldest first.
    pub sets: Vec<Set>,
    /// Processes that Wrasse holds itself.
    pub ours: usize,
    /// How long processes were watched for being idle, when any had to be.
    pub watched: Option<std::time::Duration>,
    /// What could not be read, and what that leaves out.
    pub notes: Vec<String>,
}

impl Report {
    /// The sets of a class.
    pub fn of(&self, class: Class) -> impl Iterator<Item = &Set> {
        self.sets.iter().filter(move |set| set.class == class)
    }

    /// The set that a process is part of.
    pub fn set_of(&self, pid: u32) -> Option<&Set> {
        self.sets.iter().find(|set| set.processes().any(|process| process.pid == pid))
    }

    /// How many processes live hosts hold.
    pub fn held(&self) -> usize {
        self.sets.iter().filter(|set| set.host.is_some()).map(|set| set.processes().count()).sum()
    }
}
