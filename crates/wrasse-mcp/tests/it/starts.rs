//! Servers that do not come up as they should.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wrasse_types::ServerName;

use crate::harness::{World, fixture, names, node, program, until};

async fn fault_of(test: &str, mode: &[&str], limit: Option<Duration>) -> Option<(String, String)> {
    node(test)?;
    let mut server = fixture("fix", mode);
    server.connection_timeout = limit.unwrap_or(server.connection_timeout);
    let world = World::with_env(vec![server], &[("SPECIAL_TOKEN", "secret-value")]).await;
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    assert!(offer.tools.is_empty());
    assert_eq!(offer.faults.len(), 1, "{:?}", offer.faults);
    let fault = offer.faults[0].clone();
    drop(run);
    until("nothing is left", async || world.servers.ps().await.0.is_empty()).await;
    world.finish().await;
    Some((fault.message, fault.help.unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_names_code_words_and_missing_variables() {
    let got = fault_of("an_exit_names_code_words_and_missing_variables", &["exit-now"], None).await;
    let Some((message, help)) = got else { return };
    assert!(message.contains("exited with code 3"), "{message}");
    assert!(message.contains("fatal: SPECIAL_TOKEN is not set"), "{message}");
    assert!(message.contains("names SPECIAL_TOKEN, which Wrasse has"), "{message}");
    assert!(help.contains("mcp.inheritEnv"), "{help}");
    assert!(!message.contains("secret-value"));
}

// failure mode C1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_start_is_ended_at_its_limit() {
    let limit = Some(Duration::from_millis(700));
    let got = fault_of("a_slow_start_is_ended_at_its_limit", &["slow-init"], limit).await;
    let Some((message, help)) = got else { return };
    assert!(message.contains("did not answer initialize within"), "{message}");
    assert!(help.contains("connectionTimeoutMs"), "{help}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_that_is_not_json_rpc_is_named() {
    let got = fault_of("output_that_is_not_json_rpc_is_named", &["banner-exit"], None).await;
    let Some((message, _)) = got else { return };
    assert!(
        message.contains("printed text that is not JSON-RPC on stdout: \"Usage: server <dir>\""),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_without_a_handshake_is_refused() {
    let got = fault_of("a_version_without_a_handshake_is_refused", &["future"], None).await;
    let Some((message, _)) = got else { return };
    assert!(message.contains("2026-07-28"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_before_the_protocol_does_not_hurt_nor_an_old_version_nor_a_flood() {
    if node("text_before_the_protocol_does_not_hurt_nor_an_old_version_nor_a_flood").is_none() {
        return;
    }
    // failure mode H1
    let servers = vec![
        fixture("banner", &["banner"]),
        fixture("flood", &["flood"]),
        fixture("old", &["old"]),
    ];
    let world = World::new(servers).await;
    let run = world.run("r-1", "main");
    let offer = world.offer(&run).await;
    assert!(offer.faults.is_empty(), "{:?}", offer.faults);
    for name in ["banner__echo", "flood__echo", "old__echo"] {
        assert!(names(&offer).contains(&name), "{name}");
    }
    drop(run);
    world.finish().await;
}

// failure mode C1, H7: cancelled at any moment of its start, a server is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_cancelled_leaves_nothing() {
    if node("a_start_that_is_cancelled_leaves_nothing").is_none() {
        return;
    }
    let world = World::new(vec![fixture("fix", &["slow-init"])]).await;
    for delay in [0_u64, 1, 3, 8, 20, 60, 150, 400] {
        let run = world.run(&format!("r-{delay}"), &format!("s{delay}"));
        let token = CancellationToken::new();
        let cancel = token.clone();
        let timer = async move {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            cancel.cancel();
        };
        let request = wrasse_mcp::OfferRequest::new(&world.workspace, &|_| true);
        let (offer, ()) = tokio::join!(world.servers.offer(&run, request, &token), timer);
        assert!(offer.tools.is_empty() && offer.faults.is_empty(), "{offer:?}");
        until("it is gone", async || world.servers.ps().await.0.is_empty()).await;
    }
    world.finish().await;
}

// failure modes C5, C7: one installation at a time, outside of the usual limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_launch_of_a_package_happens_once() {
    let Some(node) = node("the_first_launch_of_a_package_happens_once") else { return };
    let tools = tempfile::tempdir().unwrap();
    let log = tools.path().join("log");
    // A package runner of our own that runs the fixture, whatever package it is asked for.
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/servers/server.mjs");
    let npx = tools.path().join("npx");
    let text = format!("#!/bin/sh\nexec {} {script} install {}\n", node.display(), log.display());
    std::fs::write(&npx, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&npx, mode).unwrap();
    let mut server = program("pkg", npx.to_str().unwrap(), &["-y", "some-package"]);
    server.connection_timeout = Duration::from_millis(1000);
    let world = World::new(vec![server]).await;
    let runs = [world.run("r-1", "a"), world.run("r-2", "b"), world.run("r-3", "c")];
    let offers = futures::future::join_all(runs.iter().map(|run| world.offer(run)));
    let watch = until("it is shown", async || {
        let status = world.servers.status().await;
        let (instances, _, _) = world.servers.ps().await;
        status[0].state == "installing"
            && status[0].progress.as_ref().is_some_and(|text| text.contains("npx:some-package"))
            && instances.iter().any(|instance| instance.state == "installing")
    });
    let (offers, ()) = tokio::join!(offers, watch);
    // Only the first counts as an installation; the others are held to the limit, which is too short here.
    assert!(offers.iter().any(|offer| names(offer).contains(&"pkg__echo")), "{offers:?}");
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.starts_with("begin\nend\n"), "two at once: {text}");
    assert!(world.store.first_launch_done("npx:some-package").await.unwrap());
    drop(runs);
    world.finish().await;
}

// failure mode B11
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_leaves_no_process() {
    if node("a_probe_leaves_no_process").is_none() {
        return;
    }
    let world = World::new(vec![fixture("bad", &["exit-now"]), fixture("fix", &["ok"])]).await;
    let report = world.servers.probe(&ServerName::new("fix"), &world.token).await.unwrap();
    assert!(report.tools.contains(&"echo".to_owned()));
    assert_eq!(report.protocol, "2025-11-25");
    assert_eq!(report.server_info["name"], "fixture");
    assert!(report.list_changed);
    let ended = report.ended.unwrap();
    assert!(ended.proven_empty && ended.survivors == 0, "{ended:?}");
    assert_eq!(ended.rung, wrasse_types::StopRung::Stdin);
    for _ in 0..3 {
        let fault = world.servers.probe(&ServerName::new("bad"), &world.token).await.unwrap_err();
        assert!(fault.message.contains("exited with code 3"), "{fault}");
    }
    assert!(world.servers.probe(&ServerName::new("nobody"), &world.token).await.is_err());
    assert!(world.servers.ps().await.0.is_empty());
    // What a probe learnt is offered without a start.
    assert!(world.servers.catalogue(None).await.iter().any(|tool| tool.name == "fix__echo"));
    world.finish().await;
}
