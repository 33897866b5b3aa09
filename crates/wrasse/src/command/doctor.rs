//! `wrasse doctor`: what would not work here, and the cure. Tries things rather than asking about them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wrasse_config::{Config, Idle, ProviderApi, Transport};
use wrasse_contain::{ContainOptions, Containment, Guard, Ladder, Layers, Limits, SpawnSpec};
use wrasse_store::{Durability, OpenError, Role, StateDir, Store};
use wrasse_types::ByteSize;

use crate::args::{Common, DoctorArgs};
use crate::client::Client;
use crate::exit::{CommandResult, Exit, ExpectedError};
use crate::output;
use crate::place;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Ok,
    Note,
    Warn,
    Fail,
}

/// One line of the report.
#[derive(Debug, serde::Serialize)]
struct Finding {
    grade: Grade,
    subject: &'static str,
    text: String,
}

#[derive(Debug, Default)]
struct Report(Vec<Finding>);

impl Report {
    fn add(&mut self, grade: Grade, subject: &'static str, text: impl Into<String>) {
        self.0.push(Finding { grade, subject, text: text.into() });
    }

    fn count(&self, grade: Grade) -> usize {
        self.0.iter().filter(|finding| finding.grade == grade).count()
    }
}

pub(crate) fn run(common: &Common, args: &DoctorArgs) -> CommandResult {
    let mut report = Report::default();
    let config = check_config(common, &mut report);
    let state = check_state(common, &mut report);
    if let Some(config) = &config {
        check_servers(config, &mut report);
        check_models(config, &mut report, args.offline);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| ExpectedError::new(Exit::Internal, format!("no runtime: {error}")))?;
    if let Some(state) = &state {
        let (guard, layers) = config.as_ref().map_or((Guard::Auto, Layers::Probe), |config| {
            let chosen = &config.containment;
            (crate::gateway::guard(chosen.guard), crate::gateway::layers(chosen.layers))
        });
        runtime.block_on(check_containment(state, guard, layers, &mut report));
    }
    if let Some(state) = &state {
        runtime.block_on(check_store(state, &mut report));
    }
    check_limits(&mut report);
    runtime.block_on(check_gateway(common, &mut report));
    print(common, &report);
    Ok(if report.count(Grade::Fail) > 0 { Exit::Failed.into() } else { ExitCode::SUCCESS })
}

fn print(common: &Common, report: &Report) {
    let (faults, warnings) = (report.count(Grade::Fail), report.count(Grade::Warn));
    if common.json {
        let value: Value =
            json!({ "schema": 1, "faults": faults, "warnings": warnings, "findings": report.0 });
        return output::json(&value);
    }
    for finding in &report.0 {
        let grade = match finding.grade {
            Grade::Ok => "ok",
            Grade::Note => "note",
            Grade::Warn => "warn",
            Grade::Fail => "FAIL",
        };
        output::line(format_args!("{grade:<5} {:<11} {}", finding.subject, finding.text));
    }
    output::line(format_args!("{faults} faults, {warnings} warnings"));
}

fn check_config(common: &Common, report: &mut Report) -> Option<Config> {
    match place::load(common) {
        Ok(loaded) => {
            let config = loaded.config;
            let files: Vec<String> =
                config.files.iter().map(|file| file.display().to_string()).collect();
            let from =
                if files.is_empty() { "built-in defaults".to_owned() } else { files.join(", ") };
            report.add(Grade::Ok, "config", format!("{from} as {}", config.compat.name()));
            for warning in &config.warnings {
                report.add(Grade::Warn, "config", warning);
            }
            for denied in &config.denied_tools {
                let text = format!(
                    "{} restricts in a way Wrasse lacks → tool {} is off",
                    denied.key, denied.tool
                );
                report.add(Grade::Warn, "policy", text);
            }
            if !config.unused_keys.is_empty() {
                let count = config.unused_keys.len();
                let text = format!(
                    "{count} keys belong to features Wrasse lacks and change nothing here: config check -v"
                );
                report.add(Grade::Note, "config", text);
            }
            Some(config)
        }
        Err(error) => {
            report.add(Grade::Fail, "config", error.message);
            None
        }
    }
}

fn check_state(common: &Common, report: &mut Report) -> Option<StateDir> {
    let opened = place::state_dir(common).and_then(|path| {
        StateDir::open(&path).map_err(|e| ExpectedError::new(Exit::Failed, e.to_string()))
    });
    match opened {
        Ok(state) => {
            report.add(Grade::Ok, "state", state.path().display().to_string());
            Some(state)
        }
        Err(error) => {
            report.add(Grade::Fail, "state", error.message);
            None
        }
    }
}

