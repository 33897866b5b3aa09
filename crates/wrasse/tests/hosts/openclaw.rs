//! A real OpenClaw gateway in a station: its configuration, its command line, its processes and its records.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use wrasse_testkit::processes::Process;
use wrasse_testkit::station::{PATIENCE, Station, eventually, free_port, has};

use crate::model::{Call, Model};

/// A release that the suite runs; its folder under `tests/hosts` is its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// The report's: servers are children of the gateway and stay for ever.
    V2026_4_15,
    /// Servers are below a spawn broker, each under a relay and an anchor.
    V2026_9_6,
}

impl Version {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V2026_4_15 => "2026.4.15",
            Self::V2026_9_6 => "2026.9.6",
        }
    }

    /// The variables that switch off what no test uses. 2026.4.15 answers nothing without its bundled plugins.
    const fn less(self) -> &'static [&'static str] {
        match self {
            Self::V2026_4_15 => &[
                "OPENCLAW_SKIP_CHANNELS",
                "OPENCLAW_SKIP_ACPX_RUNTIME",
                "OPENCLAW_SKIP_BROWSER_CONTROL_SERVER",
                "OPENCLAW_SKIP_CANVAS_HOST",
            ],
            Self::V2026_9_6 => &["OPENCLAW_SKIP_CHANNELS", "OPENCLAW_DISABLE_BUNDLED_PLUGINS"],
        }
    }

    /// Processes that OpenClaw itself spends on one `npx -y` server: npx, sh, node, and what it adds.
    pub(crate) const fn processes_per_server(self) -> usize {
        match self {
            Self::V2026_4_15 => 3,
            Self::V2026_9_6 => 5,
        }
    }
}

/// How long a turn of a host may take: seconds on a machine of its own, minutes on a busy one.
pub(crate) const TURN: Duration = Duration::from_secs(300);

/// What one look at the processes below a host found.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// The host's own: launcher, gateway, broker and helpers.
    pub(crate) own: Vec<Process>,
    /// Relays and anchors, which the host starts for each server.
    pub(crate) relays: Vec<Process>,
    /// Ours: shims and guardians.
    pub(crate) shims: Vec<Process>,
    pub(crate) guardians: Vec<Process>,
    /// Everything else: the servers.
    pub(crate) servers: Vec<Process>,
}

/// An OpenClaw gateway in a station of its own.
#[derive(Debug)]
pub(crate) struct OpenClaw {
    pub(crate) station: Station,
    pub(crate) model: Model,
    version: Version,
    modules: PathBuf,
    port: u16,
    env: BTreeMap<String, String>,
    commands: usize,
}

/// The tools that a turn calls, one of each of the report's servers.
pub(crate) fn report_calls() -> Vec<Call> {
    let call = |tool: &str, arguments| Call { tool: tool.to_owned(), arguments };
    vec![
        call("filesystem__list_allowed_directories", json!({})),
        call("sqlite__list_tables", json!({})),
        call("context7__resolve-library-id", json!({ "query": "tokio", "libraryName": "tokio" })),
    ]
}

impl OpenClaw {
    /// A station with this release, not started; `None`, said by name, where it is not installed.
    pub(crate) fn new(test: &str, version: Version, calls: Vec<Call>) -> Option<Self> {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
        let modules = tests.join("hosts").join(version.name()).join("node_modules");
        let servers = tests.join("servers/node_modules");
        let missing = if !has("npx") {
            Some("npx")
        } else if !servers.is_dir() {
            Some("tests/servers")
        } else if !modules.join("openclaw").is_dir() || !modules.join(".bin/node").exists() {
            Some("tests/hosts")
        } else {
            None
        };
        if let Some(missing) = missing {
            eprintln!("SKIPPED {test}: {missing} is not installed (cargo xtask test --hosts)");
            return None;
        }
        let modules = modules.canonicalize().unwrap();
        let mut station = Station::new();
        let (home, work) = (station.path("home"), station.path("work"));
        let link = work.join("node_modules");
        std::os::unix::fs::symlink(servers.canonicalize().unwrap(), link).unwrap();
        std::fs::write(home.join(".npmrc"), "offline=true\nupdate-notifier=false\n").unwrap();
        std::fs::create_dir(station.path("tmp")).unwrap();
        let mut env = BTreeMap::from([
            ("HOME".to_owned(), home.display().to_string()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ("TMPDIR".to_owned(), station.path("tmp").display().to_string()),
        ]);
        env.extend(version.less().iter().map(|name| ((*name).to_owned(), "1".to_owned())));
        let path = std::env::var("PATH").unwrap_or_default();
        env.insert("PATH".to_owned(), format!("{}:{path}", modules.join(".bin").display()));
        // A host passes HOME on to its servers and nothing of ours: the state dir is the one a shim finds by itself.
        station.set_env("WRASSE_STATE_DIR", home.join(".wrasse").display().to_string());
        for name in ["PATH", "TMPDIR"] {
            station.set_env(name, &env[name]);
        }
        let model = Model::start(calls);
        Some(Self { station, model, version, modules, port: free_port(), env, commands: 0 })
    }

    /// The three servers of the report, their data in the station.
    pub(crate) fn report_servers(&self) -> Value {
        let work = self.station.path("work");
        json!({
            "filesystem": { "command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", work] },
            "context7": { "command": "npx", "args": ["-y", "@upstash/context7-mcp"] },
            "sqlite": { "command": "npx", "args": ["-y", "mcp-server-sqlite-npx", work.join("health.db")] },
        })
    }

