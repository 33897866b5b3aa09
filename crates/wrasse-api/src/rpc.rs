//! `POST /rpc/<method>` and the health pages.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use wrasse_gateway::Gateway;
use wrasse_scope::{Scope, TaskKind};
use wrasse_types::wire::RpcFault;

use crate::auth::Token;

/// What every handler needs.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) gateway: Gateway,
    pub(crate) token: Arc<Token>,
    pub(crate) scope: Scope,
}

/// Alive: answers as long as the process does.
pub(crate) async fn healthz() -> Json<Value> {
    Json(json!({ "ok": true, "status": "live" }))
}

/// Ready: 503 with what fails while starting, while draining and while the store cannot commit.
pub(crate) async fn readyz(State(door): State<Door>) -> Response {
    let readiness = door.gateway.readiness().await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "ready": readiness.ready, "failing": readiness.failing });
    (status, Json(body)).into_response()
}

/// Carries one method call.
pub(crate) async fn call(
    State(door): State<Door>,
    Path(method): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !door.token.admits(&headers) {
        return fault_response(RpcFault {
            code: "unauthorized".to_owned(),
            message: "the token is missing or wrong".to_owned(),
            help: Some("use the one in <state dir>/token, or set WRASSE_GATEWAY_TOKEN".to_owned()),
        });
    }
    let params = if body.iter().all(u8::is_ascii_whitespace) {
        Value::Object(serde_json::Map::new())
    } else {
        match serde_json::from_slice(&body) {
            Ok(params) => params,
            Err(error) => {
                return fault_response(RpcFault {
                    code: "invalid".to_owned(),
                    message: format!("the body is not JSON: {error}"),
                    help: None,
                });
            }
        }
    };
    let gateway = door.gateway.clone();
    let task = door
        .scope
        .spawn_value(TaskKind::RequestHandler, async move { gateway.rpc(&method, params).await });
    match task.await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(fault)) => fault_response(fault),
        Err(lost) => {
            tracing::error!(%lost, "a method call was lost");
            fault_response(RpcFault {
                code: "internal".to_owned(),
                message: "the call ended without an answer; the gateway's log has the cause"
                    .to_owned(),
                help: None,
            })
        }
    }
}

fn fault_response(fault: RpcFault) -> Response {
    let status = match fault.code.as_str() {
        "unauthorized" => StatusCode::UNAUTHORIZED,
        "not_found" | "unknown_method" => StatusCode::NOT_FOUND,
        "invalid" => StatusCode::BAD_REQUEST,
        "busy" => StatusCode::CONFLICT,
        "refused" | "forbidden" => StatusCode::FORBIDDEN,
        "timeout" => StatusCode::REQUEST_TIMEOUT,
        "draining" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, Json(json!({ "error": fault }))).into_response()
}
