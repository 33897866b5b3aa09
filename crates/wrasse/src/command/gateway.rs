//! `wrasse gateway status|stop|restart|call` and `wrasse status`.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::args::{Common, GatewayCommand};
use crate::client::Client;
use crate::command::{ask, show, wait_gone};
use crate::exit::{CommandResult, Exit, ExpectedError};
use crate::output;
use crate::render;

/// How long a gateway may take to go, or to come back: its own deadline and room to spare.
const GO_LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn run(common: &Common, what: GatewayCommand) -> CommandResult {
    match what {
        GatewayCommand::Run { .. } => unreachable!("composed in `gateway`, not asked for"),
        GatewayCommand::Status => status(common).await,
        GatewayCommand::Stop => stop(common).await,
        GatewayCommand::Restart => restart(common).await,
        GatewayCommand::Call { method, params } => {
            let params = serde_json::from_str(&params).map_err(|error| {
                ExpectedError::new(Exit::Usage, format!("--params is not JSON: {error}"))
            })?;
            ask(common, &method, params, output::json).await
        }
    }
}

pub(crate) async fn status(common: &Common) -> CommandResult {
    ask(common, "status", json!({}), render::status).await
}

async fn stop(common: &Common) -> CommandResult {
    let client = Client::find(common)?;
    client.call("gateway.stop", json!({})).await?;
    let last = client.endpoint.warden_pid.unwrap_or(client.endpoint.pid);
    wait_gone(client.endpoint.pid, GO_LIMIT)?;
    wait_gone(last, GO_LIMIT)?;
    show(common, &json!({ "schema": 1, "stopped": true, "pid": client.endpoint.pid }), |_| {
        output::line(format_args!("stopped: gateway {}, nothing is left", client.endpoint.pid));
    });
    Ok(ExitCode::SUCCESS)
}

async fn restart(common: &Common) -> CommandResult {
    let client = Client::find(common)?;
    if client.endpoint.warden_pid.is_none() {
        return Err(ExpectedError::new(Exit::Failed, "this gateway has no warden to restart it"));
    }
    client.call("gateway.restart", json!({})).await?;
    wait_gone(client.endpoint.pid, GO_LIMIT)?;
    let answer = wait_for_successor(common, client.endpoint.pid).await?;
    show(common, &answer, |answer| {
        output::line(format_args!("restarted: gateway {} under the same warden", answer["pid"]));
    });
    Ok(ExitCode::SUCCESS)
}

async fn wait_for_successor(common: &Common, old: u32) -> Result<Value, ExpectedError> {
    let end = tokio::time::Instant::now() + GO_LIMIT;
    loop {
        if let Ok(client) = Client::find(common)
            && client.endpoint.pid != old
            && client.call("status", json!({})).await.is_ok()
        {
            return Ok(json!({ "schema": 1, "restarted": true, "pid": client.endpoint.pid }));
        }
        if tokio::time::Instant::now() >= end {
            return Err(ExpectedError::new(Exit::TimedOut, "the gateway has not come back")
                .help("the log of `gateway run` says why"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
