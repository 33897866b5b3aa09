//! A call on a warm instance, lease to answer, beside the same request over raw pipes to the same server.
//!
//! A process of its own does it, since whoever contains becomes a gateway. Both are called in turns of some hundred.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wrasse_config::{DiskFiles, LoadOptions, StateDirBy};
use wrasse_contain::{ContainOptions, Containment, Guard};
use wrasse_mcp::{OfferRequest, OfferedTool, ServerLeases, Servers, ServersParts};
use wrasse_scope::{Scope, TaskKind};
use wrasse_store::{Durability, Role, StateDir, Store};
use wrasse_types::{AgentId, Holder, RunId, SessionKey};

use crate::place;
use crate::table::median;

/// Calls of one kind before the other kind has its turn.
const TURN: usize = 200;

/// Has it measured: the middle of the leased calls and of the raw ones.
pub(crate) fn ask(rounds: usize, folder: &Path) -> (Duration, Duration) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["call", &rounds.to_string()])
        .arg(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the caller failed: {}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    let mut numbers =
        text.split_whitespace().map(|word| Duration::from_nanos(word.parse().unwrap()));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Is the process that measures.
pub(crate) fn play(rounds: usize, folder: &Path) -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = folder.to_owned();
    let (leased, raw) = runtime.block_on(async {
        let world = Box::pin(World::new(&folder, Scope::root("gateway"))).await;
        // As a run calls: from a task, and not from the thread that waits for it.
        let caller = Scope::root("caller");
        let measure = Box::pin(async move { (world.measure(rounds).await, world) });
        let (measured, world) = caller.spawn_value(TaskKind::Run, measure).await.unwrap();
        Box::pin(world.finish()).await;
        measured
    });
    println!("{} {}", leased.as_nanos(), raw.as_nanos());
    ExitCode::SUCCESS
}

struct World {
    containment: Containment,
    servers: Servers,
    store: Store,
    scope: Scope,
    leases: ServerLeases,
    echo: OfferedTool,
    token: CancellationToken,
}

impl World {
    async fn new(folder: &Path, scope: Scope) -> Self {
        let options = LoadOptions {
            path: Some(place::configure(folder, 1)),
            state_dir: folder.join("state"),
            state_dir_by: StateDirBy::Person,
            env: BTreeMap::new(),
            cwd: folder.to_owned(),
            home: None,
            cpu_count: 2,
        };
        let config = wrasse_config::load(&options, &DiskFiles).unwrap();
        let state = StateDir::open(&folder.join("state")).unwrap();
        let containment = Containment::start(ContainOptions {
            state_dir: state.path().to_owned(),
            guard: Guard::Auto,
            installation: state.installation().unwrap(),
        })
        .unwrap();
        let store = Store::open(&state, Durability::Process, Role::Gateway).await.unwrap();
        let servers = Servers::new(ServersParts {
            config: Arc::new(config),
            containment: containment.clone(),
            store: store.clone(),
            scope: scope.clone(),
            env: std::env::vars_os().collect(),
        });
        let key = SessionKey::parse("agent:main:bench", &AgentId::new("main")).unwrap();
        let leases = servers.leases(Holder::run(&RunId::new("bench"), key.clone()), key);
        let token = CancellationToken::new();
        let workspace = folder.join("work");
        let request = OfferRequest::new(&workspace, &|_| true);
        let offer = servers.offer(&leases, request, &token).await;
        assert!(offer.faults.is_empty(), "{:?}", offer.faults);
        let echo = offer.tools.into_iter().find(|tool| tool.name == "sqlite__echo").unwrap();
        Self { containment, servers, store, scope, leases, echo, token }
    }

    async fn measure(&self, rounds: usize) -> (Duration, Duration) {
        let mut pipes = Pipes::open(&self.containment);
        let (mut leased, mut raw) = (Vec::new(), Vec::new());
        // The first turn of each is for warming up.
        for round in 0..=rounds {
            for number in 0..TURN {
                let text = format!("call {number}");
                let arguments = json!({ "text": text });
                let began = Instant::now();
                let outcome = self.leases.call(&self.echo, arguments, &self.token).await;
                let took = began.elapsed();
                assert!(!outcome.is_error && outcome.text == text, "{outcome:?}");
                if round > 0 {
                    leased.push(took);
                }
            }
            for number in 0..TURN {
                let took = pipes.echo(&format!("call {number}"));
                if round > 0 {
                    raw.push(took);
                }
            }
        }
        pipes.close();
        (median(&leased), median(&raw))
    }

    async fn finish(self) {
        for ended in self.leases.release().await {
            assert!(ended.proven_empty, "{ended:?}");
        }
        let ended = self.servers.stop_all(Duration::from_secs(10)).await;
        assert!(ended.iter().all(|ended| ended.proven_empty), "{ended:?}");
        self.scope.cancel();
        drop(self.scope.join(Duration::from_secs(10)).await);
        self.store.close().await;
        self.containment.kill_all().await;
    }
}

/// The same server with nothing in between.
struct Pipes {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    next: u64,
}

impl Pipes {
    fn open(containment: &Containment) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("server").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = containment.spawn_bystander(|| command.spawn()).unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut pipes = Self { child, stdin, stdout, next: 0 };
        pipes.request(
            "initialize",
            &json!({ "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "bench", "version": "1" } }),
        );
        pipes
    }

    fn request(&mut self, method: &str, params: &Value) -> Value {
        self.next += 1;
        let message =
            json!({ "jsonrpc": "2.0", "id": self.next, "method": method, "params": params });
        let mut line = message.to_string();
        line.push('\n');
        self.stdin.write_all(line.as_bytes()).unwrap();
        line.clear();
        self.stdout.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        answer["result"].take()
    }

    fn echo(&mut self, text: &str) -> Duration {
        let arguments = json!({ "text": text });
        let began = Instant::now();
        let result = self.request("tools/call", &json!({ "name": "echo", "arguments": arguments }));
        let took = began.elapsed();
        assert_eq!(result["content"][0]["text"], text);
        took
    }

    fn close(self) {
        let Self { mut child, stdin, stdout, next: _ } = self;
        drop((stdin, stdout));
        assert!(child.wait().unwrap().success());
    }
}
