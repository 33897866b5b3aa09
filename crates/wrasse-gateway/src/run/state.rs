//! The decisions of a run, pure: what follows a reply of the model, and what follows each way to end.
//!
//! ```text
//! Queued ──admitted──► Running ──final text, children out──► Waiting (holds no server, no lane slot)
//!    │                   │  ▲                                   │
//!    │                   │  └────────all children settled───────┘
//!    └─────────┬─────────┴──────────────────────────────────────┘
//!              ▼ any EndReason
//!           Ending (outcome known to waiters, leases being released) ──► over
//! ```
//!
//! Every match on [`EndReason`] is exhaustive: a new way to end does not compile before it has been decided here.

use wrasse_config::RunBudget;
use wrasse_types::EndReason;

/// What a run does about children that outlive its own last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChildPolicy {
    /// It waits for them, holding nothing, and answers with their results: isolated jobs and spawned runs.
    Wait,
    /// It ends; each result that comes later wakes its session: conversations with people.
    Wake,
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Accepted; waits for its session or its lane.
    Queued,
    /// At work.
    Running,
    /// Waits for its children.
    Waiting,
    /// Its outcome is known; it releases what it held.
    Ending,
}

/// The shape of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyShape {
    /// It asks for tool calls.
    Calls,
    /// It is the last word for now.
    Final,
}

/// What else is known when a turn is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TurnFacts {
    /// The shape of the reply.
    pub(crate) shape: ReplyShape,
    /// Whether one of its calls was `sessions_yield`.
    pub(crate) yielded: bool,
    /// Messages that came in meanwhile.
    pub(crate) inbox: usize,
    /// Children that have not settled.
    pub(crate) children: usize,
}

/// What a run does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another turn, with the messages that came in.
    Turn,
    /// Wait until every child has settled.
    Wait,
    /// End.
    Finish,
}

/// Decides after a turn and its tool calls.
pub(crate) const fn after_turn(facts: TurnFacts, policy: ChildPolicy) -> Next {
    let done = match facts.shape {
        ReplyShape::Calls => facts.yielded,
        ReplyShape::Final => true,
    };
    if !done {
        return Next::Turn;
    }
    match policy {
        ChildPolicy::Wait if facts.children > 0 => Next::Wait,
        ChildPolicy::Wait | ChildPolicy::Wake if facts.inbox > 0 => Next::Turn,
        ChildPolicy::Wait | ChildPolicy::Wake => Next::Finish,
    }
}

/// What becomes of a run's children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cascade {
    /// They are stopped.
    Stop,
    /// They go on and wake the session.
    GoOn,
}

/// Decides what an end means for children.
pub(crate) const fn cascade(reason: EndReason, policy: ChildPolicy) -> Cascade {
    match reason {
        EndReason::Success
        | EndReason::ModelError
        | EndReason::FallbacksExhausted
        | EndReason::ToolError
        | EndReason::RunTimeout
        | EndReason::BudgetExhausted
        | EndReason::Internal => match policy {
            // Nobody would read what they find.
            ChildPolicy::Wait => Cascade::Stop,
            ChildPolicy::Wake => Cascade::GoOn,
        },
        EndReason::CronTimeout
        | EndReason::JobRemoved
        | EndReason::Stopped
        | EndReason::Cancelled
        | EndReason::ClientInterrupted
        | EndReason::SessionReset
        | EndReason::SessionLazyReset
        | EndReason::SessionDeleted
        | EndReason::ParentStopped
        | EndReason::LocalEnded
        | EndReason::GatewayStopped
        | EndReason::GatewayRestarted
        | EndReason::GatewayLost
        | EndReason::WardenLost => Cascade::Stop,
    }
}

/// Whether a child's end is told to its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announcement {
    /// The parent reads how it ended.
    Tell,
    /// The parent ended it, or nobody is left to read.
    Suppress,
}

/// Decides whether an end is told.
pub(crate) const fn announcement(reason: EndReason) -> Announcement {
    match reason {
        EndReason::Success
        | EndReason::ModelError
        | EndReason::FallbacksExhausted
        | EndReason::ToolError
        | EndReason::RunTimeout
        | EndReason::BudgetExhausted
        | EndReason::Stopped
        | EndReason::Cancelled
        | EndReason::ClientInterrupted
        | EndReason::SessionReset
        | EndReason::SessionLazyReset
        | EndReason::SessionDeleted
        | EndReason::Internal => Announcement::Tell,
        EndReason::CronTimeout
        | EndReason::JobRemoved
        | EndReason::ParentStopped
        | EndReason::LocalEnded
        | EndReason::GatewayStopped
        | EndReason::GatewayRestarted
        | EndReason::GatewayLost
        | EndReason::WardenLost => Announcement::Suppress,
    }
}

