//! What containment could get here, and what it could not.

use std::sync::{Mutex, MutexGuard, PoisonError};

use wrasse_guard::protocol::Degraded;

use crate::floor::Prerequisite;

/// What containment could get here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainReport {
    /// `"file"`, `"memfd"` or `"self"`.
    pub guard: String,
    /// Whether the resource limit mark works.
    pub rlimit_mark: bool,
    /// Whether we are a subreaper.
    pub subreaper: bool,
    /// What the floor uses where it can, and what stands in for the rest.
    pub floor: Vec<Prerequisite>,
    /// The layers in use, the floor first.
    pub layers: Vec<String>,
    /// What the kernel limits by the layer `cgroup2`: `memory`, `pids`, or neither.
    pub controllers: Vec<String>,
    /// Why that is neither, where there is the layer, and what would help.
    pub uncontrolled: Option<String>,
    /// What is degraded, and why.
    pub notes: Vec<String>,
}

/// What a guardian could not have, in words.
const GUARDIAN: [(u8, &str); 3] = [
    (Degraded::MARK, "a guardian was refused the resource limit mark"),
    (
        Degraded::LISTS,
        "the kernel lists no children: each look at a tree reads the whole process table",
    ),
    (Degraded::PIDFD, "guardians have no pidfds: only direct children are signalled"),
];
/// What a server could not have, in words.
const SERVER: [(u8, &str); 4] = [
    (Degraded::NICE, "nice was refused"),
    (Degraded::OOM, "oomScoreAdj was refused"),
    (Degraded::DATA, "addressSpaceMax was refused"),
    (Degraded::LEAF, "its cgroup cannot be entered; the floor holds it"),
];

/// The report as it grows.
#[derive(Debug)]
pub(crate) struct Reporter(Mutex<ContainReport>);

impl Reporter {
    pub(crate) fn new(report: ContainReport) -> Self {
        for note in &report.notes {
            tracing::warn!(note, "containment is degraded");
        }
        Self(Mutex::new(report))
    }

    fn lock(&self) -> MutexGuard<'_, ContainReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self) -> ContainReport {
        self.lock().clone()
    }

    /// The guard program is executed from elsewhere now.
    pub(crate) fn set_guard(&self, word: &str) {
        word.clone_into(&mut self.lock().guard);
    }

    /// Adds a note, once.
    pub(crate) fn note(&self, text: String) {
        let mut report = self.lock();
        if !report.notes.contains(&text) {
            tracing::warn!(note = text, "containment is degraded");
            report.notes.push(text);
        }
    }

    /// Adds what a guardian could not get, for itself or for its server.
    pub(crate) fn note_refused(&self, server: &str, what: Degraded) {
        for (_, text) in GUARDIAN.iter().filter(|(bit, _)| what.has(*bit)) {
            self.note((*text).to_owned());
        }
        for (_, text) in SERVER.iter().filter(|(bit, _)| what.has(*bit)) {
            self.note(format!("{server}: {text}"));
        }
    }
}
