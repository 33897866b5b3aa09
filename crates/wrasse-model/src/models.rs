//! The chain: which models are tried, how often, and what is said when none answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wrasse_config::{Provider, ProviderApi};
use wrasse_scope::clock::{self, BootInstant};
use wrasse_types::{AgentId, SessionKey};

use crate::error::{ModelError, ModelFault, TurnFailure};
use crate::message::{Message, TurnReply, TurnRequest, Usage};
use crate::openai::OpenAi;
use crate::reference::{self, Reference};
use crate::scripted::Scripted;

/// Waited before the one retry, where the endpoint asks for nothing else.
const BACK_OFF: Duration = Duration::from_millis(500);
/// The longest wait that an endpoint may ask for; beyond it the next model is tried at once.
const BACK_OFF_MAX: Duration = Duration::from_secs(20);
/// The longest silence in a test of a model.
const TEST_IDLE: Duration = Duration::from_secs(60);

/// Every configured model. A cheap handle.
#[derive(Clone)]
pub struct Models {
    inner: Arc<Inner>,
}

struct Inner {
    config: wrasse_config::Models,
    /// INVARIANT: one for each of `config.providers`, in its order.
    backends: Vec<Backend>,
}

enum Backend {
    OpenAi(OpenAi),
    Scripted(Scripted),
    Unsupported(String),
}

/// One model for `models list`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelView {
    /// `provider/model`; `provider/*` for a provider that lists no models.
    pub reference: String,
    /// The provider.
    pub provider: String,
    /// What it speaks.
    pub api: String,
    /// Its URL or script.
    pub endpoint: String,
    /// The aliases of the model.
    pub aliases: Vec<String>,
    /// Whether a key is configured.
    pub has_key: bool,
    /// The longest conversation, in tokens.
    pub context_window: Option<u64>,
    /// The longest answer, in tokens.
    pub max_tokens: Option<u64>,
}

/// What `models test` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestReport {
    /// The model that answered, as `provider/model`.
    pub model: String,
    /// How long it took.
    pub took: Duration,
    /// What it said.
    pub text: String,
    /// What it cost.
    pub usage: Usage,
}

impl Models {
    /// Takes the configuration. Opens, reads and builds nothing.
    pub fn new(config: &wrasse_config::Models) -> Models {
        let backends = config.providers.iter().map(Backend::new).collect();
        Models { inner: Arc::new(Inner { config: config.clone(), backends }) }
    }

    /// Takes one turn with the first model of `chain` that answers. Cancel-safe: dropping it ends the turn.
    ///
    /// # Errors
    /// The token was cancelled, or every model failed.
    pub async fn turn(
        &self,
        chain: &[String],
        request: TurnRequest,
        token: &CancellationToken,
    ) -> Result<TurnReply, TurnFailure> {
        tokio::select! {
            biased;
            () = token.cancelled() => Err(TurnFailure::Cancelled),
            outcome = Box::pin(self.take_turn(chain, &request)) => outcome,
        }
    }

    /// Every configured model, in the order of the configuration.
    pub fn list(&self) -> Vec<ModelView> {
        self.inner.config.providers.iter().flat_map(|provider| self.views(provider)).collect()
    }

    /// Asks one model for one word.
    ///
    /// # Errors
    /// What a turn would say; cancelling gives [`TurnFailure::Cancelled`].
    pub async fn test(
        &self,
        reference: &str,
        token: &CancellationToken,
    ) -> Result<TestReport, TurnFailure> {
        let started: BootInstant = clock::now();
        let agent = AgentId::new(AgentId::MAIN);
        let request = TurnRequest {
            session_key: SessionKey::main(&agent),
            agent,
            depth: 0,
            system: String::new(),
            messages: vec![Message::User { text: String::from("Answer with the one word: ready") }],
            tools: Vec::new(),
            idle_timeout: Some(TEST_IDLE),
        };
        let reply = self.turn(&[String::from(reference)], request, token).await?;
        Ok(TestReport {
            model: reply.model,
            took: started.elapsed(),
            text: reply.text,
            usage: reply.usage,
        })
    }

