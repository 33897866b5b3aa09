//! The validated configuration: what the rest of the program works with.
//!
//! Everything here has been checked; nothing here is `Option` merely because the file may omit it, unless the
//! absence means something. Durations are `Duration`, sizes bytes, secrets [`Secret`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use wrasse_types::{AgentId, JobId, ServerName};

use crate::InheritEnv;

/// A value that must never be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Which OpenClaw's defaults are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compat {
    /// Those of 2026.4.
    V2026_4,
    /// Those of 2026.9.
    V2026_9,
}

impl Compat {
    /// As `compat` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V2026_4 => "2026.4",
            Self::V2026_9 => "2026.9",
        }
    }
}

impl std::fmt::Display for Compat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// One validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Every file that was read, the one given first.
    pub files: Vec<PathBuf>,
    /// The state dir: the one chosen by a person, else `stateDir`, else the default.
    pub state_dir: PathBuf,
    /// Which defaults were used where the two OpenClaw releases differ.
    pub compat: Compat,
    /// `agents`.
    pub agents: Agents,
    /// `mcp`.
    pub mcp: Mcp,
    /// `models`.
    pub models: Models,
    /// `cron`.
    pub cron: Cron,
    /// `session`.
    pub session: Session,
    /// `gateway`.
    pub gateway: Gateway,
    /// `containment`.
    pub containment: Containment,
    /// `store`.
    pub store: Store,
    /// Tools switched off because a restricting key that Wrasse does not implement guards them (class 3).
    pub denied_tools: Vec<DeniedTool>,
    /// Keys known to OpenClaw that change nothing here (class 2), as dotted paths.
    pub unused_keys: Vec<String>,
    /// Things worth saying at start: unknown keys under `mcp.servers.*`, unset `${NAME}`, and the like.
    pub warnings: Vec<String>,
}

/// A tool that is denied, and the key that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeniedTool {
    /// A tool name or `*` glob.
    pub tool: String,
    /// The dotted path of the restricting key.
    pub key: String,
}

/// `agents`.
#[derive(Debug, Clone)]
pub struct Agents {
    /// At least one; in the order of the file.
    pub list: Vec<Agent>,
    /// The one meant when none is named.
    pub default: AgentId,
    /// `agents.defaults.maxConcurrent`: runs of the main lane at once.
    pub max_concurrent: usize,
    /// `agents.defaults.subagents.maxConcurrent`: runs of the sub-agent lane at once.
    pub subagents_max_concurrent: usize,
}

impl Agents {
    /// Finds an agent.
    pub fn get(&self, id: &AgentId) -> Option<&Agent> {
        self.list.iter().find(|agent| agent.id == *id)
    }
}

/// One agent, defaults applied.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// A name for people.
    pub name: Option<String>,
    /// Its folder: working directory of its servers, home of its prompt files.
    pub workspace: PathBuf,
    /// References of the models to try, in order: `provider/model`. Never empty after validation of a config that
    /// names a model anywhere; empty only where none is configured, which a run reports.
    pub models: Vec<String>,
    /// `systemPromptOverride`.
    pub system_prompt: Option<String>,
    /// The longest a run may take; `None` is no limit.
    pub run_timeout: Option<Duration>,
    /// The longest silence of a model; `None` is no limit.
    pub model_idle_timeout: Option<Duration>,
    /// Tool policy.
    pub tools: ToolPolicy,
    /// Spawning.
    pub subagents: Subagents,
    /// Budgets of one run.
    pub budget: RunBudget,
}

/// `tools` and `agents.*.tools`, merged: each stage can only narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolPolicy {
    /// Each stage's allow list; a tool must match one glob of every stage. Empty: everything.
    pub allow: Vec<Vec<String>>,
    /// Globs that are denied at any stage.
    pub deny: Vec<String>,
}

/// Spawn limits of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subagents {
    /// `maxSpawnDepth`.
    pub max_depth: u32,
    /// `maxChildrenPerAgent`: active children of one session.
    pub max_children: usize,
    /// `runTimeoutSeconds`; `None` is no limit.
    pub run_timeout: Option<Duration>,
    /// `allowAgents`: empty is the agent itself only, `["*"]` any.
    pub allow_agents: Vec<String>,
    /// `requireAgentId`.
    pub require_agent_id: bool,
    /// `model` for children; empty inherits the target agent's.
    pub models: Vec<String>,
}

