//! How instances end, and that they do.

use std::time::Duration;

use serde_json::json;
use wrasse_config::Idle;
use wrasse_types::{AgentId, GoneReason, SessionKey, StopRung};

use crate::harness::{World, fixture, lives, node, program, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_run_releases_and_a_released_one_has_waited() {
    if node("a_dropped_run_releases_and_a_released_one_has_waited").is_none() {
        return;
    }
    let world = World::new(vec![fixture("fix", &["ok"])]).await;
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    let pid = world.pid(&run, &offer, "fix").await;
    drop(run);
    until("it is gone", async || !lives(pid) && world.servers.ps().await.0.is_empty()).await;
    let run = world.run("r-2", "main");
    let offer = world.offer(&run).await;
    let pid = world.pid(&run, &offer, "fix").await;
    let ended = run.release().await;
    assert!(!lives(pid));
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].rung, Some(StopRung::Stdin));
    assert_eq!((ended[0].survivors, ended[0].reason), (0, GoneReason::Released));
    assert_eq!(ended[0].pid, Some(pid));
    world.finish().await;
}

// failure mode G9
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_over_its_memory_says_the_figure_and_its_sibling_answers() {
    if node("a_server_over_its_memory_says_the_figure_and_its_sibling_answers").is_none() {
        return;
    }
    let mut hungry = fixture("hungry", &["ok"]);
    hungry.lifecycle.limits.memory_max = Some(200 << 20);
    let world = World::new(vec![hungry, fixture("sibling", &["ok"])]).await;
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    let sibling = world.pid(&run, &offer, "sibling").await;
    let pid = world.pid(&run, &offer, "hungry").await;
    let (instances, _, _) = world.servers.ps().await;
    assert!(instances.iter().any(|one| one.memory_max_bytes == Some(200 << 20)));
    let outcome = world.call(&run, &offer, "hungry__grow", json!({ "mib": 400 })).await;
    assert!(outcome.is_error, "{outcome:?}");
    assert!(outcome.text.contains("was ended because it used "), "{outcome:?}");
    assert!(outcome.text.contains(" of 200 MiB allowed"), "{outcome:?}");
    assert!(!lives(pid));
    assert_eq!(world.pid(&run, &offer, "sibling").await, sibling);
    // The call fails the moment the leader is dead; the tree is proven empty a moment later.
    until("the end is recorded with its reason", async || {
        let why = world.servers.why(&pid.to_string()).await;
        why.is_some_and(|why| why["instance"]["end"]["reason"] == "budget")
    })
    .await;
    run.release().await;
    world.finish().await;
}

// failure mode K2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ignores_its_stdin_is_ended_by_a_later_rung() {
    if node("what_ignores_its_stdin_is_ended_by_a_later_rung").is_none() {
        return;
    }
    let mut server = fixture("fix", &["eof-deaf"]);
    server.lifecycle.stop_eof = Duration::from_millis(200);
    let world = World::new(vec![server]).await;
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    let pid = world.pid(&run, &offer, "fix").await;
    let ended = run.release().await;
    assert_eq!(ended[0].rung, Some(StopRung::Term), "{ended:?}");
    assert!(!lives(pid));
    world.finish().await;
}

// failure mode J8
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_instance_lives_as_long_as_its_session() {
    if node("a_kept_instance_lives_as_long_as_its_session").is_none() {
        return;
    }
    let mut server = fixture("fix", &["ok"]);
    server.lifecycle.idle = Idle::Off;
    let world = World::new(vec![server]).await;
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    let pid = world.pid(&run, &offer, "fix").await;
    assert!(run.release().await.is_empty());
    assert!(lives(pid));
    let run = world.run("r-2", "main");
    assert_eq!(world.pid(&run, &offer, "fix").await, pid);
    drop(run);
    let other = world.run("r-3", "other");
    assert_ne!(world.pid(&other, &offer, "fix").await, pid, "sessions share nothing");
    drop(other);
    let key = SessionKey::main(&AgentId::new("main"));
    let ended = world.servers.end_session(&key, GoneReason::SessionEnded).await;
    assert_eq!(ended.len(), 1);
    assert!(!lives(pid));
    assert_eq!(world.servers.ps().await.0.len(), 1);
    world.finish().await;
}

// failure mode D7
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_restart_and_why() {
    if node("stop_restart_and_why").is_none() {
        return;
    }
    let world = World::new(vec![fixture("fix", &["ok"])]).await;
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    let pid = world.pid(&run, &offer, "fix").await;
    let (instances, _, _) = world.servers.ps().await;
    let id = instances[0].id.clone();
    assert_eq!(instances[0].session_key.as_deref(), Some("agent:main:main"));
    assert_eq!(instances[0].leases[0].holder.id, "r-1");
    for what in [pid.to_string(), id.clone(), "agent:main:main".to_owned()] {
        let why = world.servers.why(&what).await.unwrap();
        assert!(why.to_string().contains(&format!("\"{id}\"")), "{what}: {why}");
    }
    assert_eq!(world.servers.why("fix").await.unwrap()["server"]["state"], "ready");
    assert!(world.servers.why("nothing").await.is_none());
    // A call on what is stopped says so.
    let (slow, ended) = tokio::join!(world.call(&run, &offer, "fix__slow", json!({})), async {
        until("in flight", async || {
            world.servers.ps().await.0.iter().any(|one| one.in_flight == 1)
        })
        .await;
        world.servers.stop(&id, GoneReason::StoppedByOperator).await.unwrap()
    });
    assert_eq!(ended.len(), 1);
    assert!(!lives(pid));
    assert!(slow.text.contains("was stopped by operator while the call ran"), "{}", slow.text);
    world.store.ledger().flush().await;
    let why = world.servers.why(&pid.to_string()).await.unwrap();
    assert_eq!(
        (why["kind"].as_str(), why["instance"]["end"]["reason"].as_str()),
        (Some("ended"), Some("stopped_by_operator"))
    );
    assert!(world.servers.stop("nobody", GoneReason::StoppedByOperator).await.is_err());
    world.pid(&run, &offer, "fix").await;
    assert_eq!(world.servers.restart("fix").await.unwrap().len(), 1);
    assert!(world.servers.catalogue(None).await.is_empty());
    drop(run);
    world.finish().await;
}

// A stdout that closed under a living process is a fault like an exit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_stdout_is_a_fault() {
    if node("a_closed_stdout_is_a_fault").is_none() {
        return;
    }
    let world = World::new(vec![program("sh", "sh", &["-c", "exec >&-; sleep 600"])]).await;
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    assert!(
        offer.faults[0].message.contains("closed the connection during the handshake"),
        "{:?}",
        offer.faults
    );
    drop(run);
    world.finish().await;
}
