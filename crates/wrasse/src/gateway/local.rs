//! `wrasse agent --local`: the gateway's parts without its door, for one run.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use wrasse_contain::warden::{self, WardenLink};
use wrasse_gateway::{Gateway, ShutdownWhy};

use crate::args::{AgentArgs, Common};
use crate::client;
use crate::command::agent;
use crate::exit::{CommandResult, Exit, ExpectedError};
use crate::gateway::compose::{RunLines, compose};
use crate::gateway::serve::{Left, close};
use crate::gateway::signals::Signals;
use crate::logging;

/// The launched process becomes the warden, as for the gateway; the one below it runs and leaves.
pub(crate) fn local(common: &Common, args: &AgentArgs) -> CommandResult {
    let Some(link) = warden::link() else {
        return Err(super::become_warden(common));
    };
    logging::start(common.verbose);
    super::runtime()?.block_on(run(common, args, &link))
}

/// How the one run came to its end.
enum Outcome {
    Answered(Result<Value, ExpectedError>),
    Interrupted,
    WardenLost,
}

async fn run(common: &Common, args: &AgentArgs, link: &WardenLink) -> CommandResult {
    let mut signals = Signals::listen()?;
    let composed = compose(common, "agent --local", link, RunLines::Stderr).await?;
    let gateway = composed.gateway.clone();
    let mut params = agent::params(args);
    // There is no later turn here: what the children come to belongs into this one.
    params["children"] = json!("wait");
    let accepted = gateway.rpc("agent", params).await;
    let run = match &accepted {
        Ok(accepted) => accepted["runId"].as_str().unwrap_or_default().to_owned(),
        Err(fault) => {
            close(&composed, ShutdownWhy::LocalEnded, &mut signals, link).await;
            return Err(client::expected(fault.clone()));
        }
    };
    let waited = tokio::select! {
        answer = wait(&gateway, &run, args.timeout) => Outcome::Answered(answer),
        _ = signals.next() => Outcome::Interrupted,
        () = link.lost() => Outcome::WardenLost,
    };
    let (result, why) = match waited {
        Outcome::Answered(Err(error)) => (Err(error), ShutdownWhy::LocalEnded),
        Outcome::Answered(Ok(answer)) => {
            if answer["status"] == "timeout" {
                cancel(&gateway, &run, "client_timeout").await;
            }
            (agent::outcome(common, &run, &answer), ShutdownWhy::LocalEnded)
        }
        Outcome::Interrupted => {
            cancel(&gateway, &run, "client_interrupted").await;
            let error = ExpectedError::new(
                Exit::Interrupted,
                format!("interrupted; run {run} was cancelled"),
            );
            (Err(error), ShutdownWhy::LocalEnded)
        }
        Outcome::WardenLost => {
            (Err(ExpectedError::new(Exit::Internal, "the warden died")), ShutdownWhy::WardenLost)
        }
    };
    match close(&composed, why, &mut signals, link).await {
        Left::Orderly | Left::Hurried => result,
        Left::WardenLost => Ok(ExitCode::from(Exit::Internal as u8)),
    }
}

async fn wait(gateway: &Gateway, run: &str, seconds: u64) -> Result<Value, ExpectedError> {
    let params = json!({ "runId": run, "timeoutMs": seconds.saturating_mul(1000) });
    let limit = agent::patience(seconds) + Duration::from_secs(5);
    match tokio::time::timeout(limit, gateway.rpc("agent.wait", params)).await {
        Ok(answer) => answer.map_err(client::expected),
        Err(_) => Ok(json!({ "status": "timeout" })),
    }
}

async fn cancel(gateway: &Gateway, run: &str, reason: &str) {
    let params = json!({ "runId": run, "reason": reason });
    if let Err(fault) = gateway.rpc("runs.cancel", params).await {
        tracing::warn!("cannot cancel {run}: {}", fault.message);
    }
}
