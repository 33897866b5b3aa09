//! `wrasse gateway status|stop|restart|call` and `wrasse status`.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use wrasse_store::{Endpoint, StateDir};

use crate::args::{Common, GatewayCommand};
use crate::client::Client;
use crate::command::{ask, show, wait_gone};
use crate::exit::{CommandResult, Exit, ExpectedError, failed};
use crate::output;
use crate::place;
use crate::render;

/// How long a gateway may take to go, or to come back: its own deadline and room to spare.
const GO_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at what cannot be waited for.
const POLL: Duration = Duration::from_millis(50);

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
    let out_of_sight = !wait_over(common, &client.endpoint).await?;
    let pid = client.endpoint.pid;
    let answer = json!({ "schema": 1, "stopped": true, "pid": pid, "seen_empty": !out_of_sight });
    show(common, &answer, |_| {
        if out_of_sight {
            output::line(format_args!(
                "stopped: gateway {pid} of another PID namespace; its warden there ends last and with nothing below it"
            ));
        } else {
            output::line(format_args!("stopped: gateway {pid}, nothing is left"));
        }
    });
    Ok(ExitCode::SUCCESS)
}

/// Waits until a gateway is gone, and its warden where we can see it. Whether we could: what another PID namespace calls
/// a number is nobody's, or somebody else's, here.
async fn wait_over(common: &Common, endpoint: &Endpoint) -> Result<bool, ExpectedError> {
    if !endpoint.numbers_are_ours() {
        wait_unlocked(common, endpoint).await?;
        return Ok(false);
    }
    wait_gone(endpoint.pid, GO_LIMIT)?;
    if let Some(warden) = endpoint.warden_pid {
        wait_gone(warden, GO_LIMIT)?;
    }
    Ok(true)
}

/// Waits until the gateway of this endpoint holds the state dir no more: it lets go of it last, when it is gone.
async fn wait_unlocked(common: &Common, endpoint: &Endpoint) -> Result<(), ExpectedError> {
    let path = place::state_dir(common)?;
    let state = StateDir::open(&path).map_err(|error| failed(&error))?;
    let end = tokio::time::Instant::now() + GO_LIMIT;
    loop {
        let current = state.read_endpoint().map_err(|error| failed(&error))?;
        let replaced = current.is_some_and(|now| now.started_at != endpoint.started_at);
        if replaced || state.lock_holder().is_none() {
            return Ok(());
        }
        if tokio::time::Instant::now() >= end {
            let text = format!("the gateway still runs after {} s", GO_LIMIT.as_secs());
            return Err(ExpectedError::new(Exit::TimedOut, text)
                .help("wrasse ps   shows what it waits for"));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn restart(common: &Common) -> CommandResult {
    let client = Client::find(common)?;
    if client.endpoint.warden_pid.is_none() {
        return Err(ExpectedError::new(Exit::Failed, "this gateway has no warden to restart it"));
    }
    client.call("gateway.restart", json!({})).await?;
    let answer = wait_for_successor(common, &client.endpoint).await?;
    show(common, &answer, |answer| {
        output::line(format_args!("restarted: gateway {} under the same warden", answer["pid"]));
    });
    Ok(ExitCode::SUCCESS)
}

/// Waits for a gateway that began to serve later than this one did.
async fn wait_for_successor(common: &Common, old: &Endpoint) -> Result<Value, ExpectedError> {
    let end = tokio::time::Instant::now() + GO_LIMIT;
    loop {
        if let Ok(client) = Client::find(common)
            && client.endpoint.started_at != old.started_at
            && client.call("status", json!({})).await.is_ok()
        {
            return Ok(json!({ "schema": 1, "restarted": true, "pid": client.endpoint.pid }));
        }
        if tokio::time::Instant::now() >= end {
            return Err(ExpectedError::new(Exit::TimedOut, "the gateway has not come back")
                .help("the log of `gateway run` says why"));
        }
        tokio::time::sleep(POLL).await;
    }
}
