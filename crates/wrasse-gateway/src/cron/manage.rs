//! Jobs as operators change them, and as the config has them at start.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;
use wrasse_config::{Job, JobDefaults, job_from_json};
use wrasse_scope::clock;
use wrasse_store::{JobRow, StoreError};
use wrasse_types::wire::RpcFault;
use wrasse_types::{EndReason, JobId, UnixMillis};

use super::armed::Armed;
use super::results::{self, After, REMOVAL_WAIT, REMOVED};
use crate::core::Core;
use crate::fault;
use crate::run::state::job_verdict;

/// Jobs of the config.
const ORIGIN_CONFIG: &str = "config";
/// Jobs of the command line.
const ORIGIN_CLI: &str = "cli";

/// Brings the store in line with the config, then arms every job.
pub(crate) async fn load(core: &Arc<Core>) -> Result<(), StoreError> {
    let now = UnixMillis::now();
    let mut known = BTreeSet::new();
    for job in &core.config.cron.jobs {
        known.insert(job.id.clone());
        let existing = core.store.job(&job.id).await?;
        let mut row = row_of(core, job, ORIGIN_CONFIG, now);
        row.enabled = enabled_of(core, job, existing.as_ref()).await?;
        if let Some(existing) = existing {
            row.created_at = existing.created_at;
        }
        core.store.upsert_job(&row).await?;
    }
    for row in core.store.jobs().await? {
        if row.origin == ORIGIN_CONFIG && !known.contains(&row.id) {
            core.store.delete_job(&row.id).await?;
            continue;
        }
        let mut job = Armed::new(row);
        let was_enabled = job.row.enabled;
        match cut_off(core, &mut job, now).await? {
            After::GoesOn => {}
            After::Removed => {
                core.store.delete_job(&job.row.id).await?;
                continue;
            }
        }
        job.row.next_due_at = job.due_at_start(now);
        if let Err(error) = &job.meaning {
            tracing::error!(job = %job.row.id, name = %job.row.name, "the job cannot fire: {error}");
        }
        core.store.save_job_state(&job.row.id, &job.row.state()).await?;
        if job.row.enabled != was_enabled {
            core.store.set_job_enabled(&job.row.id, job.row.enabled).await?;
        }
        core.cron.put(job);
    }
    Ok(())
}

/// Settles a job whose run the last gateway did not settle: it died, or had no time left.
async fn cut_off(core: &Core, job: &mut Armed, now: UnixMillis) -> Result<After, StoreError> {
    let Some(run) = job.row.running_run.clone() else { return Ok(After::GoesOn) };
    // Its end may have been recorded all the same. Without a record it had not begun.
    let row = core.store.run(&run).await?;
    let end = row.and_then(|row| row.end).unwrap_or(EndReason::GatewayLost);
    let (after, _) = results::settle(job, job_verdict(end), Some(end.text()), now);
    tracing::info!(job = %job.row.id, %run, end = end.text(), "a firing of the last gateway is settled");
    Ok(after)
}

/// A job of the config that an operator switched off stays off until the config says something new about it.
async fn enabled_of(core: &Core, job: &Job, existing: Option<&JobRow>) -> Result<bool, StoreError> {
    let name = format!("cron.config_enabled.{}", job.id);
    let said = job.enabled.to_string();
    let unchanged = core.store.get_meta(&name).await?.as_ref() == Some(&said);
    if !unchanged {
        core.store.set_meta(&name, &said).await?;
    }
    Ok(match existing {
        Some(row) if unchanged => row.enabled,
        Some(_) | None => job.enabled,
    })
}

fn row_of(core: &Core, job: &Job, origin: &str, now: UnixMillis) -> JobRow {
    let as_json = |value: Result<Value, serde_json::Error>| value.unwrap_or_default();
    let target = as_json(serde_json::to_value(job.target));
    JobRow {
        id: job.id.clone(),
        name: job.name.clone(),
        enabled: job.enabled,
        agent: job.agent.clone().unwrap_or_else(|| core.config.agents.default.clone()),
        schedule: as_json(serde_json::to_value(&job.schedule)),
        target: target.as_str().unwrap_or_default().to_owned(),
        payload: as_json(serde_json::to_value(&job.payload)),
        delivery: job.delivery.clone(),
        timeout_ms: job.timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX)),
        delete_after_run: job.delete_after_run,
        origin: origin.to_owned(),
        created_at: now,
        updated_at: now,
        next_due_at: None,
        running_run: None,
        last_run_at: None,
        last_status: None,
        last_error: None,
        consecutive_errors: 0,
    }
}

