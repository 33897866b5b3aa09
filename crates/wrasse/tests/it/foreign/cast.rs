//! The cast of one test: hosts, their sessions, the servers of these, and what must become of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use wrasse_testkit::foreign_host::{ForeignHost, Via};
use wrasse_testkit::processes::{Process, descendants, read};
use wrasse_testkit::station::{PATIENCE, Station, eventually, text};

use super::{database, store};

/// Sessions are set up this far from each other, so that their times tell them apart.
const APART_MS: i64 = 130;
/// How long a set is watched where nobody speaks to any.
pub(super) const WATCH: &str = "120ms";
/// How long where somebody does, every 5 ms: a set that moves nothing in a sample is ended, and a loaded machine may not
/// run a host for as long as `WATCH`.
const WATCH_CHAT: &str = "1s";

/// How a host keeps its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// OpenClaw 2026.4: files.
    Files,
    /// OpenClaw 2026.9: databases.
    Databases,
    /// Claude Code: none that we read.
    Claude,
    /// A program that is no host we know.
    Stranger,
}

/// What becomes of a session in the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    CronEnded,
    CronRunning,
    SubAgentSettled,
    SubAgentUntold,
    Deleted,
    Reset,
    Kept,
    /// It is being set up: the store has an entry, and its transcript not a line.
    SettingUp,
    /// An isolated firing that ended, of which the run log has half a line.
    CronHalfLogged,
    /// The host forgot to write it down, or has not yet.
    Unrecorded,
}

impl Fate {
    pub(super) const ALL: [Self; 10] = [
        Self::CronEnded,
        Self::CronRunning,
        Self::SubAgentSettled,
        Self::SubAgentUntold,
        Self::Deleted,
        Self::Reset,
        Self::Kept,
        Self::SettingUp,
        Self::CronHalfLogged,
        Self::Unrecorded,
    ];

    fn is_over(self) -> bool {
        matches!(self, Self::CronEnded | Self::SubAgentSettled | Self::Deleted | Self::Reset)
    }
}

/// One session as it happened.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) fate: Fate,
    pub(super) asked: i64,
    pub(super) written: i64,
}

/// Whether a server may be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Must {
    Live,
    MayEnd,
    /// It is of no use to anybody, but nothing says so for certain.
    Whatever,
}

/// A session that a host is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) actor: usize,
    pub(super) fate: Fate,
    pub(super) via: Via,
    /// They start in this order.
    pub(super) servers: &'a [&'a str],
}

/// One server that was started.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) what: String,
    pub(super) root: u32,
    pub(super) must: Must,
    /// Whose it is: the number of the host.
    actor: Option<usize>,
    /// One run of its set-up left no record, so that what that started passes for another's once the other's is gone.
    pub(super) beside_unrecorded: bool,
    members: Vec<Process>,
}

impl Server {
    /// Whether every process of it still is what it was.
    pub(super) fn lives(&self) -> bool {
        self.members.iter().all(|member| {
            read(member.pid).is_some_and(|now| now.start == member.start && now.state != 'Z')
        })
    }

    /// Whether no process of it is left.
    pub(super) fn gone(&self) -> bool {
        self.members.iter().all(|member| {
            read(member.pid).is_none_or(|now| now.start != member.start || now.state == 'Z')
        })
    }
}

/// One host.
#[derive(Debug)]
pub(super) struct Actor {
    pub(super) kind: Kind,
    pub(super) host: ForeignHost,
    pub(super) state: PathBuf,
    pub(super) sessions: Vec<Session>,
    pub(super) alive: bool,
}

/// Everything on the stage.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) station: Station,
    pub(super) actors: Vec<Actor>,
    pub(super) servers: Vec<Server>,
    watch: &'static str,
    last: i64,
}

pub(super) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    i64::try_from(now).unwrap()
}

impl Cast {
    pub(super) fn new() -> Self {
        let cast = Self {
            station: Station::new(),
            actors: Vec::new(),
            servers: Vec::new(),
            watch: WATCH,
            last: 0,
        };
        // What a dead host configured is known from the caller's own file.
        cast.configure(&cast.station.path("home"));
        cast
    }

