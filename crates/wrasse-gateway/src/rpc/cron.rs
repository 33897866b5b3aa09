//! Methods on jobs.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use wrasse_types::UnixMillis;
use wrasse_types::wire::{RpcFault, SCHEMA};

use super::params::{self, Nothing};
use super::views;
use crate::core::Core;
use crate::cron::manage::{self, Switch};
use crate::cron::{Armed, FireError, fire_now};
use crate::fault;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OneJob {
    #[serde(alias = "jobId")]
    id: String,
}

/// Whether jobs fire, and when the next does.
pub(super) async fn status(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let Nothing {} = params::read(given)?;
    let jobs = core.cron.all();
    let enabled = || jobs.iter().filter(|job| job.row.enabled && job.meaning.is_ok());
    let next = enabled().filter_map(|job| job.row.next_due_at).min();
    let running = jobs.iter().filter(|job| job.row.running_run.is_some()).count();
    Ok(json!({
        "enabled": core.config.cron.enabled,
        "jobs": jobs.len(),
        "jobsEnabled": enabled().count(),
        "running": running,
        "nextWakeAt": next.map(|at| at.to_string()),
    }))
}

/// Lists jobs, by name.
pub(super) async fn list(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let Nothing {} = params::read(given)?;
    let mut jobs = core.cron.all();
    jobs.sort_by(|a, b| a.row.name.cmp(&b.row.name));
    let jobs: Vec<Value> = jobs.iter().map(views::job).collect();
    Ok(json!({ "schema": SCHEMA, "jobs": jobs }))
}

/// Adds a job: the parameters are the job, or hold it under `job`.
pub(super) async fn add(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let spelt = match given.get("job") {
        Some(job) => job.clone(),
        None => given,
    };
    let job = manage::add(core, &spelt).await?;
    Ok(views::job(&job))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EditParams {
    #[serde(alias = "jobId")]
    id: String,
    patch: Value,
}

/// Changes a job.
pub(super) async fn edit(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: EditParams = params::read(given)?;
    let id = manage::find(core, &params.id)?;
    let job = manage::edit(core, &id, &params.patch).await?;
    Ok(views::job(&job))
}

/// Removes a job and ends its run.
pub(super) async fn remove(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: OneJob = params::read(given)?;
    let id = manage::find(core, &params.id)?;
    let job = manage::remove(core, &id).await?;
    Ok(json!({ "id": id.as_str(), "removed": true, "endedRun": ended_run(&job) }))
}

/// Fires a job now.
pub(super) async fn run(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: OneJob = params::read(given)?;
    let id = manage::find(core, &params.id)?;
    if core.draining().is_some() {
        return Err(fault::draining());
    }
    match fire_now(core, &id).await {
        Ok(run) => Ok(json!({ "ok": true, "ran": true, "id": id.as_str(), "runId": run.as_str() })),
        Err(FireError::Running(run)) => Ok(json!({
            "ok": true, "ran": false, "reason": "already-running", "runId": run.as_str(),
        })),
        Err(FireError::Answered) => {
            Ok(json!({ "ok": true, "ran": false, "reason": "already-fired" }))
        }
        Err(FireError::Gone) => {
            Err(fault::not_found(format!("there is no job {id}"), "wrasse cron list"))
        }
        Err(FireError::Failed(fault)) => Err(fault),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RunsParams {
    #[serde(alias = "jobId")]
    id: String,
    limit: Option<u32>,
}

/// The history of a job, newest first.
pub(super) async fn runs(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: RunsParams = params::read(given)?;
    // A job that was removed still has its history.
    let id = manage::find(core, &params.id).unwrap_or_else(|_| wrasse_types::JobId::new(params.id));
    let rows = core.store.firings(&id, Some(params.limit.unwrap_or(50))).await;
    let rows = rows.map_err(|error| fault::store(&error))?;
    if rows.is_empty() && core.cron.get(&id).is_none() {
        return Err(fault::not_found(format!("there is no job {id}"), "wrasse cron list"));
    }
    let runs: Vec<Value> = rows.iter().map(views::firing).collect();
    Ok(
        json!({ "schema": SCHEMA, "id": id.as_str(), "runs": runs, "at": UnixMillis::now().to_string() }),
    )
}

/// Switches a job on.
pub(super) async fn enable(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    switched(core, given, Switch::On).await
}

/// Switches a job off and ends its run.
pub(super) async fn disable(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    switched(core, given, Switch::Off).await
}

async fn switched(core: &Arc<Core>, given: Value, switch: Switch) -> Result<Value, RpcFault> {
    let params: OneJob = params::read(given)?;
    let id = manage::find(core, &params.id)?;
    let job = manage::switch(core, &id, switch).await?;
    Ok(views::job(&job))
}

fn ended_run(job: &Armed) -> Option<String> {
    job.row.running_run.as_ref().map(ToString::to_string)
}
