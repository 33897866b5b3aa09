//! The warden, with shell scripts for gateways.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    harness::image,
    witness::{Mark, eventually, kill, lives, state},
};

struct Wardened {
    warden: Child,
    witness: Mark,
    folder: tempfile::TempDir,
}

impl Wardened {
    /// Runs `before` in a shell that then becomes a warden, by exec, above `gateway`, a script.
    /// Both run in the scenario's folder.
    fn new(before: &str, gateway: &str) -> Self {
        Self::by(before, "", gateway)
    }

    /// [`Wardened::new`] through the words of a program that executes those that follow.
    fn by(before: &str, through: &str, gateway: &str) -> Self {
        wrasse_testkit::signals::heed();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = tempfile::Builder::new().prefix("wrasse-warden-").tempdir().unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let value = format!("{}.{number}", std::process::id());
        let witness = Mark::Environment(format!("WRASSE_GUARD_TEST={value}"));
        // Launched in "/", as every gateway.
        let gateway = format!("cd \"${{0%/*}}\"; {gateway}");
        let file = folder.path().join("gateway");
        fs::write(&file, gateway).unwrap();
        let path = format!("{}:/usr/bin:/bin", image().parent().unwrap().display());
        let script = format!(
            "{before}\nexec {through} wrasse-warden warden - - /bin/sh sh {}",
            file.display()
        );
        let warden = Command::new("/bin/sh")
            .args(["-c", &script])
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", path)
            .env("WRASSE_GUARD_TEST", value)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Wardened { warden, witness, folder }
    }

