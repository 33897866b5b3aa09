//! What the floor finds out about `/proc` by trying.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::{Command, Stdio};

use wrasse_contain::{ContainReport, Guard};

use crate::scenario::VARIABLE;
use crate::support::{INSTALLATION, containment, start};

const NOBODY: u32 = 65_534;

fn shows_everybody(report: &ContainReport) -> bool {
    let line = report.floor.iter().find(|found| found.name == "visible processes").unwrap();
    let noted = report.notes.iter().any(|note| note.starts_with("no visible processes: "));
    assert_ne!(line.works, noted, "{report:?}");
    line.works
}

#[tokio::test]
async fn this_machine_shows_everybody() {
    // Tests run nowhere else: they count processes.
    assert!(shows_everybody(&containment().report()));
}

/// As an ordinary user, to whom a mount with hidepid shows nothing that may not be traced: where PID 1 is another's, and
/// where it is this very process, which is shown in any case.
#[tokio::test]
async fn processes_that_proc_hides_are_noticed() {
    if !can_mount() {
        use std::io::Write as _;
        // Past the capture of the test harness, which shows nothing of a test that passes.
        let why = "SKIPPED processes_that_proc_hides_are_noticed: no mount may be made here";
        let _unheard = writeln!(std::io::stderr(), "{why}");
        return;
    }
    for (namespaces, options, scenario) in [
        ("-m", "hidepid=2", "proc-hides"),
        ("-m", "hidepid=0", "proc-shows"),
        ("-mpf", "hidepid=2", "proc-hides"),
        ("-mpf", "hidepid=1", "proc-hides"),
        ("-mpf", "hidepid=0", "proc-shows"),
    ] {
        let folder = tempfile::Builder::new().prefix("wrasse-floor-").tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let (own, state) = (folder.path().join("it"), folder.path().join("state"));
        std::fs::copy(std::env::current_exe().unwrap(), &own).unwrap();
        std::fs::create_dir(&state).unwrap();
        chown(&state, Some(NOBODY), Some(NOBODY)).unwrap();
        let script = format!(
            "{} && exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups {} --exact scenario::entry --nocapture",
            mount(options),
            own.display()
        );
        let mut command = unshare(namespaces, &script);
        command.env(VARIABLE, scenario).env("WRASSE_TEST_STATE_DIR", &state);
        let mut child = containment().spawn_bystander(|| command.spawn()).unwrap();
        assert!(child.wait().unwrap().success(), "{namespaces} {options}");
    }
}

fn can_mount() -> bool {
    let mut command = unshare("-mpf", &mount("hidepid=2"));
    let tried = containment().spawn_bystander(|| command.stderr(Stdio::null()).spawn());
    rustix::process::geteuid().is_root() && tried.unwrap().wait().unwrap().success()
}

fn mount(options: &str) -> String {
    format!("mount --make-rprivate / && mount -t proc -o {options} proc /proc")
}

#[expect(clippy::disallowed_methods, reason = "a process that is deliberately not contained")]
fn unshare(namespaces: &str, script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args([namespaces, "sh", "-c", script]);
    command
}

/// In a process of its own, as another user.
pub(crate) fn shows(expected: bool) {
    let report = start(Guard::Auto, INSTALLATION).report();
    assert_eq!(shows_everybody(&report), expected, "{report:?}");
}
