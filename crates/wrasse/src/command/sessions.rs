//! `wrasse sessions …`

use serde_json::json;

use crate::args::{Common, SessionsCommand};
use crate::command::ask;
use crate::exit::CommandResult;
use crate::output::{confirm, line};
use crate::render;

pub(crate) async fn run(common: &Common, what: SessionsCommand) -> CommandResult {
    match what {
        SessionsCommand::List { agent, limit } => {
            let params = json!({ "agentId": agent, "limit": limit });
            ask(common, "sessions.list", params, render::sessions).await
        }
        SessionsCommand::Show { key } => {
            ask(common, "sessions.show", json!({ "key": key }), render::fields).await
        }
        SessionsCommand::History { key, limit } => {
            let params = json!({ "key": key, "limit": limit });
            ask(common, "sessions.history", params, render::history).await
        }
        SessionsCommand::Reset { key } => {
            confirm(&format!("Begin session {key} anew?"), common.yes)?;
            ask(common, "sessions.reset", json!({ "key": key }), |_| {
                line(format_args!("session {key} begins anew; its servers have ended"));
            })
            .await
        }
        SessionsCommand::Delete { key } => {
            confirm(&format!("Delete session {key} and its transcript?"), common.yes)?;
            ask(common, "sessions.delete", json!({ "key": key }), |_| {
                line(format_args!("session {key} is deleted; its servers have ended"));
            })
            .await
        }
        SessionsCommand::Stop { key } => {
            ask(common, "sessions.stop", json!({ "key": key }), |_| {
                line(format_args!("the runs of session {key} have ended"));
            })
            .await
        }
    }
}
