//! The cast of one test: hosts, their sessions, the servers of these, and what must become of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use wrasse_testkit::foreign_host::{ForeignHost, Via};
use wrasse_testkit::processes::{Process, descendants, read};
use wrasse_testkit::station::{PATIENCE, Station, eventually, text};

use super::database;

/// Sessions are set up this far from each other, so that their times tell them apart.
const APART_MS: i64 = 130;
/// How long a set is watched where nobody speaks to any.
pub(super) const WATCH: &str = "120ms";
/// How long where somebody does, every 5 ms: a set that moves nothing in the first look is ended, and a loaded machine may
/// not run a host for as long as `WATCH`. It costs the two hundred mixes less than half a minute.
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
    /// The host forgot to write it down, or has not yet.
    Unrecorded,
}

impl Fate {
    pub(super) const ALL: [Self; 8] = [
        Self::CronEnded,
        Self::CronRunning,
        Self::SubAgentSettled,
        Self::SubAgentUntold,
        Self::Deleted,
        Self::Reset,
        Self::Kept,
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
}

/// One server that was started.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) what: String,
    pub(super) root: u32,
    pub(super) must: Must,
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

    /// The command lines of the servers that every host configures alike.
    fn argv(&self, server: &str) -> Vec<String> {
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
        let number = self.actors.len();
        let home = self.station.path(&format!("home-{number}"));
        self.configure(&home);
        let name = match kind {
            Kind::Files | Kind::Databases => "openclaw-gateway",
            Kind::Claude => "claude",
            Kind::Stranger => "my-agent",
        };
        let folder = self.station.path(&format!("host-{number}"));
        let bins = self.station.program("");
        let host = ForeignHost::start(&mut self.station.oracle, &bins, &folder, name, &home);
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
        let earliest = self.last + APART_MS;
        eventually("the next session's time", PATIENCE, || now() >= earliest);
        let asked = now();
        let number = self.actors[actor].sessions.len();
        let id = format!("0000{actor}{number}");
        let mut started = Vec::new();
        for server in servers {
            let name = format!("{number}-{server}");
            let argv = self.argv(server);
            let root = self.actors[actor].host.launch(&name, via, &argv);
            let whole = if *server == "deaf" { 1 } else { 3 };
            eventually("all processes of a server", PATIENCE, || {
                let below = descendants(root);
                // A shell's child has the shell's command line until it has become what it was forked for.
                let forked = |one: &Process| read(root).is_some_and(|sh| sh.cmdline == one.cmdline);
                below.len() + 1 >= whole && !(*server == "nest" && below.iter().any(forked))
            });
            let mut members = descendants(root);
            members.extend(read(root));
            let must = match self.actors[actor].kind {
                // What 2026.9 ends itself is left alone when it did not.
                Kind::Files if fate.is_over() => Must::MayEnd,
                Kind::Files | Kind::Databases | Kind::Claude | Kind::Stranger => Must::Live,
            };
            let what = format!(
                "{server} of {fate:?} {id} of {:?} {actor} via {via:?}",
                self.actors[actor].kind
            );
            self.servers.push(Server { what, root, must, members });
            started.push(self.servers.len() - 1);
        }
        let written = now();
        self.actors[actor].sessions.push(Session { id, fate, asked, written });
        self.last = written;
        started
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
        for server in self.servers.iter_mut().filter(|server| of_host.contains(&server.root)) {
            server.must = Must::MayEnd;
        }
    }

    /// Ends one server as if it had died by itself.
    pub(super) fn lose(&mut self, server: usize) {
        let server = self.servers.remove(server);
        let pids: Vec<u32> = server.members.iter().map(|member| member.pid).collect();
        self.station.oracle.signal(&pids, 9);
        eventually("a lost server is gone", PATIENCE, || server.gone());
    }

    /// A process with a server's command line that a person started: no host, no stdin.
    pub(super) fn bystander(&mut self) {
        let argv = self.argv("deaf");
        let env = BTreeMap::from([("LANG".to_owned(), "C".to_owned())]);
        let (log, cwd) = (self.station.path("bystander.log"), self.station.path("work"));
        let root = self.station.oracle.spawn(&argv, &env, &log, &cwd);
        let members = read(root).into_iter().collect();
        self.servers.push(Server {
            what: "a bystander".to_owned(),
            root,
            must: Must::Live,
            members,
        });
    }

