//! What is ended, what is not, what is said, and with which code.

use serde_json::Value;
use wrasse_testkit::foreign_host::Via;
use wrasse_testkit::processes::read;
use wrasse_testkit::station::{eventually, text};

use super::cast::{Cast, Fate, Kind, SOON, WATCH, class};

/// failure mode J6: the command lines are identical, and only the orphan ends.
#[test]
fn of_two_live_hosts_and_one_dead_only_the_dead_ones_server_ends() {
    for via in [Via::Pipes, Via::Sockets] {
        let mut cast = Cast::new();
        for _ in 0..3 {
            let actor = cast.enter(Kind::Files);
            cast.session(actor, Fate::Kept, via, &["deaf"]);
        }
        cast.record();
        cast.kill_host(1);
        let (report, code) = cast.reap(&[]);
        assert_eq!(code, 3, "{report:#}");
        let classes: Vec<_> =
            cast.servers.iter().map(|server| class(&report, server.root)).collect();
        assert_eq!(classes, [Some("in-use"), Some("orphan"), Some("in-use")], "{report:#}");
        assert!(cast.servers.iter().all(super::cast::Server::lives), "a dry run ends nothing");

        let (done, code) = cast.reap(&["--yes"]);
        assert_eq!((code, done["ended"].as_array().unwrap().len()), (0, 1), "{done:#}");
        assert!(cast.servers[0].lives() && cast.servers[1].gone() && cast.servers[2].lives());
        let (report, code) = cast.reap(&[]);
        assert_eq!(code, 0, "nothing that may be ended is left: {report:#}");
        cast.leave();
    }
}

/// failure mode B2, failure mode B4, failure mode B8: what runs left behind in a living host.
#[test]
fn what_is_finished_ends_when_asked_for_and_what_can_be_continued_never() {
    for kind in [Kind::Files, Kind::Databases] {
        let mut cast = Cast::new();
        let actor = cast.enter(kind);
        let over = [Fate::CronEnded, Fate::SubAgentSettled, Fate::Reset];
        let open = [Fate::CronRunning, Fate::SubAgentUntold, Fate::Kept];
        for fate in over.into_iter().chain(open) {
            cast.session(actor, fate, Via::Sockets, &["deaf", "chain"]);
        }
        cast.record();
        let (report, code) = cast.reap(&["--yes"]);
        assert_eq!(code, 0);
        assert_eq!(report["ended"], serde_json::json!([]), "--yes alone ends no finished set");
        let of = |wanted: &str| {
            let sets = report["sets"].as_array().unwrap();
            sets.iter().filter(|set| set["class"] == wanted).count()
        };
        // 2026.9 ends these by itself: what is there all the same may be of a start that left no record.
        let (finished, unknown) = if kind == Kind::Files { (3, 0) } else { (0, 3) };
        assert_eq!(
            (of("finished"), of("in-use"), of("unknown")),
            (finished, 3, unknown),
            "{kind:?} {report:#}"
        );
        for set in report["sets"].as_array().unwrap() {
            assert_eq!(set["processes"], 4, "one of deaf, three of chain: {set:#}");
            let why = set["why"].as_str().unwrap();
            assert!(set["class"] != "unknown" || why.contains("ends such servers itself"), "{why}");
        }
        let (done, code) = cast.reap(&["--finished", "--yes"]);
        assert_eq!((code, done["ended"].as_array().unwrap().len()), (0, finished), "{done:#}");
        let (first, last) = cast.servers.split_at(finished * 2);
        assert!(first.iter().all(super::cast::Server::gone));
        assert!(last.iter().all(super::cast::Server::lives));
        cast.leave();
    }
}

/// A host that runs in a shell of a server would be stopped and ended with that server.
#[test]
fn a_server_above_a_living_host_is_unknown_though_its_own_host_is_dead() {
    let mut cast = Cast::new();
    cast.with_nest("codex");
    let outer = cast.enter(Kind::Files);
    cast.session(outer, Fate::CronEnded, Via::Pipes, &["nest"]);
    cast.record();
    // It would be finished, and when its host is dead an orphan.
    for state in ["held", "left"] {
        let (report, _) = cast.reap(&["--finished", "--yes"]);
        assert_eq!(report["ended"], serde_json::json!([]), "{state}: {report:#}");
        let set = &report["sets"][0];
        assert_eq!(set["class"], "unknown", "{state}: {report:#}");
        assert!(set["why"].as_str().unwrap().contains("a host runs below it: codex"), "{set:#}");
        assert!(cast.servers.iter().all(super::cast::Server::lives));
        if state == "held" {
            cast.kill_host(outer);
        }
    }
    cast.leave();
}

