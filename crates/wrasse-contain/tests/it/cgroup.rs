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

// What a dead gateway left: leaves without anybody go, with somebody only by proof.
#[tokio::test]
async fn leaves_of_a_dead_gateway_are_swept_by_proof() {
    let test = "leaves_of_a_dead_gateway_are_swept_by_proof";
    let Some(containment) = with_leaves(test) else { return };
    let ours = cgroup(std::process::id());
    let start = |instance: u64| {
        let mut spec = shell(&Tag::new(), "exec cat");
        spec.instance = instance;
        spec
    };
    let (known, unknown) =
        (launch(&containment, start(1)).await, launch(&containment, start(2)).await);
    // Their processes stand in leaves whose gateway, by name and start time, is no more.
    let orphaned = |instance: u64, pid: Option<u32>| {
        let leaf = ours.join(format!("wrasse-{SWEPT:04x}-{instance}-4194303-1-0"));
        std::fs::create_dir(&leaf).unwrap();
        if let Some(pid) = pid {
            std::fs::write(leaf.join("cgroup.procs"), pid.to_string()).unwrap();
        }
        leaf
    };
    let leaves =
        [orphaned(1, Some(known.pid())), orphaned(2, Some(unknown.pid())), orphaned(3, None)];
    let boot_id = known.guardian().boot_id;
    let guardian_start_ticks = known.guardian().start_ticks;
    let proof = move |instance| {
        let boot_id = boot_id.clone();
        (instance == 1).then_some(sweep::LeaseProof { guardian_start_ticks, boot_id })
    };
    let report = sweep::leaves(SWEPT, proof).await;
    assert_eq!((report.removed, report.killed, report.left), (2, 1, 1));
    assert_eq!(leaves.each_ref().map(|leaf| leaf.exists()), [false, true, false]);
    assert!(unknown.exited().now().is_none());
    assert!(known.kill().await.proven_empty);
    assert!(unknown.kill().await.proven_empty);
    std::fs::remove_dir(&leaves[1]).unwrap();
}
