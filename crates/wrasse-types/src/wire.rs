//! What goes over the wire between the gateway and its command line, and what `--json` prints.
//!
//! Every report carries `schema`. A field is only ever added; a change of meaning raises the number.

use serde::{Deserialize, Serialize};

use crate::{Holder, UnixMillis};

/// The version of every report in this module.
pub const SCHEMA: u32 = 1;

/// `wrasse ps --json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PsReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The gateway itself.
    pub gateway: PsGateway,
    /// Every instance, running or stopping.
    pub instances: Vec<PsInstance>,
    /// Processes that carry this installation's mark and belong to no instance.
    pub leftovers: Vec<PsProcess>,
    /// What has ended since the gateway started.
    pub ended: PsEnded,
}

/// The gateway in [`PsReport`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PsGateway {
    /// The gateway's process id.
    pub pid: u32,
    /// The warden's process id.
    pub warden_pid: Option<u32>,
    /// The version of the program.
    pub version: String,
    /// When it started to serve.
    pub started_at: UnixMillis,
    /// Anonymous and shared memory of gateway and warden, in bytes.
    pub memory_bytes: u64,
    /// The containment layers in use: always `floor`.
    pub containment: Vec<String>,
    /// Runs in progress.
    pub runs_active: u64,
    /// Session records.
    pub sessions: u64,
}

/// One instance in [`PsReport`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PsInstance {
    /// Its id.
    pub id: String,
    /// What it is: `server`.
    pub kind: String,
    /// The server's name.
    pub server: String,
    /// Its scope: `session`.
    pub scope: String,
    /// The session it is private to.
    pub session_key: Option<String>,
    /// Its state: `starting`, `handshaking`, `ready`, `draining`, `stopping`, `rundown`.
    pub state: String,
    /// The guardian's process id.
    pub guardian_pid: Option<u32>,
    /// The leader's process id.
    pub pid: Option<u32>,
    /// Every living process and zombie of the tree, the guardian not counted.
    pub processes: Vec<PsProcess>,
    /// Anonymous and shared memory of the tree, in bytes.
    pub memory_bytes: u64,
    /// When it was started.
    pub started_at: UnixMillis,
    /// When it was last called.
    pub last_call_at: Option<UnixMillis>,
    /// Calls answered.
    pub calls: u64,
    /// Calls in flight.
    pub in_flight: u64,
    /// Who holds it.
    pub leases: Vec<PsLease>,
    /// When and why it will end.
    pub ends: PsEnds,
    /// Processes of the tree that have ended and are not reaped.
    #[serde(default)]
    pub zombies: u32,
    /// Processor time of the whole tree, in milliseconds.
    #[serde(default)]
    pub cpu_ms: u64,
    /// Processor time of the last ten seconds or so, in percent of one processor.
    #[serde(default)]
    pub cpu_percent: u32,
    /// `memoryMax`, in bytes.
    #[serde(default)]
    pub memory_max_bytes: Option<u64>,
    /// Memory with shared pages counted once, in bytes; only when it was asked for.
    #[serde(default)]
    pub pss_bytes: Option<u64>,
    /// What somebody should look at.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// One process in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PsProcess {
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub ppid: u32,
    /// Its name as the kernel has it.
    pub name: String,
    /// When it started.
    pub started_at: UnixMillis,
    /// Anonymous and shared memory, in bytes.
    pub memory_bytes: u64,
    /// Whether it is dead and not yet reaped.
    pub zombie: bool,
}

/// One lease in [`PsInstance`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PsLease {
    /// Its id.
    pub id: String,
    /// When it began.
    pub since: UnixMillis,
    /// What it was taken for, as `tool call sqlite__read_query`.
    pub reason: String,
    /// Who holds it.
    pub holder: Holder,
}

/// When and why an instance will end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PsEnds {
    /// A time, if one is known.
    pub when: Option<UnixMillis>,
    /// The rule, in words: "with run r-8f2c", "idle for 30s".
    pub because: String,
}

/// Totals of ended trees since the gateway started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PsEnded {
    /// All of them.
    pub trees: u64,
    /// Had exited before they were asked.
    pub already_gone: u64,
    /// Ended when their stdin closed.
    pub stdin: u64,
    /// Ended at SIGTERM.
    pub term: u64,
    /// Had to be killed.
    pub kill: u64,
    /// The longest stop, in milliseconds.
    pub slowest_ms: u64,
    /// Trees that were proven empty.
    pub proven_empty: u64,
}

/// What a method answers when it refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpcFault {
    /// A stable word: `not_found`, `invalid`, `busy`, `refused`, `timeout`, `draining`, `internal`.
    pub code: String,
    /// One sentence that names the cause.
    pub message: String,
    /// A command that would help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}
