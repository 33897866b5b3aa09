//! The table: every way to end × every fixture, and nothing left of any.
//!
//! A row is a [`Situation`]; one gateway carries all fixtures of it side by side, each with an agent and a session of
//! its own. Every [`EndReason`] has rows, by a match without a wildcard: a new reason does not compile here until it
//! has one. `// failure mode B1`, `B2`, `B4`, `B6`, `A4`, `A6`, `A8`, `C1`, `H1`.

mod cell;
mod children;
mod rows;

use wrasse_types::EndReason;

/// What happens to a run that is using a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Situation {
    Success,
    SessionKept,
    ModelError,
    FallbacksExhausted,
    ToolError,
    ServerCrashed,
    GuardianKilled,
    RunTimeout,
    CronTimeout,
    CronDone,
    JobRemoved,
    BudgetExhausted,
    Stopped,
    Cancelled,
    ClientInterrupted,
    ClientGone,
    SessionReset,
    SessionLazyReset,
    SessionDeleted,
    ParentStopped,
    ChildKept,
    ChildDeleted,
    LocalEnded,
    LocalInterrupted,
    GatewayStopped,
    GatewayTerminated,
    GatewayRestarted,
    GatewayKilled,
    WardenKilled,
}

/// The rows of a reason. Empty only with a reason why.
fn rows_of(reason: EndReason) -> &'static [Situation] {
    use Situation as S;
    match reason {
        EndReason::Success => &[
            S::Success,
            S::SessionKept,
            S::ServerCrashed,
            S::GuardianKilled,
            S::ClientGone,
            S::CronDone,
            S::ChildKept,
            S::ChildDeleted,
        ],
        EndReason::ModelError => &[S::ModelError],
        EndReason::FallbacksExhausted => &[S::FallbacksExhausted],
        EndReason::ToolError => &[S::ToolError],
        EndReason::RunTimeout => &[S::RunTimeout],
        EndReason::CronTimeout => &[S::CronTimeout],
        EndReason::JobRemoved => &[S::JobRemoved],
        EndReason::BudgetExhausted => &[S::BudgetExhausted],
        EndReason::Stopped => &[S::Stopped],
        EndReason::Cancelled => &[S::Cancelled],
        EndReason::ClientInterrupted => &[S::ClientInterrupted, S::LocalInterrupted],
        EndReason::SessionReset => &[S::SessionReset],
        EndReason::SessionLazyReset => &[S::SessionLazyReset],
        EndReason::SessionDeleted => &[S::SessionDeleted],
        EndReason::ParentStopped => &[S::ParentStopped],
        EndReason::LocalEnded => &[S::LocalEnded],
        EndReason::GatewayStopped => &[S::GatewayStopped, S::GatewayTerminated],
        EndReason::GatewayRestarted => &[S::GatewayRestarted],
        EndReason::GatewayLost => &[S::GatewayKilled],
        EndReason::WardenLost => &[S::WardenKilled],
        // No input is known that makes a run panic; wrasse-gateway's own tests make one and look at its leases.
        EndReason::Internal => &[],
    }
}

// failure mode B1
/// The tests of the rows; a situation is walked by the test of its name.
const ROWS: [&str; 2] = [include_str!("rows.rs"), include_str!("children.rs")];

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[test]
fn every_reason_has_a_row() {
    for reason in EndReason::ALL {
        assert!(reason == EndReason::Internal || !rows_of(reason).is_empty(), "{reason:?}");
        for situation in rows_of(reason) {
            let test = format!("\n#[test]\nfn {}()", snake_case(&format!("{situation:?}")));
            assert!(
                ROWS.iter().any(|rows| rows.contains(&test)),
                "{situation:?} has no test: {test}"
            );
        }
    }
}