/// Ctrl-C between the stop and the verdict: no server may stay stopped, and what ended is on record.
#[test]
fn who_presses_ctrl_c_leaves_nothing_stopped_and_nothing_unrecorded() {
    let mut cast = Cast::new();
    let actor = cast.enter(Kind::Files);
    for _ in 0..3 {
        cast.session(actor, Fate::CronEnded, Via::Sockets, &["deaf"]);
    }
    cast.record();
    let below = cast.station.oracle.pid().to_string();
    let words =
        ["reap", "--foreign", "--finished", "--yes", "--below", &below, "--watch", WATCH, "--json"];
    let mut reap = cast.station.command(&words);
    let mut reap = reap.stdout(std::process::Stdio::null()).spawn().unwrap();
    let roots: Vec<u32> = cast.servers.iter().map(|server| server.root).collect();
    let states = || roots.iter().filter_map(|pid| read(*pid)).map(|process| process.state);
    eventually("a server is stopped, or has ended", SOON, || {
        states().any(|state| matches!(state, 'T' | 'Z')) || states().count() < roots.len()
    });
    let pid = rustix::process::Pid::from_child(&reap);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    reap.wait().unwrap();
    assert!(states().all(|state| state != 'T'), "{:?}", states().collect::<Vec<_>>());
    let ledger = std::fs::read_to_string(cast.station.path("state").join("reaped.jsonl")).unwrap();
    let gone = cast.servers.iter().filter(|server| server.gone()).count();
    assert_eq!(ledger.lines().count(), gone, "{ledger}");
    assert!(gone > 0, "the set that was stopped is ended first");
    cast.leave();
}

