//! A station: one state dir, one configuration, one port and one oracle, in which a test runs the real program.
//!
//! Every station must be left flat: [`Station::assert_flat`] asks the oracle, outside the program, that no process,
//! zombie or open lease is left.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixture::Mode;
use crate::oracle::{Oracle, is_dead};
use crate::processes::{self, Process};
use crate::rpc::Rpc;

const SIGKILL: i32 = 9;
const SIGSTOP: i32 = 19;

/// How long anything in a test may take that is not being measured. Generous: the machine is shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long what was let go of may take to be gone, with ladders as short as a fixture's. No figure is promised for that:
/// a test beside others only waits for the end.
pub const GONE: Duration = Duration::from_secs(10);

/// How long what a gateway had may take to be gone when it was killed, with or without its guardians or its warden, or its
/// warden alone. This is promised, less the time for which the machine had none for us, as the oracle counts it.
pub const AFTER_DEATH: Duration = Duration::from_secs(2);

/// How long an orderly end may take in all: the default of `gateway.shutdownDeadline`. Promised and counted likewise.
pub const SHUTDOWN: Duration = Duration::from_secs(8);

/// A place for one test.
#[derive(Debug)]
pub struct Station {
    folder: tempfile::TempDir,
    /// The oracle everything runs under.
    pub oracle: Oracle,
    bins: PathBuf,
    program: PathBuf,
    launcher: Vec<String>,
    env: BTreeMap<String, String>,
    /// The gateway's launched process id, once started: the warden's.
    pub warden: Option<u32>,
}

/// The folder that holds the programs: that of the test, or its parent.
pub fn bins() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let folder = exe.parent().unwrap();
    if folder.ends_with("deps") { folder.parent().unwrap().to_owned() } else { folder.to_owned() }
}

/// The longest path to a station that leaves its sockets names that the kernel takes: 107 bytes.
const BASE_LEN_MAX: usize = 25;

/// Where stations are made: the first place that is short enough and from which programs may be executed, or at least
/// short enough. Without a symbolic link, since tests compare paths with what the kernel says.
fn base() -> PathBuf {
    let temporary = std::env::temp_dir().canonicalize().unwrap();
    let target = bins().parent().unwrap().to_owned();
    let others = [Path::new("/tmp"), Path::new("/var/tmp"), &target];
    let mut places = vec![temporary.clone()];
    places.extend(others.iter().filter_map(|place| place.canonicalize().ok()));
    places.retain(|place| place.as_os_str().len() <= BASE_LEN_MAX);
    let executes = |place: &&PathBuf| {
        let system = rustix::fs::statvfs(*place);
        system.is_ok_and(|it| !it.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC))
    };
    places.iter().find(executes).or(places.first()).cloned().unwrap_or(temporary)
}