    /// From now on every host configures a third server, `nest`: one in whose shell another host runs.
    pub(super) fn with_nest(&self, host: &str) {
        let (script, inner) = (self.station.path("nest.sh"), self.station.path(host));
        std::os::unix::fs::symlink("/bin/sleep", &inner).unwrap();
        let inner = inner.display();
        let text = format!("{inner} 1000 </dev/null >/dev/null 2>&1 &\nsleep 1000\nexit\n");
        std::fs::write(script, text).unwrap();
        self.configure(&self.station.path("home"));
    }

    /// From now on every host configures a server that starts a daemon, of a program that no other server has.
    pub(super) fn with_daemon(&self) {
        let (fixture, own) =
            (self.station.program("wrasse-fixture"), self.station.path("daemonic"));
        // Only a second name of the file is a program of its own; across file systems that is a copy.
        if std::fs::hard_link(&fixture, &own).is_err() {
            std::fs::copy(&fixture, &own).unwrap();
        }
        self.configure(&self.station.path("home"));
    }

    /// The command lines of the servers that every host configures alike.
    fn argv(&self, server: &str) -> Vec<String> {
        if server == "daemon" {
            return vec![
                self.station.path("daemonic").display().to_string(),
                "f-daemon".to_owned(),
            ];
        }
        if server == "nest" {
            let script = self.station.path("nest.sh");
            return vec!["/bin/sh".to_owned(), script.display().to_string()];
        }
        let mode = if server == "deaf" { "f-eof-deaf" } else { "f-npx" };
        vec![self.station.program("wrasse-fixture").display().to_string(), mode.to_owned()]
    }

    fn configure(&self, home: &Path) {
        let entry = |server: &str| {
            let argv = self.argv(server);
            json!({ "command": argv[0], "args": argv[1..] })
        };
        let mut servers = json!({ "deaf": entry("deaf"), "chain": entry("chain") });
        if self.station.path("nest.sh").exists() {
            servers["nest"] = entry("nest");
        }
        if self.station.path("daemonic").exists() {
            servers["daemon"] = entry("daemon");
        }
        std::fs::create_dir_all(home.join(".openclaw")).unwrap();
        let config = json!({
            "meta": { "lastTouchedVersion": "2026.4.15" }, "mcp": { "servers": servers },
        });
        std::fs::write(home.join(".openclaw/openclaw.json"), config.to_string()).unwrap();
        std::fs::write(home.join(".claude.json"), json!({ "mcpServers": servers }).to_string())
            .unwrap();
    }

    /// Brings a host on, with a home of its own and the same servers as all others.
    pub(super) fn enter(&mut self, kind: Kind) -> usize {
        let home = self.station.path(&format!("home-{}", self.actors.len()));
        self.enter_at(kind, &home)
    }

    /// Brings a host on whose home is this.
    pub(super) fn enter_at(&mut self, kind: Kind, home: &Path) -> usize {
        let number = self.actors.len();
        self.configure(home);
        let name = match kind {
            Kind::Files | Kind::Databases => "openclaw-gateway",
            Kind::Claude => "claude",
            Kind::Stranger => "my-agent",
        };
        let folder = self.station.path(&format!("host-{number}"));
        let bins = self.station.program("");
        let host = ForeignHost::start(&mut self.station.oracle, &bins, &folder, name, home);
        let state = home.join(".openclaw");
        self.actors.push(Actor { kind, host, state, sessions: Vec::new(), alive: true });
        number
    }

    /// Has a host set up a session with some of its servers.
    pub(super) fn session(
        &mut self,
        actor: usize,
        fate: Fate,
        via: Via,
        servers: &[&str],
    ) -> Vec<usize> {
        self.together(&[Plan { actor, fate, via, servers }])
    }

