//! An OpenAI-compatible server whose every answer is planned, and short ways to ask.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wrasse_config::{Provider, ProviderApi, ProviderModel, Secret};
use wrasse_model::{Message, Models, TurnFailure, TurnReply, TurnRequest};
use wrasse_scope::{Scope, TaskKind, clock};
use wrasse_types::{AgentId, SessionKey};

/// The key that no error may show.
pub(crate) const KEY: &str = "sk-very-secret-0123456789";
/// The header value that no error may show.
pub(crate) const HEADER: &str = "tenant-secret-42";

/// One planned answer.
pub(crate) struct Plan {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) steps: Vec<Step>,
}

/// What happens to the body.
#[derive(Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Sends a comment every 20 ms, for ever.
    Comments,
    /// Sends nothing, for ever.
    Stall,
    /// Breaks the connection.
    Cut,
}

pub(crate) struct Server {
    pub(crate) url: String,
    shared: Arc<Shared>,
    scope: Scope,
}

#[derive(Default)]
struct Shared {
    plans: Mutex<VecDeque<Plan>>,
    asked: Mutex<Vec<(HeaderMap, Value)>>,
    bodies_open: AtomicUsize,
}

impl Plan {
    pub(crate) fn status(status: u16, body: &str) -> Plan {
        let steps = vec![Step::Send(body.as_bytes().to_vec())];
        Plan { status, headers: Vec::new(), steps }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Plan {
        self.headers.push((name, String::from(value)));
        self
    }

    pub(crate) fn steps(steps: Vec<Step>) -> Plan {
        Plan { status: 200, headers: vec![("content-type", "text/event-stream".into())], steps }
    }

    /// Each event in a chunk of its own.
    pub(crate) fn stream(events: &[Value]) -> Plan {
        let mut steps: Vec<Step> = events.iter().map(event).collect();
        steps.push(Step::Send(b"data: [DONE]\n\n".to_vec()));
        Plan::steps(steps)
    }

    pub(crate) fn text(text: &str) -> Plan {
        Plan::stream(&[delta(json!({ "content": text })), finish("stop")])
    }
}

pub(crate) fn event(value: &Value) -> Step {
    Step::Send(format!("data: {value}\n\n").into_bytes())
}

pub(crate) fn delta(delta: Value) -> Value {
    json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] })
}

pub(crate) fn finish(reason: &str) -> Value {
    json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })
}

impl Server {
    pub(crate) async fn start(plans: impl IntoIterator<Item = Plan>) -> Server {
        let shared = Arc::new(Shared::default());
        shared.plans.lock().unwrap().extend(plans);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/v1/chat/completions", post(answer))
            .with_state(Arc::clone(&shared));
        let scope = Scope::root("model server");
        // Of the kind that is dropped on cancel: nothing here needs an order.
        scope.spawn(TaskKind::Wire, async move {
            axum::serve(listener, router).await.unwrap();
        });
        Server { url, shared, scope }
    }

    /// The requests so far: how many.
    pub(crate) fn count(&self) -> usize {
        self.shared.asked.lock().unwrap().len()
    }

    pub(crate) fn asked(&self, number: usize) -> (HeaderMap, Value) {
        self.shared.asked.lock().unwrap()[number].clone()
    }

    /// Waits until that many bodies are being sent.
    pub(crate) async fn bodies_open(&self, wanted: usize) {
        let until = clock::now() + Duration::from_secs(20);
        while self.shared.bodies_open.load(Ordering::SeqCst) != wanted {
            assert!(!until.has_passed(), "there never were {wanted} open bodies");
            clock::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.scope.cancel();
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let asked = serde_json::from_slice(&body).unwrap();
    shared.asked.lock().unwrap().push((headers, asked));
    let plan = shared.plans.lock().unwrap().pop_front();
    let plan = plan.unwrap_or_else(|| Plan::status(418, "nothing more is planned"));
    let mut response = Response::builder().status(plan.status);
    for (name, value) in plan.headers {
        response = response.header(name, value);
    }
    response.body(body_of(plan.steps, Open::new(shared))).unwrap()
}

/// Counts the bodies that are open.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: Arc<Shared>) -> Open {
        shared.bodies_open.fetch_add(1, Ordering::SeqCst);
        Open(shared)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.bodies_open.fetch_sub(1, Ordering::SeqCst);
    }
}

fn body_of(steps: Vec<Step>, open: Open) -> Body {
    let state = (VecDeque::from(steps), open);
    Body::from_stream(futures::stream::unfold(state, |(mut steps, open)| async move {
        let chunk: io::Result<Bytes> = match steps.pop_front()? {
            Step::Send(bytes) => Ok(Bytes::from(bytes)),
            Step::Comments => {
                steps.push_front(Step::Comments);
                clock::sleep(Duration::from_millis(20)).await;
                Ok(Bytes::from_static(b": still there\n\n"))
            }
            Step::Stall => std::future::pending().await,
            Step::Cut => Err(io::Error::other("cut")),
        };
        Some((chunk, (steps, open)))
    }))
}

/// A provider with a key and a secret header.
pub(crate) fn provider(id: &str, url: &str) -> Provider {
    Provider {
        id: String::from(id),
        api: ProviderApi::OpenAiCompletions {
            base_url: String::from(url),
            api_key: Some(Secret::new(KEY)),
        },
        timeout: Some(Duration::from_secs(20)),
        headers: BTreeMap::from([(String::from("x-tenant"), Secret::new(HEADER))]),
        models: vec![ProviderModel {
            id: String::from("small"),
            max_tokens: Some(512),
            context_window: Some(8192),
        }],
    }
}

pub(crate) fn scripted(id: &str, script: &std::path::Path) -> Provider {
    Provider {
        id: String::from(id),
        api: ProviderApi::Scripted { script: script.to_path_buf() },
        timeout: None,
        headers: BTreeMap::new(),
        models: Vec::new(),
    }
}

pub(crate) fn models(providers: Vec<Provider>) -> Models {
    let aliases = BTreeMap::from([(String::from("fast"), String::from("local/small"))]);
    Models::new(&wrasse_config::Models { providers, aliases })
}

pub(crate) fn request(text: &str) -> TurnRequest {
    let agent = AgentId::new("main");
    TurnRequest {
        session_key: SessionKey::main(&agent),
        agent,
        depth: 0,
        system: String::new(),
        messages: vec![Message::User { text: String::from(text) }],
        tools: Vec::new(),
        idle_timeout: None,
    }
}

/// One turn that nobody cancels. Whatever comes out of it must hold no secret.
pub(crate) async fn turn(
    models: &Models,
    chain: &[&str],
    request: TurnRequest,
) -> Result<TurnReply, TurnFailure> {
    let chain: Vec<String> = chain.iter().map(|reference| String::from(*reference)).collect();
    let outcome = models.turn(&chain, request, &CancellationToken::new()).await;
    if let Err(failure) = &outcome {
        let said = format!("{failure} {failure:?} {models:?}");
        assert!(!said.contains(KEY) && !said.contains(HEADER), "a secret is shown: {said}");
    }
    outcome
}

/// One turn with `local/small` at this server.
pub(crate) async fn ask(server: &Server) -> Result<TurnReply, TurnFailure> {
    let models = models(vec![provider("local", &server.url)]);
    turn(&models, &["local/small"], request("hello")).await
}
