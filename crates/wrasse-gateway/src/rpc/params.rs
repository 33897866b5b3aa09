//! Reading parameters: a clear fault for whatever is missing, misspelt or of the wrong kind.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use wrasse_types::wire::RpcFault;
use wrasse_types::{AgentId, SessionKey};

use crate::core::Core;
use crate::fault;

/// Reads the parameters of a method; absent ones are as good as an empty object.
pub(super) fn read<T: DeserializeOwned>(params: Value) -> Result<T, RpcFault> {
    let params = if params.is_null() { Value::Object(serde_json::Map::new()) } else { params };
    serde_json::from_value(params)
        .map_err(|error| fault::invalid(format!("the parameters are wrong: {error}")))
}

/// No parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The parameters of methods on one session.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OneSession {
    /// Its key.
    #[serde(alias = "sessionKey")]
    pub(super) key: String,
}

/// Reads a session key as a person writes it.
pub(super) fn session_key(core: &Core, text: &str) -> Result<SessionKey, RpcFault> {
    SessionKey::parse(text, &core.config.agents.default)
        .map_err(|error| fault::invalid(error.to_string()))
}

/// Reads an agent id that must be configured.
pub(super) fn agent_id(core: &Core, text: &str) -> Result<AgentId, RpcFault> {
    let id = AgentId::parse(text).map_err(|error| fault::invalid(error.to_string()))?;
    core.agent(&id).map(|agent| agent.id.clone())
}
