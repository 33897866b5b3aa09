//! Who is left, by a mark that processes carry, whatever became of their parents.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take. Generous: the machine is shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until `condition` gives a value.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How a scenario's processes are told from all others.
#[derive(Debug, Clone)]
pub(crate) enum Mark {
    /// The value of RLIMIT_LOCKS.
    Limit(u64),
    /// An entry of the environment.
    Environment(String),
}

impl Mark {
    fn is_carried_by(&self, pid: u32) -> bool {
        match self {
            Mark::Limit(limit) => fs::read_to_string(format!("/proc/{pid}/limits"))
                .unwrap_or_default()
                .lines()
                .filter(|line| line.starts_with("Max file locks"))
                .any(|line| line.split_whitespace().nth(3) == Some(&limit.to_string())),
            Mark::Environment(entry) => fs::read(format!("/proc/{pid}/environ"))
                .unwrap_or_default()
                .split(|byte| *byte == 0)
                .any(|word| word == entry.as_bytes()),
        }
    }

    /// Every process that carries it and is not a zombie.
    pub(crate) fn carriers(&self) -> Vec<u32> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| state(*pid).is_some_and(|state| state != 'Z' && state != 'X'))
            .filter(|pid| self.is_carried_by(*pid))
            .collect()
    }

    /// Asserts that nobody carries it.
    pub(crate) fn assert_gone(&self) {
        eventually("no process carries the mark", || self.carriers().is_empty().then_some(()));
    }

    /// Ends them all, for tests that failed.
    pub(crate) fn sweep(&self) {
        for _ in 0..200 {
            let left = self.carriers();
            if left.is_empty() {
                return;
            }
            for pid in left {
                kill(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

pub(crate) fn kill(pid: u32, signal: Signal) {
    // It may have ended by itself.
    let _gone = kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal);
}

/// The letter of the state; `None` when there is no such process.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..].chars().next()
}

/// Whether it runs.
pub(crate) fn lives(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z' && state != 'X')
}
