//! What a server may use, with real processes that want more.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wrasse_contain::{Contained, LeaderExit, Limits, Resource, SpawnSpec};

use crate::support::{Tag, containment, launch, shell, stat_fields, until};

pub(crate) fn limited(tag: &Tag, script: &str, limits: Limits) -> SpawnSpec {
    SpawnSpec { limits, ..shell(tag, script) }
}

/// Niceness and `oom_score_adj` of a process.
fn orders(pid: u32) -> (i32, i32) {
    let nice = stat_fields(pid).unwrap()[16].parse().unwrap();
    let oom = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    (nice, oom.trim().parse().unwrap())
}

// The kernel takes a server before us, and no limit of a server's is its guardian's or ours.
#[tokio::test]
async fn nice_and_oom_score_are_the_servers_alone() {
    let containment = containment();
    let ours = orders(std::process::id());
    for (limits, nice, oom) in [
        (Limits::default(), ours.0, (ours.1 + 300).clamp(1, 1000)),
        (
            Limits { nice: Some(9), oom_score_adj: Some(777), ..Limits::default() },
            ours.0.max(9),
            ours.1.max(777),
        ),
    ] {
        let tag = Tag::new();
        let script = "setsid sleep 300 & exec cat";
        let tree = launch(&containment, limited(&tag, script, limits)).await;
        until("the daemon is up", || tag.count() == 2).await;
        for pid in tag.pids() {
            assert_eq!(orders(pid), (nice, oom));
        }
        assert_eq!(orders(tree.guardian().pid), ours);
        assert!(tree.kill().await.proven_empty);
    }
    assert_eq!(orders(std::process::id()), ours);
    // The containment is shared, and what others were refused is noted there too.
    let report = containment.report();
    let refused = |note: &&String| note.ends_with(" was refused");
    assert_eq!(report.notes.iter().find(refused), None, "{report:?}");
}

#[tokio::test]
async fn address_space_is_a_limit_of_each_process() {
    let tag = Tag::new();
    let limits = Limits { address_space_max: Some(256 << 20), ..Limits::default() };
    let tree = launch(&containment(), limited(&tag, "exec cat", limits)).await;
    let text = std::fs::read_to_string(format!("/proc/{}/limits", tree.pid())).unwrap();
    let line = text.lines().find(|line| line.starts_with("Max data size")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("268435456"));
    assert!(tree.kill().await.proven_empty);
}

/// A tree beside, which must not notice anything.
struct Sibling(Contained, Tag);

impl Sibling {
    async fn start() -> Self {
        let tag = Tag::new();
        Self(launch(&containment(), shell(&tag, "exec cat")).await, tag)
    }

    async fn answers(mut self) {
        let (mut stdin, mut stdout) = (self.0.take_stdin().unwrap(), self.0.take_stdout().unwrap());
        stdin.write_all(b"still here").await.unwrap();
        let mut answer = [0; 10];
        stdout.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"still here");
        assert_eq!(self.1.pids(), [self.0.pid()]);
        assert!(self.0.kill().await.proven_empty);
    }
}

/// Grows to so many bytes in a process that is not the leader, and stays there.
fn growing(bytes: u64) -> String {
    format!("{{ head -c {bytes} /dev/zero; sleep 300; }} | tail -c {bytes} | cat")
}

// failure mode G9: the server is ended for its memory, with the figure; we and its siblings live
#[tokio::test]
async fn a_tree_over_its_memory_is_ended_and_says_so() {
    let sibling = Sibling::start().await;
    let tag = Tag::new();
    let allowed = 100 << 20;
    let limits = Limits { memory_max: Some(allowed), ..Limits::default() };
    let tree = launch(&containment(), limited(&tag, &growing(300 << 20), limits)).await;
    let exit = tree.exited().wait().await;
    let LeaderExit::OverLimit(excess) = exit else { panic!("{exit:?}") };
    assert_eq!((excess.resource, excess.allowed), (Resource::Memory, allowed));
    assert!(excess.used > allowed && excess.used < 1 << 30, "{excess:?}");
    assert!(exit.to_string().starts_with("ended because it used "), "{exit}");
    assert!(exit.to_string().ends_with(" of 100 MiB allowed"), "{exit}");
    let outcome = tree.stop(wrasse_contain::Ladder::default()).await;
    assert!(outcome.proven_empty, "{outcome:?}");
    assert_eq!(outcome.leader, Some(exit));
    assert_eq!(tag.count(), 0);
    sibling.answers().await;
}

