//! What is measured.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wrasse_contain::{Contained, Containment, Ladder, PipeReceiver};
use wrasse_testkit::processes;

use crate::peer;
use crate::ready;
use crate::strangers::{COUNT as STRANGERS, Strangers};
use crate::table::Pace;
use crate::table::{Table, Verdict, median, ratio, shown, spread};
use crate::tree::{self, Shape, Tag};

/// Processes of a tree, milliseconds it may take to end, samples of a full run.
const TREES: [(usize, u64, usize); 3] = [(3, 5, 31), (50, 20, 15), (500, 200, 5)];
const GUARDIANS: usize = 50;
const GUARDIAN_PSS_MAX_KIB: u64 = 64;
const SPAWN_ADDED_MAX: Duration = Duration::from_millis(2);
const ACCOUNTED: usize = 200;
const ACCOUNTING_MAX: Duration = Duration::from_millis(10);

/// Trees ended by force, each beside the same tree ended by its process group alone.
pub(crate) async fn force(containment: &Containment, pace: Pace, table: &mut Table) {
    for (count, budget_ms, samples) in TREES {
        for shape in Shape::ALL {
            let (mut ours, mut left, mut theirs, mut escaped) = (Vec::new(), 0, Vec::new(), 0);
            let (mut hit, mut hit_by_group) = (0, 0);
            for _ in 0..pace.samples(3, samples) {
                let (took, survivors, strangers) = end_by_force(containment, shape, count).await;
                ours.push(took);
                left = left.max(survivors);
                hit = hit.max(strangers);
                let peer = peer::ask(containment, shape, count);
                theirs.push(peer.took);
                escaped = escaped.max(peer.survivors);
                hit_by_group = hit_by_group.max(peer.hit);
            }
            let budget = Duration::from_millis(budget_ms);
            let verdict =
                if left + hit > 0 { Verdict::Missed } else { Verdict::of(median(&ours), budget) };
            let times = if escaped == 0 {
                ratio(median(&ours), median(&theirs))
            } else {
                "not the same work".to_owned()
            };
            table.row(
                format!("end a tree of {count}, {}", shape.word()),
                format!("{}, {left} left, {hit} strangers hit", spread(&ours)),
                format!(
                    "killpg: {}, {escaped} left, {hit_by_group} strangers hit; {times}",
                    shown(median(&theirs))
                ),
                format!("{budget_ms} ms, 0 left, 0 hit"),
                verdict,
            );
        }
    }
    table.note("killpg: until no member of the group is left; what is left was counted once nothing more ended.");
    table.note(format!(
        "strangers: {STRANGERS} beside each tree with the command line of its members, one of them in the leader's process \
         group if it can join it (it cannot join one of Wrasse's, which is in a session of its own); the worst sample."
    ));
}

/// Ends one tree; what is left is counted by its command line, in the table of all processes, and then ended.
async fn end_by_force(
    containment: &Containment,
    shape: Shape,
    count: usize,
) -> (Duration, usize, usize) {
    let tag = Tag::new();
    let (tree, stdout) =
        ready::contained(containment, tree::leader(shape, count, &tag), count).await;
    assert_eq!(tag.members().len(), count, "the count must see what it may later find left");
    let spawn = |command: &mut Command| containment.spawn_bystander(|| command.spawn());
    let strangers = Strangers::start(&tag, tree.pid(), spawn);
    let began = Instant::now();
    let outcome = tree.kill().await;
    let took = began.elapsed();
    let mut members = tag.members();
    members.retain(|process| !strangers.are(process));
    let hit = strangers.end();
    let unproven = usize::from(!outcome.proven_empty);
    drop(stdout);
    tree::end(&members);
    (took, members.len().max(unproven), hit)
}

async fn idle_trees(containment: &Containment, count: usize) -> Vec<(Contained, PipeReceiver)> {
    let mut trees = Vec::with_capacity(count);
    for _ in 0..count {
        trees.push(
            ready::contained(containment, tree::leader(Shape::Flat, 1, &Tag::new()), 1).await,
        );
    }
    trees
}

async fn end_all(trees: Vec<(Contained, PipeReceiver)>) {
    for (tree, _stdout) in trees {
        let outcome = tree.kill().await;
        assert!(outcome.proven_empty, "{outcome:?}");
    }
}

/// Proportional set size in KiB.
fn pss_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

/// What each of many guardians costs in memory.
pub(crate) async fn guardian_memory(containment: &Containment, table: &mut Table) {
    let trees = idle_trees(containment, GUARDIANS).await;
    let mut guardians: Vec<u64> =
        trees.iter().map(|(tree, _)| pss_kib(tree.guardian().pid)).collect();
    let mut servers: Vec<u64> = trees.iter().map(|(tree, _)| pss_kib(tree.pid())).collect();
    guardians.sort_unstable();
    servers.sort_unstable();
    let (median, max) = (guardians[GUARDIANS / 2], guardians[GUARDIANS - 1]);
    table.row(
        format!("guardian's PSS, each of {GUARDIANS}"),
        format!("{median} KiB, largest {max}, all {} KiB", guardians.iter().sum::<u64>()),
        format!("its server, a sleeping process: {} KiB", servers[GUARDIANS / 2]),
        format!("{GUARDIAN_PSS_MAX_KIB} KiB each"),
        Verdict::of(max, GUARDIAN_PSS_MAX_KIB),
    );
    end_all(trees).await;
}

