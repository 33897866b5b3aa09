//! This test binary, started again as another process.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use wrasse_store::StateDir;

const ROLE: &str = "WRASSE_STORE_TEST_ROLE";
const DIR: &str = "WRASSE_STORE_TEST_DIR";

/// What the parent reads: anything else is the test harness talking.
const PREFIX: &str = "child: ";

/// The other process; killed and waited for when dropped.
pub(crate) struct Other {
    process: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Other {
    pub(crate) fn start(role: &str, dir: &Path) -> Self {
        Self::spawn(itself(role, dir))
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("no child");
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The next thing it says; `None` when it has ended.
    pub(crate) fn next(&mut self) -> Option<String> {
        loop {
            let line = self.lines.next()?.unwrap();
            // The harness prints "test child::entry ... " and no line end before what the test prints.
            if let Some(at) = line.find(PREFIX) {
                return Some(line[at + PREFIX.len()..].to_owned());
            }
        }
    }

    /// SIGKILL, as the kernel or a person does it.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The command that starts this binary in a role.
#[expect(clippy::disallowed_methods, reason = "a test starts a process to kill it")]
pub(crate) fn itself(role: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child::entry", "--nocapture"]).env(ROLE, role).env(DIR, dir);
    command
}

pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{PREFIX}{text}").unwrap();
    out.flush().unwrap();
}

/// Where the other process begins. In the ordinary run of the tests there is no role, and nothing to do.
#[test]
fn entry() {
    let (Ok(role), Some(dir)) = (std::env::var(ROLE), std::env::var_os(DIR)) else { return };
    let dir = StateDir::open(Path::new(&dir)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match role.as_str() {
        "hold-lock" => hold_lock(&dir),
        "write-until-killed" => runtime.block_on(crate::crash::write_until_killed(&dir)),
        "fill-the-disk" => runtime.block_on(crate::disk_full::fill_the_disk(&dir)),
        other => panic!("no role {other}"),
    }
}

fn hold_lock(dir: &StateDir) {
    let lock = dir.lock("gateway run").unwrap();
    say("held");
    // Until the parent lets go of us.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop(lock);
}
