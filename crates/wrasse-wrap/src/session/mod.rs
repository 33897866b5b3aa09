//! One host's conversation with one server, as a pure state machine: lines and events in, lines and orders out.
//!
//! ```text
//! Absent ──a request that only the server can answer──► Starting ──► Opening ──► Ready ──idle──► Stopping ──► Absent
//!    ▲                                                     └───failed───┴──── died ──┘              (the tree is empty)
//!    └──────────────────────── Backoff: refused for a while, with the reason ◄──┘
//! ```
//!
//! It never touches a process, a file descriptor or a clock. [`crate::shim`] performs what it orders for a server of
//! its own; a broker can stand where the server is, or play the server's part for several of these.
//!
//! What it answers itself, from the catalogue, needs no server: the opening request, whole lists, pings, the log
//! level. Everything else goes through, byte for byte, under the host's own ids. Requests of its own carry ids that
//! begin with a random word, so that they cannot be taken for the host's.

mod ended;
mod host;
mod learn;
mod listen;
mod server;
mod start;
pub(crate) mod text;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use serde_json::value::RawValue;
use wrasse_scope::clock::BootInstant;

pub use ended::Ended;

use crate::catalogue::{Entry, Shelf};
use crate::envelope::Id;
use learn::Learning;
use listen::Listen;

/// How many notifications are kept for a server that is not there.
const HELD_MAX: usize = 16;
/// How long a question of the server to the host counts as open while no call is in flight.
const QUESTION_WITHIN: Duration = Duration::from_secs(600);
/// How long a start may take, a first package download included.
const START_WITHIN: Duration = Duration::from_secs(300);
/// How long a task that the server runs behind a call keeps it, when the server says no time.
const TASK_WITHIN: Duration = Duration::from_secs(3600);

/// What a session is told at its start.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The name of the server.
    pub name: String,
    /// How long a server stays without being used; `None` for as long as the host.
    pub idle: Option<Duration>,
    /// A random word for ids.
    pub nonce: String,
}

/// What a session orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A line for the host, without its end.
    ToHost(Vec<u8>),
    /// A line for the server, without its end.
    ToServer(Vec<u8>),
    /// Start a server; answered by [`Session::started`] or [`Session::start_failed`].
    Start,
    /// End the server by the ladder; answered by [`Session::ended`].
    Stop,
    /// Tell the person who reads stderr.
    Say(String),
}

/// How the host opened.
#[derive(Debug, Clone)]
enum Opening {
    /// By `initialize`, with these parameters.
    Handshake { params: Box<RawValue>, key: String },
    /// By requests that say all about themselves; with the `_meta` for requests of our own.
    Stateless { meta: Box<RawValue>, key: String },
}

impl Opening {
    fn key(&self) -> &str {
        match self {
            Self::Handshake { key, .. } | Self::Stateless { key, .. } => key,
        }
    }
}

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Absent,
    Starting {
        since: BootInstant,
    },
    /// Our own `initialize` is out.
    Opening {
        id: Id,
        since: BootInstant,
    },
    Ready,
    Stopping,
}

/// A request of the host that the server has.
#[derive(Debug, Clone)]
struct Pending {
    what: What,
    cancelled: bool,
}

/// What a request of the host is, where that matters.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Opening { key: String },
    List { method: String },
    Call { task: bool },
    Subscribe { uri: String },
    Unsubscribe { uri: String },
    Listen,
    Ping,
    Other,
}

impl What {
    /// Whether it is a use of the server. Who only asks whether it is there, or what it offers, does not use it; a host
    /// that does so every few seconds would keep it for ever. `// failure mode E9`
    fn is_use(&self) -> bool {
        match self {
            Self::List { .. } | Self::Listen | Self::Ping => false,
            Self::Opening { .. }
            | Self::Call { .. }
            | Self::Subscribe { .. }
            | Self::Unsubscribe { .. }
            | Self::Other => true,
        }
    }
}

/// A request of the host that waits for the server.
#[derive(Debug)]
struct Waiting {
    id: Id,
    what: What,
    line: Vec<u8>,
}

/// A request of our own that the server has.
#[derive(Debug)]
enum Own {
    Open,
    Learn(Box<Learning>),
    /// Its answer is of no interest.
    Replay,
}

/// After a failed start.
#[derive(Debug)]
struct Backoff {
    until: BootInstant,
    failures: u32,
    fault: String,
}

/// What a later instance has to say about an earlier one.
#[derive(Debug, Clone)]
struct Past {
    why: String,
}

/// Figures for whoever looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tool calls that went to a server.
    pub calls: u64,
    /// Lines of the host that were no messages.
    pub bad_host_lines: u64,
    /// Lines of the server that were no messages.
    pub bad_server_lines: u64,
    /// Answers that nobody waited for.
    pub stray_answers: u64,
    /// How many servers were started.
    pub starts: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    options: SessionOptions,
    shelf: Box<dyn Shelf>,
    outputs: VecDeque<Output>,
    stage: Stage,
    opening: Option<Opening>,
    /// What is known of the server under this opening.
    entry: Option<Entry>,
    /// Whether the host was answered from the catalogue, so that it may hold what has changed since.
    told_from_catalogue: bool,
    /// Whether this instance was opened by the host itself, whose `initialized` it must see.
    opened_by_host: bool,
    /// Whether this instance was told that the host is ready.
    told_initialized: bool,
    host_ready: bool,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    held: VecDeque<Vec<u8>>,
    pending: HashMap<Id, Pending>,
    own: HashMap<Id, Own>,
    next_own: u64,
    /// Questions of the server that the host has not answered: the id it knows, the server's own, since when.
    asked: HashMap<Id, (Id, BootInstant)>,
    /// Questions of servers that are gone: an answer to them is for nobody.
    stale: HashSet<Id>,
    subscriptions: BTreeSet<String>,
    listens: Vec<Listen>,
    /// Tasks that the server works on, and how long they keep it.
    tasks: HashMap<String, BootInstant>,
    log_level: Option<Box<RawValue>>,
    roots_changed: bool,
    learnt: learn::Learnt,
    backoff: Option<Backoff>,
    past: Option<Past>,
    calls_here: u64,
    answered_here: bool,
    used_at: BootInstant,
    counts: Counts,
}