    async fn take_turn(
        &self,
        chain: &[String],
        request: &TurnRequest,
    ) -> Result<TurnReply, TurnFailure> {
        let mut errors = Vec::new();
        for reference in chain {
            match self.ask_with_retry(reference, request).await {
                Ok(reply) => return Ok(reply),
                Err(error) => {
                    tracing::warn!(model = %error.model, kind = error.kind.name(), agent = %request.agent,
                        "model failed: {}", error.message);
                    errors.push(error);
                }
            }
        }
        match (errors.pop(), errors.is_empty()) {
            (Some(only), true) => Err(TurnFailure::Single(only)),
            (Some(last), false) => {
                errors.push(last);
                Err(TurnFailure::Exhausted(errors))
            }
            (None, _) => Err(TurnFailure::Single(no_model(request))),
        }
    }

    async fn ask_with_retry(
        &self,
        text: &str,
        request: &TurnRequest,
    ) -> Result<TurnReply, ModelError> {
        let reference = reference::resolve(&self.inner.config, text)
            .map_err(|message| ModelError::new(ModelFault::NotConfigured, text, message))?;
        let error = match self.ask(&reference, request).await {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        let wait = error.retry_after.unwrap_or(BACK_OFF).max(BACK_OFF);
        if !error.retry_may_help() || wait > BACK_OFF_MAX {
            return Err(error);
        }
        tracing::info!(model = %error.model, kind = error.kind.name(), wait_ms = wait.as_millis(),
            "model failed, asking once more: {}", error.message);
        clock::sleep(wait).await;
        self.ask(&reference, request).await
    }

    async fn ask(
        &self,
        reference: &Reference,
        request: &TurnRequest,
    ) -> Result<TurnReply, ModelError> {
        let found = self
            .inner
            .config
            .providers
            .iter()
            .zip(&self.inner.backends)
            .find(|(provider, _)| provider.id == reference.provider);
        let full = format!("{}/{}", reference.provider, reference.model);
        match found {
            Some((_, Backend::OpenAi(backend))) => {
                Box::pin(backend.ask(&full, &reference.model, request)).await
            }
            Some((_, Backend::Scripted(backend))) => Box::pin(backend.ask(&full, request)).await,
            Some((_, Backend::Unsupported(api))) => Err(ModelError::new(
                ModelFault::Unsupported,
                full,
                format!(
                    "its provider speaks \"{api}\", which is not implemented; \"openai-completions\" and \
                     \"scripted\" are"
                ),
            )),
            // `resolve` gives only providers that are there.
            None => Err(ModelError::new(ModelFault::NotConfigured, full, "its provider is gone")),
        }
    }

    fn views(&self, provider: &Provider) -> Vec<ModelView> {
        let (api, endpoint, has_key) = match &provider.api {
            ProviderApi::OpenAiCompletions { base_url, api_key } => {
                ("openai-completions", crate::openai::display_url(base_url), api_key.is_some())
            }
            ProviderApi::Scripted { script } => ("scripted", script.display().to_string(), false),
            ProviderApi::Unsupported { api } => (api.as_str(), String::new(), false),
        };
        let view = |model: &str, context_window, max_tokens| {
            let reference = format!("{}/{model}", provider.id);
            let aliases = self.inner.config.aliases.iter();
            ModelView {
                aliases: aliases
                    .filter(|(_, target)| **target == reference)
                    .map(|(alias, _)| alias.clone())
                    .collect(),
                reference,
                provider: provider.id.clone(),
                api: String::from(api),
                endpoint: endpoint.clone(),
                has_key,
                context_window,
                max_tokens,
            }
        };
        if provider.models.is_empty() {
            return vec![view("*", None, None)];
        }
        let models = provider.models.iter();
        models.map(|model| view(&model.id, model.context_window, model.max_tokens)).collect()
    }
}

impl fmt::Debug for Models {
    /// Names only: a base URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let providers = self.inner.config.providers.iter();
        f.debug_list().entries(providers.map(|provider| &provider.id)).finish()
    }
}

impl Backend {
    fn new(provider: &Provider) -> Backend {
        match &provider.api {
            ProviderApi::OpenAiCompletions { base_url, api_key } => {
                Backend::OpenAi(OpenAi::new(provider, base_url, api_key.as_ref()))
            }
            ProviderApi::Scripted { script } => {
                Backend::Scripted(Scripted::new(script.clone(), provider.timeout))
            }
            ProviderApi::Unsupported { api } => Backend::Unsupported(api.clone()),
        }
    }
}

fn no_model(request: &TurnRequest) -> ModelError {
    ModelError::new(
        ModelFault::NotConfigured,
        "(none)",
        format!(
            "agent {} has no model: set agents.defaults.model, as \"provider/model\"",
            request.agent
        ),
    )
}