impl Station {
    /// An empty station.
    pub fn new() -> Self {
        let bins = bins();
        let folder = tempfile::Builder::new().prefix("wrasse-station-").tempdir_in(base()).unwrap();
        for name in ["state", "work", "home"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut env = BTreeMap::new();
        for name in ["PATH", "LANG", "TZ"] {
            if let Ok(value) = std::env::var(name) {
                env.insert(name.to_owned(), value);
            }
        }
        env.insert("HOME".to_owned(), folder.path().join("home").display().to_string());
        env.insert(
            "WRASSE_STATE_DIR".to_owned(),
            folder.path().join("state").display().to_string(),
        );
        let oracle = Oracle::start(&bins.join("wrasse-oracle"));
        let program = bins.join("wrasse");
        Self { folder, oracle, bins, program, launcher: Vec::new(), env, warden: None }
    }

    /// Lets the gateway be started by another program, which executes the command line that is its arguments.
    pub fn set_launcher(&mut self, launcher: &[&str]) {
        self.launcher = launcher.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Runs another copy of the program under test from now on.
    pub fn use_program(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// Sets a variable of everything that is started here.
    pub fn set_env(&mut self, name: &str, value: impl Into<String>) {
        self.env.insert(name.to_owned(), value.into());
    }

    /// The station's folder: `state`, `work`, `home` and whatever the test puts there.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program under test.
    pub fn wrasse(&self) -> PathBuf {
        self.program.clone()
    }

    /// Another program of the same build.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bins.join(name)
    }

    /// A server entry that runs a fixture, with a short stop ladder unless the test replaces it.
    pub fn fixture(&self, mode: Mode) -> Value {
        json!({
            "command": self.bins.join("wrasse-fixture"),
            "args": [mode.name()],
            "lifecycle": { "stop": { "eof": "300ms", "term": "300ms" } },
        })
    }

    /// Writes `wrasse.json5` and the scripted model's rules.
    pub fn configure(&self, mut config: Value, script: &Value) {
        let script_path = self.path("script.json5");
        std::fs::write(&script_path, script.to_string()).unwrap();
        merge(
            &mut config,
            &json!({
                "gateway": { "port": free_port() },
                "models": { "providers": { "scripted": { "api": "scripted", "script": script_path } } },
                "agents": { "defaults": {
                    "model": "scripted/main",
                    "workspace": self.path("work"),
                } },
            }),
        );
        let path = self.path("state").join("wrasse.json5");
        std::fs::write(path, config.to_string()).unwrap();
    }

    /// Starts the gateway, by the launcher if one was set, and waits until it is ready.
    pub fn start(&mut self) -> u32 {
        let mut argv = self.launcher.clone();
        argv.extend([self.program.display().to_string(), "gateway".to_owned(), "run".to_owned()]);
        let pid = self.spawn(&argv);
        self.warden = Some(pid);
        self.wait_ready();
        pid
    }

    /// Starts another command line below the oracle; its output goes to the same log.
    pub fn start_other(&mut self, args: &[&str]) -> u32 {
        let mut argv = vec![self.wrasse().display().to_string()];
        argv.extend(args.iter().map(|arg| (*arg).to_owned()));
        let (log, cwd) = (self.path("gateway.log"), self.path("work"));
        self.oracle.spawn(&argv, &self.env, &log, &cwd)
    }

    /// Starts any program below the oracle, in the station's environment and folder; its output goes to the same log.
    pub fn spawn(&mut self, argv: &[String]) -> u32 {
        let log = self.path("gateway.log");
        self.spawn_into(argv, &log)
    }

    /// [`Station::spawn`] with a file of its own for what the program prints.
    pub fn spawn_into(&mut self, argv: &[String], output: &Path) -> u32 {
        let cwd = self.path("work");
        self.oracle.spawn(argv, &self.env, output, &cwd)
    }

    /// Kills processes in one instant, as far as any of them can tell: all are stopped first. They are killed from the
    /// last to the first, since the death of a parent may wake its child.
    pub fn kill_at_once(&mut self, pids: &[u32]) {
        self.oracle.signal(pids, SIGSTOP);
        let stopped = self.oracle.wait_until(PATIENCE, |seen| {
            seen.iter().filter(|process| pids.contains(&process.pid)).all(|p| p.state == 'T')
        });
        assert!(stopped.is_ok(), "{stopped:#?}");
        let children_first: Vec<u32> = pids.iter().rev().copied().collect();
        assert_eq!(self.kill(&children_first), pids.len(), "{}", self.log());
    }

    /// Kills processes, one after the other, and waits until they are dead: kill(2) returns before that, and until then
    /// they have their files open and locked. Returns how many were reached.
    pub fn kill(&mut self, pids: &[u32]) -> usize {
        let reached = self.oracle.signal(pids, SIGKILL);
        let left = self.oracle.wait_until(PATIENCE, |seen| {
            seen.iter().filter(|process| pids.contains(&process.pid)).all(is_dead)
        });
        assert!(left.is_ok(), "{left:#?}\n{}", self.log());
        reached
    }

    /// Waits until the gateway answers as ready.
    pub fn wait_ready(&mut self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.cli(&["status", "--json"]);
            let ready = serde_json::from_slice::<Value>(&status.stdout)
                .is_ok_and(|status| status["ready"] == true);
            if ready {
                return;
            }
            assert!(Instant::now() < end, "the gateway is not ready\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A way to the gateway that costs no process.
    pub fn rpc(&self) -> Rpc {
        let read = |name: &str| std::fs::read_to_string(self.path("state").join(name)).unwrap();
        let endpoint: Value = serde_json::from_str(&read("endpoint.json")).unwrap();
        let port = endpoint["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap();
        Rpc { port, token: read("token").trim().to_owned() }
    }

    /// What the gateway has printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("gateway.log")).unwrap_or_default()
    }

    /// Waits for a condition; panics with the log when it does not come true.
    pub fn eventually(&self, what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the log has a text. The answer of a run comes before the line that reports its end, and what a program
    /// writes to its stderr may be read after its answer.
    pub fn assert_logs(&self, text: &str) {
        self.eventually(text, || self.log().contains(text));
    }

    /// A command line of the program under test, not started yet. It runs outside the oracle.
    #[expect(clippy::disallowed_methods, reason = "the command line is a program under test")]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.wrasse());
        command
            .args(args)
            .env_clear()
            .envs(&self.env)
            .current_dir(self.path("work"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command line to its end.
    pub fn cli(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command line that must succeed, and returns its stdout.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success(),
            "{args:?}: {}\n{out}\n{err}\n{}",
            output.status,
            self.log()
        );
        out
    }

    /// Runs a command line that must succeed, with `--json`, and returns its answer.
    pub fn json(&self, args: &[&str]) -> Value {
        let out = self.ok(&[args, &["--json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}\n{out}"))
    }

    /// The gateway's process id.
    pub fn gateway(&self) -> u32 {
        u32::try_from(self.json(&["status"])["gateway"]["pid"].as_u64().unwrap()).unwrap()
    }

    /// Waits until no process of a server, guardian or tool is below the gateway; panics with what is left.
    pub fn assert_no_servers(&mut self, deadline: Duration) {
        let ours = |process: &Process| {
            let own = process.cmdline.contains("gateway run")
                || process.name.starts_with("wrasse-warden");
            !own || process.state == 'Z'
        };
        let left = self.oracle.wait_until(deadline, |seen| !seen.iter().any(ours));
        if let Err(left) = left {
            panic!("left after {deadline:?}: {left:#?}\n{}", self.log());
        }
    }

    /// Stops the gateway and proves that nothing is left: no process, no zombie, no cgroup, no open lease or instance.
    pub fn assert_flat(&mut self) {
        if self.warden.take().is_some() {
            self.ok(&["gateway", "stop"]);
        }
        self.assert_empty();
        self.assert_no_leaves();
        self.assert_ledger_closed();
    }

    /// No cgroup that a gateway of this station made is left. Others may have its number, which is a random one of 65536:
    /// those of tests that were killed, whose gateways began before our oracle did, as the names say.
    pub fn assert_no_leaves(&self) {
        let oracle = processes::read(self.oracle.pid()).unwrap();
        let gateway_start = |leaf: &Path| -> Option<u64> {
            leaf.file_name()?.to_str()?.split('-').nth(4)?.parse().ok()
        };
        let mut left = crate::leaves::of(&self.path("state"));
        left.retain(|leaf| gateway_start(leaf).is_none_or(|start| start >= oracle.start));
        assert!(left.is_empty(), "{left:?}\n{}", self.log());
    }

    /// Waits until the oracle sees no process at all below itself.
    pub fn assert_empty(&mut self) {
        let left = self.oracle.wait_until(Duration::from_secs(10), <[Process]>::is_empty);
        if let Err(left) = left {
            panic!("left at the end: {left:#?}\n{}", self.log());
        }
    }

    /// The ledger, read with no code of the program under test but its own query command.
    pub fn assert_ledger_closed(&self) {
        let database = self.path("state").join("wrasse.db");
        if !database.exists() {
            return;
        }
        for table in ["instances", "leases"] {
            let open = self.query(&format!("SELECT count(*) FROM {table} WHERE ended_at IS NULL"));
            assert_eq!(open.trim(), "0", "open rows in {table}\n{}", self.log());
        }
    }

    /// Asks the database through python's sqlite module: a reader that shares no code with us.
    pub fn query(&self, sql: &str) -> String {
        self.python(
            "import sqlite3,sys\nfor row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]):\n print(*row,sep='|')",
            sql,
        )
    }

    /// Changes the database behind the gateway's back, for what cannot be brought about otherwise: time passing.
    pub fn query_write(&self, sql: &str) {
        self.python(
            "import sqlite3,sys\nwith sqlite3.connect(sys.argv[1], timeout=30) as db:\n db.execute(sys.argv[2])",
            sql,
        );
    }

    #[expect(clippy::disallowed_methods, reason = "an independent reader of the database")]
    fn python(&self, script: &str, sql: &str) -> String {
        let database = self.path("state").join("wrasse.db");
        let output =
            Command::new("python3").args(["-c", script]).arg(database).arg(sql).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", text(&output.stderr));
        text(&output.stdout)
    }
}

impl Default for Station {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Copies a program in a process of its own. What another thread of ours starts meanwhile would have a descriptor of ours
/// that is open for writing until it has executed, and so long the kernel would execute no such file.
pub fn install(program: &Path, to: &Path) {
    install_other(program, to, "");
}

/// [`install`], of another build: what follows the sections of an executable does not change what it does.
#[expect(clippy::disallowed_methods, reason = "a process that holds the file instead of us")]
pub fn install_other(program: &Path, to: &Path, more: &str) {
    let script = "cp \"$0\" \"$1\" && printf %s \"$2\" >>\"$1\"";
    let status =
        Command::new("sh").args(["-c", script]).arg(program).arg(to).arg(more).status().unwrap();
    assert!(status.success(), "{} cannot be installed: {status}", to.display());
}

/// A port that is free, below those that the kernel gives to outgoing connections, and never the same twice: nobody else
/// of this machine's tests comes to have it before it is used, nor while a gateway is dead.
pub fn free_port() -> u16 {
    static CLAIMS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let mut claims = CLAIMS.lock().unwrap();
    for port in 15_000..30_000 {
        // A claim is a name that the kernel gives once per network namespace, as it does a port, and takes back when
        // this process ends.
        let name = SocketAddr::from_abstract_name(format!("wrasse-test-port-{port}")).unwrap();
        if let Ok(claim) = UnixListener::bind_addr(&name)
            && TcpListener::bind(("127.0.0.1", port)).is_ok()
        {
            claims.push(claim);
            return port;
        }
    }
    panic!("no port is free");
}

/// Waits for a condition; panics when the deadline passes.
pub fn eventually(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !condition() {
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a program is on the PATH.
pub fn has(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| is_file(&folder.join(program)))
    })
}

fn is_file(path: &Path) -> bool {
    path.is_file()
}

/// Puts what `extra` has and `config` lacks into `config`.
fn merge(config: &mut Value, extra: &Value) {
    match (config, extra) {
        (Value::Object(config), Value::Object(extra)) => {
            for (key, value) in extra {
                merge(config.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (config @ Value::Null, extra) => *config = extra.clone(),
        _ => {}
    }
}
