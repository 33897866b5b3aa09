//! From statuses, bodies and broken connections to one fault that says what to do.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::client::Endpoint;
use crate::error::ModelFault;
use crate::message::excerpt;

const DETAIL_MAX: usize = 300;

/// A fault before it is known which model it belongs to.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: ModelFault,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
}

impl Fault {
    pub(super) fn new(kind: ModelFault, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }
}

/// What an answer with a bad status means.
pub(super) fn of_status(
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    endpoint: &Endpoint,
) -> Fault {
    let detail = detail(body);
    let kind = kind_of(status, &detail);
    let advice = advice(kind, status, endpoint);
    let said = if detail.is_empty() { String::new() } else { format!(": {detail}") };
    let mut fault = Fault::new(
        kind,
        format!("model endpoint {} answered {status}{said}{advice}", endpoint.shown()),
    );
    fault.retry_after = retry_after(headers);
    if let Some(place) = headers.get(reqwest::header::LOCATION).and_then(|at| at.to_str().ok()) {
        let place = super::display_url(place);
        fault.message.push_str(&format!("; it points to {place}, which baseUrl may have to name"));
    }
    fault
}

/// What an error object inside a stream means.
pub(super) fn of_error_object(error: &Value) -> Fault {
    let detail = excerpt(&message_of(error).unwrap_or_else(|| error.to_string()), DETAIL_MAX);
    let code = error.get("code").or_else(|| error.get("status"));
    let status = code
        .and_then(|code| code.as_u64().or_else(|| code.as_str()?.parse().ok()))
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| (400..600).contains(code));
    let words: String =
        [code, error.get("type")].into_iter().flatten().filter_map(Value::as_str).collect();
    let status = status.unwrap_or(match words.as_str() {
        text if text.contains("rate_limit") => 429,
        text if text.contains("overloaded") => 503,
        text if text.contains("authentication") || text.contains("api_key") => 401,
        text if text.contains("invalid_request") || text.contains("context_length") => 400,
        _ => 500,
    });
    let kind = kind_of(status, &format!("{words} {detail}"));
    Fault::new(kind, format!("the answer broke off with an error: {detail}"))
}

fn kind_of(status: u16, detail: &str) -> ModelFault {
    if matches!(status, 400 | 413 | 422 | 500) && is_overflow(detail) {
        return ModelFault::ContextOverflow;
    }
    match status {
        401 | 403 | 407 => ModelFault::Auth,
        300..=399 | 404 | 405 => ModelFault::NotConfigured,
        408 | 504 => ModelFault::Timeout,
        413 => ModelFault::ContextOverflow,
        425 | 503 | 529 => ModelFault::Overloaded,
        // A quota that is used up does not come back in a moment.
        429 if detail.contains("quota") || detail.contains("billing") => ModelFault::Refused,
        429 => ModelFault::RateLimited,
        500..=599 => ModelFault::Server,
        _ => ModelFault::Refused,
    }
}

/// Servers have no common code for it, so it is known by its words.
fn is_overflow(detail: &str) -> bool {
    const WORDS: [&str; 9] = [
        "context_length",
        "context length",
        "context window",
        "context size",
        "maximum context",
        "maximum prompt length",
        "prompt is too long",
        "too many tokens",
        "exceed_context_size",
    ];
    let lower = detail.to_lowercase();
    WORDS.iter().any(|words| lower.contains(words))
}

fn advice(kind: ModelFault, status: u16, endpoint: &Endpoint) -> String {
    let provider = endpoint.provider();
    match kind {
        ModelFault::Auth if endpoint.has_key() => {
            format!("; check models.providers.{provider}.apiKey")
        }
        ModelFault::Auth => {
            format!("; no key is configured: set models.providers.{provider}.apiKey")
        }
        ModelFault::NotConfigured if status == 404 => format!(
            "; check the model's name and models.providers.{provider}.baseUrl (it usually ends in /v1)"
        ),
        ModelFault::NotConfigured => format!("; check models.providers.{provider}.baseUrl"),
        ModelFault::ContextOverflow => {
            String::from("; the conversation is too long for this model: reset the session")
        }
        ModelFault::RateLimited
        | ModelFault::Overloaded
        | ModelFault::Server
        | ModelFault::Network
        | ModelFault::Timeout
        | ModelFault::Refused
        | ModelFault::BadReply
        | ModelFault::Unsupported => String::new(),
    }
}

/// What the body of a refusal says, on one line.
fn detail(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        let said = message_of(&value).unwrap_or_else(|| value.to_string());
        // The code is worth keeping: it may be all that tells an overflow from another refusal.
        let code = value.pointer("/error/code").and_then(Value::as_str).unwrap_or_default();
        let code = if code.is_empty() || said.contains(code) {
            String::new()
        } else {
            format!(" ({code})")
        };
        return format!("{}{code}", excerpt(&said, DETAIL_MAX));
    }
    if text.starts_with('<') {
        return html_title(text).map_or_else(
            || String::from("a web page"),
            |title| format!("a web page titled \"{}\"", excerpt(title, 80)),
        );
    }
    excerpt(text, DETAIL_MAX)
}

/// The sentence in an error body, wherever this server puts it.
fn message_of(value: &Value) -> Option<String> {
    let at = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(String::from);
    at("/error/message")
        .or_else(|| at("/error"))
        .or_else(|| at("/message"))
        .or_else(|| at("/detail"))
        .or_else(|| at("/detail/0/msg"))
        .or_else(|| value.as_str().map(String::from))
        .filter(|text| !text.trim().is_empty())
}

/// What stands between the title tags of a page.
pub(super) fn html_title(page: &str) -> Option<&str> {
    let lower = page.to_ascii_lowercase();
    let open = lower.find("<title")?;
    let start = open + lower[open..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    Some(page[start..end].trim()).filter(|title| !title.is_empty())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let millis = text("retry-after-ms").and_then(number).map(|millis| millis / 1000.0);
    let seconds = millis.or_else(|| text("retry-after").and_then(number))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// No connection came about.
pub(super) fn of_connect(error: &reqwest::Error, shown: &str) -> Fault {
    let cause = deepest(error);
    let message = match io_kind(error) {
        Some(io::ErrorKind::ConnectionRefused) => {
            format!("model endpoint {shown} refused the connection: is it running?")
        }
        _ if error.is_timeout() => {
            format!("model endpoint {shown} did not take the connection in time: is it reachable?")
        }
        _ if error.is_connect() => {
            format!(
                "model endpoint {shown} cannot be reached: {cause}; check baseUrl and the network"
            )
        }
        _ => return of_broken(error, shown),
    };
    Fault::new(ModelFault::Network, message)
}

/// The connection broke while it was in use.
pub(super) fn of_broken(error: &reqwest::Error, shown: &str) -> Fault {
    let cause = deepest(error);
    Fault::new(
        ModelFault::Network,
        format!(
            "the connection to model endpoint {shown} broke before the answer was complete: {cause}"
        ),
    )
}

/// The innermost cause: the outer ones repeat the URL, which may hold a secret.
pub(super) fn deepest(error: &reqwest::Error) -> String {
    let mut at: &dyn Error = error;
    let mut depth = 0;
    while let Some(source) = at.source() {
        at = source;
        depth += 1;
    }
    // The outermost has nothing but its own words, which may hold the URL.
    if depth == 0 { String::from("no cause given") } else { excerpt(&at.to_string(), DETAIL_MAX) }
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let mut at: Option<&dyn Error> = error.source();
    while let Some(source) = at {
        if let Some(io) = source.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        at = source.source();
    }
    None
}