/// What a guardian adds to the time from the call to the first byte of the program that is started.
pub(crate) async fn spawn_cost(containment: &Containment, pace: Pace, table: &mut Table) {
    let (mut ours, mut direct) = (Vec::new(), Vec::new());
    let (mut stops, mut direct_stops) = (Vec::new(), Vec::new());
    for _ in 0..pace.samples(20, 200) {
        let began = Instant::now();
        let (tree, stdout) = ready::contained(containment, tree::heeding(&Tag::new()), 1).await;
        ours.push(began.elapsed());
        let outcome = tree.stop(Ladder::default()).await;
        assert!(outcome.proven_empty, "{outcome:?}");
        drop(stdout);
        stops.push(outcome.took);
        let (started, stopped) = spawn_directly(containment);
        direct.push(started);
        direct_stops.push(stopped);
    }
    let added = median(&ours).saturating_sub(median(&direct));
    table.row(
        "time a guardian adds to a spawn",
        format!("{} ({} in all)", shown(added), spread(&ours)),
        format!("direct spawn: {}; {}", spread(&direct), ratio(median(&ours), median(&direct))),
        "2 ms added",
        Verdict::of(added, SPAWN_ADDED_MAX),
    );
    table.row(
        "stop one that heeds the end of its input, until proven empty",
        spread(&stops),
        format!(
            "close and wait: {}; {}",
            spread(&direct_stops),
            ratio(median(&stops), median(&direct_stops))
        ),
        "-",
        Verdict::NoBudget,
    );
}

/// How long the start and the stop of the same program take without any containment.
fn spawn_directly(containment: &Containment) -> (Duration, Duration) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(tree::heeding(&Tag::new()))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut began = Instant::now();
    let child = containment.spawn_bystander(|| {
        // The lock that keeps it from being taken for an orphan is not part of a direct spawn.
        began = Instant::now();
        command.spawn()
    });
    let mut child = child.unwrap();
    ready::direct(child.stdout.take().unwrap(), 1);
    let took = began.elapsed();
    let began = Instant::now();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    (took, began.elapsed())
}

/// What a look at every tree costs.
pub(crate) async fn accounting(containment: &Containment, pace: Pace, table: &mut Table) {
    let trees = idle_trees(containment, ACCOUNTED).await;
    let servers: Vec<u32> = trees.iter().map(|(tree, _)| tree.pid()).collect();
    let (mut ticks, mut reads) = (Vec::new(), Vec::new());
    let mut found = 0;
    for _ in 0..pace.samples(5, 31) {
        let began = Instant::now();
        let seen = containment.count_now();
        ticks.push(began.elapsed());
        found = seen.iter().filter(|account| account.memory_bytes > 0).count();
        let began = Instant::now();
        let status = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/status"));
        assert_eq!(servers.iter().filter_map(|pid| status(pid).ok()).count(), ACCOUNTED);
        reads.push(began.elapsed());
    }
    assert_eq!(found, ACCOUNTED, "every server must be seen");
    table.row(
        format!("accounting of {ACCOUNTED} trees, one tick"),
        spread(&ticks),
        format!(
            "reading {ACCOUNTED} status files: {}; {}",
            shown(median(&reads)),
            ratio(median(&ticks), median(&reads))
        ),
        "10 ms",
        Verdict::of(median(&ticks), ACCOUNTING_MAX),
    );
    end_all(trees).await;
}

/// What this process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    fds: usize,
    threads: u32,
    children: usize,
    memory: u64,
}

impl Held {
    fn now() -> Self {
        let own = processes::read(std::process::id()).unwrap();
        Self {
            fds: own.fds.unwrap(),
            threads: own.threads,
            children: processes::descendants(own.pid).len(),
            memory: own.memory,
        }
    }

    /// The thread that watches guardians lets go of the last one a moment after it has told of its end. What is still
    /// held after a second is held for good.
    async fn settled(fds: usize) -> Self {
        let end = Instant::now() + Duration::from_secs(1);
        loop {
            let held = Self::now();
            if held.fds <= fds || Instant::now() >= end {
                return held;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Descriptors, threads and zombies after many trees.
pub(crate) async fn cycles(containment: &Containment, pace: Pace, table: &mut Table) {
    let cycle = async |number: usize| {
        let shape = Shape::ALL[number % 2];
        let (_, left, _) = end_by_force(containment, shape, 3).await;
        left
    };
    let count = pace.samples(40, 1000);
    let mut left = 0;
    for number in 0..count / 10 {
        left += cycle(number).await;
    }
    let before = Held::now();
    for number in 0..count {
        left += cycle(number).await;
    }
    let after = Held::settled(before.fds).await;
    let flat =
        (before.fds, before.threads, 0, 0) == (after.fds, after.threads, after.children, left);
    table.row(
        format!("fds, threads, zombies after {count} trees of 3"),
        format!("{}, {}, {}; {left} left", after.fds, after.threads, after.children),
        format!(
            "before: {}, {}, {}; memory {} -> {} KiB",
            before.fds,
            before.threads,
            before.children,
            before.memory / 1024,
            after.memory / 1024
        ),
        "as before, 0 left",
        if flat { Verdict::Within } else { Verdict::Missed },
    );
}
