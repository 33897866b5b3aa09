//! `wrasse cron …`

use serde_json::{Value, json};

use crate::args::{Common, CronAdd, CronCommand};
use crate::command::{ask, text};
use crate::exit::CommandResult;
use crate::output::{confirm, line};
use crate::render;

pub(crate) async fn run(common: &Common, what: CronCommand) -> CommandResult {
    match what {
        CronCommand::Status => ask(common, "cron.status", json!({}), render::fields).await,
        CronCommand::List { .. } => ask(common, "cron.list", json!({}), render::jobs).await,
        CronCommand::Add(add) => {
            ask(common, "cron.add", definition(&add), |job| {
                line(format_args!("added job {} ({})", text(&job["id"]), text(&job["name"])));
            })
            .await
        }
        CronCommand::Rm { id } => {
            confirm(&format!("Remove job {id}?"), common.yes)?;
            ask(common, "cron.remove", json!({ "id": id }), |_| {
                line(format_args!("removed job {id}"));
            })
            .await
        }
        CronCommand::Enable { id } => {
            ask(common, "cron.enable", json!({ "id": id }), |_| line(format_args!("enabled {id}")))
                .await
        }
        CronCommand::Disable { id } => {
            ask(common, "cron.disable", json!({ "id": id }), |_| {
                line(format_args!("disabled {id}"));
            })
            .await
        }
        CronCommand::Run { id } => {
            ask(common, "cron.run", json!({ "id": id }), |answer| {
                if answer["ran"] == false {
                    line(format_args!("job {id} did not fire: {}", text(&answer["reason"])));
                } else {
                    line(format_args!("job {id} fired: run {}", text(&answer["runId"])));
                }
            })
            .await
        }
        CronCommand::Runs { id, id_flag, limit } => {
            let id = id.or(id_flag);
            ask(common, "cron.runs", json!({ "id": id, "limit": limit }), render::firings).await
        }
    }
}

/// The job as the configuration would spell it.
fn definition(add: &CronAdd) -> Value {
    let mut job = json!({ "name": add.name, "enabled": !add.disabled });
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            job[key] = value;
        }
    };
    put("every", add.every.as_ref().map(|v| json!(v)));
    put("cron", add.cron.as_ref().map(|v| json!(v)));
    put("at", add.at.as_ref().map(|v| json!(v)));
    put("tz", add.tz.as_ref().map(|v| json!(v)));
    put("staggerMs", add.exact.then(|| json!(0)));
    put("session", add.session.as_ref().map(|v| json!(v)));
    put("message", add.message.as_ref().map(|v| json!(v)));
    put("systemEvent", add.system_event.as_ref().map(|v| json!(v)));
    put("agent", add.agent.as_ref().map(|v| json!(v)));
    put("model", add.model.as_ref().map(|v| json!(v)));
    put("timeoutSeconds", add.timeout_seconds.map(|v| json!(v)));
    put("deleteAfterRun", add.delete_after_run.then(|| json!(true)));
    job
}
