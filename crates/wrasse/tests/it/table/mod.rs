//! The table: every way to end × every fixture, and nothing left of any.
//!
//! A row is a [`Situation`]; one gateway carries all fixtures of it side by side, each with an agent and a session of
//! its own. `local` has no gateway, and one station a fixture. Every [`EndReason`] has rows, by a match without a
//! wildcard: a new reason does not compile here until it has one. `// failure mode B1`, `B2`, `B4`, `B6`, `A4`, `A6`, `A8`, `C1`, `H1`.

mod cell;
mod children;
mod local;
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
    Internal,
    LocalDone,
    LocalEnded,
    LocalInterrupted,
    GatewayStopped,
    GatewayTerminated,
    GatewayRestarted,
    GatewayKilled,
    WardenKilled,
}

/// The rows of a reason.
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
            S::LocalDone,
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
        // A panic is the other way; wrasse-gateway's own tests make one and look at its leases.
        EndReason::Internal => &[S::Internal],
    }
}

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

/// A situation is walked by the test of its name.
// failure mode B1
#[test]
fn every_reason_has_a_row() {
    let tests = super::fixtures::tests();
    for reason in EndReason::ALL {
        assert!(!rows_of(reason).is_empty(), "{reason:?}");
        for situation in rows_of(reason) {
            let name = snake_case(&format!("{situation:?}"));
            let is_known = |part: &&str| tests.contains(&format!("table::{part}::{name}"));
            let parts = ["rows", "children", "local"].iter().filter(|part| is_known(part)).count();
            assert_eq!(parts, 1, "{situation:?} has no test of its own: {name}");
        }
    }
}
