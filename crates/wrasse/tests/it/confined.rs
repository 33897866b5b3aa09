//! As in a container: rows of the other modules once more, without CAP_SYS_ADMIN, under a filter equal to that of
//! Docker's default profile and with read-only cgroup file systems; as root and as an ordinary user.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use wrasse_testkit::nobody::can_be;
use wrasse_testkit::station::{bins, install};

/// Set for the test program itself when it is confined.
const CONFINED: &str = "WRASSE_TEST_CONFINED";
/// What is played again. A process that dies in whatever way, every link of the chain, an orderly end, a launch.
const ROWS: [&str; 13] = [
    "confined::the_confinement_is_in_force",
    "chain::",
    "walk::one_turn_from_the_command_line_to_a_reaped_tree",
    "table::rows::success",
    "table::rows::guardian_killed",
    "table::rows::gateway_killed",
    "table::rows::warden_killed",
    "table::rows::gateway_restarted",
    "table::rows::gateway_terminated",
    "table::local::local_interrupted",
    "hygiene::a_server_has_three_descriptors_and_no_inherited_signal_state",
    "host::nested_gateways_end_alone",
    "terminal::one_ctrl_c_drains",
];
/// A guard against rows that hang.
const DEADLINE: Duration = Duration::from_mins(15);
const NOBODY: u32 = 65_534;
/// How `confined.py` says that the confinement cannot be had here.
const CANNOT: i32 = 99;

#[expect(clippy::disallowed_methods, reason = "asks the kernel through programs")]
fn succeeds(program: &str, args: &[&str]) -> bool {
    let output = Command::new(program).args(args).output();
    output.is_ok_and(|output| output.status.success())
}

/// Without this the rows below would prove nothing.
#[test]
fn the_confinement_is_in_force() {
    if std::env::var_os(CONFINED).is_none() {
        return;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(field("Seccomp:"), "2");
    let effective = u64::from_str_radix(&field("CapEff:"), 16).unwrap();
    let (admin, resource) = (1 << 21, 1 << 24);
    assert_eq!(effective & (admin | resource), 0, "{effective:x}");
    for namespace in ["-U", "-m", "-p"] {
        assert!(!succeeds("unshare", &[namespace, "true"]), "unshare {namespace}");
    }
    for line in std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        if line.contains(" - cgroup") && rustix::process::geteuid().is_root() {
            assert!(fields[5].split(',').any(|option| option == "ro"), "{line}");
        }
    }
    let mut station = super::hygiene::station();
    station.start();
    super::hygiene::look(&station);
    let ps = station.json(&["ps"]);
    let layers = ps["gateway"]["containment"].as_array().unwrap();
    assert_eq!(layers[0], "floor", "{ps:#}");
    let above = |layer: &serde_json::Value| layer.as_str().unwrap().contains("cgroup");
    assert!(!layers.iter().any(above), "{ps:#}");
    station.assert_flat();
}

/// One that names no test would play nothing and pass.
#[test]
fn every_row_is_a_test() {
    let tests = super::fixtures::tests();
    for row in ROWS {
        assert!(tests.iter().any(|test| test.starts_with(row)), "{row} is no test of this program");
    }
}

/// Plays the rows with another copy of this program, and waits for it.
#[expect(clippy::disallowed_methods, reason = "starts itself confined")]
fn play(user: Option<u32>, program: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/confined.py");
    let [python, ..] = super::host::python("");
    let mut command = Command::new(python);
    command.arg(script);
    if let Some(user) = user {
        command.args(["--user", &user.to_string()]);
        command.env("HOME", program.parent().unwrap()).env_remove("TMPDIR");
    }
    let mut child = command
        .arg(program)
        .args(ROWS)
        .env(CONFINED, "1")
        .current_dir(program.parent().unwrap())
        .spawn()
        .unwrap();
    let end = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() >= end {
            // Each station ends with its oracle, and that with us.
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    if status.code() == Some(CANNOT) {
        eprintln!("SKIPPED the_guarantees_hold in a container's confinement: see above");
        return;
    }
    assert!(status.success(), "confined: {status}");
}

#[test]
fn the_guarantees_hold_in_a_container_s_confinement() {
    if std::env::var_os(CONFINED).is_none() {
        play(None, &std::env::current_exe().unwrap());
    }
}

/// As nobody, from copies of the programs where an ordinary user may read them.
#[test]
fn the_guarantees_hold_there_for_an_ordinary_user() {
    if std::env::var_os(CONFINED).is_some() {
        return;
    }
    let folder = tempfile::Builder::new().prefix("wrasse-confined-").tempdir().unwrap();
    let open = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(folder.path(), 0o755);
    if let Err(why) = can_be(NOBODY, folder.path()) {
        eprintln!("SKIPPED the_guarantees_hold_there_for_an_ordinary_user: {why}");
        return;
    }
    let own = std::env::current_exe().unwrap();
    let programs = ["wrasse", "wrasse-fixture", "wrasse-oracle"].map(|name| bins().join(name));
    for program in programs.iter().chain([&own]) {
        let copy = folder.path().join(program.file_name().unwrap());
        install(program, &copy);
        open(&copy, 0o755);
    }
    play(Some(NOBODY), &folder.path().join(own.file_name().unwrap()));
}
