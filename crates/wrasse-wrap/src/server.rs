//! A server of our own: a contained tree, its pipes and its last words.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use wrasse_contain::{
    ContainOptions, Containment, Guard, LeaderExit, Limits, SpawnError, SpawnSpec, StopOutcome,
};
use wrasse_types::{UnixMillis, error_text};

use crate::ledger::{InstanceRow, ProcessRow, Row};
use crate::link::{Link, Stopped};
use crate::place::{self, Place};

/// How much of a server's stderr is remembered.
const LAST_WORDS_MAX: usize = 2048;
/// How many lines of that are shown.
const LAST_LINES: usize = 5;

/// What is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The name of the server.
    pub name: String,
    /// An absolute path, a path relative to `cwd`, or a name looked up in the `PATH` of `env`.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub cwd: PathBuf,
}

/// Starts servers. Clones share everything.
#[derive(Debug, Clone)]
pub struct Launcher {
    launch: Arc<Launch>,
    place: Place,
    row: Row,
    /// Made at the first start: who starts nothing needs no threads and no guard program.
    containment: Arc<Mutex<Option<Containment>>>,
}

impl Launcher {
    /// For one server.
    pub fn new(launch: Launch, place: Place, row: Row) -> Self {
        Self { launch: Arc::new(launch), place, row, containment: Arc::default() }
    }

    fn containment(&self) -> Result<Containment, String> {
        let mut made = self.containment.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(containment) = &*made {
            return Ok(containment.clone());
        }
        let options = ContainOptions {
            state_dir: self.place.state_dir().to_owned(),
            guard: Guard::Auto,
            installation: self.place.installation,
        };
        let containment = Containment::start(options).map_err(|error| {
            format!(
                "nothing can be contained here: {}; wrasse doctor says more",
                error_text(&error)
            )
        })?;
        // No limits here, and `wrasse ps` counts for itself.
        containment.count_on_demand();
        *made = Some(containment.clone());
        Ok(containment)
    }

    /// Starts one. Cancel-safe: if the future is dropped, what was started is killed.
    ///
    /// # Errors
    /// A sentence that names the cause and the cure. Nothing is left running then.
    pub async fn start(self) -> Result<Link, String> {
        let containment = self.containment()?;
        let instance = random_instance();
        let launch = &*self.launch;
        let spec = SpawnSpec {
            name: launch.name.clone(),
            instance,
            program: launch.program.clone(),
            args: launch.args.clone(),
            env: launch.env.clone(),
            cwd: launch.cwd.clone(),
            limits: Limits::default(),
        };
        let prepared = containment.prepare(spec).await.map_err(|error| self.fault(&error))?;
        let guardian = prepared.guardian();
        let row = InstanceRow {
            instance,
            guardian: ProcessRow {
                pid: guardian.pid,
                start_ticks: guardian.start_ticks,
                name: "wrasse-guardian".to_owned(),
            },
            server: None,
            since: UnixMillis::now(),
            calls: 0,
        };
        // Row before go: whatever happens from here on, somebody can prove what is left.
        let written = self.row.change(|shim| shim.instances.push(row));
        let mut tree = match prepared.go().await {
            Ok(tree) => tree,
            Err(error) => {
                self.forget(instance);
                return Err(self.fault(&error));
            }
        };
        let server = ProcessRow::of(tree.pid());
        drop(self.row.change(|shim| {
            let own = shim.instances.iter_mut().find(|row| row.instance == instance);
            if let Some(own) = own {
                own.server = server;
            }
        }));
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (tree.take_stdin(), tree.take_stdout(), tree.take_stderr())
        else {
            unreachable!("a tree that was just started has its pipes");
        };
        let watch = tree.exited();
        Ok(Link {
            instance: Some(instance),
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Some(Box::new(stderr)),
            exited: Box::pin(async move { how(watch.wait().await) }),
            stop: Box::new(move |ladder| {
                Box::pin(async move {
                    let outcome = tree.stop(ladder).await;
                    if outcome.proven_empty {
                        self.forget(instance);
                    }
                    stopped(&outcome)
                })
            }),
            unwritten: written.err().map(|error| error.to_string()),
            note: None,
        })
    }