/// Budgets of one run (`agents.defaults.budget` is Wrasse's own key).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunBudget {
    /// Model turns.
    pub turns: u32,
    /// Tool calls.
    pub calls: u32,
    /// Tokens, in and out.
    pub tokens: Option<u64>,
}

/// `mcp`.
#[derive(Debug, Clone)]
pub struct Mcp {
    /// `mcp.servers`, in order of name.
    pub servers: Vec<Server>,
    /// `mcp.inheritEnv`: further variables of ours that servers get.
    pub inherit_env: InheritEnv,
    /// `mcp.limits.startConcurrency`: servers starting at once.
    pub start_concurrency: usize,
    /// `mcp.limits.processes`: operating system processes of all servers together, ours not counted.
    pub processes: Option<u32>,
}

/// One server.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Its name.
    pub name: ServerName,
    /// Where it was defined, as `openclaw.json:9`.
    pub origin: String,
    /// `enabled`.
    pub enabled: bool,
    /// How to reach it.
    pub transport: Transport,
    /// `connectionTimeoutMs`.
    pub connection_timeout: Duration,
    /// `requestTimeoutMs`.
    pub request_timeout: Duration,
    /// `toolFilter.include`: empty is all.
    pub include: Vec<String>,
    /// `toolFilter.exclude`.
    pub exclude: Vec<String>,
    /// `lifecycle`.
    pub lifecycle: Lifecycle,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq)]
pub enum Transport {
    /// A program that speaks over its stdin and stdout.
    Stdio {
        /// `command`.
        command: String,
        /// `args`.
        args: Vec<String>,
        /// `env`.
        env: BTreeMap<String, Secret>,
        /// `cwd`; `None` is the agent's workspace.
        cwd: Option<PathBuf>,
    },
    /// A remote server. Not implemented yet: named at start, offered without tools.
    Http {
        /// `url`.
        url: String,
    },
}

/// `lifecycle` of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    /// `idle`, or OpenClaw's `mcp.sessionIdleTtlMs`.
    pub idle: Idle,
    /// `stop.eof`: how long after its stdin closed.
    pub stop_eof: Duration,
    /// `stop.term`: how long after SIGTERM.
    pub stop_term: Duration,
    /// What it may use.
    pub limits: ServerLimits,
}

/// The limits in `lifecycle` of a server; `None` is unlimited, or the default of whoever imposes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerLimits {
    /// `memoryMax`: anonymous and shared memory of its whole tree, in bytes.
    pub memory_max: Option<u64>,
    /// `processesMax`: processes of its whole tree.
    pub processes_max: Option<u32>,
    /// `nice`, 0 to 19.
    pub nice: Option<u8>,
    /// `oomScoreAdj`, 0 to 1000; it is only ever raised.
    pub oom_score_adj: Option<u16>,
    /// `addressSpaceMax`: of each process, in bytes.
    pub address_space_max: Option<u64>,
}

/// How long an instance outlives the last run that used it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Not at all.
    Run,
    /// This long after its last call, while its session lives.
    For(Duration),
    /// As long as its session.
    Off,
}

/// `models`.
#[derive(Debug, Clone)]
pub struct Models {
    /// `models.providers`.
    pub providers: Vec<Provider>,
    /// `agents.defaults.models.*.alias`: alias → `provider/model`.
    pub aliases: BTreeMap<String, String>,
}

/// One model provider.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Its id, the part of a model reference before the slash.
    pub id: String,
    /// What it speaks.
    pub api: ProviderApi,
    /// `timeoutSeconds`: the longest silence.
    pub timeout: Option<Duration>,
    /// `headers`.
    pub headers: BTreeMap<String, Secret>,
    /// Known models; a reference to another one is allowed.
    pub models: Vec<ProviderModel>,
}

/// What a provider speaks.
#[derive(Debug, Clone)]
pub enum ProviderApi {
    /// OpenAI-compatible chat completions.
    OpenAiCompletions {
        /// With `/v1`.
        base_url: String,
        /// The key, from the config or the provider's usual variable.
        api_key: Option<Secret>,
    },
    /// Rules read from a file: no key, no network.
    Scripted {
        /// The file.
        script: PathBuf,
    },
    /// A dialect that is not implemented; a run that needs it fails by name and its fallbacks are tried.
    Unsupported {
        /// The name the config gave.
        api: String,
    },
}