    /// Writes `openclaw.json`: a gateway on loopback with a token, the scripted model, nothing that calls home.
    pub(crate) fn configure(&self, servers: &Value) {
        let state = self.state();
        std::fs::create_dir_all(&state).unwrap();
        let mut config = json!({
            "meta": { "lastTouchedVersion": self.version.name() },
            "gateway": {
                "mode": "local", "port": self.port, "bind": "loopback",
                "auth": { "mode": "token", "token": "hosts-suite" },
                "controlUi": { "enabled": false },
            },
            "agents": { "defaults": {
                "workspace": state.join("workspace"),
                "skipBootstrap": true,
                "model": { "primary": "local/scripted", "fallbacks": [] },
                "heartbeat": { "every": "0m" },
            } },
            "models": { "mode": "replace", "providers": { "local": {
                "baseUrl": self.model.url(), "api": "openai-completions", "apiKey": "none",
                "models": [{ "id": "scripted", "name": "scripted", "contextWindow": 128_000, "maxTokens": 4096 }],
            } } },
            "discovery": { "mdns": { "mode": "off" } },
            "update": { "checkOnStart": false },
            "mcp": { "servers": servers },
        });
        if self.version == Version::V2026_9_6 {
            // The servers' tools are offered as they are, not behind a search.
            config["tools"] = json!({ "toolSearch": false });
        }
        std::fs::write(self.config(), serde_json::to_string_pretty(&config).unwrap()).unwrap();
    }

    /// OpenClaw's state dir.
    pub(crate) fn state(&self) -> PathBuf {
        self.station.path("home").join(".openclaw")
    }