    /// The instance is proven empty.
    fn forget(&self, instance: u64) {
        drop(self.row.change(|shim| shim.instances.retain(|row| row.instance != instance)));
    }

    /// Writes down how often an instance was called.
    pub fn note_calls(&self, instance: u64, calls: u64) {
        drop(self.row.change(|shim| {
            if let Some(own) = shim.instances.iter_mut().find(|row| row.instance == instance) {
                own.calls = calls;
            }
        }));
    }

    /// Ends every tree at once, the one being started included, and waits for it. How many are not proven empty: the row
    /// of who started them must stay then, for whoever ends them later.
    pub async fn kill_all(&self) -> usize {
        let containment = self.containment.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match containment {
            Some(containment) => containment.kill_all().await,
            None => 0,
        }
    }

    fn fault(&self, error: &SpawnError) -> String {
        let cure = match error {
            SpawnError::NotFound { .. } => {
                "install it, or give its full path after -- ; it is looked up in the PATH that the host gives \
                 to wrasse wrap"
            }
            SpawnError::NotExecutable { .. } => {
                "make it executable with chmod +x, or name the interpreter before it"
            }
            SpawnError::BadCwd { .. } => {
                "start the host in a directory that exists and may be entered"
            }
            SpawnError::Exec { .. } => "run the same command line in a shell to see what it lacks",
            SpawnError::BadSpec { .. } => "shorten the command line or its environment",
            _ => "see wrasse doctor",
        };
        format!("{} → {cure}", error_text(error))
    }

    /// Where catalogue and ledger are.
    pub fn state_dir(&self) -> &std::path::Path {
        self.place.state_dir()
    }

    /// The name of the server.
    pub fn name(&self) -> &str {
        &self.launch.name
    }
}

/// Instances of all shims of an installation share one space of 40 bits, without anybody counting.
fn random_instance() -> u64 {
    let bytes = place::random::<8>();
    // Neither none nor all ones, which is the mark of who owns instances.
    (u64::from_le_bytes(bytes) >> 25) + 1
}

fn stopped(outcome: &StopOutcome) -> Stopped {
    let code = match outcome.leader {
        Some(LeaderExit::Code(code)) => Some(code),
        Some(LeaderExit::Signal(_) | LeaderExit::OverLimit(_) | LeaderExit::GuardianLost)
        | None => None,
    };
    Stopped { proven_empty: outcome.proven_empty, survivors: outcome.survivors, code }
}

/// How a leader ended, as in "the server …".
fn how(exit: LeaderExit) -> String {
    match exit {
        LeaderExit::Code(code) => format!("exited with code {code}"),
        LeaderExit::Signal(signal) => format!("was killed by signal {signal}"),
        LeaderExit::OverLimit(excess) => format!("was ended because it {excess}"),
        LeaderExit::GuardianLost => "was ended with its guardian".to_owned(),
    }
}

/// The end of what a server wrote to its stderr.
#[derive(Debug, Default)]
pub struct LastWords(Vec<u8>);

impl LastWords {
    /// Takes more.
    pub fn push(&mut self, bytes: &[u8]) {
        let from = bytes.len().saturating_sub(LAST_WORDS_MAX);
        self.0.extend_from_slice(&bytes[from..]);
        let over = self.0.len().saturating_sub(LAST_WORDS_MAX);
        self.0.drain(..over);
    }

    /// The last lines, as one.
    pub fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join(" | ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_into_the_mark() {
        for _ in 0..1000 {
            let number = random_instance();
            assert!(number > 0 && number < (1 << 40) - 1, "{number}");
        }
    }

    #[test]
    fn last_words_are_the_last() {
        let mut words = LastWords::default();
        for number in 0..1000 {
            words.push(format!("line {number}\n\n").as_bytes());
        }
        assert_eq!(words.shown(), "line 995 | line 996 | line 997 | line 998 | line 999");
        words.push(&vec![b'x'; 10_000]);
        assert_eq!(words.shown().len(), LAST_WORDS_MAX);
    }
}