    /// The content of a file that the scenario writes and ends with a newline.
    fn read(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        eventually(name, || fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n')))
    }

    fn pid(&self, name: &str) -> u32 {
        self.read(name).trim().parse().unwrap()
    }

    fn code(&mut self) -> Option<i32> {
        eventually("the warden ends", || self.warden.try_wait().unwrap()).code()
    }
}

impl Drop for Wardened {
    fn drop(&mut self) {
        self.witness.sweep();
        drop(self.warden.wait());
    }
}

#[test]
fn the_exit_code_comes_through() {
    for (script, code) in
        [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
    {
        let mut wardened = Wardened::new("", script);
        assert_eq!(wardened.code(), Some(code), "{script}");
    }
}

/// What executes the rest of its words with SIGCHLD ignored. A shell cannot: many have a handler for it whatever they were
/// told, which an exec resets.
const IGNORING: &str = "python3 -c 'import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execvp(sys.argv[1], sys.argv[1:])'";

#[test]
fn an_inherited_sigchld_of_ignore_loses_no_status() {
    let script = format!("exec {IGNORING} cat /proc/self/status");
    let shown = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let ignored = shown.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    assert!(ignored & 1 << (Signal::CHILD.as_raw() - 1) != 0, "{shown}");
    let mut wardened = Wardened::by("", IGNORING, "sleep 0 & wait; exit 7");
    assert_eq!(wardened.code(), Some(7));
}

#[test]
fn a_gateway_that_cannot_be_executed_is_127() {
    let status = Command::new("/bin/sh")
        .args(["-c", "exec wrasse-warden warden - - /nowhere/wrasse wrasse gateway run"])
        .env("PATH", image().parent().unwrap())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(127));
}

#[test]
fn the_gateway_has_a_session_a_stdin_and_a_wardens_pid() {
    let gateway = "set -- $(cat /proc/$$/stat); [ $6 = $$ ] || exit 11
        [ \"$(readlink /proc/$$/fd/0)\" = /dev/null ] || exit 12
        [ -e /proc/$$/fd/1 ] && [ -e /proc/$$/fd/2 ] || exit 13
        [ \"$WRASSE_WARDEN\" = $PPID ] || exit 14
        [ \"$OLDPWD\" = / ] && [ \"$(readlink /proc/$PPID/cwd)\" = / ] || exit 15
        ls /proc/$$/fd > fds; exit 0";
    // Wrasse's own 0 to 2 closed by whoever started it, and an outer warden.
    let mut wardened =
        Wardened::new("exec <&- >&- 2>&-; export WRASSE_WARDEN=1 WRASSE_WARDENS=2", gateway);
    assert_eq!(wardened.code(), Some(0));
}

#[test]
fn equal_signals_in_a_burst_count_as_one() {
    let gateway = "trap 'echo term >> terms' TERM; trap 'exit 5' USR1; echo up > up
        while :; do sleep 0.02; done";
    // A burst that the machine stretched over the limit proves nothing: try again.
    for _ in 0..20 {
        let mut wardened = Wardened::new("", gateway);
        wardened.read("up");
        let warden = wardened.warden.id();
        let began = Instant::now();
        kill(warden, Signal::TERM);
        wardened.read("terms");
        kill(warden, Signal::TERM);
        let took = began.elapsed();
        kill(warden, Signal::USR1);
        assert_eq!(wardened.code(), Some(5));
        if took < Duration::from_millis(250) {
            assert_eq!(wardened.read("terms"), "term\n");
            return;
        }
    }
}

#[test]
fn a_signal_that_was_ignored_for_us_stays_ignored() {
    // As nohup does it.
    let gateway = "trap 'exit 5' USR1; echo up > up; while :; do sleep 0.02; done";
    let mut wardened = Wardened::new("trap '' HUP", gateway);
    wardened.read("up");
    kill(wardened.warden.id(), Signal::HUP);
    kill(wardened.warden.id(), Signal::USR1);
    assert_eq!(wardened.code(), Some(5));
}

// failure mode D12
#[test]
fn exit_85_executes_the_gateway_again() {
    let gateway = "[ -e once ] && exit 4; setsid sleep 1000 & echo $! > once; exit 85";
    let mut wardened = Wardened::new("", gateway);
    assert_eq!(wardened.code(), Some(4));
    let leftover = wardened.pid("once");
    assert!(!lives(leftover));
    wardened.witness.assert_gone();
}

// failure mode G1
#[test]
fn orphans_are_reaped_while_the_gateway_runs() {
    let gateway = "(sh -c 'echo $$ > orphan' &)
        while [ ! -e enough ]; do sleep 0.02; done; exit 3";
    let mut wardened = Wardened::new("", gateway);
    let orphan = wardened.pid("orphan");
    eventually("it is reaped", || state(orphan).is_none().then_some(()));
    fs::write(wardened.folder.path().join("enough"), "").unwrap();
    assert_eq!(wardened.code(), Some(3));
}

// failure mode F1
#[test]
fn whatever_a_killed_gateway_leaves_ends() {
    let gateway = "(setsid sh -c 'trap \"\" HUP TERM; sleep 1000; :' &)
        setsid sleep 1000 & echo $$ > pid; wait";
    let mut wardened = Wardened::new("", gateway);
    kill(wardened.pid("pid"), Signal::KILL);
    assert_eq!(wardened.code(), Some(137));
    wardened.witness.assert_gone();
}

#[test]
fn an_earlier_sibling_and_its_orphans_live_on() {
    // `redis & exec wrasse …`; the sibling starts a daemon when the gateway is up.
    let before = "sh -c 'echo $$ > sibling; while [ ! -e pid ]; do sleep 0.02; done
        sh -c \"setsid sleep 1000 & echo \\$! > orphan\"; echo > adopted; exec sleep 1000' &
        while [ ! -s sibling ]; do sleep 0.02; done";
    let gateway =
        "(setsid sleep 1000 & echo $! > daemon); echo $$ > pid; while :; do sleep 1; done";
    let mut wardened = Wardened::new(before, gateway);
    wardened.read("adopted");
    let (sibling, orphan) = (wardened.pid("sibling"), wardened.pid("orphan"));
    let (gateway, daemon) = (wardened.pid("pid"), wardened.pid("daemon"));
    let parent = || parent_of(orphan);
    eventually("the warden adopted it", || (parent() == Some(wardened.warden.id())).then_some(()));
    kill(gateway, Signal::KILL);
    assert_eq!(wardened.code(), Some(137));
    assert!(!lives(gateway) && !lives(daemon));
    assert!(lives(sibling) && lives(orphan));
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    stat[stat.rfind(')')? + 2..].split(' ').nth(1)?.parse().ok()
}
