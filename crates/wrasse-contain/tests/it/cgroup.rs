//! The layer above the floor, where it can be had: as root, with a cgroup v2 mount that may be written.

use std::path::PathBuf;

use rustix::process::Signal;
use wrasse_contain::{ContainOptions, Containment, Guard, Ladder, Layers, Limits, sweep};

use crate::limits::limited;
use crate::support::{
    INSTALLATION, PATIENCE, Tag, containment, launch, notes_of_the_kernel, shell, signal,
    state_dir, until,
};

const SWEPT: u16 = 0x5ceb;

fn layered(layers: Layers) -> Containment {
    // The shared one first: it notes the children that were there before any guardian. The same
    // installation, since one process has one mark, which cannot be raised again.
    let _shared = containment();
    let options =
        ContainOptions { state_dir: state_dir(), guard: Guard::Auto, installation: INSTALLATION };
    Containment::start_with(options, layers).unwrap()
}

/// A containment with the layer; `None`, said by name, where there can be none.
#[expect(clippy::print_stderr, reason = "a test that cannot be made here says so by name")]
fn with_leaves(test: &str) -> Option<Containment> {
    let containment = layered(Layers::Cgroup2);
    let report = containment.report();
    if report.layers == ["floor", "cgroup2"] {
        assert_eq!(report.notes, notes_of_the_kernel(&report), "{report:?}");
        return Some(containment);
    }
    assert_eq!(report.layers, ["floor"]);
    assert!(report.notes.iter().any(|note| note.starts_with("no cgroup2 layer: ")), "{report:?}");
    eprintln!("skipped {test}: {:?}", report.notes);
    None
}

/// The cgroup v2 directory of a process.
fn cgroup(pid: u32) -> PathBuf {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).unwrap();
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    PathBuf::from(mount.split(' ').nth(1).unwrap()).join(own)
}

#[tokio::test]
async fn every_tree_has_a_leaf_that_goes_with_it() {
    let Some(containment) = with_leaves("every_tree_has_a_leaf_that_goes_with_it") else { return };
    let ours = cgroup(std::process::id());
    for how in 0..4 {
        let tag = Tag::new();
        let script = "trap '' TERM; setsid sleep 300 & while :; do sleep 300; done";
        let limits =
            Limits { memory_max: Some(1 << 30), processes_max: Some(50), ..Limits::default() };
        let tree = launch(&containment, limited(&tag, script, limits)).await;
        until("the tree is up", || tag.count() == 3).await;
        let leaf = cgroup(tree.pid());
        let name = leaf.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("wrasse-7e57-"), "{name}");
        assert_eq!(leaf.parent().unwrap(), ours);
        for pid in tag.pids() {
            assert_eq!(cgroup(pid), leaf);
        }
        assert_eq!(cgroup(tree.guardian().pid), ours, "the guardian is not in it");
        match how {
            0 => assert!(tree.kill().await.proven_empty),
            1 => {
                let rung = std::time::Duration::from_millis(50);
                let outcome = tree.stop(Ladder { eof: rung, term: rung }).await;
                // The shell may still reap its own children while all are being killed.
                assert!(outcome.proven_empty && outcome.processes >= 1, "{outcome:?}");
            }
            2 => {
                signal(tree.guardian().pid, Signal::KILL);
                assert!(tree.stop(Ladder { eof: PATIENCE, term: PATIENCE }).await.proven_empty);
            }
            _ => drop(tree),
        }
        until("the tree is gone", || tag.count() == 0).await;
        until("the leaf is gone", || !leaf.exists()).await;
    }
}

#[tokio::test]
async fn a_start_that_fails_leaves_no_leaf() {
    let Some(containment) = with_leaves("a_start_that_fails_leaves_no_leaf") else { return };
    let ours = cgroup(std::process::id());
    let mine = || {
        let names = std::fs::read_dir(&ours).unwrap().flatten().map(|entry| entry.file_name());
        let of_instance = format!("wrasse-{INSTALLATION:04x}-987654-");
        names.filter(|name| name.to_str().unwrap().starts_with(&of_instance)).count()
    };
    let mut spec = shell(&Tag::new(), "exec cat");
    spec.instance = 987_654;
    spec.program = "/proc/version".into();
    let refused = containment.prepare(spec.clone()).await;
    assert!(refused.is_err());
    spec.program = "sh".into();
    let prepared = containment.prepare(spec).await.unwrap();
    assert_eq!(mine(), 1);
    prepared.abandon().await;
    until("the leaf is gone", || mine() == 0).await;
}