/// Adds a job as a person spelt it.
pub(crate) async fn add(core: &Arc<Core>, spelt: &Value) -> Result<Armed, RpcFault> {
    let now = UnixMillis::now();
    let id = JobId::new(Uuid::new_v4().to_string());
    let defaults = JobDefaults { id: Some(id), now: Some(now) };
    let job =
        job_from_json(spelt, &defaults).map_err(|faults| fault::invalid(faults.to_string()))?;
    if core.cron.get(&job.id).is_some() {
        return Err(fault::fault(
            "invalid",
            format!("there is a job with the id {} already", job.id),
            Some(&format!("wrasse cron edit {}", job.id)),
        ));
    }
    let row = row_of(core, &job, ORIGIN_CLI, now);
    refuse_past(&row, now)?;
    put(core, row).await
}

/// A time that has passed is a mistake in a definition that a person writes now. In one that is stored already it is a
/// firing to catch up with.
fn refuse_past(row: &JobRow, now: UnixMillis) -> Result<(), RpcFault> {
    let job = Armed::new(row.clone());
    if !job.is_once() || job.next_after(now).is_some() {
        return Ok(());
    }
    let at = row.schedule["at"].as_str().unwrap_or_default();
    Err(fault::fault(
        "invalid",
        format!("the time {at:?} has passed: it is {now} now, and a job cannot fire in the past"),
        Some(
            "wrasse cron add --at 20m   or a time with its offset, as in 2031-01-31T07:00:00+01:00",
        ),
    ))
}

/// Changes the definition of a job; what the patch leaves out stays.
pub(crate) async fn edit(core: &Arc<Core>, id: &JobId, patch: &Value) -> Result<Armed, RpcFault> {
    let existing = existing(core, id)?;
    let now = UnixMillis::now();
    let mut spelt = spelling(&existing.row);
    merge(&mut spelt, patch);
    let defaults = JobDefaults { id: Some(id.clone()), now: Some(now) };
    let job =
        job_from_json(&spelt, &defaults).map_err(|faults| fault::invalid(faults.to_string()))?;
    let state = existing.row.state();
    let mut row = row_of(core, &job, &existing.row.origin, now);
    row.id = id.clone();
    if row.schedule != existing.row.schedule {
        refuse_past(&row, now)?;
    }
    row.created_at = existing.row.created_at;
    row.running_run = state.running_run;
    row.last_run_at = state.last_run_at;
    row.last_status = state.last_status;
    row.last_error = state.last_error;
    row.consecutive_errors = state.consecutive_errors;
    let enabled = row.enabled;
    let job = put(core, row).await?;
    if !enabled {
        end_run_of(core, &job).await;
    }
    Ok(job)
}

async fn put(core: &Arc<Core>, row: JobRow) -> Result<Armed, RpcFault> {
    core.agent(&row.agent)?;
    let mut job = Armed::new(row);
    if let Err(error) = &job.meaning {
        return Err(fault::invalid(error.clone()));
    }
    let now = UnixMillis::now();
    // A time that was moved is a new firing, also of a job that has fired.
    job.row.next_due_at =
        job.next_after(now).or_else(|| job.is_once().then(|| job.due_at_start(now)).flatten());
    core.store.upsert_job(&job.row).await.map_err(|error| fault::store(&error))?;
    let saved = core.store.save_job_state(&job.row.id, &job.row.state()).await;
    saved.map_err(|error| fault::store(&error))?;
    core.cron.put(job.clone());
    Ok(job)
}

/// Removes a job; a run of it that goes on ends.
pub(crate) async fn remove(core: &Arc<Core>, id: &JobId) -> Result<Armed, RpcFault> {
    existing(core, id)?;
    core.store.delete_job(id).await.map_err(|error| fault::store(&error))?;
    // Whoever fires it this instant looks again once the run can be found.
    let job = core.cron.remove(id).ok_or_else(|| no_job(id))?;
    end_run_of(core, &job).await;
    Ok(job)
}

/// Whether a job fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    /// It does.
    On,
    /// It does not, and a run of it that goes on ends.
    Off,
}

