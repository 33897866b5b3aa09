//! A whole gateway in a folder of its own.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use wrasse_config::{Config, DiskFiles, LoadOptions};
use wrasse_contain::{ContainOptions, Containment, Guard};
use wrasse_gateway::{Gateway, GatewayIdentity, GatewayParts, RunReport, ShutdownWhy};
use wrasse_mcp::{Servers, ServersParts};
use wrasse_model::Models;
use wrasse_scope::Scope;
use wrasse_store::{Durability, Role, RunRow, StateDir, Store};
use wrasse_types::wire::RpcFault;
use wrasse_types::{RunId, UnixMillis};

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A whole gateway in a folder of its own.
pub(crate) struct Station {
    pub(crate) gateway: Gateway,
    pub(crate) store: Store,
    pub(crate) reports: Arc<Mutex<Vec<RunReport>>>,
    scope: Scope,
    dir: Arc<TempDir>,
}

/// The config that every test begins with: one agent, `main`, and the scripted model.
fn base_config(script: &Path, workspace: &Path) -> Value {
    json!({
        "models": { "providers": { "play": { "api": "scripted", "script": script } } },
        "agents": { "defaults": {
            "model": "play/x", "workspace": workspace, "subagents": { "maxSpawnDepth": 2 },
        } },
    })
}

