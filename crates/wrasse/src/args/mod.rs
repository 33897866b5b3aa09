//! The command line: every command, flag and its help.

mod hosts;
mod wrap;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use hosts::{DoctorArgs, ImportArgs, ReapArgs};
pub(crate) use wrap::{Idle, WrapArgs, WrapScope};

/// What the program was asked to do.
#[derive(Debug, Parser)]
#[command(
    name = "wrasse",
    version,
    about = "An agent gateway whose tool servers cannot leak.",
    long_about = "An agent gateway whose tool servers cannot leak.\n\n\
        Runs the agents, schedules and MCP servers of an openclaw.json or wrasse.json5. Every server process is in \
        a tree, every tree is held by something that ends, and what has ended leaves nothing behind.",
    after_help = "Start here:\n  wrasse gateway run --config FILE   run the gateway in the foreground\n  \
        wrasse agent -m \"hello\"             one turn of the main agent\n  wrasse ps                          \
        every server process, who holds it and when it ends\n  wrasse doctor                      what would not work here, \
        and the cure\n\nExit codes: 0 ok, 1 failed, 2 timed out, 3 found something and changed nothing, 64 usage, \
        69 gateway not reachable, 70 internal, 75 refused for now (retry later), 77 token wrong, 78 config fault, 130/143 signals.",
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// The configuration file [default: $WRASSE_CONFIG, else wrasse.json5 in the state dir]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where Wrasse keeps its records [default: $WRASSE_STATE_DIR, else ~/.wrasse]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Print JSON (schema 1) instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Do not ask before destroying a record
    #[arg(long, global = true)]
    pub(crate) yes: bool,
    /// Say more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run, stop and ask the gateway
    #[command(subcommand)]
    Gateway(GatewayCommand),
    /// What the gateway is doing, in a few lines
    #[command(alias = "health")]
    Status,
    /// One turn of an agent: prints its final text
    Agent(AgentArgs),
    /// Sessions: conversation records, never processes
    #[command(subcommand)]
    Sessions(SessionsCommand),
    /// Runs: turns of agents, past and present
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Scheduled jobs
    #[command(subcommand, alias = "automations")]
    Cron(CronCommand),
    /// MCP servers
    #[command(subcommand)]
    Mcp(McpCommand),
    /// Every instance: its processes, who holds it, when it ends
    Ps {
        /// Show every process of each tree
        #[arg(long)]
        tree: bool,
        /// Measure memory with shared pages counted once (slower)
        #[arg(long)]
        pss: bool,
    },
    /// Why something exists: holder, reason, what ends it
    Why {
        /// A process id, server name, session key, run id or instance id
        what: String,
    },
    /// End what nobody uses: idle servers, leftovers, servers that other hosts left behind (dry run unless --yes)
    Reap(ReapArgs),
    /// Run one MCP server for another host: contained, started when called, ended when idle
    Wrap(WrapArgs),
    /// Put Wrasse between another host and its servers, or take it out again
    Import(ImportArgs),
    /// What would not work here, and the cure
    Doctor(DoctorArgs),
    /// Check and show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Language models
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Print a completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// `wrasse gateway …`
#[derive(Debug, Subcommand)]
pub(crate) enum GatewayCommand {
    /// Run the gateway in the foreground; the launched process id is the warden
    Run {
        /// The port [default: gateway.port, else 18790]
        #[arg(long)]
        port: Option<u16>,
        /// Accepted for scripts written for OpenClaw; Wrasse always runs with what is configured
        #[arg(long, hide = true)]
        allow_unconfigured: bool,
    },
    /// Whether the gateway runs, since when, and its health
    Status,
    /// Stop it; returns when the last process is gone
    Stop,
    /// Restart it under the living warden
    Restart,
    /// Call one method: wrasse gateway call ps --params '{}'
    Call {
        /// The method
        method: String,
        /// Its parameters, as JSON
        #[arg(long, default_value = "{}")]
        params: String,
    },
}

/// `wrasse agent …`
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// The message
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: String,
    /// Whose turn [default: the default agent]
    #[arg(long, value_name = "ID")]
    pub(crate) agent: Option<String>,
    /// On which session [default: the agent's main session]
    #[arg(long, value_name = "KEY")]
    pub(crate) session_key: Option<String>,
    /// On the session with this id, or a new one of this name
    #[arg(long, value_name = "ID", conflicts_with = "session_key")]
    pub(crate) session_id: Option<String>,
    /// Seconds to wait for the run; it is cancelled when they pass; 0 waits without limit
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) timeout: u64,
    /// Without a gateway: run here, stop everything, exit
    #[arg(long)]
    pub(crate) local: bool,
}

