//! OpenAI-compatible chat completions: one request, one streamed answer.
//!
//! The answer is read whatever the server calls it: a stream of events, or plain JSON where the server ignores
//! `stream`. Everything that a server decides the size of is bounded.

mod client;
mod fault;
mod reply;
mod request;
mod sse;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Response;
use wrasse_config::{Provider, Secret};
use wrasse_scope::clock::{self, BootInstant};

use crate::error::{ModelError, ModelFault};
use crate::message::{TurnReply, TurnRequest};
use crate::usage;
use client::Endpoint;
use fault::Fault;
use reply::Reader;
use request::AskUsage;

pub(crate) use client::display_url;

/// What is read of the body of a refusal.
const ERROR_BODY_MAX: usize = 64 * 1024;
/// How long the body of a refusal may take: the status already says the most.
const ERROR_BODY_WAIT: Duration = Duration::from_secs(5);

/// One provider.
pub(crate) struct OpenAi {
    endpoint: Endpoint,
    timeout: Option<Duration>,
    /// The longest answer, per model of the config.
    max_tokens: Vec<(String, u64)>,
    /// Set once the server refused `stream_options`.
    knows_no_stream_options: AtomicBool,
}

/// Silence: how long it may last, and when it has lasted that long.
struct Silence {
    limit: Option<Duration>,
    until: Option<BootInstant>,
}

impl OpenAi {
    pub(crate) fn new(provider: &Provider, base_url: &str, key: Option<&Secret>) -> Self {
        let limits = provider.models.iter();
        Self {
            endpoint: Endpoint::new(provider, base_url, key),
            timeout: provider.timeout,
            max_tokens: limits
                .filter_map(|model| model.max_tokens.map(|max| (model.id.clone(), max)))
                .collect(),
            knows_no_stream_options: AtomicBool::new(false),
        }
    }

    /// Asks once. Cancel-safe: dropping it closes the connection.
    pub(crate) async fn ask(
        &self,
        full: &str,
        model: &str,
        request: &TurnRequest,
    ) -> Result<TurnReply, ModelError> {
        let outcome = self.exchange(full, model, request).await;
        outcome.map_err(|fault| {
            let mut error = ModelError::new(fault.kind, full, self.endpoint.redact(&fault.message));
            error.retry_after = fault.retry_after;
            error
        })
    }

    async fn exchange(
        &self,
        full: &str,
        model: &str,
        request: &TurnRequest,
    ) -> Result<TurnReply, Fault> {
        let mut silence = Silence::new(shorter(request.idle_timeout, self.timeout));
        let mut response = self.send(model, request, &mut silence).await?;
        let mut reader = Reader::new();
        while let Some(bytes) = self.next_chunk(&mut response, &mut silence).await? {
            if reader.feed(&bytes).map_err(|fault| self.endpoint.place(fault))? {
                silence.broken();
            }
            if reader.is_done() {
                break;
            }
        }
        let answer = reader.finish().map_err(|fault| self.endpoint.place(fault))?;
        let usage = answer
            .usage
            .unwrap_or_else(|| usage::estimate(request, &answer.text, &answer.tool_calls));
        Ok(TurnReply {
            text: answer.text,
            tool_calls: answer.tool_calls,
            usage,
            model: String::from(full),
            stop: answer.stop,
        })
    }

    /// Sends the request until its status is good or final.
    async fn send(
        &self,
        model: &str,
        request: &TurnRequest,
        silence: &mut Silence,
    ) -> Result<Response, Fault> {
        let max_tokens = self.max_tokens.iter().find(|(id, _)| id == model).map(|(_, max)| *max);
        loop {
            let ask = if self.knows_no_stream_options.load(Ordering::Relaxed) {
                AskUsage::No
            } else {
                AskUsage::Yes
            };
            let field = self.endpoint.max_tokens_field();
            let body = request::body(model, request, max_tokens.map(|max| (field, max)), ask)?;
            let sending = self.endpoint.post(body).await?.send();
            let response = silence
                .bound(sending)
                .await
                .map_err(|limit| self.silent(limit))?
                .map_err(|error| self.endpoint.unreachable(&error))?;
            silence.broken();
            if response.status().is_success() {
                return Ok(response);
            }
            let fault = self.refusal(response).await;
            let about_options =
                fault.message.contains("stream_options") || fault.message.contains("include_usage");
            if ask == AskUsage::Yes && fault.kind == ModelFault::Refused && about_options {
                self.knows_no_stream_options.store(true, Ordering::Relaxed);
                continue;
            }
            return Err(fault);
        }
    }

    async fn refusal(&self, mut response: Response) -> Fault {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let mut body = Vec::new();
        let reading = async {
            while let Ok(Some(bytes)) = response.chunk().await {
                body.extend_from_slice(&bytes);
                if body.len() >= ERROR_BODY_MAX {
                    break;
                }
            }
        };
        // What came in time is all there is to say.
        let _slow = clock::timeout(ERROR_BODY_WAIT, reading).await;
        fault::of_status(status, &headers, &body, &self.endpoint)
    }

    async fn next_chunk(
        &self,
        response: &mut Response,
        silence: &mut Silence,
    ) -> Result<Option<bytes::Bytes>, Fault> {
        let chunk = silence.bound(response.chunk()).await.map_err(|limit| self.silent(limit))?;
        chunk.map_err(|error| self.endpoint.broke(&error))
    }

    fn silent(&self, limit: Duration) -> Fault {
        Fault::new(
            ModelFault::Timeout,
            format!(
                "model endpoint {} said nothing for {}: it may be overloaded or still loading the model; \
                 models.providers.{}.timeoutSeconds and the agent's idle timeout set the limit",
                self.endpoint.shown(),
                wrasse_types::format_duration(limit),
                self.endpoint.provider(),
            ),
        )
    }
}

impl Silence {
    fn new(limit: Option<Duration>) -> Self {
        let mut silence = Self { limit, until: None };
        silence.broken();
        silence
    }

    /// Something was said: the wait begins anew.
    fn broken(&mut self) {
        self.until = self.limit.map(|limit| clock::now() + limit);
    }

    /// Waits until the silence is too long, and then says its limit.
    async fn bound<F: Future>(&self, future: F) -> Result<F::Output, Duration> {
        match (self.until, self.limit) {
            (Some(until), Some(limit)) => {
                clock::timeout_at(until, future).await.map_err(|_elapsed| limit)
            }
            (None, _) | (_, None) => Ok(future.await),
        }
    }
}

fn shorter(left: Option<Duration>, right: Option<Duration>) -> Option<Duration> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (one, None) | (None, one) => one,
    }
}