/// Whether each server's command can be found, as the gateway would look for it.
fn check_servers(config: &Config, report: &mut Report) {
    for server in &config.mcp.servers {
        let name = &server.name;
        if server.enabled && server.lifecycle.idle == Idle::Off {
            let text = format!(
                "{name}: idle \"off\" keeps it until its session ends, which a session nobody comes back to does late"
            );
            report.add(Grade::Note, "servers", text);
        }
        match &server.transport {
            _ if !server.enabled => {
                report.add(Grade::Note, "servers", format!("{name} is disabled"));
            }
            Transport::Http { url } => {
                let text = format!(
                    "{name} at {url}: remote servers are not supported yet; offered without tools"
                );
                report.add(Grade::Warn, "servers", text);
            }
            Transport::Stdio { command, env, .. } => {
                let path = env
                    .get("PATH")
                    .map(|path| OsString::from(path.reveal()))
                    .or_else(|| std::env::var_os("PATH"))
                    .unwrap_or_default();
                match find(command, &path) {
                    Some(found) => {
                        let text = format!("{name}: {command} is {}", found.display());
                        report.add(Grade::Ok, "servers", text);
                        if runs_containers(command) {
                            let text = format!(
                                "{name}: its container belongs to the daemon and can outlive the server; give it --rm and --init, \
                                 and a command that ends with its input"
                            );
                            report.add(Grade::Note, "servers", text);
                        }
                    }
                    None => report.add(
                        Grade::Fail,
                        "servers",
                        format!(
                            "{name}: command {command:?} is not found in {}: {}",
                            path.to_string_lossy(),
                            cure(command)
                        ),
                    ),
                }
            }
        }
    }
}

/// Whether a server is the client of a daemon that starts processes where nobody here is above them.
fn runs_containers(command: &str) -> bool {
    let name = Path::new(command).file_name().and_then(std::ffi::OsStr::to_str);
    matches!(name, Some("docker" | "podman" | "nerdctl" | "kubectl"))
}

fn cure(command: &str) -> &'static str {
    match command {
        "npx" | "node" | "npm" => "install Node.js 18 or newer, or give an absolute path",
        "uvx" | "uv" => "install uv, or give an absolute path",
        _ => "install it, or give an absolute path",
    }
}

fn find(command: &str, path: &std::ffi::OsStr) -> Option<PathBuf> {
    if command.contains('/') {
        return Some(PathBuf::from(command)).filter(|file| file.is_file());
    }
    std::env::split_paths(path).map(|folder| folder.join(command)).find(|file| file.is_file())
}

fn check_models(config: &Config, report: &mut Report, offline: bool) {
    let wanted: std::collections::BTreeSet<&String> =
        config.agents.list.iter().flat_map(|agent| &agent.models).collect();
    if wanted.is_empty() {
        report.add(Grade::Fail, "models", "no model is configured: set agents.defaults.model");
    }
    for provider in &config.models.providers {
        let id = &provider.id;
        match &provider.api {
            ProviderApi::Scripted { script } if script.is_file() => {
                report.add(Grade::Ok, "models", format!("{id}: script {}", script.display()));
            }
            ProviderApi::Scripted { script } => {
                report.add(Grade::Fail, "models", format!("{id}: no script {}", script.display()));
            }
            ProviderApi::Unsupported { api } => {
                let text = format!(
                    "{id} speaks {api}, which Wrasse does not yet; its fallbacks are tried"
                );
                report.add(Grade::Warn, "models", text);
            }
            ProviderApi::OpenAiCompletions { base_url, api_key } => {
                let key = if api_key.is_some() { "with a key" } else { "without a key" };
                let hint = if offline { "" } else { " (wrasse models test asks it)" };
                report.add(Grade::Ok, "models", format!("{id} at {base_url} {key}{hint}"));
            }
        }
    }
}