/// `wrasse sessions …`
#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// Every session
    List {
        /// Only those of one agent
        #[arg(long)]
        agent: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// One session
    Show {
        /// Its key
        key: String,
    },
    /// Its transcript
    History {
        /// Its key
        key: String,
        /// At most this many entries, newest last
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Begin it anew; runs on it end, its servers end
    Reset {
        /// Its key
        key: String,
    },
    /// Delete it and its transcript
    #[command(alias = "rm")]
    Delete {
        /// Its key
        key: String,
    },
    /// End its runs and their children; keep the record
    Stop {
        /// Its key
        key: String,
    },
}

/// `wrasse runs …`
#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// Runs, newest first
    List {
        /// Only those in progress
        #[arg(long)]
        active: bool,
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// One run
    Show {
        /// Its id
        id: String,
    },
    /// End one run, its children and what it holds
    Cancel {
        /// Its id
        id: String,
    },
}

/// `wrasse cron …`
#[derive(Debug, Subcommand)]
pub(crate) enum CronCommand {
    /// The scheduler in a few lines
    Status,
    /// Every job
    List {
        /// Accepted for OpenClaw's spelling; disabled jobs are always listed
        #[arg(long, hide = true)]
        all: bool,
    },
    /// Add a job
    #[command(alias = "create")]
    Add(Box<CronAdd>),
    /// Remove a job; a run of it in progress ends
    #[command(aliases = ["remove", "delete"])]
    Rm {
        /// Its id or name
        id: String,
    },
    /// Let a job fire again
    Enable {
        /// Its id or name
        id: String,
    },
    /// Keep a job from firing; a run of it in progress ends
    Disable {
        /// Its id or name
        id: String,
    },
    /// Fire a job now
    Run {
        /// Its id or name
        id: String,
    },
    /// What a job's firings came to
    Runs {
        /// Its id or name
        #[arg(required_unless_present = "id_flag")]
        id: Option<String>,
        /// The same, as OpenClaw spells it
        #[arg(long = "id", value_name = "ID", hide = true)]
        id_flag: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
}

/// `wrasse cron add …`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("when").required(true).args(["every", "cron", "at"]))]
#[command(group = clap::ArgGroup::new("what").required(true).args(["message", "system_event"]))]
pub(crate) struct CronAdd {
    /// A name for people
    #[arg(long)]
    pub(crate) name: String,
    /// At a steady interval: 20s, 30m, 1h
    #[arg(long, value_name = "DURATION")]
    pub(crate) every: Option<String>,
    /// By a cron expression of five or six fields
    #[arg(long, value_name = "EXPR")]
    pub(crate) cron: Option<String>,
    /// Once: an RFC 3339 time, or a duration from now
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    /// The IANA time zone of --cron
    #[arg(long, requires = "cron")]
    pub(crate) tz: Option<String>,
    /// No spread for top-of-the-hour expressions
    #[arg(long, requires = "cron")]
    pub(crate) exact: bool,
    /// isolated (a session of its own each time) or main
    #[arg(long, value_name = "isolated|main")]
    pub(crate) session: Option<String>,
    /// What the agent is told
    #[arg(long)]
    pub(crate) message: Option<String>,
    /// A line put before the main session
    #[arg(long)]
    pub(crate) system_event: Option<String>,
    /// Whose turn [default: the default agent]
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// A model for this job
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// The job's time limit
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout_seconds: Option<u64>,
    /// Add it disabled
    #[arg(long)]
    pub(crate) disabled: bool,
    /// Remove it after it succeeded once
    #[arg(long)]
    pub(crate) delete_after_run: bool,
}

/// `wrasse mcp …`
#[derive(Debug, Subcommand)]
pub(crate) enum McpCommand {
    /// The servers of the configuration
    List,
    /// One server's definition, secrets redacted
    Show {
        /// Its name
        name: String,
    },
    /// What each server is doing
    Status,
    /// The tools a server offers, from the catalogue
    Tools {
        /// Its name [default: all]
        name: Option<String>,
    },
    /// Start a server, ask what it offers, end it
    Probe {
        /// Its name [default: all]
        name: Option<String>,
    },
    /// End a server's instances now; calls in flight fail as "stopped by operator"
    Stop {
        /// A server name or an instance id
        target: String,
    },
    /// End a server's instances; the next call starts it anew
    Restart {
        /// A server name or an instance id
        target: String,
    },
}

/// `wrasse config …`
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Every fault at once; exit 78 if there is one
    #[command(alias = "validate")]
    Check,
    /// The effective configuration, secrets redacted
    Print {
        /// Say where each value came from
        #[arg(long)]
        origin: bool,
    },
    /// The JSON schema of what Wrasse accepts
    Schema,
}

/// `wrasse models …`
#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// The models of the configuration
    List,
    /// Ask a model for one word
    Test {
        /// provider/model, or an alias
        reference: String,
    },
}
