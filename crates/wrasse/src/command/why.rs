//! `wrasse why X`

use serde_json::json;

use crate::args::Common;
use crate::command::ask;
use crate::exit::CommandResult;
use crate::render;

pub(crate) async fn run(common: &Common, what: &str) -> CommandResult {
    ask(common, "why", json!({ "what": what }), render::why).await
}