    /// Its configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.state().join("openclaw.json")
    }

    fn argv(&self, args: &[&str]) -> Vec<String> {
        let mut argv = vec![
            self.modules.join(".bin/node").canonicalize().unwrap().display().to_string(),
            self.modules.join("openclaw/openclaw.mjs").display().to_string(),
        ];
        argv.extend(args.iter().map(|arg| (*arg).to_owned()));
        argv
    }

    /// Starts the gateway and waits until it serves.
    pub(crate) fn start(&mut self) {
        let argv = self.argv(&["gateway", "run", "--port", &self.port.to_string()]);
        let (log, work) = (self.station.path("gateway.log"), self.station.path("work"));
        let pid = self.station.oracle.spawn(&argv, &self.env, &log, &work);
        self.station.warden = None;
        let port = self.port;
        eventually("the host's gateway is ready", TURN, || {
            assert!(wrasse_testkit::processes::read(pid).is_some(), "{}", self.log());
            is_ready(port)
        });
    }

    /// What the gateway printed.
    pub(crate) fn log(&self) -> String {
        self.station.log()
    }

    /// Runs OpenClaw's command line to its end, below the oracle too; it must succeed. Returns what it printed.
    pub(crate) fn cli(&mut self, args: &[&str]) -> String {
        self.commands += 1;
        let output = self.station.path(&format!("command-{}.log", self.commands));
        let (argv, work) = (self.argv(args), self.station.path("work"));
        let pid = self.station.oracle.spawn(&argv, &self.env, &output, &work);
        let code = self.station.oracle.exit_code(pid, TURN);
        let text = std::fs::read_to_string(&output).unwrap_or_default();
        assert_eq!(code, Some(0), "openclaw {args:?}\n{text}\n{}", self.log());
        text
    }

    /// One turn of a session, answered before this returns.
    pub(crate) fn agent(&mut self, session: &str, message: &str) {
        let turn = TURN.as_secs().to_string();
        self.cli(&["agent", "--session-id", session, "-m", message, "--timeout", &turn, "--json"]);
    }

    /// Adds an isolated cron job, due in ten hours, and returns its id.
    pub(crate) fn add_job(&mut self, name: &str, message: &str) -> String {
        let args =
            ["cron", "add", "--name", name, "--every", "10h", "--session", "isolated", "--agent"];
        let more = ["main", "--message", message, "--no-deliver", "--json"];
        let text = self.cli(&[&args[..], &more].concat());
        let start = text.find("\n{").map_or(0, |at| at + 1);
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
        let job = values.next().unwrap().unwrap_or_else(|error| panic!("{error}\n{text}"));
        job["id"].as_str().unwrap().to_owned()
    }

    /// Makes a job due and waits until its run is in the records, as number `ended` of all.
    pub(crate) fn run_job(&mut self, id: &str, ended: usize) {
        self.cli(&["cron", "run", id]);
        eventually(&format!("cron run {ended} ended"), TURN, || self.ended_cron_runs() >= ended);
    }

    /// Ten isolated jobs, each run once.
    pub(crate) fn run_ten_jobs(&mut self) -> Vec<String> {
        let mut jobs = Vec::new();
        for number in 1..=10 {
            let id = self.add_job(&format!("job {number}"), &format!("look around {number}"));
            self.run_job(&id, number);
            jobs.push(id);
        }
        jobs
    }

    /// How many cron runs this host's own records call ended, and well.
    fn ended_cron_runs(&self) -> usize {
        match self.version {
            Version::V2026_4_15 => {
                let runs = std::fs::read_dir(self.state().join("cron/runs"));
                let ended = |path: &Path| {
                    let text = std::fs::read_to_string(path).unwrap_or_default();
                    text.lines().filter(|line| line.contains("\"status\":\"ok\"")).count()
                };
                runs.map_or(0, |runs| runs.flatten().map(|entry| ended(&entry.path())).sum())
            }
            Version::V2026_9_6 => {
                let sql = "SELECT count(*) FROM cron_run_receipts WHERE status = 'ok'";
                query(&self.state().join("state/openclaw.sqlite"), sql).trim().parse().unwrap_or(0)
            }
        }
    }

    /// Calls a method of the gateway.
    pub(crate) fn call(&mut self, method: &str, params: &Value) -> String {
        self.cli(&["gateway", "call", method, "--params", &params.to_string(), "--json"])
    }

    /// The gateway's process.
    pub(crate) fn gateway(&mut self) -> u32 {
        let seen = self.station.oracle.list();
        let found = seen.iter().find(|process| process.name == "openclaw-gatewa");
        found.unwrap_or_else(|| panic!("no gateway: {seen:#?}\n{}", self.log())).pid
    }

    /// Looks at everything that runs here.
    pub(crate) fn look(&mut self) -> Look {
        let mut look = Look::default();
        for process in self.station.oracle.list() {
            if process.state == 'Z' {
                continue;
            }
            let line = process.cmdline.as_str();
            let place = if process.name == "wrasse-shim" || line.contains("/wrasse wrap ") {
                &mut look.shims
            } else if process.name.starts_with("wrasse-guard") {
                &mut look.guardians
            } else if line.contains("/supervisor/service-child-") {
                &mut look.relays
            } else if line.starts_with("openclaw") || line.contains("/openclaw/") {
                &mut look.own
            } else {
                &mut look.servers
            };
            place.push(process);
        }
        look
    }

    /// Asks the gateway to end, waits, and proves that nothing is left of this station.
    pub(crate) fn stop(mut self) {
        const SIGTERM: i32 = 15;
        let gateway = self.gateway();
        self.station.oracle.signal(&[gateway], SIGTERM);
        self.assert_empty();
    }

    /// Nothing at all is left below the oracle.
    pub(crate) fn assert_empty(&mut self) {
        let left = self.station.oracle.wait_until(PATIENCE, <[_]>::is_empty);
        if let Err(left) = left {
            panic!("left at the end: {left:#?}\n{}", self.log());
        }
    }
}

/// One bare HTTP request: neither release says anything but 200 once it serves.
fn is_ready(port: u16) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return false };
    let request = "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
        && stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

/// Asks a database of the host through python: a reader that shares no code with us.
#[expect(clippy::disallowed_methods, reason = "an independent reader of the database")]
fn query(database: &Path, sql: &str) -> String {
    let script = "import sqlite3,sys\ndb=sqlite3.connect(f'file:{sys.argv[1]}?mode=ro',uri=True,timeout=30)\nfor row in db.execute(sys.argv[2]):\n print(*row,sep='|')";
    let output = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(database)
        .arg(sql)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Proportional memory of processes, in MiB.
pub(crate) fn pss(processes: &[&Process]) -> u64 {
    let of = |process: &&Process| -> u64 {
        let path = format!("/proc/{}/smaps_rollup", process.pid);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
        kib.unwrap_or(0)
    };
    processes.iter().map(of).sum::<u64>() / 1024
}
