//! Members of a tree that are hard to see, to signal or to reap; and a guardian that a member works against.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, Signal, prlimit};
use wrasse_guard::protocol::{Event, Order};
use wrasse_testkit::{namespace::permits, nobody::can_be};

use crate::{
    harness::{Guarded, image, install, python, skipped},
    witness::{eventually, kill, lives, state},
};

const NOBODY: u32 = 65_534;
const MARK: &str = "WRASSE_GUARD_TEST_HIDDEN";
/// What every script of a member begins with. The calls have the numbers of x86_64 and of aarch64.
const PRELUDE: &str = "import ctypes,os,platform,signal,sys,threading,time\n\
    libc=ctypes.CDLL(None)\n\
    x86=platform.machine()=='x86_64'\n\
    up=lambda: os.write(1,b'up\\n')\n";

/// A folder into which everybody may look.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("wrasse-guard-").tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// A tree whose leader starts a member that runs `script` in a session of its own, and waits.
fn with_member(script: &str) -> Guarded {
    let mut guarded = Guarded::new(image());
    let (program, script) = (python(), format!("{PRELUDE}{script}"));
    let leader = "setsid \"$0\" -c \"$1\" & wait";
    let argv = ["sh", "-c", leader, program.to_str().unwrap(), &script];
    guarded.send_spec("/bin/sh", &argv, &["PATH=/usr/bin:/bin"]);
    assert!(matches!(guarded.event(), Some(Event::Ready { .. })));
    guarded.send(Order::Go);
    assert!(matches!(guarded.event(), Some(Event::Started { .. })));
    guarded.wait_for("up");
    guarded
}

fn ends(mut guarded: Guarded) {
    guarded.send(Order::Kill);
    guarded.finish();
}

/// The first thread is gone and the process looks like a zombie, but another thread lives, and has a child.
#[test]
fn a_process_without_its_first_thread_ends() {
    let guarded = with_member(
        "def other():\n  os.system('sleep 1000 &'); up(); time.sleep(1000)\n\
         threading.Thread(target=other).start()\n\
         libc.syscall(60 if x86 else 93, 0)\n",
    );
    // The witness does not count what looks like a zombie, so it is looked for among all.
    eventually("its first thread is gone", || {
        let children = |pid: u32| {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
            let lists =
                tasks.flatten().map(|task| fs::read_to_string(task.path().join("children")));
            Some(lists.map(|list| list.unwrap_or_default()).collect::<String>())
        };
        let mut below = vec![guarded.guardian.id()];
        while let Some(pid) = below.pop() {
            if state(pid) == Some('Z') {
                return Some(());
            }
            let list = children(pid).unwrap_or_default();
            below.extend(list.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
        }
        None
    });
    ends(guarded);
}

/// Children of a thread that is not the first.
#[test]
fn children_of_threads_end() {
    ends(with_member(
        "def other():\n  os.posix_spawn('/bin/sleep',['sleep','1000'],{},setsid=True); up(); time.sleep(1000)\n\
         threading.Thread(target=other).start(); time.sleep(1000)\n",
    ));
}

/// The parent cannot run before its child executes something, which it never does.
#[test]
fn a_parent_that_waits_in_vfork_ends() {
    // A parent in that state heeds no SIGSTOP.
    ends(with_member(
        "up()\npid=libc.syscall(58) if x86 else libc.syscall(220,0x4100|17,0,0,0,0)\n\
         while True: time.sleep(1000)\n",
    ));
}

/// Stopped by a tracer, which is another member.
#[test]
fn a_traced_member_ends() {
    ends(with_member(
        "pid=os.fork()\nif pid==0:\n  libc.ptrace(0,0,0,0); os.kill(os.getpid(),signal.SIGSTOP); time.sleep(1000)\n\
         os.waitpid(pid,0); up(); time.sleep(1000)\n",
    ));
}

/// The leader makes its own guardian its tracer, so that every signal stops it.
#[test]
fn a_leader_that_has_its_guardian_trace_it_ends() {
    let mut guarded = Guarded::new(image());
    let (program, script) =
        (python(), format!("{PRELUDE}libc.ptrace(0,0,0,0); up(); time.sleep(1000)\n"));
    guarded.send_spec(program.to_str().unwrap(), &["python3", "-c", &script], &[]);
    assert!(matches!(guarded.event(), Some(Event::Ready { .. })));
    guarded.send(Order::Go);
    assert!(matches!(guarded.event(), Some(Event::Started { .. })));
    guarded.wait_for("up");
    guarded.send(Order::Term);
    ends(guarded);
}

/// A PID namespace below us: its processes have other numbers there, and ours here.
#[test]
fn a_pid_namespace_below_ends() {
    let unshare = if rustix::process::geteuid().is_root() { "-pf" } else { "-Urpf" };
    let tried = Command::new("unshare").args([unshare, "true"]).stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        return skipped("a_pid_namespace_below_ends", "none may be made here");
    }
    let script = format!(
        "unshare {unshare} sh -c 'trap \"\" TERM HUP; (setsid sleep 1000 &); sleep 1000 & echo up; wait; wait' & wait"
    );
    let (mut guarded, _) = Guarded::shell(image(), &script);
    guarded.wait_for("up");
    ends(guarded);
}

