//! As in a container: the suites once more, without CAP_SYS_ADMIN, under a filter equal to that of Docker's default profile
//! and with read-only cgroup file systems. This program but for [`LEFT_OUT`], and those of `wrasse-guard` and
//! `wrasse-contain`; as root and, with fewer rows, as an ordinary user.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use wrasse_testkit::nobody::can_be;
use wrasse_testkit::station::{bins, install, text};

/// Set for the test program itself when it is confined.
const CONFINED: &str = "WRASSE_TEST_CONFINED";
/// Where `cargo xtask test` says that the programs of the other two suites are.
const SUITES: &str = "WRASSE_TEST_SUITES";
/// What is not played again of any suite: the beginning of its name, and why.
const LEFT_OUT: [(&str, &str); 10] = [
    ("pid_one::", "every test makes a PID namespace, which nobody may there"),
    ("soak::", "counts for minutes what is held, half of it in a PID namespace"),
    ("storm::", "a hundred rounds of minutes; chain, table and enemies have its deaths"),
    ("house::", "hundreds of servers at once show what they cost, which nothing there changes"),
    ("firings::", "many firings show what stays of them, which nothing there changes"),
    ("clients::", "reference clients speak to the doors: no containment"),
    ("foreign::", "files and processes of other hosts: no containment of ours"),
    ("import::", "configuration files of other hosts: no containment"),
    ("input::", "what is wrong with a configuration, a database or a request: no containment"),
    ("members::a_member_that_proc_hides_ends", "mounts a /proc that hides"),
];
/// What an ordinary user plays again of this program: a process that dies in whatever way, every link of the chain, an
/// orderly end, a launch. All of the other suites.
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

/// The other two suites. Without them their tests here have nothing to play.
fn suites(test: &str) -> Vec<PathBuf> {
    let Some(paths) = std::env::var_os(SUITES) else {
        eprintln!("SKIPPED {test}, the other suites: only `cargo xtask test` says where they are");
        return Vec::new();
    };
    std::env::split_paths(&paths).collect()
}

/// The words that leave out of a suite what is [`LEFT_OUT`], as far as it has that.
#[expect(clippy::disallowed_methods, reason = "asks a test program for its tests")]
fn all_but_left_out(program: &Path) -> Vec<&'static str> {
    let listed = Command::new(program).arg("--list").output().unwrap();
    let tests = text(&listed.stdout);
    let (mut words, mut names) = (Vec::new(), tests.lines());
    for (name, why) in LEFT_OUT {
        if names.clone().any(|test| test.starts_with(name)) {
            eprintln!("left out confined: {name} ({why})");
            words.extend(["--skip", name]);
        }
    }
    assert!(names.any(|test| test.ends_with(": test")), "{} has no tests", program.display());
    words
}

/// Plays a suite, confined, and waits for it.
#[expect(clippy::disallowed_methods, reason = "starts itself confined")]
fn play(user: Option<u32>, program: &Path, words: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/confined.py");
    let [python, ..] = super::host::python("");
    let folder = program.parent().unwrap();
    let mut command = Command::new(python);
    command.arg(script);
    if let Some(user) = user {
        let home = folder.parent().unwrap().join("home");
        command.args(["--user", &user.to_string()]);
        command.env("WRASSE_TEST_STATE_DIR", home.join("state"));
        command.env("HOME", home);
        command.env_remove("TMPDIR");
    }
    let mut child =
        command.arg(program).args(words).env(CONFINED, "1").current_dir(folder).spawn().unwrap();
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
        eprintln!("SKIPPED {} in a container's confinement: see above", program.display());
        return;
    }
    assert!(status.success(), "{} confined: {status}", program.display());
}

#[test]
fn the_guarantees_hold_in_a_container_s_confinement() {
    if std::env::var_os(CONFINED).is_some() {
        return;
    }
    let own = std::env::current_exe().unwrap();
    for program in
        [own].into_iter().chain(suites("the_guarantees_hold_in_a_container_s_confinement"))
    {
        play(None, &program, &all_but_left_out(&program));
    }
}

/// As nobody, from copies of the programs where an ordinary user may read them.
#[test]
fn the_guarantees_hold_there_for_an_ordinary_user() {
    let test = "the_guarantees_hold_there_for_an_ordinary_user";
    if std::env::var_os(CONFINED).is_some() {
        return;
    }
    let folder = tempfile::Builder::new().prefix("wrasse-confined-").tempdir().unwrap();
    let open = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    open(folder.path());
    if let Err(why) = can_be(NOBODY, folder.path()) {
        eprintln!("SKIPPED {test}: {why}");
        return;
    }
    for name in ["deps", "examples", "home"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    chown(folder.path().join("home"), Some(NOBODY), Some(NOBODY)).unwrap();
    let copy = |program: &Path, to: &str| {
        let copy = folder.path().join(to).join(program.file_name().unwrap());
        install(program, &copy);
        open(&copy);
        copy
    };
    for name in ["wrasse", "wrasse-fixture", "wrasse-fixture-host", "wrasse-oracle", "wrasse-shim"]
    {
        copy(&bins().join(name), "");
    }
    play(Some(NOBODY), &copy(&std::env::current_exe().unwrap(), "deps"), &ROWS);
    for program in suites(test) {
        // The suite of the guard has a program beside it.
        let itself = program.parent().unwrap().with_file_name("examples/itself");
        if itself.is_file() {
            copy(&itself, "examples");
        }
        play(Some(NOBODY), &copy(&program, "deps"), &all_but_left_out(&program));
    }
}

/// A name that fits nothing would leave nothing out, and hide that its reason is gone.
#[test]
fn what_is_left_out_exists() {
    let mut programs = vec![std::env::current_exe().unwrap()];
    programs.extend(suites("what_is_left_out_exists"));
    if programs.len() == 1 {
        return;
    }
    let all: Vec<&str> = programs.iter().flat_map(|program| all_but_left_out(program)).collect();
    for (name, _) in LEFT_OUT {
        assert!(all.contains(&name), "{name}");
    }
}
