//! Methods on the gateway itself, its tool servers and its models.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wrasse_model::TurnFailure;
use wrasse_types::wire::{PsGateway, PsReport, RpcFault, SCHEMA};
use wrasse_types::{GoneReason, ServerName, UnixMillis};

use super::params::{self, Nothing};
use super::views;
use crate::core::Core;
use crate::fault;
use crate::gateway::ShutdownWhy;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OneServer {
    #[serde(alias = "server", alias = "target")]
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MaybeServer {
    #[serde(alias = "server", alias = "target")]
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Ps {
    /// Count shared pages once, too.
    #[serde(default)]
    pss: bool,
}

fn to_json<T: serde::Serialize>(value: T) -> Result<Value, RpcFault> {
    serde_json::to_value(value).map_err(|error| {
        fault::fault("internal", format!("the answer cannot be written: {error}"), None)
    })
}

fn configured(core: &Core, name: &str) -> Result<ServerName, RpcFault> {
    let servers = &core.config.mcp.servers;
    match servers.iter().find(|server| server.name.as_str() == name) {
        Some(server) => Ok(server.name.clone()),
        None => {
            let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Err(fault::not_found(
                format!("there is no server {name:?}; configured: {known}"),
                "wrasse mcp list",
            ))
        }
    }
}

/// How the tool servers are.
pub(super) async fn mcp_status(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let Nothing {} = params::read(given)?;
    let servers = Box::pin(core.servers.status()).await;
    Ok(json!({ "schema": SCHEMA, "servers": to_json(servers)? }))
}

/// One tool server and its tools.
pub(super) async fn mcp_show(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: OneServer = params::read(given)?;
    let name = configured(core, &params.name)?;
    let all = Box::pin(core.servers.status()).await;
    let status = all.into_iter().find(|server| server.name == name);
    let tools = Box::pin(core.servers.catalogue(Some(&name))).await;
    let config = core.config.mcp.servers.iter().find(|server| server.name == name);
    Ok(json!({
        "server": to_json(status)?,
        "tools": to_json(tools)?,
        "connectionTimeoutMs": config.map(|server| millis(server.connection_timeout)),
        "requestTimeoutMs": config.map(|server| millis(server.request_timeout)),
        "toolFilter": config.map(|server| json!({ "include": server.include, "exclude": server.exclude })),
        "stop": config.map(|server| json!({
            "eofMs": millis(server.lifecycle.stop_eof), "termMs": millis(server.lifecycle.stop_term),
        })),
    }))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The tools of the catalogue; starts nothing.
pub(super) async fn mcp_tools(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: MaybeServer = params::read(given)?;
    let name = params.name.as_deref().map(|name| configured(core, name)).transpose()?;
    let tools = Box::pin(core.servers.catalogue(name.as_ref())).await;
    Ok(json!({ "schema": SCHEMA, "tools": to_json(tools)? }))
}

/// Starts a tool server, asks what it offers, ends it.
pub(super) async fn mcp_probe(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: MaybeServer = params::read(given)?;
    if core.draining().is_some() {
        return Err(fault::draining());
    }
    let names: Vec<ServerName> = match params.name {
        Some(name) => vec![configured(core, &name)?],
        None => core.config.mcp.servers.iter().map(|server| server.name.clone()).collect(),
    };
    let token = core.scope.token();
    let probes = names.iter().map(|name| Box::pin(core.servers.probe(name, &token)));
    let mut servers = Vec::new();
    for (name, probed) in names.iter().zip(futures::future::join_all(probes).await) {
        servers.push(match probed {
            Ok(report) => {
                let (count, names) = (report.tools.len(), report.tools.clone());
                let mut shown = to_json(report)?;
                shown["name"] = json!(name.as_str());
                shown["ok"] = json!(true);
                shown["tools"] = json!(count);
                shown["toolNames"] = json!(names);
                shown
            }
            Err(fault) => json!({
                "name": name.as_str(), "ok": false, "message": fault.message, "help": fault.help,
            }),
        });
    }
    let ok = servers.iter().all(|server| server["ok"] == true);
    Ok(json!({ "schema": SCHEMA, "ok": ok, "servers": servers }))
}

/// Stops the instances of a tool server, or one instance.
pub(super) async fn mcp_stop(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: OneServer = params::read(given)?;
    let stop = Box::pin(core.servers.stop(&params.name, GoneReason::StoppedByOperator));
    let ended = stop.await.map_err(|error| fault::not_found(error.to_string(), "wrasse ps"))?;
    Ok(json!({ "target": params.name, "ended": views::ended(&ended) }))
}

/// Stops a tool server so that its next use starts it anew.
pub(super) async fn mcp_restart(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: OneServer = params::read(given)?;
    let restart = Box::pin(core.servers.restart(&params.name));
    let ended =
        restart.await.map_err(|error| fault::not_found(error.to_string(), "wrasse mcp list"))?;
    Ok(json!({ "target": params.name, "ended": views::ended(&ended) }))
}

/// Lists models.
pub(super) async fn models_list(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let Nothing {} = params::read(given)?;
    Ok(json!({ "schema": SCHEMA, "models": to_json(core.models.list())? }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OneModel {
    #[serde(alias = "reference")]
    model: String,
}

/// Asks a model for one word.
pub(super) async fn models_test(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: OneModel = params::read(given)?;
    let token: CancellationToken = core.scope.token();
    match Box::pin(core.models.test(&params.model, &token)).await {
        Ok(report) => Ok(json!({
            "ok": true, "model": report.model, "tookMs": millis(report.took), "text": report.text,
            "usage": to_json(report.usage)?,
        })),
        Err(TurnFailure::Cancelled) => Err(fault::draining()),
        Err(failure @ (TurnFailure::Single(_) | TurnFailure::Exhausted(_))) => {
            Ok(json!({ "ok": false, "model": params.model, "error": failure.to_string() }))
        }
    }
}

/// Every process of ours.
pub(super) async fn ps(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let Ps { pss } = params::read(given)?;
    let (mut instances, leftovers, ended) = Box::pin(core.servers.ps()).await;
    if pss {
        core.servers.add_proportional_memory(&mut instances).await;
    }
    let gateway = ps_gateway(core).await?;
    to_json(PsReport { schema: SCHEMA, gateway, instances, leftovers, ended })
}

async fn ps_gateway(core: &Core) -> Result<PsGateway, RpcFault> {
    let sessions = core.store.count_sessions().await.map_err(|error| fault::store(&error))?;
    let identity = &core.identity;
    Ok(PsGateway {
        pid: identity.pid,
        warden_pid: identity.warden_pid,
        version: identity.version.clone(),
        started_at: identity.started_at,
        memory_bytes: (identity.own_memory)(),
        containment: identity.containment.clone(),
        runs_active: u64::try_from(core.registry.len()).unwrap_or(u64::MAX),
        sessions,
    })
}

/// The gateway in short.
pub(super) async fn status(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let Nothing {} = params::read(given)?;
    let gateway = ps_gateway(core).await?;
    let runs: Vec<Value> = core
        .registry
        .all()
        .iter()
        .map(|run| {
            json!({
                "id": run.id.as_str(), "agentId": run.agent.as_str(), "sessionKey": run.key.as_str(),
                "cause": run.cause.text(), "state": views::phase_name(run.phase()),
                "startedAt": run.accepted_at.to_string(),
            })
        })
        .collect();
    let cron = super::cron::status(core, Value::Null).await?;
    let agents: Vec<&str> = core.config.agents.list.iter().map(|a| a.id.as_str()).collect();
    let readiness = core.readiness().await;
    Ok(json!({
        "schema": SCHEMA,
        "ready": readiness.ready,
        "failing": readiness.failing,
        "gateway": to_json(gateway)?,
        "uptimeMs": millis(UnixMillis::now().since(core.identity.started_at)),
        "agents": agents,
        "servers": core.config.mcp.servers.len(),
        "runs": runs,
        "cron": cron,
    }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReapParams {
    #[serde(default)]
    idle: bool,
}

/// Ends every instance that nobody holds.
pub(super) async fn reap(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let params: ReapParams = params::read(given)?;
    if !params.idle {
        return Err(fault::invalid("say what to end: {\"idle\": true}"));
    }
    let ended = Box::pin(core.servers.end_idle()).await;
    Ok(json!({ "ended": views::ended(&ended) }))
}

/// Shuts down in order.
pub(super) async fn gateway_stop(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let Nothing {} = params::read(given)?;
    Ok(ask(core, ShutdownWhy::Stop))
}

/// Shuts down in order and starts anew.
pub(super) async fn gateway_restart(core: &Arc<Core>, given: Value) -> Result<Value, RpcFault> {
    let Nothing {} = params::read(given)?;
    Ok(ask(core, ShutdownWhy::Restart))
}

fn ask(core: &Core, why: ShutdownWhy) -> Value {
    core.asked.send_if_modified(|asked| {
        let first = asked.is_none();
        asked.get_or_insert(why);
        first
    });
    json!({
        "accepted": true, "pid": core.identity.pid, "wardenPid": core.identity.warden_pid,
        "runs": core.registry.len(),
    })
}