/// Lays one object over another.
fn lay_over(onto: &mut Value, over: &Value) {
    match (onto, over) {
        (Value::Object(onto), Value::Object(over)) => {
            for (name, value) in over {
                lay_over(onto.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (onto, over) => *onto = over.clone(),
    }
}

impl Station {
    /// Starts one with these rules of the model and this config over the base.
    pub(crate) async fn start(rules: Value, config: Value) -> Station {
        Station::start_in(Arc::new(TempDir::new().unwrap()), rules, config).await
    }

    /// Starts one whose config is changed to what no file can say.
    pub(crate) async fn start_tuned(rules: Value, tune: impl FnOnce(&mut Config)) -> Station {
        let dir = Arc::new(TempDir::new().unwrap());
        let mut config = load(dir.path(), rules, &json!({}));
        tune(&mut config);
        Station::start_config(dir, config).await
    }

    /// Starts one that fires no jobs until it is told to.
    pub(crate) async fn start_idle(rules: Value, config: Value) -> Station {
        let dir = Arc::new(TempDir::new().unwrap());
        let config = load(dir.path(), rules, &config);
        Station::start_quiet(dir, config).await
    }

    /// Starts one in a folder where another was.
    pub(crate) async fn start_in(dir: Arc<TempDir>, rules: Value, config: Value) -> Station {
        let config = load(dir.path(), rules, &config);
        Station::start_config(dir, config).await
    }

    async fn start_config(dir: Arc<TempDir>, config: Config) -> Station {
        let station = Station::start_quiet(dir, config).await;
        station.gateway.serve_jobs();
        station
    }

    async fn start_quiet(dir: Arc<TempDir>, config: Config) -> Station {
        let config = Arc::new(config);
        let state_dir = StateDir::open(dir.path()).unwrap();
        let store = Store::open(&state_dir, Durability::Process, Role::Gateway).await.unwrap();
        let scope = Scope::root("test");
        let containment = Containment::start(ContainOptions {
            state_dir: dir.path().to_owned(),
            guard: Guard::Auto,
            installation: state_dir.installation().unwrap(),
        })
        .unwrap();
        let servers = Servers::new(ServersParts {
            config: Arc::clone(&config),
            containment,
            store: store.clone(),
            scope: scope.child("servers"),
            env: HashMap::new(),
        });
        let reports = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&reports);
        let gateway = Gateway::start(GatewayParts {
            models: Models::new(&config.models),
            config,
            store: store.clone(),
            servers,
            scope: scope.child("gateway"),
            identity: GatewayIdentity {
                pid: std::process::id(),
                warden_pid: None,
                version: "0".to_owned(),
                started_at: UnixMillis::now(),
                containment: vec!["floor".to_owned()],
                own_memory: Arc::new(|| 1),
            },
            report: Arc::new(move |report: &RunReport| sink.lock().unwrap().push(report.clone())),
        })
        .await
        .unwrap();
        Station { gateway, store, reports, scope, dir }
    }

    /// The folder, to start another gateway in it.
    pub(crate) fn dir(&self) -> Arc<TempDir> {
        Arc::clone(&self.dir)
    }

    /// Calls a method.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Result<Value, RpcFault> {
        tokio::time::timeout(PATIENCE, self.gateway.rpc(method, params)).await.expect("no answer")
    }

    /// Calls a method that must work.
    pub(crate) async fn ok(&self, method: &str, params: Value) -> Value {
        let shown = format!("{method} {params}");
        self.call(method, params).await.unwrap_or_else(|fault| panic!("{shown}: {fault:?}"))
    }

    /// Calls a method that must be refused, and gives the code.
    pub(crate) async fn refused(&self, method: &str, params: Value) -> RpcFault {
        self.call(method, params).await.unwrap_err()
    }

    /// Starts a run with a message on a session.
    pub(crate) async fn begin(&self, key: &str, message: &str) -> String {
        self.begin_with(json!({ "sessionKey": key, "message": message })).await
    }

    /// Starts a run.
    pub(crate) async fn begin_with(&self, params: Value) -> String {
        let answer = self.ok("agent", params).await;
        assert_eq!(answer["status"], "accepted");
        answer["runId"].as_str().unwrap().to_owned()
    }

    /// Waits until a run has its outcome.
    pub(crate) async fn wait(&self, run: &str) -> Value {
        let answer = self.ok("agent.wait", json!({ "runId": run, "timeoutMs": 15_000 })).await;
        assert_ne!(answer["status"], "timeout", "{answer}");
        answer
    }

    /// Waits until nothing of a run is left.
    pub(crate) async fn wait_over(&self, run: &str) -> Value {
        let params = json!({ "runId": run, "timeoutMs": 15_000, "until": "released" });
        let answer = self.ok("agent.wait", params).await;
        assert_ne!(answer["status"], "timeout", "{answer}");
        answer
    }

    /// Sends a message and gives the final text.
    pub(crate) async fn say(&self, key: &str, message: &str) -> String {
        let run = self.begin(key, message).await;
        let answer = self.wait_over(&run).await;
        assert_eq!(answer["status"], "ok", "{answer}");
        answer["text"].as_str().unwrap().to_owned()
    }

    /// Reads a run's record.
    pub(crate) async fn run(&self, run: &str) -> RunRow {
        self.store.run(&RunId::new(run)).await.unwrap().unwrap()
    }

    /// The texts of a session, with their roles.
    pub(crate) async fn texts(&self, key: &str) -> Vec<(String, String)> {
        let history = self.ok("sessions.history", json!({ "key": key })).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entries = history["entries"].as_array().unwrap();
        entries.iter().map(|entry| (text(&entry["role"]), text(&entry["body"]["text"]))).collect()
    }

    /// Runs that are not over.
    pub(crate) async fn active(&self) -> Vec<Value> {
        self.ok("status", json!({})).await["runs"].as_array().unwrap().clone()
    }

    /// Waits until no run is left.
    pub(crate) async fn quiet(&self) {
        eventually("no run is left", async || self.active().await.is_empty()).await;
    }

    /// Shuts down and proves that no task is left.
    pub(crate) async fn stop(self) {
        self.gateway.shutdown(ShutdownWhy::Stop, Duration::from_secs(8)).await;
        self.scope.cancel();
        let joined = self.scope.join(Duration::from_secs(5)).await;
        assert!(joined.is_clean(), "{joined:?}");
        self.store.close().await;
    }
}

fn load(dir: &Path, rules: Value, over: &Value) -> Config {
    let script = dir.join("script.json");
    let file = json!({ "rules": rules, "otherwise": { "text": "heard: {{last}}" } });
    std::fs::write(&script, file.to_string()).unwrap();
    let workspace = dir.join("workspace");
    std::fs::create_dir_all(&workspace).unwrap();
    let mut config = base_config(&script, &workspace);
    lay_over(&mut config, over);
    let path = dir.join("wrasse.json5");
    std::fs::write(&path, config.to_string()).unwrap();
    let options = LoadOptions {
        path: Some(path),
        state_dir: dir.to_owned(),
        cwd: dir.to_owned(),
        cpu_count: 2,
        ..LoadOptions::default()
    };
    wrasse_config::load(&options, &DiskFiles).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Polls until a condition holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < PATIENCE, "it never came true: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A rule of the model.
pub(crate) fn rule(when: Value, reply: Value) -> Value {
    json!({ "when": when, "reply": reply })
}

/// A reply that calls one tool.
pub(crate) fn calls(name: &str, arguments: Value) -> Value {
    json!({ "calls": [{ "name": name, "arguments": arguments }] })
}
