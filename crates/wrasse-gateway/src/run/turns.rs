//! The work of a run: turns of the model and the calls they ask for, until the last word.

use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use wrasse_config::Agent;
use wrasse_mcp::ServerLeases;
use wrasse_model::{Message, ToolCall, TurnFailure, TurnReply, TurnRequest};
use wrasse_scope::TaskKind;
use wrasse_store::{NewSession, RunState};
use wrasse_types::{EndReason, GoneReason, Holder};

use super::conversation::Conversation;
use super::driver::{Beginning, Held, WorkEnd, WorkError, unless_ended};
use super::live::LiveRun;
use super::state::{Next, Phase, ReplyShape, TurnFacts, after_turn};
use crate::core::Core;
use crate::policy::{Policy, Role};
use crate::prompt::{self, Position};
use crate::tools::{self, CallResult, Toolset, Yields};

/// What a run was asked to do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) message: Option<String>,
    pub(crate) models: Vec<String>,
    pub(crate) session: NewSession,
    pub(crate) beginning: Beginning,
}

/// What stays the same from turn to turn.
struct Setup<'a> {
    core: &'a Arc<Core>,
    run: &'a Arc<LiveRun>,
    agent: &'a Agent,
    models: Vec<String>,
    system: String,
    tools: Toolset,
}

/// Does the work of a run.
pub(crate) async fn work(
    core: &Arc<Core>,
    run: &Arc<LiveRun>,
    held: &mut Held,
    plan: Plan,
) -> WorkEnd {
    match Box::pin(work_inner(core, run, held, plan)).await {
        Ok(text) => WorkEnd::Done(text),
        Err(WorkError::Interrupted) => WorkEnd::Interrupted,
        // What fails because an end was asked for is not a failure of its own.
        Err(WorkError::Failed(..)) if run.requested_end().is_some() => WorkEnd::Interrupted,
        Err(WorkError::Failed(reason, error)) => WorkEnd::Failed(reason, error),
    }
}

async fn work_inner(
    core: &Arc<Core>,
    run: &Arc<LiveRun>,
    held: &mut Held,
    plan: Plan,
) -> Result<String, WorkError> {
    let token = &run.token;
    unless_ended(token, held.ticket.turn()).await?;
    held.slot = Some(unless_ended(token, core.lanes.enter(run.lane)).await?);
    run.set_phase(Phase::Running);
    core.store.set_run_state(&run.id, RunState::Running).await?;
    match plan.beginning {
        Beginning::GoOn => {}
        Beginning::Anew => {
            let ending = core.servers.end_session(&run.key, GoneReason::SessionEnded);
            unless_ended(token, Box::pin(ending)).await?;
        }
    }
    // Another run may have deleted or reset the session while this one was queued.
    let session = core.store.ensure_session(plan.session).await?;
    let mut conversation =
        Conversation::load(core.store.clone(), run.key.clone(), session.session_id, run.id.clone())
            .await?;
    if let Some(text) = plan.message {
        conversation.append(Message::User { text }).await?;
    }
    let agent = core.config.agents.get(&run.agent).ok_or_else(|| {
        WorkError::Failed(EndReason::Internal, format!("agent {} is gone", run.agent))
    })?;
    let leases = new_leases(core, run);
    let leases = held.leases.insert(leases);
    let setup =
        unless_ended(token, Box::pin(set_up(core, run, agent, plan.models, leases))).await?;
    let failed = u32::try_from(setup.tools.faults.len()).unwrap_or(u32::MAX);
    run.count(|tally| tally.servers_failed = failed);
    Box::pin(converse(&setup, held, &mut conversation)).await
}

fn new_leases(core: &Core, run: &LiveRun) -> ServerLeases {
    core.servers.leases(Holder::run(&run.id, run.key.clone()), run.key.clone())
}

async fn set_up<'a>(
    core: &'a Arc<Core>,
    run: &'a Arc<LiveRun>,
    agent: &'a Agent,
    models: Vec<String>,
    leases: &ServerLeases,
) -> Setup<'a> {
    let max_depth = agent.subagents.max_depth;
    let role = Role::at(run.depth, max_depth);
    let policy = Policy::new(&agent.tools, &core.config.denied_tools, role);
    let tools = Box::pin(tools::gather(core, run, agent, &policy, leases)).await;
    let position = Position { role, depth: run.depth, max_depth };
    let system = prompt::system_prompt(agent, position, &tools.faults).await;
    let models = if models.is_empty() { agent.models.clone() } else { models };
    Setup { core, run, agent, models, system, tools }
}

