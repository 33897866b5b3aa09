//! Why things end. Every enum here is matched exhaustively wherever it decides something.

use serde::{Deserialize, Serialize};

/// Why a run, and with it every lease it held, ended.
///
/// INVARIANT: every variant has a row in the end-to-end table test (`crates/wrasse/tests/it/table`), which
/// matches on this enum without a wildcard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The model gave its final text.
    Success,
    /// The model failed in a way no fallback can help with.
    ModelError,
    /// Every model of the fallback chain failed.
    FallbacksExhausted,
    /// The run ended because a tool failed and the model gave up in the same turn.
    ToolError,
    /// The run's own time limit passed.
    RunTimeout,
    /// The job's time limit passed.
    CronTimeout,
    /// The job that woke the run was removed or disabled.
    JobRemoved,
    /// A budget of turns, calls or tokens was used up.
    BudgetExhausted,
    /// `sessions stop`, or the stop method.
    Stopped,
    /// `runs cancel`.
    Cancelled,
    /// The CLI that waited for the run was interrupted.
    ClientInterrupted,
    /// The session was reset by request.
    SessionReset,
    /// The session was reset by its own policy when a message arrived.
    SessionLazyReset,
    /// The session was deleted.
    SessionDeleted,
    /// The run that spawned this one was stopped.
    ParentStopped,
    /// A one-shot `agent --local` was done, or was interrupted, while this run still went on.
    LocalEnded,
    /// `gateway stop`, or SIGTERM, SIGINT or SIGHUP to the gateway.
    GatewayStopped,
    /// `gateway restart`.
    GatewayRestarted,
    /// The gateway died without ending the run; found at the next start.
    GatewayLost,
    /// The warden died; the gateway ended everything and left.
    WardenLost,
    /// A fault of ours, contained to this run.
    Internal,
}

impl EndReason {
    /// Every variant, for tables and docs.
    pub const ALL: [Self; 21] = [
        Self::Success,
        Self::ModelError,
        Self::FallbacksExhausted,
        Self::ToolError,
        Self::RunTimeout,
        Self::CronTimeout,
        Self::JobRemoved,
        Self::BudgetExhausted,
        Self::Stopped,
        Self::Cancelled,
        Self::ClientInterrupted,
        Self::SessionReset,
        Self::SessionLazyReset,
        Self::SessionDeleted,
        Self::ParentStopped,
        Self::LocalEnded,
        Self::GatewayStopped,
        Self::GatewayRestarted,
        Self::GatewayLost,
        Self::WardenLost,
        Self::Internal,
    ];

    /// Whether the run did what it was asked to.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Success)
    }

    /// The words a person reads.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Success => "done",
            Self::ModelError => "the model failed",
            Self::FallbacksExhausted => "every model failed",
            Self::ToolError => "a tool failed",
            Self::RunTimeout => "run time limit passed",
            Self::CronTimeout => "job time limit passed",
            Self::JobRemoved => "its job was removed or disabled",
            Self::BudgetExhausted => "a budget was used up",
            Self::Stopped => "stopped by operator",
            Self::Cancelled => "cancelled by operator",
            Self::ClientInterrupted => "the waiting command was interrupted",
            Self::SessionReset => "its session was reset",
            Self::SessionLazyReset => "its session had expired",
            Self::SessionDeleted => "its session was deleted",
            Self::ParentStopped => "its parent was stopped",
            Self::LocalEnded => "local run over",
            Self::GatewayStopped => "gateway stopped",
            Self::GatewayRestarted => "gateway restarted",
            Self::GatewayLost => "gateway died",
            Self::WardenLost => "warden died",
            Self::Internal => "internal fault",
        }
    }

    /// The name the store and `--json` use.
    pub fn name(self) -> String {
        enum_name(&self)
    }

    /// Reads the name back; a name of a newer version is `None`.
    pub fn from_name(name: &str) -> Option<Self> {
        from_enum_name(name)
    }
}

/// Why an instance is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GoneReason {
    /// Its last lease ended and nothing asked to keep it.
    Released,
    /// Nobody had called it for its idle time.
    Idle,
    /// The session it was kept for ended or was reset.
    SessionEnded,
    /// An operator stopped it.
    StoppedByOperator,
    /// It is being replaced: restart, reload or an update.
    Replaced,
    /// It did not start.
    StartFailed,
    /// Its leader exited by itself.
    Exited,
    /// It broke the protocol or closed its output while living.
    Broken,
    /// Its guardian died or did not answer.
    GuardianLost,
    /// A budget was reached.
    Budget,
    /// The gateway is stopping.
    GatewayStopped,
    /// A gateway before this one died; the sweep at start ended what was left.
    Swept,
}

impl GoneReason {
    /// The name the store and `--json` use.
    pub fn name(self) -> String {
        enum_name(&self)
    }

    /// Reads the name back; a name of a newer version is `None`.
    pub fn from_name(name: &str) -> Option<Self> {
        from_enum_name(name)
    }
}

/// The rung of the stop ladder that emptied a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopRung {
    /// It had ended before we asked.
    AlreadyGone,
    /// Closing its stdin was enough.
    Stdin,
    /// SIGTERM to its group was enough.
    Term,
    /// The tree was killed.
    Kill,
}

impl StopRung {
    /// The words a person reads, as in "ended sqlite (4133, stdin closed, 18 ms)".
    pub const fn text(self) -> &'static str {
        match self {
            Self::AlreadyGone => "had exited",
            Self::Stdin => "stdin closed",
            Self::Term => "SIGTERM",
            Self::Kill => "killed after SIGTERM was ignored",
        }
    }

    /// The name the store and `--json` use.
    pub fn name(self) -> String {
        enum_name(&self)
    }

    /// Reads the name back; a name of a newer version is `None`.
    pub fn from_name(name: &str) -> Option<Self> {
        from_enum_name(name)
    }
}

fn enum_name<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("a unit variant serialises to a string, not {other:?}"),
    }
}

fn from_enum_name<T: for<'de> Deserialize<'de>>(name: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_finished_is_a_success() {
        for reason in EndReason::ALL {
            assert_eq!(reason.is_success(), reason == EndReason::Success, "{reason:?}");
        }
    }

    #[test]
    fn names_read_back() {
        for reason in EndReason::ALL {
            assert_eq!(EndReason::from_name(&reason.name()), Some(reason));
        }
        assert_eq!(EndReason::ParentStopped.name(), "parent_stopped");
        assert_eq!(EndReason::from_name("from_the_future"), None);
        assert_eq!(StopRung::from_name("term"), Some(StopRung::Term));
    }
}
