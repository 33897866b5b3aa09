//! What is offered, from where, and what starts for it.

use serde_json::json;
use wrasse_config::Transport;
use wrasse_mcp::OfferRequest;

use crate::harness::{World, fixture, names, node, program, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_offer_starts_and_a_warm_one_does_not() {
    if node("a_cold_offer_starts_and_a_warm_one_does_not").is_none() {
        return;
    }
    let world = World::new(vec![fixture("fix", &["ok"])]).await;
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    assert!(offer.faults.is_empty(), "{:?}", offer.faults);
    assert!(names(&offer).contains(&"fix__echo"));
    assert_eq!(
        offer.tools.iter().find(|tool| tool.tool == "echo").map(|tool| tool.read_only),
        Some(true)
    );
    // The instance that was started to learn the tools serves the run's calls.
    let outcome = world.call(&run, &offer, "fix__echo", json!({ "text": "hi" })).await;
    assert_eq!((outcome.text.as_str(), outcome.is_error), ("hi", false));
    let pid = world.pid(&run, &offer, "fix").await;
    let ended = run.release().await;
    assert_eq!(ended.len(), 1);
    assert!(ended[0].proven_empty, "{ended:?}");
    assert!(!crate::harness::lives(pid));
    // A second run: from the catalogue, nothing starts before a call.
    let run = world.run("r-2", "other");
    let offer = world.offer(&run).await;
    assert!(names(&offer).contains(&"fix__echo"));
    assert!(world.servers.ps().await.0.is_empty());
    assert!(run.release().await.is_empty());
    // And after a restart of everything.
    let dir = world.finish().await;
    let world = World::within(dir, vec![fixture("fix", &["ok"])], &[]).await;
    let run = world.run("r-3", "main");
    assert!(names(&world.offer(&run).await).contains(&"fix__echo"));
    assert!(world.servers.ps().await.0.is_empty());
    drop(run);
    world.finish().await;
}

// failure mode B12
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_denied_disabled_or_filtered_never_starts() {
    if node("what_is_denied_disabled_or_filtered_never_starts").is_none() {
        return;
    }
    let mut disabled = fixture("disabled", &["ok"]);
    disabled.enabled = false;
    let mut filtered = fixture("filtered", &["ok"]);
    filtered.exclude = vec!["*".to_owned()];
    let mut some = fixture("some", &["ok"]);
    some.include = vec!["e*".to_owned(), "count".to_owned()];
    some.exclude = vec!["env".to_owned()];
    let world = World::new(vec![disabled, filtered, fixture("denied", &["ok"]), some]).await;
    let run = world.run("r-1", "main");
    let request = OfferRequest {
        workspace: &world.workspace,
        allow: &|name| name != "some__count",
        allow_server: &|prefix| prefix != "denied__",
        reserved: &["some__echo"],
    };
    let offer = world.servers.offer(&run, request, &world.token).await;
    assert_eq!(names(&offer), ["some__echo-2"]);
    assert!(offer.faults.is_empty());
    let (instances, _, _) = world.servers.ps().await;
    assert_eq!(instances.len(), 1);
    assert_eq!(instances[0].server, "some");
    assert_eq!(instances[0].processes.len(), 1);
    drop(run);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_fails_is_named_once_and_the_rest_goes_on() {
    if node("a_server_that_fails_is_named_once_and_the_rest_goes_on").is_none() {
        return;
    }
    let mut http = fixture("remote", &[]);
    http.transport = Transport::Http { url: "http://127.0.0.1:9/mcp".to_owned() };
    let missing = program("missing", "no-such-program-anywhere", &[]);
    let mut npx = program("npx", "npx", &["-y", "x"]);
    if let Transport::Stdio { env, .. } = &mut npx.transport {
        env.insert("PATH".to_owned(), wrasse_config::Secret::new("/nowhere"));
    }
    let world = World::new(vec![http, missing, npx, fixture("fine", &["ok"])]).await;
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    assert!(names(&offer).contains(&"fine__echo"));
    let said = |server: &str| {
        let fault = offer.faults.iter().find(|fault| fault.server.as_str() == server).unwrap();
        format!("{fault} → {}", fault.help.as_deref().unwrap_or_default())
    };
    assert_eq!(offer.faults.len(), 3);
    let missing = said("missing");
    assert!(
        missing.contains("command \"no-such-program-anywhere\" not found in PATH ("),
        "{missing}"
    );
    let npx = said("npx");
    assert!(npx.contains("command \"npx\" not found in PATH (/nowhere)"), "{npx}");
    assert!(npx.contains("install Node.js ≥ 18, or give an absolute path"), "{npx}");
    assert!(said("remote").contains("streamable HTTP servers are not supported yet"));
    assert!(world.offer(&run).await.faults.is_empty(), "named twice");
    let status = world.servers.status().await;
    let states: Vec<&str> = status.iter().map(|server| server.state.as_str()).collect();
    assert_eq!(states.len(), 4);
    assert!(
        status.iter().any(|server| server.name.as_str() == "missing" && server.fault.is_some()),
        "{states:?}"
    );
    drop(run);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_read_and_a_cursor_that_loops_ends() {
    if node("pages_are_read_and_a_cursor_that_loops_ends").is_none() {
        return;
    }
    let servers = vec![
        fixture("endless", &["endless"]),
        fixture("none", &["no-tools"]),
        fixture("pages", &["pages"]),
    ];
    let world = World::new(servers).await;
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    assert_eq!(names(&offer), ["pages__one", "pages__two"]);
    assert_eq!(offer.faults.len(), 1, "{:?}", offer.faults);
    assert!(offer.faults[0].message.contains("more than 128 pages"), "{:?}", offer.faults);
    drop(run);
    world.finish().await;
}

// failure mode I1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_list_is_offered_next() {
    if node("a_changed_list_is_offered_next").is_none() {
        return;
    }
    let world = World::new(vec![fixture("fix", &["ok"])]).await;
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    assert!(!names(&offer).contains(&"fix__brand-new"));
    world.call(&run, &offer, "fix__change", json!({})).await;
    until("the new tool is offered", async || {
        names(&world.offer(&run).await).contains(&"fix__brand-new")
    })
    .await;
    let other = world.run("r-2", "other");
    assert!(names(&world.offer(&other).await).contains(&"fix__brand-new"));
    drop((run, other));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_server_has_no_tools_to_list() {
    if node("a_disabled_server_has_no_tools_to_list").is_none() {
        return;
    }
    let world = World::new(vec![fixture("fix", &["ok"])]).await;
    let run = world.run("r-1", "main");
    world.offer(&run).await;
    drop(run);
    assert!(!world.servers.catalogue(None).await.is_empty());
    let mut disabled = fixture("fix", &["ok"]);
    disabled.enabled = false;
    let world = World::within(world.finish().await, vec![disabled], &[]).await;
    let name = wrasse_types::ServerName::new("fix");
    for server in [None, Some(&name)] {
        assert_eq!(world.servers.catalogue(server).await, []);
    }
    world.finish().await;
}
