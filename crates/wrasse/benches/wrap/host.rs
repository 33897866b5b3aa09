//! A host: a process's stdin and stdout, spoken to one request at a time.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wrasse_testkit::processes;

/// How a server is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// By the host itself.
    Direct,
    /// Through a shim.
    Private,
    /// Through a shim that shares.
    Shared,
}

/// A state dir, and servers to start in it.
#[derive(Debug)]
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("wrasse-wrap-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a server, or a shim for it.
    pub(crate) fn start(&self, how: How, idle: &str, server: &[String]) -> Host {
        let scope = match how {
            How::Direct => None,
            How::Private => Some("private"),
            How::Shared => Some("shared"),
        };
        let wrasse = PathBuf::from(env!("CARGO_BIN_EXE_wrasse"));
        let wrap = scope.map(|scope| {
            [&wrasse.display().to_string(), "wrap", "--idle", idle, "--scope", scope, "--"]
                .map(str::to_owned)
        });
        let argv: Vec<String> = wrap.into_iter().flatten().chain(server.iter().cloned()).collect();
        let mut child = Command::new(&argv[0])
            .args(&argv[1..])
            .env("WRASSE_STATE_DIR", self.path())
            .current_dir(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Host { child, stdin, stdout, next: 0 }
    }
}

/// One running server or shim.
#[derive(Debug)]
pub(crate) struct Host {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    next: u64,
}

impl Host {
    fn say(&mut self, message: &Value) {
        let line = format!("{message}\n");
        self.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }

    /// A request and its result.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        let answer = self.exchange(method, params);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    fn exchange(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let mut line = String::new();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "{method}: it has ended");
            let answer: Value = serde_json::from_str(&line).unwrap();
            if answer["id"] == id && answer["method"].is_null() {
                return answer;
            }
        }
    }

    /// What every host asks first.
    pub(crate) fn open(&mut self) {
        let client = json!({ "name": "bench", "version": "1" });
        self.ask(
            "initialize",
            json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client }),
        );
        self.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        self.ask("tools/list", json!({}));
    }

    /// A call, and how long it took.
    pub(crate) fn call(&mut self, tool: &str, arguments: &Value) -> Duration {
        let began = Instant::now();
        self.ask("tools/call", json!({ "name": tool, "arguments": arguments }));
        began.elapsed()
    }

    /// A call that may be refused.
    pub(crate) fn try_call(&mut self, tool: &str, arguments: &Value) -> Value {
        self.exchange("tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a host does that lives on.
    pub(crate) fn end(mut self) {
        drop(self.stdin.take());
        self.child.wait().unwrap();
    }
}

/// The proportional memory of a process, in KiB; 0 when it is gone.
pub(crate) fn pss(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

/// All that is below this process: how many, and their proportional memory in KiB.
pub(crate) fn below() -> (usize, u64) {
    reap();
    let below = processes::descendants(std::process::id());
    (below.len(), below.iter().map(|process| pss(process.pid)).sum())
}

/// Reaps orphans, brokers above all, until none is ending.
pub(crate) fn reap() {
    use rustix::process::{Pid, WaitOptions, waitpid};
    for process in processes::descendants(std::process::id()) {
        if process.ppid == std::process::id()
            && process.state == 'Z'
            && let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw)
        {
            waitpid(Some(pid), WaitOptions::NOHANG).unwrap();
        }
    }
}

/// Waits until so few processes are below this one.
pub(crate) fn settle(processes_max: usize) {
    let end = Instant::now() + Duration::from_secs(60);
    while below().0 > processes_max && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
}
