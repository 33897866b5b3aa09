//! Tool calls, and what a model reads about them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::{World, fixture, lives, node, tool, until};

async fn world(test: &str, limit: Duration) -> Option<World> {
    node(test)?;
    let mut server = fixture("fix", &["ok"]);
    server.request_timeout = limit;
    Some(World::new(vec![server]).await)
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_faults_and_refusals() {
    let Some(world) = world("results_faults_and_refusals", LONG).await else { return };
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    let call = async |name: &str, arguments: Value| {
        let outcome = world.call(&run, &offer, &format!("fix__{name}"), arguments).await;
        (outcome.text, outcome.is_error)
    };
    assert_eq!(call("fail", json!({})).await, ("it did not work".to_owned(), true));
    let (text, is_error) = call("refuse", json!({})).await;
    assert!(is_error && text.contains("refused the call: wrong arguments (-32602)"), "{text}");
    // A server that asks its client for a model is refused, with a reason.
    let (text, _) = call("ask", json!({})).await;
    assert!(text.contains("sampling/createMessage is not offered"), "{text}");
    let (text, _) = call("cwd", json!({})).await;
    assert_eq!(text, std::fs::canonicalize(&world.workspace).unwrap().to_str().unwrap());
    let (text, _) = call("env", json!({})).await;
    assert!(text.contains("\"PATH\"") && !text.contains("CARGO_MANIFEST_DIR"), "{text}");
    // Side by side, on one instance.
    let many =
        (0..20).map(|number| world.call(&run, &offer, "fix__echo", json!({ "text": number })));
    let many = futures::future::join_all(many).await;
    let got: Vec<String> = many.into_iter().map(|outcome| outcome.text).collect();
    assert_eq!(got, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(world.servers.ps().await.0.len(), 1);
    drop(run);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_results_are_cut_and_too_large_ones_refused() {
    let Some(world) = world("large_results_are_cut_and_too_large_ones_refused", LONG).await else {
        return;
    };
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    let outcome = world.call(&run, &offer, "fix__big", json!({ "bytes": 20 << 20 })).await;
    assert!(!outcome.is_error);
    assert!(outcome.text.len() < 300 << 10);
    assert!(
        outcome.text.ends_with("[cut here: the result is 20 MiB; the first 256 KiB are shown]")
    );
    let outcome = world.call(&run, &offer, "fix__huge", json!({})).await;
    assert!(outcome.is_error && outcome.text.contains("the limit is 32 MiB"), "{}", outcome.text);
    // The instance goes on.
    let outcome = world.call(&run, &offer, "fix__count", json!({})).await;
    assert_eq!((outcome.text.as_str(), outcome.note), ("1", None));
    drop(run);
    world.finish().await;
}

// failure mode H6: the fault is known at once; J9: nothing is repeated; D13, K4: the next call gets a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_in_a_call() {
    let Some(world) = world("a_server_that_dies_in_a_call", LONG).await else { return };
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    world.call(&run, &offer, "fix__count", json!({})).await;
    let began = Instant::now();
    let outcome = world.call(&run, &offer, "fix__die", json!({})).await;
    assert!(outcome.is_error);
    assert_eq!(
        outcome.text,
        "server \"fix\" exited with code 1 while the call ran: outcome unknown"
    );
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // The next call gets a new instance, and a word about it.
    let outcome = world.call(&run, &offer, "fix__count", json!({})).await;
    assert_eq!((outcome.text.as_str(), outcome.is_error), ("1", false));
    let note = outcome.note.unwrap();
    assert!(note.contains("was restarted at") && note.contains("earlier state is gone"), "{note}");
    let outcome = world.call(&run, &offer, "fix__count", json!({})).await;
    assert_eq!((outcome.text.as_str(), outcome.note), ("2", None));
    drop(run);
    world.finish().await;
}

// failure mode J9
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_declared_harmless_is_repeated_and_only_once() {
    if node("only_what_is_declared_harmless_is_repeated_and_only_once").is_none() {
        return;
    }
    let marks = tempfile::tempdir().unwrap();
    let log = marks.path().join("log");
    let world = World::new(vec![fixture("fix", &["ok", log.to_str().unwrap()])]).await;
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    let outcome = world.call(&run, &offer, "fix__die-read", json!({})).await;
    assert!(outcome.is_error && outcome.text.contains("SIGKILL"), "{outcome:?}");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "xx");
    let mut careful = tool(&offer, "fix__die-read").clone();
    careful.read_only = false;
    for times in 3..9 {
        // Deaths so soon after a start open the breaker.
        world.servers.restart("fix").await.unwrap();
        let outcome = run.call(&careful, json!({}), &world.token).await;
        assert!(outcome.text.contains("outcome unknown"), "{outcome:?}");
        assert_eq!(std::fs::read_to_string(&log).unwrap().len(), times);
    }
    drop(run);
    world.finish().await;
}

// failure mode H5
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_ends_a_call_and_progress_does_not() {
    let limit = Duration::from_millis(1500);
    let Some(world) = world("silence_ends_a_call_and_progress_does_not", limit).await else {
        return;
    };
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    let outcome = world.call(&run, &offer, "fix__progress", json!({ "steps": 15 })).await;
    assert_eq!((outcome.text.as_str(), outcome.is_error), ("done", false));
    let outcome = world.call(&run, &offer, "fix__slow", json!({})).await;
    assert!(outcome.is_error && outcome.text.contains("did not answer within"), "{}", outcome.text);
    let outcome = world.call(&run, &offer, "fix__cancelled", json!({})).await;
    assert_eq!(outcome.text, "[\"timed out\"]");
    drop(run);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_call_tells_the_server_and_touches_no_other() {
    let Some(world) = world("a_cancelled_call_tells_the_server_and_touches_no_other", LONG).await
    else {
        return;
    };
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    let pid = world.pid(&run, &offer, "fix").await;
    let token = CancellationToken::new();
    let slow = run.call(tool(&offer, "fix__slow"), json!({}), &token);
    let rest = async {
        until("the call is in flight", async || {
            world.servers.ps().await.0.iter().any(|instance| instance.in_flight == 1)
        })
        .await;
        let other = world.call(&run, &offer, "fix__echo", json!({ "text": "x" })).await;
        token.cancel();
        other
    };
    let (slow, other) = tokio::join!(slow, rest);
    assert_eq!((slow.text.as_str(), slow.is_error), ("the call was cancelled", true));
    assert_eq!(other.text, "x");
    let outcome = world.call(&run, &offer, "fix__cancelled", json!({})).await;
    assert_eq!(outcome.text, "[\"cancelled by the caller\"]");
    assert!(lives(pid));
    drop(run);
    world.finish().await;
}

// failure modes D1, H3, H5: a server that reads nothing more fails its call, then its ping, and is replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deaf_server_is_replaced() {
    let limit = Duration::from_secs(3);
    let Some(world) = world("a_deaf_server_is_replaced", limit).await else { return };
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    let pid = world.pid(&run, &offer, "fix").await;
    // More than a pipe holds, so that the next write is stuck in the middle.
    let outcome = world.call(&run, &offer, "fix__deaf", json!({})).await;
    assert!(outcome.is_error);
    let outcome =
        world.call(&run, &offer, "fix__echo", json!({ "text": "x".repeat(1 << 20) })).await;
    assert!(outcome.is_error);
    until("the deaf one is gone", async || !lives(pid)).await;
    let outcome = world.call(&run, &offer, "fix__echo", json!({ "text": "again" })).await;
    assert_eq!(outcome.text, "again");
    drop(run);
    world.finish().await;
}
