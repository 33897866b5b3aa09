//! Servers that do not come up as they should.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wrasse_types::{GoneReason, ServerName};

use crate::harness::{World, fixture, names, node, program, until};
use crate::lines::Lines;

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
    let text = format!("#!/bin/sh\nexec {} {script} install {}\n", node.display(), log.display());
    let npx = write_npx(tools.path(), &text);
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
    // The others wait for what the first learns.
    assert!(offers.iter().all(|offer| names(offer).contains(&"pkg__echo")), "{offers:?}");
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text, "begin\nend\n");
    drop(runs);
    world.finish().await;
}

/// Writes a package runner. Another process does: what we have open for writing, whatever another test forks has too, and
/// nobody can execute it.
#[expect(clippy::disallowed_methods, reason = "it writes a file, and is no server")]
fn write_npx(tools: &Path, text: &str) -> PathBuf {
    let npx = tools.join("npx");
    let write = "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\"";
    let written = std::process::Command::new("sh").args(["-c", write]).arg(&npx).arg(text).status();
    assert!(written.unwrap().success());
    npx
}

/// A package runner of our own that keeps packages where npx does; its installation takes longer than the limit of
/// a start, which is what the returned server has.
fn slow_npx(tools: &Path) -> wrasse_config::Server {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/servers/server.mjs");
    let text = format!(
        "#!/bin/sh
        dir=$npm_config_cache/_npx/$(printf %s \"$2\" | sha512sum | cut -c 1-16)
        log=$npm_config_cache/log
        mkdir -p \"$dir\"
        if [ ! -e \"$dir/whole\" ]; then
            echo begin >> \"$log\"
            sleep 4
            echo end >> \"$log\"
            touch \"$dir/whole\"
        fi
        exec node {script} ok
        "
    );
    let npx = write_npx(tools, &text);
    let mut server = program("pkg", npx.to_str().unwrap(), &["-y", "some-package"]);
    server.connection_timeout = Duration::from_secs(3);
    // Not long enough to end an installation in.
    server.lifecycle.stop_eof = Duration::from_millis(100);
    server
}

// failure modes C5, C7: a state directory that is older than the cache of packages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_package_that_is_not_in_the_cache_any_more_is_a_first_launch() {
    let test = "a_package_that_is_not_in_the_cache_any_more_is_a_first_launch";
    if node(test).is_none() {
        return;
    }
    let tools = tempfile::tempdir().unwrap();
    let caches = ["one", "two"].map(|name| tools.path().join(name));
    let mut dir = tempfile::tempdir().unwrap();
    let mut offer = wrasse_mcp::Offer::default();
    // A cache, another one, and the first one emptied.
    for cache in [&caches[0], &caches[1], &caches[0]] {
        if cache.exists() {
            std::fs::remove_dir_all(cache).unwrap();
        }
        std::fs::create_dir(cache).unwrap();
        let variables = [("npm_config_cache", cache.to_str().unwrap())];
        let world = World::within(dir, vec![slow_npx(tools.path())], &variables).await;
        let runs = [world.run("r-1", "a"), world.run("r-2", "b")];
        let offers = futures::future::join_all(runs.iter().map(|run| world.offer(run))).await;
        offer.tools.clone_from(&offers[0].tools);
        let (one, two) =
            tokio::join!(world.pid(&runs[0], &offer, "pkg"), world.pid(&runs[1], &offer, "pkg"));
        assert_ne!(one, two);
        let log = std::fs::read_to_string(cache.join("log")).unwrap();
        assert_eq!(log, "begin\nend\n", "installed once, and not cut off");
        drop(runs);
        dir = world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_package_that_did_not_come_up_in_time_may_have_been_installing() {
    if node("a_package_that_did_not_come_up_in_time_may_have_been_installing").is_none() {
        return;
    }
    let tools = tempfile::tempdir().unwrap();
    let variables = [("npm_config_cache", tools.path().to_str().unwrap())];
    let world = World::with_env(vec![slow_npx(tools.path())], &variables).await;
    let name = ServerName::new("pkg");
    world.servers.probe(&name, &world.token).await.unwrap();
    // It was installed, and is to be installed again without our having been told.
    for entry in std::fs::read_dir(tools.path().join("_npx")).unwrap() {
        std::fs::remove_file(entry.unwrap().path().join("whole")).unwrap();
    }
    let fault = world.servers.probe(&name, &world.token).await.unwrap_err();
    assert!(fault.message.contains("did not answer initialize within 3s"), "{fault}");
    world.servers.probe(&name, &world.token).await.unwrap();
    let log = std::fs::read_to_string(tools.path().join("log")).unwrap();
    assert_eq!(log, "begin\nend\nbegin\nbegin\nend\n");
    world.finish().await;
}

// failure modes B10, D4: runs that need the same unknown server at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_run_learns_for_all() {
    if node("one_run_learns_for_all").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("starts");
    let world = World::new(vec![fixture("fix", &["count-starts", log.to_str().unwrap()])]).await;
    let runs: Vec<_> =
        (0..6).map(|number| world.run(&format!("r-{number}"), &format!("s{number}"))).collect();
    let offers = futures::future::join_all(runs.iter().map(|run| world.offer(run))).await;
    assert!(offers.iter().all(|offer| names(offer).contains(&"fix__echo")), "{offers:?}");
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 1);
    assert_eq!(world.servers.ps().await.0.len(), 1);
    // Whoever only waited starts its own at its first call.
    let pids: HashSet<u32> =
        futures::future::join_all(runs.iter().map(|run| world.pid(run, &offers[0], "fix")))
            .await
            .into_iter()
            .collect();
    assert_eq!(pids.len(), runs.len());
    drop(runs);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_run_that_learns_goes_away_the_next_takes_over() {
    if node("when_the_run_that_learns_goes_away_the_next_takes_over").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let first = dir.path().join("first");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/servers/server.mjs");
    let line = format!("mkdir {} && exec sleep 600; exec node {script} ok", first.display());
    let world = World::new(vec![program("fix", "sh", &["-c", &line])]).await;
    let runs = [world.run("r-1", "a"), world.run("r-2", "b"), world.run("r-3", "c")];
    let goes_away = CancellationToken::new();
    let request = wrasse_mcp::OfferRequest::new(&world.workspace, &|_| true);
    let mut learning = Box::pin(world.servers.offer(&runs[0], request, &goes_away));
    tokio::select! {
        offer = &mut learning => panic!("{offer:?}"),
        () = until("it starts", async || first.exists()) => {}
    }
    let (gone, one, two, ()) =
        tokio::join!(learning, world.offer(&runs[1]), world.offer(&runs[2]), async {
            goes_away.cancel();
        });
    assert!(gone.tools.is_empty(), "{gone:?}");
    assert!(names(&one).contains(&"fix__echo") && names(&two).contains(&"fix__echo"));
    let instances = world.servers.ps().await.0;
    assert_eq!(instances.iter().filter(|one| one.state == "ready").count(), 1, "{instances:?}");
    drop(runs);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_hears_of_the_trees_that_never_came_up() {
    if node("a_run_hears_of_the_trees_that_never_came_up").is_none() {
        return;
    }
    let servers = vec![
        fixture("exits", &["exit-now"]),
        program("missing", "no-such-program-anywhere", &[]),
        fixture("slow", &["slow-init"]),
    ];
    let world = World::new(servers).await;
    let run = world.run("r-1", "main");
    let token = CancellationToken::new();
    let request = wrasse_mcp::OfferRequest::new(&world.workspace, &|_| true);
    let cancel = async {
        until("one failed and one waits", async || {
            let (instances, _, ended) = world.servers.ps().await;
            ended.trees == 1
                && instances.iter().any(|one| one.server == "slow" && one.pid.is_some())
        })
        .await;
        token.cancel();
    };
    let (_, ()) = tokio::join!(world.servers.offer(&run, request, &token), cancel);
    let mut ended = run.release().await;
    assert!(world.servers.ps().await.0.is_empty());
    ended.sort_by_key(|ended| ended.server.clone());
    let found: Vec<_> = ended.iter().map(|one| (one.server.as_str(), one.reason)).collect();
    let want = [("exits", GoneReason::StartFailed), ("slow", GoneReason::Released)];
    assert_eq!(found, want, "{ended:?}");
    assert!(ended.iter().all(|one| one.proven_empty && one.pid.is_some()), "{ended:?}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_come_up_for_a_call_is_named_in_the_log_once() {
    if node("a_server_that_does_not_come_up_for_a_call_is_named_in_the_log_once").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/servers/server.mjs");
    let line = format!("[ -e {} ] && exit 5; exec node {script} ok", broken.display());
    let world = World::new(vec![program("fix", "sh", &["-c", &line])]).await;
    let lines = Lines::default();
    let _listening = lines.listen();
    let named = || lines.of("server fix cannot be called");
    let run = world.run("r-0", "main");
    let offer = world.offer(&run).await;
    run.release().await;
    std::fs::write(&broken, "").unwrap();
    for number in 1..4 {
        let run = world.run(&format!("r-{number}"), "main");
        let offer = world.offer(&run).await;
        let outcome = world.call(&run, &offer, "fix__echo", serde_json::json!({})).await;
        assert!(outcome.is_error && outcome.text.contains("exited with code 5"), "{outcome:?}");
        run.release().await;
    }
    assert_eq!(named().len(), 1, "{:?}", named());
    assert!(named()[0].contains("exited with code 5 before it was ready"), "{:?}", named());
    // It came up again, so that it does not is news.
    std::fs::remove_file(&broken).unwrap();
    world.servers.probe(&ServerName::new("fix"), &world.token).await.unwrap();
    std::fs::write(&broken, "").unwrap();
    let run = world.run("r-5", "main");
    assert!(world.call(&run, &offer, "fix__echo", serde_json::json!({})).await.is_error);
    assert_eq!(named().len(), 2, "{:?}", named());
    drop(run);
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
