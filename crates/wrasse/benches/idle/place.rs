//! A place of its own for one gateway: state dir, configuration, port; started and stopped as people do it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use tempfile::TempDir;
use wrasse_testkit::processes::{self, Process};
use wrasse_testkit::station::free_port;

/// How long anything may take that is not being measured.
const PATIENCE: Duration = Duration::from_secs(60);
const TOKEN: &str = "idle-bench-idle-bench-idle-bench";

/// The program under test, as cargo built it beside this bench.
pub(crate) const WRASSE: &str = env!("CARGO_BIN_EXE_wrasse");

/// Writes the configuration of these benches into a folder: a scripted model and three servers.
pub(crate) fn configure(folder: &Path, port: u16) -> PathBuf {
    std::fs::create_dir_all(folder.join("work")).unwrap();
    let script = folder.join("script.json5");
    std::fs::write(&script, json!({ "rules": [], "otherwise": { "text": "Done." } }).to_string())
        .unwrap();
    let server = json!({ "command": std::env::current_exe().unwrap(), "args": ["server"] });
    let config = json!({
        "gateway": { "port": port },
        "models": { "providers": { "scripted": { "api": "scripted", "script": script } } },
        "agents": { "defaults": { "model": "scripted/main", "workspace": folder.join("work") } },
        "mcp": { "servers": { "filesystem": server, "context7": server, "sqlite": server } },
    });
    let path = folder.join("wrasse.json5");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// A folder for one gateway.
#[derive(Debug)]
pub(crate) struct Place {
    folder: TempDir,
    port: u16,
}

/// A running gateway; [`Running::stop`] it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    port: u16,
    /// From the spawn to the first answer that says ready.
    pub(crate) ready_after: Duration,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("wrasse-idle-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        let port = free_port();
        configure(folder.path(), port);
        Self { folder, port }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the gateway and waits until it is ready.
    pub(crate) fn start(&self) -> Running {
        let log = std::fs::File::create(self.path().join("gateway.log")).unwrap();
        let mut command = Command::new(WRASSE);
        command
            .args(["gateway", "run", "--config"])
            .arg(self.path().join("wrasse.json5"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("WRASSE_STATE_DIR", self.path().join("state"))
            .env("WRASSE_GATEWAY_TOKEN", TOKEN)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let began = Instant::now();
        let mut child = command.spawn().unwrap();
        while !is_ready(self.port) {
            if began.elapsed() > PATIENCE || child.try_wait().unwrap().is_some() {
                let log = std::fs::read_to_string(self.path().join("gateway.log"));
                panic!("the gateway is not ready\n{}", log.unwrap_or_default());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        Running { child, port: self.port, ready_after: began.elapsed() }
    }

    /// Bytes of the files of the state dir.
    pub(crate) fn state_bytes(&self) -> u64 {
        let entries = std::fs::read_dir(self.path().join("state")).unwrap().flatten();
        entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
    }
}

impl Running {
    /// The warden: the process that was launched.
    pub(crate) fn warden(&self) -> u32 {
        self.child.id()
    }

    /// Everything below the warden.
    pub(crate) fn below(&self) -> Vec<Process> {
        processes::descendants(self.warden())
    }

    /// The gateway.
    pub(crate) fn gateway(&self) -> u32 {
        let warden = self.warden();
        self.below().iter().find(|process| process.ppid == warden).unwrap().pid
    }

    /// Calls a method that must succeed.
    pub(crate) fn call(&self, method: &str, params: &Value) -> Value {
        let body = params.to_string();
        let request = format!(
            "POST /rpc/{method} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(self.port, &request).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{method}: {answer}");
        serde_json::from_str(body).unwrap()
    }

    /// Ends it as `kill` does; returns how long that took.
    pub(crate) fn stop(mut self) -> Duration {
        self.end()
    }

    fn end(&mut self) -> Duration {
        let began = Instant::now();
        if self.child.try_wait().unwrap().is_none() {
            rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        }
        while self.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < PATIENCE, "the gateway does not stop");
            std::thread::sleep(Duration::from_micros(500));
        }
        began.elapsed()
    }
}

impl Drop for Running {
    /// A bench that breaks leaves no gateway behind either.
    fn drop(&mut self) {
        self.end();
    }
}

fn is_ready(port: u16) -> bool {
    let request = "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    exchange(port, request).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn exchange(port: u16, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Ends what was left below this process, by number; each is our descendant at the moment of the look.
pub(crate) fn end(left: &[Process]) {
    for process in left {
        let still = processes::read(process.pid).is_some_and(|now| now.start == process.start);
        let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw).filter(|_| still);
        if let Some(pid) = pid
            && let Err(errno) = rustix::process::kill_process(pid, Signal::KILL)
        {
            println!("cannot end {}: {errno}", process.pid);
        }
    }
}
