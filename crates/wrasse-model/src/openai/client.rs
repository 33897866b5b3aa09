//! Where the endpoint is, and how it is reached. Built at first use.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Url, redirect};
use tokio::sync::OnceCell;
use wrasse_config::{Provider, Secret};

use super::fault::{self, Fault};
use crate::error::ModelFault;

const CONNECT_WAIT: Duration = Duration::from_secs(10);
const POOL_IDLE: Duration = Duration::from_secs(30);
/// A text this short is no secret worth hiding, and hiding it would garble every message.
const SECRET_LEN_MIN: usize = 5;

/// One endpoint.
pub(super) struct Endpoint {
    provider: String,
    /// As the config gave it; may hold a password, so it is never shown.
    base_url: Secret,
    key: Option<Secret>,
    /// The password in the URL, if there is one.
    password: Option<Secret>,
    headers: Vec<(String, Secret)>,
    shown: String,
    client: OnceCell<Ready>,
}

/// What the first use builds.
struct Ready {
    client: Client,
    url: Url,
}

impl Endpoint {
    pub(super) fn new(provider: &Provider, base_url: &str, key: Option<&Secret>) -> Self {
        let headers = provider.headers.iter();
        Self {
            provider: provider.id.clone(),
            base_url: Secret::new(base_url),
            key: key.filter(|key| !key.reveal().trim().is_empty()).cloned(),
            password: Url::parse(base_url.trim())
                .ok()
                .and_then(|url| url.password().map(Secret::new)),
            headers: headers.map(|(name, value)| (name.clone(), value.clone())).collect(),
            shown: display_url(base_url),
            client: OnceCell::new(),
        }
    }

    /// The URL without what may be secret in it.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    pub(super) fn provider(&self) -> &str {
        &self.provider
    }

    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// OpenAI's own newer models refuse the older name; everyone else knows it.
    pub(super) fn max_tokens_field(&self) -> &'static str {
        if self.shown.contains("//api.openai.com/") {
            "max_completion_tokens"
        } else {
            "max_tokens"
        }
    }

    /// A request with this body, ready to be sent.
    pub(super) async fn post(&self, body: Vec<u8>) -> Result<RequestBuilder, Fault> {
        let ready = self.client.get_or_try_init(|| async { self.build() }).await?;
        Ok(ready.client.post(ready.url.clone()).body(body))
    }

    /// Says of a fault where it happened.
    pub(super) fn place(&self, mut fault: Fault) -> Fault {
        fault.message = format!("model endpoint {}: {}", self.shown, fault.message);
        fault
    }

    pub(super) fn unreachable(&self, error: &reqwest::Error) -> Fault {
        fault::of_connect(error, &self.shown)
    }

    pub(super) fn broke(&self, error: &reqwest::Error) -> Fault {
        fault::of_broken(error, &self.shown)
    }

    /// Takes our own secrets out of what a server wrote back.
    pub(super) fn redact(&self, text: &str) -> String {
        let headers = self.headers.iter().map(|(_, value)| value);
        let secrets = self.key.iter().chain(&self.password).chain(headers);
        secrets
            .map(|secret| secret.reveal().trim())
            .filter(|secret| secret.len() >= SECRET_LEN_MIN)
            .fold(String::from(text), |text, secret| text.replace(secret, "(secret)"))
    }

    fn build(&self) -> Result<Ready, Fault> {
        // Fails where one is installed already, which serves as well.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let mut url = Url::parse(self.base_url.reveal().trim())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| self.misconfigured("baseUrl is not an http or https URL"))?;
        let path = format!("{}/chat/completions", url.path().trim_end_matches('/'));
        url.set_path(&path);
        let mut builder = Client::builder()
            .user_agent(concat!("wrasse/", env!("CARGO_PKG_VERSION")))
            .default_headers(self.header_map()?)
            // A redirect would carry keys to a host that the config does not name.
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_WAIT)
            .pool_idle_timeout(POOL_IDLE);
        if is_local(&url) {
            builder = builder.no_proxy();
        }
        if url.scheme() == "http" {
            // No certificates are looked at, so a machine without any must not matter.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| {
            let cause = fault::deepest(&error);
            self.misconfigured(&format!("no HTTP client could be made for it: {cause}"))
        })?;
        Ok(Ready { client, url })
    }

    fn header_map(&self) -> Result<HeaderMap, Fault> {
        let mut map = HeaderMap::new();
        map.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        map.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/json"));
        if let Some(key) = &self.key {
            let value = self.secret_header("apiKey", &format!("Bearer {}", key.reveal().trim()))?;
            map.insert(AUTHORIZATION, value);
        }
        for (name, value) in &self.headers {
            let what = format!("header \"{name}\"");
            let parsed = HeaderName::try_from(name.as_str())
                .map_err(|_| self.misconfigured(&format!("{what} has no valid name")))?;
            map.insert(parsed, self.secret_header(&what, value.reveal())?);
        }
        Ok(map)
    }

    fn secret_header(&self, what: &str, text: &str) -> Result<HeaderValue, Fault> {
        let mut value = HeaderValue::try_from(text).map_err(|_| {
            self.misconfigured(&format!("{what} holds characters that no HTTP header can carry"))
        })?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn misconfigured(&self, what: &str) -> Fault {
        Fault::new(
            ModelFault::NotConfigured,
            format!("models.providers.{} ({}): {what}", self.provider, self.shown),
        )
    }
}

/// A URL as it may be shown: without user, password, query and fragment.
pub(crate) fn display_url(text: &str) -> String {
    let Ok(mut url) = Url::parse(text.trim()) else {
        return String::from("(not a URL)");
    };
    // Both fail only for URLs that cannot have a user, which then have none to hide.
    let _no_user = url.set_username("");
    let _no_password = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// Whether the host is this machine, which no proxy is asked for.
fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost"
        || host.ends_with(".localhost")
        || address.is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}
