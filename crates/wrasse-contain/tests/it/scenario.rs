//! Scenarios that need a process of their own: this program is executed again with [`VARIABLE`] set.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use rustix::process::{Signal, WaitOptions, getpid, set_child_subreaper};
use wrasse_contain::sweep::{self, LeaseProof, SweepError};
use wrasse_contain::{Containment, Guard, Ladder, SpawnError};

use crate::support::{PATIENCE, Tag, launch, scenario_command, shell, signal, start, until};

pub(crate) const VARIABLE: &str = "WRASSE_CONTAIN_SCENARIO";
const INSTALLATION: u16 = 0x5ce7;
/// Its own, since a living gateway of the same installation rightly stops a sweep.
const SWEPT_INSTALLATION: u16 = 0x5ce9;
const PATIENT: Ladder = Ladder { eof: PATIENCE, term: PATIENCE };
/// Makes this program able to be its own guard: run by the loader, before `main` and in the only thread.
#[used]
#[unsafe(link_section = ".init_array")]
#[expect(unsafe_code, reason = "this program has no main of its own")]
static BECOME_GUARD: extern "C" fn() = become_guard;

extern "C" fn become_guard() {
    wrasse_guard::dispatch();
}

/// Not a test of its own: where a scenario begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entry() {
    let Ok(scenario) = std::env::var(VARIABLE) else { return };
    match scenario.as_str() {
        "thirty-cycles" => thirty_cycles().await,
        "nothing-inheritable" => nothing_inheritable().await,
        "kill-all" => kill_all().await,
        "gateway-killed" => gateway_killed().await,
        "doomed-gateway" => doomed_gateway().await,
        "older-siblings" => older_siblings().await,
        "sweep-driver" => sweep_driver(),
        "sweeper" => sweeper().await,
        "search-driver" => {
            set_child_subreaper(Some(getpid())).unwrap();
            assert!(scenario_command("searcher").spawn().unwrap().wait().unwrap().success());
        }
        "searcher" => crate::sweep::searcher().await,
        "comet-driver" => {
            set_child_subreaper(Some(getpid())).unwrap();
            assert_eq!(run_as_init("comet-sweeper").exit_status(), Some(0));
        }
        "comet-sweeper" => crate::sweep::comet_sweeper().await,
        // The environment is passed through, so the gateway below has the same variable.
        "warden" if std::env::var_os("WRASSE_WARDEN").is_some() => {
            crate::warden::below_warden().await;
        }
        "warden" => crate::warden::become_warden(),
        "proc-hides" => crate::floor::shows(false),
        "proc-shows" => crate::floor::shows(true),
        "without-warden" => assert!(wrasse_contain::warden::link().is_none()),
        other => panic!("unknown scenario {other}"),
    }
}

/// Waits for a scenario as init does: whatever else ends meanwhile is reaped too.
#[expect(clippy::zombie_processes, reason = "it is waited for with everybody else")]
fn run_as_init(scenario: &str) -> rustix::process::WaitStatus {
    let child = scenario_command(scenario).spawn().unwrap();
    loop {
        let reaped = rustix::io::retry_on_intr(|| rustix::process::wait(WaitOptions::empty()));
        let (pid, status) = reaped.unwrap().unwrap();
        if pid == rustix::process::Pid::from_child(&child) {
            return status;
        }
    }
}

fn contain() -> Containment {
    start(Guard::Auto, INSTALLATION)
}

fn own_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn own_children() -> Vec<u32> {
    let mut found = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(text.split_ascii_whitespace().map(|n| n.parse::<u32>().unwrap()));
    }
    found
}

async fn thirty_cycles() {
    let containment = contain();
    let cycle = |script| {
        let containment = &containment;
        async move { launch(containment, shell(&Tag::new(), script)).await }
    };
    assert!(cycle("exec cat").await.stop(PATIENT).await.proven_empty);
    let baseline = own_fds();
    for n in 0..30 {
        let tree = cycle("setsid sleep 300 & exec cat").await;
        match n % 3 {
            0 => assert!(tree.stop(PATIENT).await.proven_empty),
            1 => assert!(tree.kill().await.proven_empty),
            _ => drop(tree),
        }
    }
    until("every guardian is reaped", || own_children().is_empty()).await;
    // The watcher may still have held the first guardian when the baseline was taken.
    until("descriptors are where they were", || own_fds() <= baseline).await;
}