#[tokio::test]
async fn the_layer_is_used_only_when_it_is_asked_for() {
    assert_eq!(layered(Layers::Floor).report().layers, ["floor"]);
    let probed = layered(Layers::Probe).report();
    assert_eq!(probed.layers[0], "floor");
    assert_eq!(probed.notes, notes_of_the_kernel(&probed), "{probed:?}");
}

/// A process that nobody contains, with this mark in its environment. The limit that it inherits from this process says
/// 7e57.
#[expect(clippy::disallowed_methods, reason = "a leftover is deliberately not contained")]
fn loose(containment: &Containment, mark: Option<&str>) -> std::process::Child {
    let mut sleep = std::process::Command::new("sleep");
    sleep.arg("300").env_remove("WRASSE_MARK").envs(mark.map(|mark| ("WRASSE_MARK", mark)));
    containment.spawn_bystander(|| sleep.spawn()).unwrap()
}

// What a dead gateway left: leaves without anybody go, with somebody only by proof; and who carries the mark of another
// tree and not of this one is that other's, whoever moved him here.
// guarantee G5
#[tokio::test]
async fn leaves_of_a_dead_gateway_are_swept_by_proof() {
    let test = "leaves_of_a_dead_gateway_are_swept_by_proof";
    let Some(containment) = with_leaves(test) else { return };
    let ours = cgroup(std::process::id());
    let since = launch(&containment, shell(&Tag::new(), "exec cat")).await;
    let (boot_id, guardian_start_ticks) = (since.guardian().boot_id, since.guardian().start_ticks);
    // Their processes stand in leaves whose gateway, by name and start time, is no more.
    let orphaned = |instance: u64| {
        let leaf = ours.join(format!("wrasse-{SWEPT:04x}-{instance}-4194303-1-0"));
        std::fs::create_dir(&leaf).unwrap();
        leaf
    };
    let mut held = Vec::new();
    let mut occupied = |instance: u64, mark: Option<&str>| {
        let (leaf, child) = (orphaned(instance), loose(&containment, mark));
        std::fs::write(leaf.join("cgroup.procs"), child.id().to_string()).unwrap();
        held.push((leaf, child));
    };
    // Ours, one of them below a Wrasse of its own.
    occupied(1, Some("5ceb:1"));
    occupied(2, Some("5ceb:2,0001:9"));
    // Not in the ledger; another instance's; another installation's.
    occupied(3, Some("5ceb:3"));
    occupied(4, Some("5ceb:1"));
    occupied(5, None);
    // One below it counts like one in it.
    let below = orphaned(6).join("inner");
    std::fs::create_dir(&below).unwrap();
    let inner = loose(&containment, None);
    std::fs::write(below.join("cgroup.procs"), inner.id().to_string()).unwrap();
    held.push((below.clone(), inner));
    let empty = orphaned(7);
    let proof = move |instance| {
        let boot_id = boot_id.clone();
        (instance != 3).then_some(sweep::LeaseProof { guardian_start_ticks, boot_id })
    };
    let report = sweep::leaves(SWEPT, proof).await;
    assert_eq!((report.removed, report.killed, report.left), (3, 2, 4));
    let stays: Vec<bool> = held.iter().map(|(leaf, _)| leaf.exists()).collect();
    assert_eq!(stays, [false, false, true, true, true, true]);
    assert!(!empty.exists());
    let mut lives = Vec::new();
    for (leaf, mut child) in held {
        let ended = !leaf.exists() && child.wait().is_ok();
        lives.push(!ended && child.try_wait().unwrap().is_none());
        if !ended {
            child.kill().unwrap();
            child.wait().unwrap();
            std::fs::remove_dir(&leaf).unwrap();
        }
    }
    assert_eq!(lives, stays, "and nobody was hit beside");
    std::fs::remove_dir(below.parent().unwrap()).unwrap();
    assert!(since.kill().await.proven_empty);
}