    /// Has sessions set up at the same time: all are asked for before any has a server, they start their servers in turn,
    /// and each has its first message when its last server is up. The servers of the first, then of the second.
    pub(super) fn together(&mut self, plans: &[Plan<'_>]) -> Vec<usize> {
        let earliest = self.last + APART_MS;
        eventually("the next session's time", PATIENCE, || now() >= earliest);
        let mut numbers = Vec::new();
        for Plan { actor, fate, .. } in plans {
            let sessions = &mut self.actors[*actor].sessions;
            numbers.push(sessions.len());
            let id = format!("0000{actor}{}", sessions.len());
            sessions.push(Session { id, fate: *fate, asked: now(), written: 0 });
        }
        let mut started: Vec<Vec<usize>> = plans.iter().map(|_| Vec::new()).collect();
        let rounds = plans.iter().map(|plan| plan.servers.len()).max().unwrap_or(0);
        for round in 0..rounds {
            for (at, plan) in plans.iter().enumerate() {
                if let Some(server) = plan.servers.get(round) {
                    started[at].push(self.launch(plan, numbers[at], server));
                }
                if round + 1 == plan.servers.len() {
                    self.actors[plan.actor].sessions[numbers[at]].written = now();
                }
            }
        }
        self.last = now();
        let started = started.concat();
        if plans.len() > 1 && plans.iter().any(|plan| plan.fate == Fate::Unrecorded) {
            started.iter().for_each(|at| self.servers[*at].beside_unrecorded = true);
        }
        started
    }

    /// Has a host start one server; where it is in the list.
    fn launch(&mut self, plan: &Plan<'_>, number: usize, server: &str) -> usize {
        let Plan { actor, fate, via, .. } = *plan;
        let argv = self.argv(server);
        let before = self.daemons();
        let root = self.actors[actor].host.launch(&format!("{number}-{server}"), via, &argv);
        let whole = if matches!(server, "deaf" | "daemon") { 1 } else { 3 };
        eventually("all processes of a server", PATIENCE, || {
            let below = descendants(root);
            // A shell's child has the shell's command line until it has become what it was forked for.
            let forked = |one: &Process| read(root).is_some_and(|sh| sh.cmdline == one.cmdline);
            below.len() + 1 >= whole && !(server == "nest" && below.iter().any(forked))
        });
        let kind = self.actors[actor].kind;
        let what =
            format!("{server} of {fate:?} 0000{actor}{number} of {kind:?} {actor} via {via:?}");
        if server == "daemon" {
            let mut found = Vec::new();
            eventually("its daemon", PATIENCE, || {
                found = self.daemons();
                found.len() > before.len()
            });
            found.retain(|one| before.iter().all(|old| old.pid != one.pid));
            // What started it ends a moment after it is up, and is no process of the server that must live on.
            eventually("nothing between them", PATIENCE, || descendants(root).is_empty());
            let daemon = found[0].pid;
            let what = format!("the daemon of {what}");
            // While its host lives nothing says whose it is.
            let must = Must::Live;
            let (actor, beside_unrecorded) = (Some(actor), false);
            let members = found;
            let server = Server { what, root: daemon, must, actor, beside_unrecorded, members };
            self.servers.push(server);
        }
        let mut members = descendants(root);
        members.extend(read(root));
        let must = match kind {
            // What 2026.9 ends itself is left alone when it did not.
            Kind::Files if fate.is_over() => Must::MayEnd,
            Kind::Files | Kind::Databases | Kind::Claude | Kind::Stranger => Must::Live,
        };
        let (actor, beside_unrecorded) = (Some(actor), false);
        self.servers.push(Server { what, root, must, actor, beside_unrecorded, members });
        self.servers.len() - 1
    }

    /// Every daemon that is up: a process of that program alone, once it is what it was started for.
    fn daemons(&mut self) -> Vec<Process> {
        let of_daemon = format!("{} sleeper", self.station.path("daemonic").display());
        let mut found = self.station.oracle.list();
        found.retain(|one| one.cmdline == of_daemon);
        found
    }

    /// Has a host speak with a server of its latest session without end.
    pub(super) fn chat(&mut self, actor: usize, server: &str) {
        let actor = &mut self.actors[actor];
        actor.host.chat(&format!("{}-{server}", actor.sessions.len() - 1));
        self.watch = WATCH_CHAT;
    }

    /// Kills a host, and waits until its servers are nobody's. What it left may be ended.
    pub(super) fn kill_host(&mut self, actor: usize) {
        let pid = self.actors[actor].host.pid;
        let of_host: Vec<u32> = descendants(pid).iter().map(|process| process.pid).collect();
        assert_eq!(self.station.oracle.signal(&[pid], 9), 1);
        eventually("the host is gone", PATIENCE, || {
            read(pid).is_none_or(|process| process.state == 'Z')
        });
        self.actors[actor].alive = false;
        for server in self.servers.iter_mut().filter(|server| server.actor == Some(actor)) {
            // A daemon is below its host no more. What it may be depends on who else could have started it.
            let held = of_host.contains(&server.root);
            server.must = if held { Must::MayEnd } else { Must::Whatever };
        }
    }

    /// Ends one server as if it had died by itself.
    pub(super) fn lose(&mut self, server: usize) {
        let server = self.servers.remove(server);
        let pids: Vec<u32> = server.members.iter().map(|member| member.pid).collect();
        self.station.oracle.signal(&pids, 9);
        eventually("a lost server is gone", PATIENCE, || server.gone());
    }

    /// A process with a server's command line, or its program, that a person started: no host, no stdin.
    pub(super) fn bystander(&mut self, server: &str) {
        let mut argv = self.argv(server);
        if server == "daemon" {
            argv[1] = "sleeper".to_owned();
        }
        let env = BTreeMap::from([("LANG".to_owned(), "C".to_owned())]);
        let (log, cwd) = (self.station.path("bystander.log"), self.station.path("work"));
        let root = self.station.oracle.spawn(&argv, &env, &log, &cwd);
        let members = read(root).into_iter().collect();
        self.servers.push(Server {
            what: format!("a bystander with {server}"),
            root,
            must: Must::Live,
            actor: None,
            beside_unrecorded: false,
            members,
        });
    }

    /// Writes down what every host knows.
    pub(super) fn record(&self) {
        for actor in &self.actors {
            match actor.kind {
                Kind::Files => {
                    store::write(&actor.state, &actor.sessions);
                    database::tasks(&actor.state, &actor.sessions);
                }
                Kind::Databases => database::write(&actor.state, &actor.sessions),
                Kind::Claude | Kind::Stranger => {}
            }
        }
    }

    /// Cuts a file of a host's records, as a reader finds it that comes while it is written. Nothing says then that any
    /// session of that host is over.
    pub(super) fn tear(&mut self, actor: usize, file: &str) {
        let file = self.actors[actor].state.join(file);
        let Ok(text) = std::fs::read(&file) else { return };
        std::fs::write(&file, &text[..text.len() / 2]).unwrap();
        for server in self.servers.iter_mut().filter(|server| server.actor == Some(actor)) {
            server.must = Must::Live;
        }
    }

    /// Runs `wrasse reap --foreign` within the station; its answer and its exit code.
    pub(super) fn reap(&self, args: &[&str]) -> (Value, i32) {
        let below = self.station.oracle.pid().to_string();
        let fixed = ["reap", "--foreign", "--below", &below, "--watch", self.watch, "--json"];
        let output = self.station.cli(&[&fixed, args].concat());
        let code = output.status.code().unwrap();
        let answer = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}{}", text(&output.stdout), text(&output.stderr)));
        (answer, code)
    }

    /// Ends everybody, and proves it.
    pub(super) fn leave(mut self) {
        let left: Vec<u32> = self.station.oracle.list().iter().map(|process| process.pid).collect();
        self.station.oracle.signal(&left, 9);
        self.station.assert_empty();
    }
}

/// The class that a report gives the server with this first process.
pub(super) fn class(report: &Value, root: u32) -> Option<&str> {
    let sets = report["sets"].as_array()?;
    let has = |set: &&Value| {
        set["servers"]
            .as_array()
            .is_some_and(|servers| servers.iter().any(|server| server["pid"] == root))
    };
    sets.iter().find(has)?["class"].as_str()
}

/// Time for one reap of a test.
pub(super) const SOON: Duration = Duration::from_secs(10);
