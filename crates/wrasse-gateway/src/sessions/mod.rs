//! What happens to a session as a whole: stop, reset, delete. The record and the processes end separately, and in
//! this order: runs end, their descendants with them, then what was kept for the session, then the record changes.

pub(crate) mod freshness;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use wrasse_scope::clock;
use wrasse_store::SessionRow;
use wrasse_types::wire::RpcFault;
use wrasse_types::{AgentId, EndReason, GoneReason, RunId, SessionId, SessionKey, SessionKind};

use crate::core::Core;
use crate::fault;
use crate::run::LiveRun;

/// The longest an operator's change waits for runs to be over.
const END_MAX: Duration = Duration::from_secs(15);

/// Ends every run on a session and everything spawned from it, and what was kept for it.
pub(crate) async fn stop(core: &Core, key: &SessionKey) -> Result<Vec<RunId>, RpcFault> {
    let ended = end_runs(core, key, EndReason::Stopped).await?;
    Box::pin(core.servers.end_session(key, GoneReason::StoppedByOperator)).await;
    Ok(ended)
}

/// Ends what goes on in a session and begins it anew.
pub(crate) async fn reset(
    core: &Core,
    key: &SessionKey,
) -> Result<(SessionRow, Vec<RunId>), RpcFault> {
    existing(core, key).await?;
    let place = core.queues.enter_uncapped(key);
    let ended = end_runs(core, key, EndReason::SessionReset).await?;
    place.turn().await;
    Box::pin(core.servers.end_session(key, GoneReason::SessionEnded)).await;
    let session = core.store.reset_session(key).await.map_err(|error| fault::store(&error))?;
    Ok((session, ended))
}

/// Ends what goes on in a session and deletes its record.
pub(crate) async fn delete(core: &Core, key: &SessionKey) -> Result<Vec<RunId>, RpcFault> {
    match key.kind() {
        SessionKind::Main => {
            return Err(fault::refused(
                format!("{key} is the main session of its agent and cannot be deleted"),
                &format!("wrasse sessions reset {key}"),
            ));
        }
        SessionKind::Cron | SessionKind::Subagent | SessionKind::Other => {}
    }
    existing(core, key).await?;
    let place = core.queues.enter_uncapped(key);
    let ended = end_runs(core, key, EndReason::SessionDeleted).await?;
    place.turn().await;
    Box::pin(core.servers.end_session(key, GoneReason::SessionEnded)).await;
    core.store.delete_session(key).await.map_err(|error| fault::store(&error))?;
    Ok(ended)
}

/// Finds a session, or says how to find one.
pub(crate) async fn existing(core: &Core, key: &SessionKey) -> Result<SessionRow, RpcFault> {
    let found = core.store.session(key).await.map_err(|error| fault::store(&error))?;
    found.ok_or_else(|| {
        fault::not_found(format!("there is no session {key}"), "wrasse sessions list")
    })
}

/// Finds the session that a session id means: the one with that id, or the explicit session of that name.
pub(crate) async fn by_session_id(
    core: &Core,
    id: &str,
    agent: &AgentId,
) -> Result<SessionKey, RpcFault> {
    let found = core.store.session_by_id(&SessionId::new(id)).await;
    if let Some(session) = found.map_err(|error| fault::store(&error))? {
        return Ok(session.key);
    }
    let explicit = format!("agent:{agent}:explicit:{id}");
    SessionKey::parse(&explicit, agent).map_err(|error| fault::invalid(error.to_string()))
}

/// Asks the runs of a session to end, with everything spawned from it, and waits until they are over.
async fn end_runs(
    core: &Core,
    key: &SessionKey,
    reason: EndReason,
) -> Result<Vec<RunId>, RpcFault> {
    let own = core.registry.on_session(key);
    for run in &own {
        run.request_end(reason);
    }
    let below = descendants(core, key);
    for run in &below {
        run.request_end(EndReason::ParentStopped);
    }
    let all: Vec<Arc<LiveRun>> = own.into_iter().chain(below).collect();
    let over = async {
        for run in &all {
            run.over().await;
        }
    };
    if clock::timeout(END_MAX, over).await.is_err() {
        return Err(fault::fault(
            "timeout",
            format!(
                "the runs of {key} were told to end and have not yet; their servers are being stopped"
            ),
            Some("wrasse ps"),
        ));
    }
    Ok(all.iter().map(|run| run.id.clone()).collect())
}

/// Every run that was spawned from a session, at whatever distance.
fn descendants(core: &Core, key: &SessionKey) -> Vec<Arc<LiveRun>> {
    let mut seen = BTreeSet::from([key.clone()]);
    let mut found: Vec<Arc<LiveRun>> = Vec::new();
    let mut sessions = vec![key.clone()];
    while let Some(session) = sessions.pop() {
        for run in core.registry.spawned_by(&session) {
            if seen.insert(run.key.clone()) {
                sessions.push(run.key.clone());
            }
            found.push(run);
        }
    }
    found
}