/// A member takes its guardian's descriptors away: blind, it gives the tree to the gateway instead of waiting for ever.
#[test]
fn a_guardian_without_descriptors_gives_its_tree_up() {
    let (mut guarded, _) =
        Guarded::shell(image(), "(setsid sleep 1000 &); echo up; wait; read line");
    guarded.wait_for("up");
    let daemon = eventually("the daemon is there", || {
        let carriers = guarded.witness().carriers();
        let daemon = |pid: &&u32| {
            fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().starts_with(b"sleep")
        };
        carriers.iter().find(daemon).copied()
    });
    let pid = rustix::process::Pid::from_raw(guarded.guardian.id().cast_signed()).unwrap();
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    prlimit(Some(pid), Resource::Nofile, none).unwrap();
    guarded.send(Order::Kill);
    let status = guarded.guardian.wait().unwrap();
    assert_eq!(status.code(), Some(71));
    // Nobody is its subreaper in this test; the gateway would adopt it.
    assert!(lives(daemon));
    kill(daemon, Signal::KILL);
    guarded.witness().assert_gone();
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A member that became another user may not be signalled: it is reported, waited for, and costs next to nothing.
#[test]
fn a_member_of_another_user_is_reported_and_waited_for() {
    const TEST: &str = "a_member_of_another_user_is_reported_and_waited_for";
    let folder = open_folder();
    if let Err(why) = can_be(NOBODY, folder.path()) {
        return skipped(TEST, &why);
    }
    let (guard, other) = (folder.path().join("guard"), folder.path().join("other"));
    install(image(), &guard, 0o755);
    install(&python(), &other, 0o4755);
    let mut command = Command::new(&guard);
    command.arg0("wrasse-guardian test").arg("guardian").uid(NOBODY).gid(NOBODY);
    let mut guarded = Guarded::spawn(&mut command);
    fs::set_permissions(guarded.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let home = python().parent().unwrap().parent().unwrap().display().to_string();
    let script = "import os,sys,time\nos.setsid(); os.setresgid(0,0,0) if os.getegid()==0 else None\n\
        os.setresuid(0,0,0); sys.stdout.write('up\\n'); sys.stdout.flush(); time.sleep(1000)\n";
    let leader = "\"$0\" -c \"$1\" || echo refused & wait";
    let argv = ["sh", "-c", leader, other.to_str().unwrap(), script];
    guarded.send_spec("/bin/sh", &argv, &["PATH=/usr/bin:/bin", &format!("PYTHONHOME={home}")]);
    assert!(matches!(guarded.event(), Some(Event::Ready { .. })));
    guarded.send(Order::Go);
    assert!(matches!(guarded.event(), Some(Event::Started { .. })));
    let mut first = [0; 2];
    std::io::Read::read_exact(&mut guarded.stdout, &mut first).unwrap();
    if &first != b"up" {
        guarded.send(Order::Kill);
        guarded.finish();
        return skipped(TEST, "no program can become another user here");
    }
    guarded.send(Order::Kill);
    let mut left = None;
    for _ in 0..3 {
        match guarded.event() {
            Some(Event::Exited { .. }) => {}
            Some(Event::Stuck { left: count }) => {
                left = Some(count);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(left, Some(1));
    let member = guarded.witness().carriers();
    assert_eq!(member.len(), 2, "the guardian and the member: {member:?}");
    let (began, before) = (Instant::now(), cpu_ticks(guarded.guardian.id()));
    std::thread::sleep(Duration::from_secs(2));
    let spent = cpu_ticks(guarded.guardian.id()) - before;
    let ticks = u64::try_from(began.elapsed().as_millis() / 10).unwrap();
    assert!(spent * 5 < ticks, "{spent} of {ticks} ticks");
    // Whoever may end it does, and the guardian is done.
    for pid in member.into_iter().filter(|pid| *pid != guarded.guardian.id()) {
        kill(pid, Signal::KILL);
    }
    guarded.finish();
}

/// `/proc` mounted with hidepid shows an ordinary user nothing of a member that may not be traced.
#[test]
fn a_member_that_proc_hides_ends() {
    const TEST: &str = "a_member_that_proc_hides_ends";
    let folder = open_folder();
    let inside = format!(
        "mount --make-rprivate / && mount -t proc -o hidepid=2 proc /proc && \
         exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups \"$@\""
    );
    let launcher = ["unshare", "-m", "sh", "-c", &inside, "sh"];
    if let Err(why) = can_be(NOBODY, folder.path()).and_then(|()| permits(&launcher)) {
        return skipped(TEST, &why);
    }
    let own = folder.path().join("it");
    install(&std::env::current_exe().unwrap(), &own, 0o755);
    let mut command = Command::new(launcher[0]);
    command.args(&launcher[1..]).arg(own).args(["--exact", "members::hidden_role", "--nocapture"]);
    // Ours may be closed to that user.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let status = command.env(MARK, "1").env("TMPDIR", folder.path()).status().unwrap();
    assert!(status.success(), "{status}");
}

/// Not a test by itself.
#[test]
fn hidden_role() {
    if std::env::var_os(MARK).is_none() {
        return;
    }
    assert!(!Path::new("/proc/1").exists(), "others are hidden");
    let mut guarded = with_member(
        "signal.signal(signal.SIGHUP,signal.SIG_IGN)\nlibc.prctl(4,0,0,0,0)\nup(); time.sleep(1000)\n",
    );
    // A grandchild of the guardian's, which becomes its child when its parent is killed.
    assert!(guarded.witness().carriers().len() <= 2, "the member is hidden");
    guarded.send(Order::Kill);
    guarded.finish();
}