#[tokio::test]
async fn a_tree_with_too_many_processes_is_ended_and_says_so() {
    let sibling = Sibling::start().await;
    let tag = Tag::new();
    let script = "for i in 1 2 3 4 5 6 7 8; do setsid sleep 300 & done; wait";
    let limits = Limits { processes_max: Some(6), ..Limits::default() };
    let tree = launch(&containment(), limited(&tag, script, limits)).await;
    let exit = tree.exited().wait().await;
    // They are counted once a second, and may be when not all are there yet.
    let LeaderExit::OverLimit(excess) = exit else { panic!("{exit:?}") };
    assert_eq!((excess.resource, excess.allowed), (Resource::Processes, 6));
    assert!((7..=9).contains(&excess.used), "{excess:?}");
    let said = format!("ended because it ran {} processes of 6 allowed", excess.used);
    assert_eq!(exit.to_string(), said);
    assert!(tree.kill().await.proven_empty);
    assert_eq!(tag.count(), 0);
    sibling.answers().await;
}

// Pages that a fork shares count once: 5 processes that show 60 MiB each use 60 MiB.
#[tokio::test]
#[expect(clippy::print_stderr, reason = "a test that cannot be made here says so by name")]
async fn shared_pages_are_no_excess() {
    if !["/usr/bin/perl", "/bin/perl"].iter().any(|perl| Path::new(perl).is_file()) {
        eprintln!("SKIPPED shared_pages_are_no_excess: there is no perl");
        return;
    }
    let tag = Tag::new();
    let script =
        "exec perl -e '$x = \"a\" x (60 << 20); for (1..4) { fork or sleep 300 } sleep 300'";
    let limits = Limits { memory_max: Some(150 << 20), ..Limits::default() };
    let containment = containment();
    let tree = launch(&containment, limited(&tag, script, limits)).await;
    let guardian = tree.guardian().pid;
    let account = || containment.account(guardian);
    let summed = || account().is_some_and(|account| account.memory_bytes > 300 << 20);
    until("the sum is counted", summed).await;
    // Two more looks at it.
    let before = account().unwrap().measured_over;
    let later = || account().unwrap().measured_over >= before + Duration::from_secs(2);
    until("it is counted again", later).await;
    assert_eq!(tree.exited().now(), None);
    let shared = containment.proportional_memory(guardian);
    assert!((60 << 20..150 << 20).contains(&shared), "{shared}");
    assert!(tree.kill().await.proven_empty);
}

// guarantee G3: what nobody reaps is counted
// failure modes F3, G3
#[tokio::test]
async fn cpu_and_zombies_are_counted() {
    let containment = containment();
    let tag = Tag::new();
    let script = "for i in 1 2 3; do : & done; while :; do :; done";
    let spinning = launch(&containment, shell(&tag, script)).await;
    // The one that executes is no shell any more, and reaps nothing.
    let unreaped = "for i in 1 2 3 4; do sleep 0.1 & done; exec sleep 300";
    let careless = launch(&containment, shell(&tag, unreaped)).await;
    let of = |tree: &Contained| containment.account(tree.guardian().pid);
    until("the processor time is counted", || {
        of(&spinning).is_some_and(|account| account.cpu_percent > 10 && account.processes == 1)
    })
    .await;
    until("the zombies are counted", || {
        of(&careless).is_some_and(|account| account.zombies == 4 && account.processes == 1)
    })
    .await;
    let account = of(&careless).unwrap();
    assert!(account.cpu < Duration::from_secs(5), "{account:?}");
    assert_eq!(containment.account(std::process::id()), None);
    assert!(spinning.kill().await.proven_empty);
    assert!(careless.kill().await.proven_empty);
}