/// What an end means for the job that woke the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobVerdict {
    /// It went well.
    Ok,
    /// It failed: back off.
    Error,
    /// A person ended it: says nothing about the job.
    Interrupted,
    /// The gateway ended under it: says nothing about the job, and a job that fires once has not been done.
    CutOff,
}

/// Decides how a job's history counts an end.
pub(crate) const fn job_verdict(reason: EndReason) -> JobVerdict {
    match reason {
        EndReason::Success => JobVerdict::Ok,
        EndReason::ModelError
        | EndReason::FallbacksExhausted
        | EndReason::ToolError
        | EndReason::RunTimeout
        | EndReason::CronTimeout
        | EndReason::BudgetExhausted
        | EndReason::Internal => JobVerdict::Error,
        EndReason::JobRemoved
        | EndReason::Stopped
        | EndReason::Cancelled
        | EndReason::ClientInterrupted
        | EndReason::SessionReset
        | EndReason::SessionLazyReset
        | EndReason::SessionDeleted
        | EndReason::ParentStopped => JobVerdict::Interrupted,
        EndReason::LocalEnded
        | EndReason::GatewayStopped
        | EndReason::GatewayRestarted
        | EndReason::GatewayLost
        | EndReason::WardenLost => JobVerdict::CutOff,
    }
}

/// What a run has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Model turns.
    pub(crate) turns: u32,
    /// Tool calls.
    pub(crate) calls: u32,
    /// Tokens read by the model.
    pub(crate) tokens_in: u64,
    /// Tokens written by it.
    pub(crate) tokens_out: u64,
    /// Servers that did not come up for it.
    pub(crate) servers_failed: u32,
}

impl Tally {
    /// Names the budget that forbids another turn, if one does.
    pub(crate) fn turn_refused(self, budget: &RunBudget) -> Option<String> {
        if self.turns >= budget.turns {
            return Some(format!("the budget of {} model turns is used up", budget.turns));
        }
        self.tokens_refused(budget)
    }

    /// Names the budget that forbids so many more calls, if one does.
    pub(crate) fn calls_refused(self, more: usize, budget: &RunBudget) -> Option<String> {
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        (self.calls.saturating_add(more) > budget.calls)
            .then(|| format!("the budget of {} tool calls is used up", budget.calls))
    }

    fn tokens_refused(self, budget: &RunBudget) -> Option<String> {
        let used = self.tokens_in.saturating_add(self.tokens_out);
        budget
            .tokens
            .filter(|limit| used >= *limit)
            .map(|limit| format!("the budget of {limit} tokens is used up ({used})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_turn() {
        use ChildPolicy::{Wait, Wake};
        use ReplyShape::{Calls, Final};
        let table = [
            // shape, yielded, inbox, children, policy → next
            (Calls, false, 0, 0, Wake, Next::Turn),
            (Calls, false, 0, 2, Wait, Next::Turn),
            (Calls, true, 0, 2, Wait, Next::Wait),
            (Calls, true, 0, 2, Wake, Next::Finish),
            (Calls, true, 0, 0, Wait, Next::Finish),
            (Final, false, 0, 0, Wait, Next::Finish),
            (Final, false, 1, 0, Wake, Next::Turn),
            (Final, false, 1, 0, Wait, Next::Turn),
            (Final, false, 1, 1, Wait, Next::Wait),
            (Final, false, 0, 3, Wake, Next::Finish),
        ];
        for (shape, yielded, inbox, children, policy, expected) in table {
            let facts = TurnFacts { shape, yielded, inbox, children };
            assert_eq!(after_turn(facts, policy), expected, "{facts:?} {policy:?}");
        }
    }

    #[test]
    fn a_run_that_waits_for_children_never_leaves_them() {
        for reason in EndReason::ALL {
            assert_eq!(cascade(reason, ChildPolicy::Wait), Cascade::Stop, "{reason:?}");
        }
        assert_eq!(cascade(EndReason::Success, ChildPolicy::Wake), Cascade::GoOn);
        assert_eq!(cascade(EndReason::Stopped, ChildPolicy::Wake), Cascade::Stop);
    }

    #[test]
    fn budgets() {
        let budget = RunBudget { turns: 2, calls: 3, tokens: Some(100) };
        let used = |turns, calls, tokens_in| Tally {
            turns,
            calls,
            tokens_in,
            tokens_out: 10,
            servers_failed: 0,
        };
        assert_eq!(used(1, 0, 0).turn_refused(&budget), None);
        assert!(used(2, 0, 0).turn_refused(&budget).unwrap().contains("2 model turns"));
        assert!(used(0, 0, 90).turn_refused(&budget).unwrap().contains("100 tokens"));
        assert_eq!(used(0, 1, 0).calls_refused(2, &budget), None);
        assert!(used(0, 1, 0).calls_refused(3, &budget).is_some());
    }
}
