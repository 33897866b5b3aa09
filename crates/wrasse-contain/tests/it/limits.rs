//! What a server may use, with real processes that want more.

use wrasse_contain::{Limits, SpawnSpec};

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
        (Limits::default(), ours.0, (ours.1 + 300).min(1000)),
        (
            Limits { nice: Some(9), oom_score_adj: Some(777), ..Limits::default() },
            ours.0.max(9),
            ours.1.max(777),
        ),
    ] {
        let tag = Tag::new();
        let script = "(setsid sleep 300 &); exec cat";
        let tree = launch(&containment, limited(&tag, script, limits)).await;
        until("the daemon is up", || tag.count() == 2).await;
        for pid in tag.pids() {
            assert_eq!(orders(pid), (nice, oom));
        }
        assert_eq!(orders(tree.guardian().pid), ours);
        assert!(tree.kill().await.proven_empty);
    }
    assert_eq!(orders(std::process::id()), ours);
    assert!(containment.report().notes.is_empty(), "{:?}", containment.report());
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