/// One model of a provider.
#[derive(Debug, Clone)]
pub struct ProviderModel {
    /// Its id.
    pub id: String,
    /// `maxTokens` of an answer.
    pub max_tokens: Option<u64>,
    /// `contextWindow`.
    pub context_window: Option<u64>,
}

/// `cron`.
#[derive(Debug, Clone)]
pub struct Cron {
    /// `enabled`.
    pub enabled: bool,
    /// Job runs at once.
    pub max_concurrent_runs: usize,
    /// `cron.jobs` (Wrasse's own key).
    pub jobs: Vec<Job>,
    /// `sessionRetention` of isolated runs' sessions; `None` keeps them.
    pub session_retention: Option<Duration>,
}

/// One scheduled job.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id; for jobs of the config made from the name where none is given.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Whether it fires.
    pub enabled: bool,
    /// Whose turn it is; `None` is the default agent.
    pub agent: Option<AgentId>,
    /// When.
    pub schedule: Schedule,
    /// On which session.
    pub target: JobTarget,
    /// What.
    pub payload: JobPayload,
    /// How the result is asked to be delivered: `none`, or the mode asked for, which is kept and said.
    pub delivery: String,
    /// The job's wall clock limit; `None` uses the default of 60 minutes.
    pub timeout: Option<Duration>,
    /// Removed after its one firing succeeded (`at` jobs by default).
    pub delete_after_run: bool,
}

/// When a job fires.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Schedule {
    /// Once.
    At {
        /// RFC 3339; without offset UTC.
        at: String,
    },
    /// At a steady interval.
    Every {
        /// Milliseconds.
        #[serde(rename = "everyMs")]
        every_ms: u64,
        /// Phase, milliseconds since 1970; creation time when absent.
        #[serde(rename = "anchorMs", default, skip_serializing_if = "Option::is_none")]
        anchor_ms: Option<i64>,
    },
    /// By a cron expression of five or six fields.
    Cron {
        /// The expression.
        expr: String,
        /// IANA time zone; the host's when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tz: Option<String>,
        /// Deterministic spread in milliseconds; five minutes for top-of-the-hour expressions when absent.
        #[serde(rename = "staggerMs", default, skip_serializing_if = "Option::is_none")]
        stagger_ms: Option<u64>,
    },
}

/// On which session a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobTarget {
    /// The agent's main session.
    Main,
    /// A session of its own for each firing.
    Isolated,
}

/// What a job does.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum JobPayload {
    /// A line put before the main session, which then runs.
    SystemEvent {
        /// The line.
        text: String,
    },
    /// A turn of the agent.
    AgentTurn {
        /// The message.
        message: String,
        /// A model reference that replaces the agent's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
    },
}

/// `session`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `reset`.
    pub reset: Reset,
    /// `idleMinutes` of reset.
    pub reset_idle: Option<Duration>,
}

/// When a session begins anew by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// Never.
    None,
    /// At this local hour each day.
    Daily {
        /// 0–23.
        at_hour: u8,
    },
}

/// `gateway`.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// `port`.
    pub port: u16,
    /// `auth.token`; `None` uses the one in the state dir, made at first start.
    pub token: Option<Secret>,
    /// `shutdownDeadline`.
    pub shutdown_deadline: Duration,
}

/// `containment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Containment {
    /// `guard`.
    pub guard: GuardSource,
    /// `layers`.
    pub layers: Layers,
}

/// `containment.layers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layers {
    /// Not written: those that work.
    Probe,
    /// None: the floor alone.
    Floor,
    /// `cgroup2`.
    Cgroup2,
}

/// Where the guard program is executed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardSource {
    /// File, else memfd, else self.
    Auto,
    /// A file beside the binary or in the state dir.
    File,
    /// A sealed memfd.
    Memfd,
    /// The `wrasse` executable itself.
    Itself,
}

/// `store`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Store {
    /// `durability`.
    pub durability: Durability,
}

/// What a committed row survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The death of any process.
    Process,
    /// Loss of power too.
    Power,
}