/// Starts a tree that misbehaves and ends it: the whole chain on this machine, now.
async fn check_containment(state: &StateDir, guard: Guard, layers: Layers, report: &mut Report) {
    // Marks of its own: a gateway of this state dir must not take the self-test for leftovers of its own.
    let installation = u16::try_from(std::process::id() & 0xffff).unwrap_or_default();
    let options = ContainOptions { state_dir: state.path().to_owned(), guard, installation };
    let containment = match Containment::start_with(options, layers) {
        Ok(containment) => containment,
        Err(error) => return report.add(Grade::Fail, "containment", error.to_string()),
    };
    let about = containment.report();
    let found = about.floor.iter().filter(|part| part.works).map(|part| part.name);
    let works: Vec<&str> = std::iter::once("subreaper").chain(found).collect();
    report.add(Grade::Ok, "floor", format!("works here: {}", works.join(", ")));
    // What does not work is among them, with what stands in for it.
    for note in &about.notes {
        report.add(Grade::Note, "containment", note);
    }
    if about.layers.iter().any(|layer| layer == "cgroup2") {
        let text = match about.controllers.as_slice() {
            [] => {
                let why = about.uncontrolled.as_deref().unwrap_or("no controller");
                format!("cgroup2 limits neither memory nor processes, counting does: {why}")
            }
            have => format!("cgroup2 limits {}", have.join(" and ")),
        };
        report.add(Grade::Note, "containment", text);
    }
    let started = Instant::now();
    match self_test(&containment).await {
        Ok(processes) => report.add(
            Grade::Ok,
            "containment",
            format!(
                "{} + self-test: daemon, SIGTERM-deaf, {processes} processes, all ended in {} ms · guardian from {}",
                about.layers.join(" + "),
                started.elapsed().as_millis(),
                about.guard
            ),
        ),
        Err(error) => report.add(Grade::Fail, "containment", format!("self-test: {error}")),
    }
}

/// A shell that ignores SIGTERM and starts daemons in sessions of their own.
const MISBEHAVE: &str = "trap '' TERM HUP; i=0; while [ $i -lt 10 ]; do i=$((i+1)); \
    (setsid sleep 600 >/dev/null 2>&1 & ) ; done; echo up; while :; do sleep 600; done";

async fn self_test(containment: &Containment) -> Result<u32, String> {
    use tokio::io::AsyncReadExt;
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let spec = SpawnSpec {
        name: "self-test".to_owned(),
        instance: 0,
        program: "sh".into(),
        args: vec!["-c".into(), MISBEHAVE.into()],
        env: vec![("PATH".into(), path)],
        cwd: Path::new("/").to_owned(),
        limits: Limits::default(),
    };
    let prepared = containment.prepare(spec).await.map_err(|error| error.to_string())?;
    let mut tree = prepared.go().await.map_err(|error| error.to_string())?;
    let mut stdout = tree.take_stdout().ok_or("the tree has no stdout")?;
    let mut up = [0; 3];
    let read = tokio::time::timeout(Duration::from_secs(10), stdout.read_exact(&mut up)).await;
    read.map_err(|_| "the tree did not come up".to_owned())?.map_err(|error| error.to_string())?;
    let rung = Duration::from_millis(50);
    let outcome = tree.stop(Ladder { eof: rung, term: rung }).await;
    if outcome.proven_empty && outcome.survivors == 0 {
        Ok(outcome.processes)
    } else {
        Err(format!("{} processes are left", outcome.survivors))
    }
}

/// Whether this Wrasse can read the records that are there. Reads only.
async fn check_store(state: &StateDir, report: &mut Report) {
    match Store::open(state, Durability::Process, Role::Reader).await {
        Ok(store) => {
            store.close().await;
            report.add(Grade::Ok, "store", state.database().display().to_string());
        }
        Err(OpenError::Absent { .. }) => {
            report.add(Grade::Note, "store", "no records yet: the first start makes them");
        }
        Err(error) => report.add(Grade::Fail, "store", error.to_string()),
    }
}

fn check_limits(report: &mut Report) {
    let read = |file: &str| std::fs::read_to_string(file).ok();
    let number = |file: &str| read(file).and_then(|text| text.trim().parse::<u64>().ok());
    let memory = number("/sys/fs/cgroup/memory.max")
        .or_else(|| number("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
        .filter(|bytes| *bytes < 1 << 60)
        .or_else(|| {
            let info = read("/proc/meminfo")?;
            let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
            total.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
        });
    if let Some(memory) = memory {
        report.add(Grade::Ok, "limits", format!("{} of memory", ByteSize(memory)));
    }
}

async fn check_gateway(common: &Common, report: &mut Report) {
    let asked = match Client::find(common) {
        Ok(client) => client.call("status", json!({})).await,
        Err(error) => Err(error),
    };
    match asked {
        Ok(status) => {
            let text = format!(
                "runs as pid {}, version {}",
                status["gateway"]["pid"], status["gateway"]["version"]
            );
            report.add(Grade::Ok, "gateway", text);
        }
        Err(error) => report.add(Grade::Note, "gateway", error.message),
    }
}