    /// Writes down what every host knows.
    pub(super) fn record(&self) {
        for actor in &self.actors {
            match actor.kind {
                Kind::Files => {
                    files(&actor.state, &actor.sessions);
                    database::tasks(&actor.state, &actor.sessions);
                }
                Kind::Databases => database::write(&actor.state, &actor.sessions),
                Kind::Claude | Kind::Stranger => {}
            }
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

/// The records of OpenClaw 2026.4.
fn files(state: &Path, sessions: &[Session]) {
    let folder = state.join("agents/main/sessions");
    for path in [&folder, &state.join("cron/runs"), &state.join("subagents")] {
        std::fs::create_dir_all(path).unwrap();
    }
    let (mut entries, mut registry, mut jobs) = (json!({}), json!({}), Vec::new());
    for session in sessions {
        let Session { id, fate, asked, written } = session;
        let end = written + 20;
        let file = folder.join(format!("{id}.jsonl"));
        let entry = json!({ "sessionId": id, "updatedAt": written, "sessionFile": file, "status": "done", "endedAt": end });
        let cron = format!("agent:main:cron:job-{id}");
        let child = format!("agent:main:subagent:{id}");
        let mut kept = "";
        match fate {
            Fate::CronEnded => {
                entries[format!("{cron}:run:{id}")] = entry.clone();
                entries[&cron] = entry;
                let line = json!({
                    "ts": end, "jobId": format!("job-{id}"), "action": "finished", "status": "ok", "sessionId": id,
                    "sessionKey": format!("{cron}:run:{id}"), "runAtMs": asked, "durationMs": end - asked,
                });
                std::fs::write(
                    state.join(format!("cron/runs/job-{id}.jsonl")),
                    format!("{line}\n"),
                )
                .unwrap();
            }
            Fate::CronRunning => {
                entries[format!("{cron}:run:{id}")] = entry.clone();
                entries[&cron] = entry;
                jobs.push(json!({ "id": format!("job-{id}"), "state": { "runningAtMs": asked } }));
            }
            Fate::SubAgentSettled | Fate::SubAgentUntold => {
                entries[&child] = entry;
                let told = (*fate == Fate::SubAgentSettled).then_some(end);
                registry[format!("run-{id}")] = json!({
                    "runId": format!("run-{id}"), "childSessionKey": child, "requesterSessionKey": "agent:main:main",
                    "spawnMode": "run", "createdAt": asked, "endedAt": end, "cleanupCompletedAt": told,
                });
            }
            Fate::Deleted => kept = ".deleted.2026-11-22T18-27-33.069Z",
            Fate::Reset => kept = ".reset.2026-11-22T18-27-33.069Z",
            Fate::Kept => entries[format!("agent:main:explicit:{id}")] = entry,
            Fate::Unrecorded => continue,
        }
        let head = json!({ "type": "session", "version": 3, "id": id, "timestamp": iso(*written) });
        let message = json!({
            "type": "message", "id": "m", "timestamp": iso(*written),
            "message": { "role": "user", "content": [{ "type": "text", "text": "x" }], "timestamp": written },
        });
        std::fs::write(format!("{}{kept}", file.display()), format!("{head}\n{message}\n"))
            .unwrap();
    }
    std::fs::write(folder.join("sessions.json"), entries.to_string()).unwrap();
    let runs = json!({ "version": 2, "runs": registry });
    std::fs::write(state.join("subagents/runs.json"), runs.to_string()).unwrap();
    std::fs::write(state.join("cron/jobs.json"), json!({ "version": 1, "jobs": jobs }).to_string())
        .unwrap();
}

/// Milliseconds as OpenClaw writes times in transcripts.
fn iso(millis: i64) -> String {
    wrasse_types::UnixMillis::new(millis).to_string()
}

/// Time for one reap of a test.
pub(super) const SOON: Duration = Duration::from_secs(10);
