//! The command line's side of `POST /rpc/<method>`.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use wrasse_store::{Endpoint, StateDir};
use wrasse_types::wire::RpcFault;

use crate::args::Common;
use crate::exit::{Exit, ExpectedError};
use crate::place;

/// How long a method may take that is not waiting for a run.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A way to the running gateway.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) endpoint: Endpoint,
    token: String,
}

impl Client {
    /// Finds the gateway of the state dir.
    pub(crate) fn find(common: &Common) -> Result<Self, ExpectedError> {
        let path = place::state_dir(common)?;
        let unreachable = |why: String| {
            ExpectedError::new(Exit::Unreachable, why)
                .help("wrasse gateway run            starts it")
                .help("--state-dir or WRASSE_STATE_DIR   when it runs with another state dir")
        };
        if !path.is_dir() {
            return Err(unreachable(format!("no gateway: there is no {}", path.display())));
        }
        let fault = |error: &dyn std::fmt::Display| {
            ExpectedError::new(Exit::Failed, format!("state dir {}: {error}", path.display()))
        };
        let dir = StateDir::open(&path).map_err(|error| fault(&error))?;
        let endpoint = dir
            .read_endpoint()
            .map_err(|error| fault(&error))?
            .ok_or_else(|| unreachable(format!("no gateway runs in {}", path.display())))?;
        let token = match std::env::var("WRASSE_GATEWAY_TOKEN") {
            Ok(token) if !token.is_empty() => token,
            _ => configured_token(common)
                .map_or_else(|| dir.token().map_err(|error| fault(&error)), Ok)?,
        };
        Ok(Self { endpoint, token })
    }

    /// Calls a method.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Result<Value, ExpectedError> {
        self.call_within(method, params, CALL_TIMEOUT).await
    }

    /// Calls a method that may take long.
    pub(crate) async fn call_within(
        &self,
        method: &str,
        params: Value,
        limit: Duration,
    ) -> Result<Value, ExpectedError> {
        let answer = tokio::time::timeout(limit, self.exchange(method, params)).await;
        let (status, body) = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.unreachable(&error)),
            Err(_) => {
                return Err(ExpectedError::new(
                    Exit::TimedOut,
                    format!("the gateway did not answer {method} within {} s", limit.as_secs()),
                ));
            }
        };
        let value: Value = serde_json::from_slice(&body).map_err(|error| {
            ExpectedError::new(Exit::Internal, format!("the gateway's answer is not JSON: {error}"))
        })?;
        if status.is_success() {
            return Ok(value);
        }
        let fault = serde_json::from_value::<RpcFault>(value["error"].clone()).map_err(|_| {
            ExpectedError::new(Exit::Internal, format!("the gateway answered {status}"))
        })?;
        Err(expected(fault))
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> ExpectedError {
        ExpectedError::new(
            Exit::Unreachable,
            format!(
                "the gateway (pid {}, port {}) cannot be reached: {error}",
                self.endpoint.pid, self.endpoint.port
            ),
        )
        .help("wrasse gateway status")
        .help("wrasse gateway run   starts it anew when it has died")
    }

    async fn exchange(
        &self,
        method: &str,
        params: Value,
    ) -> Result<(hyper::StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(("127.0.0.1", self.endpoint.port)).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = hyper::Request::post(format!("/rpc/{method}"))
            .header(HOST, "127.0.0.1")
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(params.to_string())))?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>((status, body))
        };
        tokio::pin!(answer, connection);
        // The connection must be polled for the answer to come; it ends with it.
        tokio::select! {
            biased;
            answer = &mut answer => Ok(answer?),
            ended = &mut connection => {
                ended?;
                Ok(answer.await?)
            }
        }
    }
}

/// The token of the configuration, if it names one and can be loaded at all.
fn configured_token(common: &Common) -> Option<String> {
    let loaded = place::load(common).ok()?;
    loaded.config.gateway.token.map(|token| token.reveal().to_owned())
}

/// Maps a refusal to an exit code.
pub(crate) fn expected(fault: RpcFault) -> ExpectedError {
    let exit = match fault.code.as_str() {
        "unauthorized" => Exit::TokenWrong,
        "invalid" | "unknown_method" => Exit::Usage,
        "timeout" => Exit::TimedOut,
        "busy" | "budget" => Exit::Refused,
        "draining" => Exit::Unreachable,
        "internal" => Exit::Internal,
        _ => Exit::Failed,
    };
    let error = ExpectedError::new(exit, fault.message);
    match fault.help {
        Some(help) => error.help(help),
        None => error,
    }
}
