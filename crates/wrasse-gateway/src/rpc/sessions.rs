//! Methods on sessions.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use wrasse_store::{RunFilter, SessionFilter};
use wrasse_types::RunId;
use wrasse_types::wire::{RpcFault, SCHEMA};

use super::params::{self, OneSession, agent_id, session_key};
use super::views;
use crate::core::Core;
use crate::fault;
use crate::sessions;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListParams {
    agent_id: Option<String>,
    prefix: Option<String>,
    limit: Option<u32>,
}

/// Lists sessions, the last used first.
pub(super) async fn list(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: ListParams = params::read(given)?;
    let filter = SessionFilter {
        agent: params.agent_id.as_deref().map(|id| agent_id(core, id)).transpose()?,
        prefix: params.prefix,
        limit: Some(params.limit.unwrap_or(100)),
    };
    let rows = core.store.sessions(filter).await.map_err(|error| fault::store(&error))?;
    let total = core.store.count_sessions().await.map_err(|error| fault::store(&error))?;
    let sessions: Vec<Value> = rows.iter().map(|row| views::session(core, row)).collect();
    Ok(json!({ "schema": SCHEMA, "total": total, "sessions": sessions }))
}

/// One session and its last runs.
pub(super) async fn show(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: OneSession = params::read(given)?;
    let key = session_key(core, &params.key)?;
    let row = sessions::existing(core, &key).await?;
    let filter = RunFilter { session: Some(key), limit: Some(10), ..RunFilter::default() };
    let runs = core.store.runs(filter).await.map_err(|error| fault::store(&error))?;
    let runs: Vec<Value> = runs.iter().map(|row| views::run(core, row)).collect();
    Ok(json!({ "session": views::session(core, &row), "runs": runs }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HistoryParams {
    #[serde(alias = "sessionKey")]
    key: String,
    limit: Option<u32>,
}

/// The transcript of a session.
pub(super) async fn history(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: HistoryParams = params::read(given)?;
    let key = session_key(core, &params.key)?;
    let row = sessions::existing(core, &key).await?;
    let entries = core.store.transcript(&row.session_id, params.limit).await;
    let entries = entries.map_err(|error| fault::store(&error))?;
    let entries: Vec<Value> = entries.into_iter().map(views::entry).collect();
    Ok(json!({
        "key": key.as_str(),
        "sessionId": row.session_id.as_str(),
        "entries": entries,
    }))
}

/// Ends what goes on in a session and begins it anew.
pub(super) async fn reset(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: OneSession = params::read(given)?;
    let key = session_key(core, &params.key)?;
    let (row, ended) =
        detached(core, move |core| async move { sessions::reset(&core, &key).await }).await?;
    Ok(json!({
        "key": row.key.as_str(),
        "reset": true,
        "sessionId": row.session_id.as_str(),
        "endedRuns": ids(&ended),
    }))
}

/// Ends what goes on in a session and deletes it.
pub(super) async fn delete(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: OneSession = params::read(given)?;
    let key = session_key(core, &params.key)?;
    let own = key.clone();
    let ended =
        detached(core, move |core| async move { sessions::delete(&core, &own).await }).await?;
    Ok(json!({ "key": key.as_str(), "deleted": true, "endedRuns": ids(&ended) }))
}

/// Ends what goes on in a session.
pub(super) async fn stop(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: OneSession = params::read(given)?;
    let key = session_key(core, &params.key)?;
    let own = key.clone();
    let stopped = detached(core, move |core| async move {
        sessions::existing(&core, &own).await?;
        sessions::stop(&core, &own).await
    });
    let ended = stopped.await?;
    Ok(json!({ "key": key.as_str(), "stopped": true, "endedRuns": ids(&ended) }))
}

/// Does a change as a task of its own: a caller that goes away does not leave it half done.
async fn detached<T, F, W>(core: &Arc<Core>, work: W) -> Result<T, RpcFault>
where
    T: Send + 'static,
    F: Future<Output = Result<T, RpcFault>> + Send + 'static,
    W: FnOnce(Arc<Core>) -> F,
{
    let task = core.scope.spawn_value(wrasse_scope::TaskKind::SessionEnd, work(Arc::clone(core)));
    task.await.unwrap_or_else(|lost| {
        Err(fault::fault("internal", format!("the change was not finished: {lost}"), None))
    })
}

fn ids(runs: &[RunId]) -> Vec<&str> {
    runs.iter().map(RunId::as_str).collect()
}
