//! What joining a scope found.

use std::fmt;
use std::time::Duration;

use crate::kind::TaskKind;

/// One living task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskView {
    /// Its kind.
    pub kind: TaskKind,
    /// The path of its scope, as `gateway/run`.
    pub scope: String,
    /// How long it has lived.
    pub age: Duration,
}

impl fmt::Display for TaskView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.kind, self.scope)
    }
}

/// How a join ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "a join that left tasks is a fault to report"]
pub struct JoinReport {
    /// What still lived at the deadline and was aborted.
    pub aborted: Vec<TaskView>,
    /// What lived on even after the abort: it blocks its thread.
    pub stuck: Vec<TaskView>,
    /// How long the join took.
    pub took: Duration,
}

impl JoinReport {
    /// Whether every task ended by itself before the deadline.
    pub fn is_clean(&self) -> bool {
        self.aborted.is_empty() && self.stuck.is_empty()
    }

    /// Whether no task is left, however it ended.
    pub fn is_proven(&self) -> bool {
        self.stuck.is_empty()
    }
}
