//! `models`, and references to models.

use std::collections::BTreeMap;

use super::cursor::{At, Context};
use super::{agents, providers, secret};
use crate::text::Value;
use crate::{
    Agents, Compat, Config, JobPayload, Models, Provider, ProviderApi, ProviderModel, Secret,
};

/// `agents.defaults.models.*.alias`: alias → reference.
pub(super) fn aliases(root: &At<'_>) -> BTreeMap<String, String> {
    let models = root.follow(&["agents", "defaults", "models"]).map(|at| at.members());
    let mut aliases = BTreeMap::new();
    for (reference, at) in models.unwrap_or_default() {
        if !matches!(at.node.value, Value::Object(_)) {
            continue;
        }
        if let Some(alias) = at.get("alias").and_then(|alias| alias.text()) {
            aliases.insert(alias, reference.to_owned());
        }
    }
    aliases
}

/// A model as text, or as `{ primary, fallbacks }`; aliases are written out.
pub(super) fn references(at: &At<'_>, aliases: &BTreeMap<String, String>) -> Vec<String> {
    let mut names = Vec::new();
    if matches!(at.node.value, Value::Object(_)) {
        names.extend(at.get("primary").and_then(|primary| primary.text()));
        names.extend(at.get("fallbacks").map(|fallbacks| fallbacks.texts()).unwrap_or_default());
    } else {
        names.extend(at.text());
    }
    let mut seen = Vec::new();
    for name in names {
        let name = aliases.get(&name).cloned().unwrap_or(name);
        if !name.is_empty() && !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

/// Reads every provider that is configured, and adds the built-in ones that are referred to or have a key.
pub(super) fn read(cx: &Context<'_>, root: &At<'_>, agents: &Agents) -> Models {
    let written = root.follow(&["models", "providers"]).map(|at| at.members());
    let mut list: Vec<Provider> = written
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(id, at)| provider(cx, id, &at))
        .collect();
    let references =
        || agents.list.iter().flat_map(|agent| agent.models.iter().chain(&agent.subagents.models));
    for built_in in providers::BUILT_IN {
        let known = list.iter().any(|provider| provider.id == built_in.id);
        let named = references()
            .any(|name| name.split_once('/').is_some_and(|(provider, _)| provider == built_in.id));
        let keyed = built_in.variables.iter().any(|name| cx.env.get(name).is_some());
        if !known && (named || keyed) {
            list.push(from_built_in(cx, built_in));
        }
    }
    Models { providers: list, aliases: aliases(root) }
}

fn from_built_in(cx: &Context<'_>, built_in: &providers::BuiltIn) -> Provider {
    let api = match built_in.api {
        providers::Dialect::Completions { base_url } => ProviderApi::OpenAiCompletions {
            base_url: base_url.to_owned(),
            api_key: usual_key(cx, built_in.id),
        },
        providers::Dialect::Other(api) => ProviderApi::Unsupported { api: api.to_owned() },
    };
    Provider {
        id: built_in.id.to_owned(),
        timeout: self_hosted_timeout(cx, &api),
        api,
        headers: BTreeMap::new(),
        models: Vec::new(),
    }
}

fn provider(cx: &Context<'_>, id: &str, at: &At<'_>) -> Option<Provider> {
    if !matches!(at.node.value, Value::Object(_)) {
        at.fault(format!("expected an object, found {}", at.node.kind()), None);
        return None;
    }
    let api = api(cx, id, at)?;
    let written = at.get("timeoutSeconds").and_then(|timeout| timeout.limit_seconds());
    let timeout = written.unwrap_or_else(|| self_hosted_timeout(cx, &api));
    let headers = at.get("headers").map(|headers| headers.members()).unwrap_or_default();
    Some(Provider {
        id: id.to_owned(),
        timeout,
        headers: headers
            .iter()
            .filter_map(|(name, value)| Some(((*name).to_owned(), secret::read(value)?)))
            .collect(),
        models: at.get("models").map(|models| known_models(&models)).unwrap_or_default(),
        api,
    })
}

/// The `models` of a provider: a list of objects; a text by itself is an id.
fn known_models(at: &At<'_>) -> Vec<ProviderModel> {
    let count = |at: Option<At<'_>>| {
        at.and_then(|at| at.int(0..=i64::MAX)).and_then(|number| u64::try_from(number).ok())
    };
    let mut models = Vec::new();
    for item in at.items() {
        let id = match &item.node.value {
            Value::Text(id) => Some(id.clone()),
            Value::Object(_) => {
                item.get("id").or_else(|| item.get("name")).and_then(|id| id.text())
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Array(_) => {
                None
            }
        };
        match id {
            None => item.fault("this model has no id", Some("add id: \"<model>\"")),
            Some(id) => models.push(ProviderModel {
                id,
                max_tokens: count(item.get("maxTokens")),
                context_window: count(item.get("contextWindow")),
            }),
        }
    }
    models
}

fn api(cx: &Context<'_>, id: &str, at: &At<'_>) -> Option<ProviderApi> {
    let built_in = providers::BUILT_IN.iter().find(|built_in| built_in.id == id);
    let base_url = at.get("baseUrl").and_then(|url| url.text()).filter(|url| !url.is_empty());
    let named = match at.get("api") {
        Some(api) => Some(api.text()?),
        None => first_model_api(at),
    };
    let name = match (named, built_in.map(|built_in| built_in.api), &base_url) {
        (Some(name), _, _) => name,
        (None, Some(providers::Dialect::Other(api)), _) => api.to_owned(),
        (None, Some(providers::Dialect::Completions { .. }) | None, _) => {
            "openai-completions".to_owned()
        }
    };
    match name.as_str() {
        "scripted" => scripted(cx, at),
        "openai-completions" | "ollama" => {
            let url = match (base_url, built_in.map(|built_in| built_in.api)) {
                (Some(url), _) => url,
                (None, Some(providers::Dialect::Completions { base_url })) => base_url.to_owned(),
                (None, Some(providers::Dialect::Other(_)) | None) => {
                    at.fault(
                        format!("the provider {id:?} has no baseUrl"),
                        Some("add baseUrl: \"https://…/v1\""),
                    );
                    return None;
                }
            };
            let url = checked_url(at, &url, &name)?;
            let key = match at.get("apiKey") {
                Some(key) => secret::read(&key),
                None => usual_key(cx, id),
            };
            Some(ProviderApi::OpenAiCompletions { base_url: url, api_key: key })
        }
        other => Some(ProviderApi::Unsupported { api: other.to_owned() }),
    }
}

/// Some files name the dialect with each model only.
fn first_model_api(at: &At<'_>) -> Option<String> {
    let Value::Array(models) = &at.node.get("models")?.value else { return None };
    models.iter().find_map(|model| model.get("api")?.text().map(str::to_owned))
}

fn scripted(cx: &Context<'_>, at: &At<'_>) -> Option<ProviderApi> {
    match at.get("script") {
        Some(script) => {
            let path = script.file_path()?;
            // It is read at each run: it may well come later.
            if let Err(error) = cx.files.read(&path) {
                script.warn(&format!("{} cannot be read: {error}", path.display()));
            }
            Some(ProviderApi::Scripted { script: path })
        }
        None => {
            at.fault("a scripted provider has no script", Some("add script: \"<file>\""));
            None
        }
    }
}

fn checked_url(at: &At<'_>, url: &str, api: &str) -> Option<String> {
    let at = at.get("baseUrl").unwrap_or_else(|| at.clone());
    let url = url.trim().trim_end_matches('/');
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    if at.is_unset() {
        // Said already, and only a run that needs this provider minds.
        return Some(url.to_owned());
    }
    if rest.is_none_or(|rest| rest.is_empty() || rest.contains(char::is_whitespace)) {
        at.fault(
            format!("{url:?} is not a web address"),
            Some("write http://host:port/v1 or https://host/v1"),
        );
        return None;
    }
    // Ollama speaks completions below /v1, whatever its own dialect is.
    let missing = api == "ollama" && !url.ends_with("/v1");
    Some(if missing { format!("{url}/v1") } else { url.to_owned() })
}

/// The key in the provider's usual variable.
fn usual_key(cx: &Context<'_>, id: &str) -> Option<Secret> {
    let built_in = providers::BUILT_IN.iter().find(|built_in| built_in.id == id);
    let own = format!("{}_API_KEY", id.to_ascii_uppercase().replace(['-', '.', ' '], "_"));
    let names = built_in.map(|built_in| built_in.variables).unwrap_or_default();
    names.iter().copied().chain([own.as_str()]).find_map(|name| cx.env.get(name)).map(Secret::new)
}

/// 2026.9 gives a model on this machine or network more time to answer.
fn self_hosted_timeout(cx: &Context<'_>, api: &ProviderApi) -> Option<std::time::Duration> {
    let ProviderApi::OpenAiCompletions { base_url, .. } = api else { return None };
    match cx.compat {
        Compat::V2026_4 => None,
        Compat::V2026_9 => is_private(base_url).then_some(agents::SELF_HOSTED_IDLE),
    }
}

fn is_private(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or(host);
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    if let Ok(address) = name.parse::<std::net::IpAddr>() {
        return match address {
            std::net::IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
            std::net::IpAddr::V6(v6) => v6.is_loopback(),
        };
    }
    name == "localhost"
        || !name.contains('.')
        || name.ends_with(".local")
        || name.ends_with(".internal")
}

/// Why a model that is referred to cannot answer.
fn unusable(reference: &str, config: &Config) -> Option<String> {
    let Some((id, _)) = reference.split_once('/') else {
        return Some("which is neither provider/model nor an alias".to_owned());
    };
    let provider = config.models.providers.iter().find(|provider| provider.id == id);
    match provider.map(|provider| &provider.api) {
        None => Some(format!("but there is no provider {id:?} in models.providers")),
        Some(ProviderApi::Unsupported { api }) => Some(format!(
            "but the provider {id:?} speaks {api:?}, which is not implemented; \"openai-completions\" and \
             \"scripted\" are"
        )),
        Some(ProviderApi::OpenAiCompletions { .. } | ProviderApi::Scripted { .. }) => None,
    }
}

/// Says which references lead to no provider that can answer. A warning: only a run that needs the model minds.
pub(super) fn check_references(cx: &Context<'_>, root: &At<'_>, config: &Config) {
    let warn = |reference: &str, whose: &str| {
        if let Some(why) = unusable(reference, config) {
            let message = format!("{whose} names the model {reference:?}, {why}");
            cx.notes.warn(cx.sources, crate::text::Place::NONE, "", &message);
        }
    };
    for agent in &config.agents.list {
        for reference in agent.models.iter().chain(&agent.subagents.models) {
            warn(reference, &format!("agent {:?}", agent.id.as_str()));
        }
    }
    for job in &config.cron.jobs {
        if let JobPayload::AgentTurn { model: Some(model), .. } = &job.payload {
            let model = config.models.aliases.get(model).unwrap_or(model);
            warn(model, &format!("job {:?}", job.name));
        }
    }
    if root.get("agents").is_some()
        && config.agents.list.iter().all(|agent| agent.models.is_empty())
    {
        let message = "no agent has a model; set agents.defaults.model: \"<provider>/<model>\"";
        cx.notes.warn(cx.sources, crate::text::Place::NONE, "", message);
    }
}
