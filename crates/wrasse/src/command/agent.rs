//! `wrasse agent`: one turn, the final text on stdout.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::args::{AgentArgs, Common};
use crate::client::Client;
use crate::exit::{CommandResult, Exit, ExpectedError};
use crate::gateway;
use crate::output;

pub(crate) async fn run(common: &Common, args: &AgentArgs) -> CommandResult {
    let client = Client::find(common)?;
    let accepted = client.call("agent", params(args)).await?;
    let Some(run) = accepted["runId"].as_str() else {
        return Err(ExpectedError::new(Exit::Internal, format!("no run id in {accepted}")));
    };
    let wait = client.call_within(
        "agent.wait",
        json!({ "runId": run, "timeoutMs": args.timeout.saturating_mul(1000) }),
        patience(args.timeout) + Duration::from_secs(30),
    );
    tokio::select! {
        answer = wait => finish(common, &client, run, &answer?).await,
        asked = gateway::interrupted() => {
            asked?;
            cancel(&client, run, "client_interrupted").await;
            Err(ExpectedError::new(Exit::Interrupted, format!("interrupted; run {run} was cancelled")))
        }
    }
}

/// How long to wait for a run; 0 is no limit, as everywhere in Wrasse, and a day is the longest the gateway waits.
pub(crate) fn patience(seconds: u64) -> Duration {
    const DAY: Duration = Duration::from_secs(86_400);
    if seconds == 0 { DAY } else { Duration::from_secs(seconds).min(DAY) }
}

/// The parameters of the `agent` method for these arguments.
pub(crate) fn params(args: &AgentArgs) -> Value {
    let mut params = json!({ "message": args.message });
    let fields = [
        ("agentId", &args.agent),
        ("sessionKey", &args.session_key),
        ("sessionId", &args.session_id),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            params[name] = json!(value);
        }
    }
    params
}

async fn cancel(client: &Client, run: &str, reason: &str) {
    let asked = client.call("runs.cancel", json!({ "runId": run, "reason": reason })).await;
    if let Err(error) = asked {
        error.print();
    }
}

async fn finish(common: &Common, client: &Client, run: &str, answer: &Value) -> CommandResult {
    if answer["status"] == "timeout" {
        cancel(client, run, "client_timeout").await;
    }
    outcome(common, run, answer)
}

/// Prints what a run came to.
pub(crate) fn outcome(common: &Common, run: &str, answer: &Value) -> CommandResult {
    if common.json {
        output::json(answer);
    } else if let Some(text) = answer["text"].as_str().filter(|text| !text.is_empty()) {
        output::line(text);
    }
    match answer["status"].as_str() {
        Some("ok") => Ok(ExitCode::SUCCESS),
        Some("timeout") => Err(ExpectedError::new(
            Exit::TimedOut,
            format!("run {run} did not end in time and was cancelled"),
        )
        .help(format!("wrasse runs show {run}"))
        .help("--timeout SECONDS waits longer")),
        _ => {
            let why =
                answer["error"].as_str().or(answer["endReason"].as_str()).unwrap_or("no reason");
            Err(ExpectedError::new(Exit::Failed, format!("run {run} failed: {why}"))
                .help(format!("wrasse runs show {run}")))
        }
    }
}
