//! The same trees ended by a process-group kill alone, which is what most programs do.
//!
//! A process of its own does it, itself a subreaper: what escapes the group becomes its child, is counted, and then
//! ended by number.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use wrasse_contain::Containment;
use wrasse_testkit::processes::{self, Process};

use crate::ready;
use crate::strangers::Strangers;
use crate::tree::{self, Shape, Tag};

/// For how long the count must not change before it is believed.
const SETTLED: Duration = Duration::from_millis(200);

/// What a kill of the group came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupKill {
    /// From the signal until no member of the group is left.
    pub(crate) took: Duration,
    /// Members of the tree that live on.
    pub(crate) survivors: usize,
    /// Strangers that do not.
    pub(crate) hit: usize,
}

/// Has one tree ended that way.
pub(crate) fn ask(containment: &Containment, shape: Shape, count: usize) -> GroupKill {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["peer", shape.word(), &count.to_string(), &Tag::new().0])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let helper = containment.spawn_bystander(|| command.spawn()).unwrap();
    let output = helper.wait_with_output().unwrap();
    assert!(output.status.success(), "the peer failed: {}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    let mut numbers = text.split_whitespace().map(|word| word.parse::<u64>().unwrap());
    let (micros, survivors) = (numbers.next().unwrap(), numbers.next().unwrap());
    GroupKill {
        took: Duration::from_micros(micros),
        survivors: usize::try_from(survivors).unwrap(),
        hit: usize::try_from(numbers.next().unwrap()).unwrap(),
    }
}

/// Is the helper: one tree, one kill, one line of answer.
#[expect(clippy::zombie_processes, reason = "it is waited for with its whole group")]
pub(crate) fn play(shape: &str, count: usize, tag: &str) -> ExitCode {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let shape = Shape::ALL.into_iter().find(|known| known.word() == shape).unwrap();
    let tag = Tag(tag.to_owned());
    let mut leader = Command::new(std::env::current_exe().unwrap())
        .args(tree::leader(shape, count, &tag))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    ready::direct(leader.stdout.take().unwrap(), count);
    let group = Pid::from_child(&leader);
    assert_eq!(living().len(), count, "the count must see what it may later find left");
    let strangers = Strangers::start(&tag, leader.id(), |command| command.spawn());

    let began = Instant::now();
    rustix::process::kill_process_group(group, Signal::KILL).unwrap();
    reap(|| rustix::process::waitpgid(group, WaitOptions::empty()));
    let took = began.elapsed();

    let mut survivors = settle();
    survivors.retain(|process| !strangers.are(process));
    println!("{} {} {}", took.as_micros(), survivors.len(), strangers.end());
    tree::end(&survivors);
    reap(|| rustix::process::wait(WaitOptions::empty()));
    ExitCode::SUCCESS
}

/// Reaps until there is nothing to wait for.
fn reap(wait: impl Fn() -> rustix::io::Result<Option<(Pid, WaitStatus)>>) {
    loop {
        match wait() {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return,
            Err(errno) => panic!("cannot wait: {errno}"),
        }
    }
}

fn living() -> Vec<Process> {
    let mut below = processes::descendants(std::process::id());
    below.retain(|process| process.state != 'Z');
    below
}

/// What is below this process once nothing more ends by itself.
fn settle() -> Vec<Process> {
    let mut seen = living();
    let mut since = Instant::now();
    while since.elapsed() < SETTLED {
        std::thread::sleep(Duration::from_millis(20));
        let now = living();
        if now.len() != seen.len() {
            since = Instant::now();
        }
        seen = now;
    }
    seen
}
