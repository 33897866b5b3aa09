//! The oracle program and its client.
//!
//! The oracle is the subreaper of everything a test starts: whatever `setsid`s, double-forks or loses its parent
//! becomes its child, and so stays in the count. It reaps what it adopts, as an init would.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};
use serde::{Deserialize, Serialize};

use crate::processes::{Process, descendants};
use crate::pulse::Pulse;
use crate::signals;

#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Spawn { argv: Vec<String>, env: BTreeMap<String, String>, output: PathBuf, cwd: PathBuf },
    List,
    Signal { pids: Vec<u32>, signal: i32 },
    Exit { pid: u32 },
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Spawned(u32),
    Processes(Vec<Process>),
    Signalled(usize),
    Exit(Option<i32>),
    Fault(String),
}

/// The oracle's own main loop.
pub fn serve() -> ExitCode {
    if rustix::process::set_child_subreaper(Some(rustix::process::getpid())).is_err() {
        eprintln!("cannot become a subreaper");
        return ExitCode::FAILURE;
    }
    let mut exits = BTreeMap::new();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        reap(&mut exits);
        let answer = match serde_json::from_str(&line) {
            Ok(request) => answer(request, &mut exits),
            Err(error) => Answer::Fault(error.to_string()),
        };
        // Whoever asked may be dead: what it started is ended all the same.
        let mut out = std::io::stdout().lock();
        let written = writeln!(out, "{}", serde_json::to_string(&answer).unwrap());
        if written.and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    let own = std::process::id();
    for _ in 0..1000 {
        let left = descendants(own);
        reap(&mut exits);
        if left.is_empty() {
            return ExitCode::SUCCESS;
        }
        for process in left {
            signal(process.pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    ExitCode::FAILURE
}

fn answer(request: Request, exits: &mut BTreeMap<u32, i32>) -> Answer {
    match request {
        Request::Spawn { argv, env, output, cwd } => {
            let answer = spawn(&argv, &env, &output, &cwd);
            if let Answer::Spawned(pid) = answer {
                // The number may have been another process's, whose exit is not this one's.
                exits.remove(&pid);
            }
            answer
        }
        Request::List => {
            let own = std::process::id();
            let found = descendants(own);
            reap(exits);
            // What was dead and our child at the moment of the look is reaped now and does not count.
            Answer::Processes(
                found.into_iter().filter(|p| !(is_dead(p) && p.ppid == own)).collect(),
            )
        }
        Request::Signal { pids, signal: number } => {
            let below: Vec<u32> =
                descendants(std::process::id()).iter().map(|process| process.pid).collect();
            let Some(known) = Signal::from_named_raw(number) else {
                return Answer::Fault(format!("no signal {number}"));
            };
            let hit = pids.iter().filter(|pid| below.contains(pid) && signal(**pid, known)).count();
            Answer::Signalled(hit)
        }
        Request::Exit { pid } => Answer::Exit(exits.get(&pid).copied()),
    }
}

/// Whether a process only waits to be reaped. A leader whose other threads are still ending is not: they have its files.
pub fn is_dead(process: &Process) -> bool {
    process.state == 'Z' && process.threads <= 1
}

fn signal(pid: u32, signal: Signal) -> bool {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .is_some_and(|pid| rustix::process::kill_process(pid, signal).is_ok())
}

fn reap(exits: &mut BTreeMap<u32, i32>) {
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        let code = status
            .exit_status()
            .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
            .unwrap_or(-1);
        exits.insert(pid.as_raw_nonzero().get().unsigned_abs(), code);
    }
}

#[expect(clippy::disallowed_methods, reason = "the oracle is what starts the program under test")]
fn spawn(argv: &[String], env: &BTreeMap<String, String>, output: &Path, cwd: &Path) -> Answer {
    let log = |path: &Path| std::fs::File::options().create(true).append(true).open(path);
    let started = log(output).and_then(|out| {
        let err = out.try_clone()?;
        Command::new(&argv[0])
            .args(&argv[1..])
            .env_clear()
            .envs(env)
            .current_dir(cwd)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
    });
    match started {
        Ok(child) => Answer::Spawned(child.id()),
        Err(error) => Answer::Fault(format!("cannot start {argv:?}: {error}")),
    }
}

/// A running oracle. Dropping it ends everything below it.
#[derive(Debug)]
pub struct Oracle {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    /// Starts one.
    #[expect(
        clippy::disallowed_methods,
        reason = "the oracle stands outside the program under test"
    )]
    pub fn start(program: &Path) -> Self {
        signals::heed();
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, requests, answers }
    }

    /// The oracle's own process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn ask(&mut self, request: &Request) -> Answer {
        let mut line = serde_json::to_string(request).unwrap();
        line.push('\n');
        self.requests.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        match serde_json::from_str(&answer).unwrap() {
            Answer::Fault(text) => panic!("the oracle refused {request:?}: {text}"),
            answer => answer,
        }
    }

    /// Starts a program below the oracle, with exactly this environment; both outputs are appended to one file.
    pub fn spawn(
        &mut self,
        argv: &[String],
        env: &BTreeMap<String, String>,
        output: &Path,
        cwd: &Path,
    ) -> u32 {
        let request = Request::Spawn {
            argv: argv.to_vec(),
            env: env.clone(),
            output: output.to_owned(),
            cwd: cwd.to_owned(),
        };
        match self.ask(&request) {
            Answer::Spawned(pid) => pid,
            other => panic!("unexpected answer {other:?}"),
        }
    }

    /// Every living process and foreign zombie below the oracle.
    pub fn list(&mut self) -> Vec<Process> {
        match self.ask(&Request::List) {
            Answer::Processes(processes) => processes,
            other => panic!("unexpected answer {other:?}"),
        }
    }

    /// Signals processes below the oracle, and no other; returns how many were reached.
    pub fn signal(&mut self, pids: &[u32], signal: i32) -> usize {
        match self.ask(&Request::Signal { pids: pids.to_vec(), signal }) {
            Answer::Signalled(count) => count,
            other => panic!("unexpected answer {other:?}"),
        }
    }

    /// The exit code of a process below the oracle (128 + n for a signal), waited for until the deadline, as
    /// [`Oracle::wait_until`] does.
    pub fn exit_code(&mut self, pid: u32, deadline: Duration) -> Option<i32> {
        let (end, mut pulse) = (Instant::now() + deadline, Pulse::new());
        loop {
            let missed = pulse.beat();
            match self.ask(&Request::Exit { pid }) {
                Answer::Exit(Some(code)) => return Some(code),
                Answer::Exit(None) if Instant::now() >= end + missed => return None,
                Answer::Exit(None) => std::thread::sleep(Duration::from_millis(10)),
                other => panic!("unexpected answer {other:?}"),
            }
        }
    }

    /// Waits until what is below the oracle satisfies a condition; returns what was seen last. Time for which the machine
    /// had none for us does not count.
    ///
    /// # Errors
    /// The processes seen last, when the deadline passed first.
    pub fn wait_until(
        &mut self,
        deadline: Duration,
        mut condition: impl FnMut(&[Process]) -> bool,
    ) -> Result<Vec<Process>, Vec<Process>> {
        let (end, mut pulse) = (Instant::now() + deadline, Pulse::new());
        loop {
            let missed = pulse.beat();
            let seen = self.list();
            if condition(&seen) {
                return Ok(seen);
            }
            if Instant::now() >= end + missed {
                return Err(seen);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.requests.take());
        drop(self.child.wait());
    }
}