#[test]
fn what_is_in_use_or_unknown_is_refused_by_name_and_nothing_else_ends() {
    let mut cast = Cast::new();
    let actor = cast.enter(Kind::Files);
    cast.session(actor, Fate::CronEnded, Via::Pipes, &["deaf"]);
    cast.session(actor, Fate::Kept, Via::Pipes, &["deaf"]);
    cast.bystander("deaf");
    cast.record();
    let below = cast.station.oracle.pid().to_string();
    let fixed = ["reap", "--foreign", "--below", &below, "--watch", WATCH];
    for (server, words) in [(1, "can be continued"), (2, "no pipe")] {
        let [over, named] =
            [cast.servers[0].root.to_string(), cast.servers[server].root.to_string()];
        let output = cast.station.cli(&[&fixed[..], &[&over, &named, "--yes"]].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains(words)
                && said.contains("nothing was ended")
                && said.contains("wrasse why"),
            "{said}"
        );
    }
    assert!(cast.servers.iter().all(super::cast::Server::lives));

    // A number means what was listed, also when it is given alone.
    let listed = cast.station.cli(&fixed);
    let said = text(&listed.stdout);
    assert_eq!(listed.status.code(), Some(3), "{said}");
    assert!(
        said.contains("finished  1")
            && said.contains("Nothing was ended")
            && said.contains("--finished --yes"),
        "{said}"
    );
    let output = cast.station.cli(&[&fixed[..], &["1", "--yes"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(cast.servers[0].gone() && cast.servers[1].lives() && cast.servers[2].lives());
    let gone = cast.station.cli(&[&fixed[..], &["1", "--yes"]].concat());
    assert!(text(&gone.stderr).contains("that set is gone"), "{}", text(&gone.stderr));
    cast.leave();
}

#[test]
fn why_tells_whose_it_is_what_the_version_does_and_later_what_became_of_it() {
    let mut cast = Cast::new();
    let actor = cast.enter(Kind::Files);
    cast.session(actor, Fate::CronEnded, Via::Sockets, &["chain"]);
    cast.session(actor, Fate::Kept, Via::Sockets, &["chain"]);
    cast.record();
    let config = cast.actors[actor].state.join("openclaw.json");
    let mut value: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    value["meta"]["lastTouchedVersion"] = "2026.4.15".into();
    std::fs::write(&config, value.to_string()).unwrap();

    let over = cast.servers[0].root.to_string();
    let told = cast.station.ok(&["why", &over]);
    for words in [
        "\"chain\" of openclaw",
        "openclaw 2026.4.15, pid",
        "its run is over",
        "finished:",
        "2026.4.22",
        "a bug of the host",
        "--finished",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let kept = cast.station.ok(&["why", &cast.servers[1].root.to_string()]);
    assert!(
        kept.contains("it can be continued") && kept.contains("never ends what is in use"),
        "{kept}"
    );
    let json = cast.station.json(&["why", &over]);
    assert_eq!(
        (json["schema"].as_u64(), json["blame"].as_str()),
        (Some(1), Some("bug")),
        "{json:#}"
    );

    cast.reap(&["--finished", "--yes"]);
    eventually("it is gone", SOON, || cast.servers[0].gone());
    let past = cast.station.ok(&["why", &over]);
    assert!(past.contains("that wrasse reap ended") && past.contains("cron"), "{past}");
    let ledger = cast.station.path("state").join("reaped.jsonl");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&ledger).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(ledger).unwrap().lines().count(), 1);

    let nobody = cast.station.cli(&["why", &std::process::id().to_string()]);
    assert_eq!(nobody.status.code(), Some(69), "{}", text(&nobody.stdout));
    assert!(
        text(&nobody.stderr).contains("no configuration of a host names it"),
        "{}",
        text(&nobody.stderr)
    );
    cast.leave();
}

/// failure mode J4: records say that it is over, and somebody speaks to it.
#[test]
fn what_moves_a_byte_is_not_finished() {
    let mut cast = Cast::new();
    let actor = cast.enter(Kind::Files);
    cast.session(actor, Fate::CronEnded, Via::Sockets, &["deaf"]);
    cast.record();
    cast.chat(actor, "deaf");
    let (report, code) = cast.reap(&["--finished", "--yes"]);
    assert_eq!(code, 0);
    let set = &report["sets"][0];
    assert_eq!(set["class"], "unknown", "{report:#}");
    assert!(set["why"].as_str().unwrap().contains("moved bytes"), "{set:#}");
    assert!(cast.servers[0].lives());
    cast.leave();
}

#[test]
fn records_that_cannot_be_read_make_nothing_finished() {
    let mut cast = Cast::new();
    let actor = cast.enter(Kind::Files);
    cast.session(actor, Fate::CronEnded, Via::Pipes, &["deaf"]);
    cast.record();
    let store = cast.actors[actor].state.join("agents/main/sessions/sessions.json");
    std::fs::write(&store, "{ \"agent:main:main\": ").unwrap();
    let (report, _) = cast.reap(&["--finished", "--yes"]);
    assert_eq!(report["ended"], serde_json::json!([]));
    assert!(report["notes"][0].as_str().unwrap().contains("sessions.json"), "{report:#}");
    assert!(cast.servers[0].lives());
    cast.leave();
}

#[test]
fn a_server_whose_living_host_closed_its_stdin_is_left_to_it() {
    let mut cast = Cast::new();
    let actor = cast.enter(Kind::Claude);
    cast.session(actor, Fate::Kept, Via::Pipes, &["deaf"]);
    cast.actors[actor].host.close("0-deaf");
    let (report, code) = cast.reap(&["--finished", "--yes"]);
    assert_eq!(code, 0);
    assert!(
        report["sets"][0]["why"].as_str().unwrap().contains("has closed its stdin"),
        "{report:#}"
    );
    assert!(cast.servers[0].lives());
    cast.leave();
}

#[test]
fn a_look_that_is_too_short_is_refused() {
    let cast = Cast::new();
    let output = cast.station.cli(&["reap", "--foreign", "--watch", "0s"]);
    assert_eq!(output.status.code(), Some(64), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("the least is 1s"), "{}", text(&output.stderr));
    cast.leave();
}

#[test]
fn doctor_names_what_makes_a_host_leak_and_the_cure() {
    let cast = Cast::new();
    let config = cast.station.path("home").join(".openclaw/openclaw.json");
    let doctor = |text: &str, host: &str| {
        std::fs::write(&config, text).unwrap();
        let output = cast.station.cli(&["doctor", "--host", host]);
        (
            output.status.code().unwrap(),
            wrasse_testkit::station::text(&output.stdout)
                + &wrasse_testkit::station::text(&output.stderr),
        )
    };
    let server =
        r#"mcp: { servers: { files: { command: "npx", args: ["-y", "@scope/files", "/data"] } }"#;
    let (code, old) = doctor(
        &format!("{{ meta: {{ lastTouchedVersion: '2026.4.15' }}, {server} }} }}"),
        "openclaw",
    );
    assert_eq!(code, 1, "{old}");
    for words in
        ["FAIL  version", "warn  npx", "cleanup \"delete\"", "wrasse import openclaw --wrap"]
    {
        assert!(old.contains(words), "{words}: {old}");
    }
    let pinned = r#"mcp: { sessionIdleTtlMs: 300000, servers: { files: { command: "npx", args: ["-y", "@scope/files@1.0.0"] } } }"#;
    let agents =
        "agents: { defaults: { heartbeat: { every: '0m' }, subagents: { maxSpawnDepth: 1 } } }";
    let (code, new) = doctor(
        &format!("{{ meta: {{ lastTouchedVersion: '2026.9.6' }}, {pinned}, {agents} }}"),
        "openclaw",
    );
    assert_eq!(code, 0, "{new}");
    assert!(new.contains("0 faults, 0 warnings"), "{new}");
    let (code, claude) = doctor("{}", "claude-code");
    assert!(code == 0 && claude.contains("deaf, chain started without Wrasse"), "{claude}");
    let (code, unknown) = doctor("{}", "emacs");
    assert!(code == 64 && unknown.contains("claude-desktop"), "{unknown}");
    let (code, none) = doctor("{}", "codex");
    assert!(code == 78 && none.contains("config.toml"), "{none}");
    cast.leave();
}