impl Session {
    /// A session before the host's first word.
    pub fn new(options: SessionOptions, shelf: Box<dyn Shelf>, now: BootInstant) -> Self {
        Self {
            options,
            shelf,
            outputs: VecDeque::new(),
            stage: Stage::Absent,
            opening: None,
            entry: None,
            told_from_catalogue: false,
            opened_by_host: false,
            told_initialized: false,
            host_ready: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            held: VecDeque::new(),
            pending: HashMap::new(),
            own: HashMap::new(),
            next_own: 0,
            asked: HashMap::new(),
            stale: HashSet::new(),
            subscriptions: BTreeSet::new(),
            listens: Vec::new(),
            tasks: HashMap::new(),
            log_level: None,
            roots_changed: false,
            learnt: learn::Learnt::default(),
            backoff: None,
            past: None,
            calls_here: 0,
            answered_here: false,
            used_at: now,
            counts: Counts::default(),
        }
    }

    /// How the host opened, as far as that tells servers apart; empty before it did.
    pub fn opening_key(&self) -> &str {
        self.opening.as_ref().map_or("", Opening::key)
    }

    /// Changes how long a server stays without being used.
    pub fn set_idle(&mut self, idle: Option<Duration>) {
        self.options.idle = idle;
    }

    /// The next order, if there is one.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Figures for whoever looks.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many tool calls the server that runs now was given.
    pub fn calls_here(&self) -> u64 {
        self.calls_here
    }

    /// Bytes of the host's requests that wait for a server: the host is not read while they are many.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Whether the host waits for an answer. A stream that it listens to is none.
    pub fn owes_answers(&self) -> bool {
        let owed = |pending: &Pending| !pending.cancelled && !matches!(pending.what, What::Listen);
        !self.waiting.is_empty() || self.pending.values().any(owed)
    }

    /// Whether requests wait for a server that is not ready yet.
    pub fn has_unsent(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When the session wants to be woken by [`Session::tick`].
    pub fn wake_at(&self, now: BootInstant) -> Option<BootInstant> {
        match &self.stage {
            Stage::Starting { since } | Stage::Opening { since, .. } => Some(*since + START_WITHIN),
            Stage::Ready => self.idle_at(now),
            Stage::Absent | Stage::Stopping => None,
        }
    }

    /// Looks at what time has brought about.
    pub fn tick(&mut self, now: BootInstant) {
        match &self.stage {
            Stage::Starting { since } | Stage::Opening { since, .. } => {
                if now >= *since + START_WITHIN {
                    self.start_timed_out(now);
                }
            }
            Stage::Ready => {
                if self.idle_at(now).is_some_and(|at| now >= at) {
                    self.stage = Stage::Stopping;
                    self.outputs.push_back(Output::Stop);
                }
            }
            Stage::Absent | Stage::Stopping => {}
        }
    }

    /// When the server has been idle for long enough; `None` while it is in use.
    fn idle_at(&self, now: BootInstant) -> Option<BootInstant> {
        let idle = self.options.idle?;
        let called = self.pending.values().any(|pending| {
            let waits = match &pending.what {
                What::Listen | What::Ping => false,
                What::Opening { .. } => !self.host_ready,
                What::List { .. }
                | What::Call { .. }
                | What::Subscribe { .. }
                | What::Unsubscribe { .. }
                | What::Other => true,
            };
            waits && !pending.cancelled
        });
        let subscribed =
            !self.subscriptions.is_empty() || self.listens.iter().any(|listen| listen.needs_server);
        if called || subscribed || !self.waiting.is_empty() {
            return None;
        }
        // These have an end of their own, at which to look again.
        let questions = self.asked.values().map(|(_, since)| *since + QUESTION_WITHIN);
        let tasks = self.tasks.values().copied();
        let learning = self.own.is_empty().then_some(self.used_at);
        let learning = learning.unwrap_or(self.used_at + START_WITHIN);
        let busy_until = questions.chain(tasks).filter(|until| *until > now).max();
        Some(busy_until.unwrap_or(learning).max(learning) + idle)
    }

    fn used(&mut self, now: BootInstant) {
        self.used_at = now;
    }

    fn say(&mut self, text: impl Into<String>) {
        self.outputs.push_back(Output::Say(text.into()));
    }

    fn tell_host(&mut self, line: Vec<u8>) {
        self.outputs.push_back(Output::ToHost(line));
    }

    fn tell_server(&mut self, line: Vec<u8>) {
        self.outputs.push_back(Output::ToServer(line));
    }

    fn own_id(&mut self) -> Id {
        loop {
            self.next_own += 1;
            let id = Id::text(&format!("{}-{}", self.options.nonce, self.next_own));
            // The word is random, and a host that guessed it all the same is heard too.
            let waits = self.waiting.iter().any(|waiting| waiting.id == id);
            if !waits && !self.pending.contains_key(&id) {
                return id;
            }
        }
    }

    /// Sends a request of our own.
    fn ask_server(&mut self, method: &str, params: Option<&RawValue>, own: Own) -> Id {
        let id = self.own_id();
        self.tell_server(crate::envelope::request(&id, method, params));
        self.own.insert(id.clone(), own);
        id
    }
}

#[cfg(test)]
mod late;
#[cfg(test)]
mod tests;