/// Switches a job on or off.
pub(crate) async fn switch(
    core: &Arc<Core>,
    id: &JobId,
    switch: Switch,
) -> Result<Armed, RpcFault> {
    existing(core, id)?;
    let enabled = match switch {
        Switch::On => true,
        Switch::Off => false,
    };
    let stored = core.store.set_job_enabled(id, enabled).await;
    stored.map_err(|error| fault::store(&error))?;
    let now = UnixMillis::now();
    core.cron.change(id, |job| {
        job.row.enabled = enabled;
        if enabled {
            job.row.consecutive_errors = 0;
            // What a job that fires once still has to catch up with stays.
            let kept = job.row.next_due_at.filter(|_| job.is_once());
            job.row.next_due_at = job.next_after(now).or(kept);
        }
    });
    results::save(core, id).await;
    if !enabled {
        end_run_of(core, &existing(core, id)?).await;
    }
    existing(core, id)
}

async fn end_run_of(core: &Core, job: &Armed) {
    let Some(run) = job.row.running_run.as_ref().and_then(|id| core.registry.get(id)) else {
        return;
    };
    run.request_end(REMOVED);
    if clock::timeout(REMOVAL_WAIT, run.over()).await.is_err() {
        tracing::warn!(run = %run.id, "the run of the removed job is still ending");
    }
}

/// Finds a job by its id or its name.
pub(crate) fn find(core: &Core, text: &str) -> Result<JobId, RpcFault> {
    let jobs = core.cron.all();
    if let Some(job) = jobs.iter().find(|job| job.row.id.as_str() == text) {
        return Ok(job.row.id.clone());
    }
    let named: Vec<&Armed> = jobs.iter().filter(|job| job.row.name == text).collect();
    match named.as_slice() {
        [job] => Ok(job.row.id.clone()),
        [] => Err(fault::not_found(format!("there is no job {text:?}"), "wrasse cron list")),
        several => Err(fault::fault(
            "invalid",
            format!("{} jobs are called {text:?}: name one by its id", several.len()),
            Some("wrasse cron list"),
        )),
    }
}

fn existing(core: &Core, id: &JobId) -> Result<Armed, RpcFault> {
    core.cron.get(id).ok_or_else(|| no_job(id))
}

fn no_job(id: &JobId) -> RpcFault {
    fault::not_found(format!("there is no job {:?}", id.as_str()), "wrasse cron list")
}

/// A job as a person would spell it.
fn spelling(row: &JobRow) -> Value {
    let mut spelt = json!({
        "id": row.id.as_str(),
        "name": row.name,
        "enabled": row.enabled,
        "agentId": row.agent.as_str(),
        "schedule": row.schedule,
        "sessionTarget": row.target,
        "payload": row.payload,
        "delivery": { "mode": row.delivery },
        "deleteAfterRun": row.delete_after_run,
    });
    if let Some(ms) = row.timeout_ms {
        spelt["payload"]["timeoutSeconds"] = json!(ms.div_ceil(1000));
    }
    spelt
}

/// Lays a patch over a value; a schedule or payload of another kind replaces the old one whole.
fn merge(onto: &mut Value, patch: &Value) {
    let (Value::Object(target), Value::Object(changes)) = (&mut *onto, patch) else {
        *onto = patch.clone();
        return;
    };
    let other_kind =
        |old: &Value, new: &Value| new.get("kind").is_some() && new["kind"] != old["kind"];
    for (name, change) in changes {
        match target.get_mut(name) {
            Some(old) if old.is_object() && change.is_object() && !other_kind(old, change) => {
                merge(old, change);
            }
            Some(old) => *old = change.clone(),
            None => {
                target.insert(name.clone(), change.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_changes_only_what_it_names() {
        let mut job = json!({
            "name": "a", "schedule": { "kind": "cron", "expr": "* * * * *", "tz": "UTC" },
            "payload": { "kind": "agentTurn", "message": "x", "model": "m" },
        });
        merge(
            &mut job,
            &json!({ "payload": { "message": "y" }, "schedule": { "kind": "every", "everyMs": 5 } }),
        );
        assert_eq!(job["payload"], json!({ "kind": "agentTurn", "message": "y", "model": "m" }));
        assert_eq!(job["schedule"], json!({ "kind": "every", "everyMs": 5 }));
        assert_eq!(job["name"], "a");
    }
}