async fn nothing_inheritable() {
    let numbers = || {
        let names = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
        names
            .map(|entry| entry.file_name().to_str().unwrap().parse().unwrap())
            .collect::<Vec<i32>>()
    };
    let not_ours = numbers();
    let containment = contain();
    let tree = launch(&containment, shell(&Tag::new(), "exec cat")).await;
    let count = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    // More only for moments, while the server's own start opens its libraries.
    until("a server has its stdio and nothing else", || count(tree.pid()) == 3).await;
    for number in numbers().into_iter().filter(|number| !not_ours.contains(number)) {
        let Ok(text) = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")) else {
            continue;
        };
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
        let close_on_exec = flags & rustix::fs::OFlags::CLOEXEC.bits() != 0;
        assert!(close_on_exec, "descriptor {number} is inheritable");
    }
    assert!(tree.stop(PATIENT).await.proven_empty);
}

async fn kill_all() {
    let containment = contain();
    let tag = Tag::new();
    let mut trees = Vec::new();
    for _ in 0..5 {
        let script = "trap '' TERM; setsid sleep 300 & while :; do sleep 300; done";
        trees.push(launch(&containment, shell(&tag, script)).await);
    }
    until("all are complete", || tag.count() == 15).await;
    signal(trees[0].guardian().pid, Signal::STOP);
    assert_eq!(containment.kill_all().await, 0, "what is left");
    assert_eq!(tag.count(), 0);
    let refused = containment.prepare(shell(&tag, "exec cat")).await;
    assert!(matches!(refused, Err(SpawnError::Ending)));
    for tree in trees {
        assert!(tree.stop(PATIENT).await.proven_empty);
    }
}

/// Starts trees, says which guardians they have, and waits to be killed.
async fn doomed_gateway() {
    let tag = Tag(std::env::var("TAG").unwrap());
    let installation = std::env::var("INSTALLATION").unwrap().parse().unwrap();
    let containment = start(Guard::Auto, installation);
    let mut trees = Vec::new();
    for n in 0..3 {
        let script = "(setsid sleep 300.$TAG &); trap '' TERM; while :; do sleep 301.$TAG; done";
        let mut spec = shell(&tag, script);
        spec.instance = 1000 + n;
        let prepared = containment.prepare(spec).await.unwrap();
        let guardian = prepared.guardian();
        let instance = 1000 + n;
        let mut out = std::io::stdout();
        writeln!(out, "guardian {instance} {} {}", guardian.pid, guardian.start_ticks).unwrap();
        trees.push(prepared.go().await.unwrap());
    }
    let mut out = std::io::stdout();
    writeln!(out, "all started").unwrap();
    out.flush().unwrap();
    std::future::pending::<()>().await;
}

struct Doomed {
    child: std::process::Child,
    /// Instance, pid, start ticks.
    guardians: Vec<(u64, u32, u64)>,
}

fn spawn_doomed(tag: &Tag, installation: u16) -> Doomed {
    let mut command = scenario_command("doomed-gateway");
    command.env("TAG", &tag.0).env("INSTALLATION", installation.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut guardians = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(at) = line.find("guardian ") {
            let numbers: Vec<u64> =
                line[at + 9..].split(' ').map(|number| number.parse().unwrap()).collect();
            guardians.push((numbers[0], u32::try_from(numbers[1]).unwrap(), numbers[2]));
        }
        if line.contains("all started") {
            break;
        }
    }
    assert_eq!(guardians.len(), 3);
    Doomed { child, guardians }
}

async fn gateway_killed() {
    let tag = Tag::new();
    let mut doomed = spawn_doomed(&tag, INSTALLATION);
    // Three trees of three, and the gateway itself, whose environment has the tag.
    until("the trees are complete", || tag.count() == 10).await;
    doomed.child.kill().unwrap();
    doomed.child.wait().unwrap();
    until("every tree is gone", || tag.count() == 0).await;
}

#[expect(clippy::disallowed_methods, reason = "a sibling that is deliberately not contained")]
async fn older_siblings() {
    let old = Tag::new();
    // It leaves a daemon behind, which then becomes a child of ours, the subreaper.
    let script = format!("(setsid sleep 300.{} &); exec sleep 1.{}", old.0, old.0);
    let mut sibling = std::process::Command::new("sh").args(["-c", &script]).spawn().unwrap();
    until("the sibling and its daemon run", || old.count() == 2).await;
    let containment = contain();
    let tag = Tag::new();
    let tree = launch(&containment, shell(&tag, "setsid sleep 300 & exec cat")).await;
    signal(tree.guardian().pid, Signal::KILL);
    until("the tree is gone", || tag.count() == 0).await;
    assert!(tree.kill().await.proven_empty);
    assert!(sibling.wait().unwrap().success(), "neither signalled nor waited for by us");
    let left = old.pids();
    assert_eq!(left.len(), 1, "what the sibling left behind lives");
    signal(left[0], Signal::KILL);
}

/// Has a gateway, its guardians and nobody else die at once, and a new gateway sweep. Stands in for init:
/// what is orphaned becomes its child, it is no part of the gateway that sweeps.
fn sweep_driver() {
    set_child_subreaper(Some(getpid())).unwrap();
    let tag = Tag::new();
    let bystander = Tag::new();
    let drive = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(drive_sweep(&tag, &bystander));
    };
    std::thread::scope(|scope| scope.spawn(drive).join().unwrap());
}