/// Takes turns until the last word.
async fn converse(
    setup: &Setup<'_>,
    held: &mut Held,
    conversation: &mut Conversation,
) -> Result<String, WorkError> {
    let run = setup.run;
    let mut failed_call: Option<String> = None;
    loop {
        for text in run.take_inbox() {
            conversation.append(Message::User { text }).await?;
        }
        if let Some(error) = run.tally().turn_refused(&setup.agent.budget) {
            return Err(WorkError::Failed(EndReason::BudgetExhausted, error));
        }
        let reply = Box::pin(take_turn(setup, conversation)).await?;
        let text = reply.text.clone();
        let calls = reply.tool_calls.clone();
        conversation
            .append(Message::Assistant { text: reply.text, tool_calls: reply.tool_calls })
            .await?;
        let mut yielded = false;
        let shape = if calls.is_empty() { ReplyShape::Final } else { ReplyShape::Calls };
        if !calls.is_empty() {
            if let Some(error) = run.tally().calls_refused(calls.len(), &setup.agent.budget) {
                return Err(WorkError::Failed(EndReason::BudgetExhausted, error));
            }
            let round = Box::pin(make_calls(setup, held, conversation, calls)).await?;
            #[cfg(test)]
            super::panics::panic_if_armed(&run.id);
            failed_call = round.failed;
            yielded = round.yielded;
        }
        let next = loop {
            let (inbox, children) = run.pending();
            let next = after_turn(TurnFacts { shape, yielded, inbox, children }, run.child_policy);
            // A message may come in between looking and closing; then the decision is made again.
            if next != Next::Finish || run.close_inbox_if_empty() {
                break next;
            }
        };
        match next {
            Next::Turn => {}
            Next::Wait => Box::pin(wait_for_children(setup, held)).await?,
            Next::Finish => {
                return last_word(text, failed_call.filter(|_| shape == ReplyShape::Final));
            }
        }
    }
}

/// A model that says nothing after a failed call has given up on it.
fn last_word(text: String, failed_call: Option<String>) -> Result<String, WorkError> {
    match failed_call {
        Some(error) if text.trim().is_empty() => {
            Err(WorkError::Failed(EndReason::ToolError, error))
        }
        Some(_) | None => Ok(text),
    }
}

async fn take_turn(setup: &Setup<'_>, conversation: &Conversation) -> Result<TurnReply, WorkError> {
    let run = setup.run;
    let request = TurnRequest {
        agent: run.agent.clone(),
        session_key: run.key.clone(),
        depth: run.depth,
        system: setup.system.clone(),
        messages: conversation.messages(),
        tools: setup.tools.specs.clone(),
        idle_timeout: setup.agent.model_idle_timeout,
    };
    run.count(|tally| tally.turns += 1);
    let turn = Box::pin(setup.core.models.turn(&setup.models, request, &run.token));
    let reply = turn.await.map_err(|failure| match failure {
        TurnFailure::Cancelled => WorkError::Interrupted,
        TurnFailure::Single(error) => WorkError::Failed(EndReason::ModelError, error.to_string()),
        exhausted @ TurnFailure::Exhausted(_) => {
            WorkError::Failed(EndReason::FallbacksExhausted, exhausted.to_string())
        }
    })?;
    run.count(|tally| {
        tally.tokens_in = tally.tokens_in.saturating_add(reply.usage.input);
        tally.tokens_out = tally.tokens_out.saturating_add(reply.usage.output);
    });
    Ok(reply)
}

/// What came of the calls of one turn.
struct Round {
    /// The text of the last call that failed.
    failed: Option<String>,
    yielded: bool,
}

/// Makes every call of a turn side by side; each result is written down when it comes.
async fn make_calls(
    setup: &Setup<'_>,
    held: &mut Held,
    conversation: &mut Conversation,
    calls: Vec<ToolCall>,
) -> Result<Round, WorkError> {
    let count = u32::try_from(calls.len()).unwrap_or(u32::MAX);
    setup.run.count(|tally| tally.calls = tally.calls.saturating_add(count));
    let leases = held.leases.get_or_insert_with(|| new_leases(setup.core, setup.run));
    let leases: &ServerLeases = leases;
    let mut in_flight: FuturesUnordered<BoxFuture<'_, (ToolCall, CallResult)>> = calls
        .into_iter()
        .map(|call| -> BoxFuture<'_, (ToolCall, CallResult)> {
            Box::pin(async move {
                let result = setup.tools.call(setup.core, setup.run, leases, &call).await;
                (call, result)
            })
        })
        .collect();
    let mut round = Round { failed: None, yielded: false };
    while let Some((call, result)) = in_flight.next().await {
        match result.yields {
            Yields::No => {}
            Yields::UntilChildren => round.yielded = true,
        }
        if result.is_error {
            round.failed = Some(format!("{}: {}", call.name, result.text));
        }
        conversation
            .append(Message::ToolResult {
                call_id: call.id,
                name: call.name,
                text: result.text,
                is_error: result.is_error,
            })
            .await?;
    }
    drop(in_flight);
    if setup.run.requested_end().is_some() {
        return Err(WorkError::Interrupted);
    }
    Ok(round)
}

/// Waits until every child has settled, holding neither a server nor a lane slot meanwhile.
async fn wait_for_children(setup: &Setup<'_>, held: &mut Held) -> Result<(), WorkError> {
    let (core, run) = (setup.core, setup.run);
    run.set_phase(Phase::Waiting);
    core.store.set_run_state(&run.id, RunState::Waiting).await?;
    held.slot = None;
    if let Some(leases) = held.leases.take() {
        // A task of its own: an end that is asked for meanwhile must not cut the release short.
        held.releasing =
            Some(core.scope.spawn_value(TaskKind::Run, async move { leases.release().await }));
    }
    unless_ended(&run.token, run.children_settled()).await?;
    if let Some(releasing) = &mut held.releasing {
        let gone = unless_ended(&run.token, releasing).await?;
        held.releasing = None;
        held.ended.extend(gone.unwrap_or_default());
    }
    held.slot = Some(unless_ended(&run.token, core.lanes.enter(run.lane)).await?);
    run.set_phase(Phase::Running);
    core.store.set_run_state(&run.id, RunState::Running).await?;
    held.leases = Some(new_leases(core, run));
    Ok(())
}
