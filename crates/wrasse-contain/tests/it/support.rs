//! A shared containment, servers to start in it, and an independent way to count what lives.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wrasse_contain::{
    ContainOptions, ContainReport, Contained, Containment, Guard, Limits, SpawnSpec,
};

/// Longer than anything takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const INSTALLATION: u16 = 0x7e57;

/// A place where programs may be executed; `WRASSE_TEST_STATE_DIR` names another one, for other users.
pub(crate) fn state_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("WRASSE_TEST_STATE_DIR") {
        return dir.into();
    }
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("wrasse-contain-state")
}

pub(crate) fn start(guard: Guard, installation: u16) -> Containment {
    Containment::start(ContainOptions { state_dir: state_dir(), guard, installation }).unwrap()
}

/// What a containment notes where nothing is degraded but what this kernel lacks.
pub(crate) fn notes_of_the_kernel(report: &ContainReport) -> Vec<String> {
    let missing = report.floor.iter().filter(|prerequisite| !prerequisite.works);
    missing.map(|missing| format!("no {}: {}", missing.name, missing.without)).collect()
}

/// The containment that the tests of this process share. Must be called inside a runtime.
pub(crate) fn containment() -> Containment {
    static SHARED: OnceLock<Containment> = OnceLock::new();
    SHARED.get_or_init(|| start(Guard::Auto, INSTALLATION)).clone()
}

/// A number that nothing else on this machine has in its environment or on its command line.
#[derive(Debug, Clone)]
pub(crate) struct Tag(pub(crate) String);

impl Tag {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let nanos = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        Self(format!("{nanos}{:04}", COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Living processes that carry the tag in their environment or on their command line.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let holds = |file: &str| {
                let bytes = std::fs::read(entry.path().join(file)).unwrap_or_default();
                bytes.windows(self.0.len()).any(|window| window == self.0.as_bytes())
            };
            if pid != std::process::id()
                && (holds("environ") || holds("cmdline"))
                && !is_zombie(pid)
            {
                found.push(pid);
            }
        }
        found
    }

    pub(crate) fn count(&self) -> usize {
        self.pids().len()
    }
}

pub(crate) fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
}

pub(crate) fn is_zombie(pid: u32) -> bool {
    stat_fields(pid).is_none_or(|fields| fields[0] == "Z" || fields[0] == "X")
}

/// A shell script as a server, tagged.
pub(crate) fn shell(tag: &Tag, script: &str) -> SpawnSpec {
    static INSTANCE: AtomicU64 = AtomicU64::new(1);
    let env: Vec<(OsString, OsString)> =
        vec![("PATH".into(), "/usr/bin:/bin".into()), ("TAG".into(), tag.0.clone().into())];
    SpawnSpec {
        name: "under-test".to_owned(),
        instance: INSTANCE.fetch_add(1, Ordering::Relaxed),
        program: "sh".into(),
        args: vec!["-c".into(), script.into()],
        env,
        cwd: "/".into(),
        limits: Limits::default(),
    }
}

pub(crate) async fn launch(containment: &Containment, spec: SpawnSpec) -> Contained {
    containment.prepare(spec).await.unwrap().go().await.unwrap()
}

/// Waits for a condition, and fails the test with `what` when it does not come true.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// This program once more, as a process that nobody takes for an orphan.
pub(crate) fn again(scenario: &str, configure: impl FnOnce(&mut Command)) -> Child {
    let mut command = scenario_command(scenario);
    configure(&mut command);
    containment().spawn_bystander(|| command.spawn()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a process that is deliberately not contained")]
pub(crate) fn scenario_command(scenario: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "scenario::entry", "--nocapture", "--test-threads=1"])
        // The tests themselves may run below a Wrasse.
        .env_remove("WRASSE_WARDEN")
        .env_remove("WRASSE_MARK")
        .env(crate::scenario::VARIABLE, scenario);
    command
}

pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