#[expect(clippy::disallowed_methods, reason = "a bystander that is deliberately not contained")]
async fn drive_sweep(tag: &Tag, bystander: &Tag) {
    let mut doomed = spawn_doomed(tag, SWEPT_INSTALLATION);
    until("the trees are complete", || tag.count() == 10).await;
    let mut proofs = String::new();
    for (instance, _, start_ticks) in &doomed.guardians {
        proofs.push_str(&format!("{instance}:{start_ticks},"));
    }
    let sweeper = |kind: &str| {
        let mut command = scenario_command("sweeper");
        command.env("KIND", kind).env("PROOFS", &proofs).stdin(Stdio::null());
        command.spawn().unwrap().wait().unwrap().success()
    };
    assert!(sweeper("owner-alive"), "nothing is swept while the owner lives");
    // All die at once: the gateway is stopped meanwhile, so that it adopts nothing.
    signal(doomed.child.id(), Signal::STOP);
    for (_, guardian, _) in &doomed.guardians {
        signal(*guardian, Signal::KILL);
    }
    doomed.child.kill().unwrap();
    doomed.child.wait().unwrap();
    // An identical command line with nobody's mark, and one with the mark of another installation.
    let sleep = format!("300.{}", bystander.0);
    let stand_by = |mark: &str| {
        let mut command = std::process::Command::new("sleep");
        command.arg(&sleep).env("WRASSE_MARK", mark).spawn().map(Ended).unwrap()
    };
    // The last one carries an entry of a version that is not ours.
    let marks = ["", "5ce8:1000", "5ce9:4711", "2:5ce9:1000"];
    let _bystanders = marks.map(stand_by);
    assert!(tag.count() >= 6, "what is left: {:?}", tag.pids());
    assert!(sweeper("unknown"), "without a proof nothing is swept");
    assert!(tag.count() >= 6);
    assert!(sweeper("sweep"), "the sweep");
    // The dead wait for us, who stand in for init.
    while let Ok(Some(_)) = rustix::process::waitpid(None, rustix::process::WaitOptions::NOHANG) {}
    assert_eq!(tag.count(), 0);
    assert_eq!(bystander.count(), 4, "bystanders live");
}

/// Ends with the test, whichever way that ends.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn sweeper() {
    let _containment = start(Guard::Auto, SWEPT_INSTALLATION);
    let proofs = std::env::var("PROOFS").unwrap();
    let proofs: Vec<(u64, u64)> = proofs
        .split_terminator(',')
        .map(|proof| proof.split_once(':').unwrap())
        .map(|(instance, ticks)| (instance.parse().unwrap(), ticks.parse().unwrap()))
        .collect();
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let known = |instance: u64| {
        let (_, guardian_start_ticks) = *proofs.iter().find(|(known, _)| *known == instance)?;
        Some(LeaseProof { guardian_start_ticks, boot_id: boot_id.trim().to_owned() })
    };
    match std::env::var("KIND").unwrap().as_str() {
        "owner-alive" => {
            assert!(matches!(
                sweep::find(SWEPT_INSTALLATION, sweep::Effort::Glance, known),
                Err(SweepError::OwnerAlive { .. })
            ));
        }
        "unknown" => {
            assert_eq!(
                sweep::find(SWEPT_INSTALLATION, sweep::Effort::Glance, |_| None).unwrap(),
                []
            );
            let other_boot = |instance| {
                known(instance).map(|proof| LeaseProof { boot_id: "other".to_owned(), ..proof })
            };
            assert_eq!(
                sweep::find(SWEPT_INSTALLATION, sweep::Effort::Glance, other_boot).unwrap(),
                []
            );
            let later = |instance| {
                let later = |ticks| ticks + 1_000_000_000;
                known(instance).map(|proof| LeaseProof {
                    guardian_start_ticks: later(proof.guardian_start_ticks),
                    ..proof
                })
            };
            assert_eq!(sweep::find(SWEPT_INSTALLATION, sweep::Effort::Glance, later).unwrap(), []);
        }
        "sweep" => {
            let leftovers = sweep::find(SWEPT_INSTALLATION, sweep::Effort::Glance, known).unwrap();
            assert!(leftovers.len() >= 6, "{leftovers:?}");
            let report = sweep::end(leftovers).await;
            assert!(report.found >= 6 && report.survivors == 0, "{report:?}");
            assert_eq!(report.ended, report.found);
            assert_eq!(sweep::find(SWEPT_INSTALLATION, sweep::Effort::Glance, known).unwrap(), []);
        }
        other => panic!("unknown kind {other}"),
    }
}
