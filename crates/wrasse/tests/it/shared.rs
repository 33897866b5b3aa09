//! `wrasse wrap --scope shared`: hosts that share one server, and whatever may end one of them.

mod door;
mod inherited;

use std::path::PathBuf;

use serde_json::{Value, json};
use wrasse_testkit::hosted::Hosted;
use wrasse_testkit::processes::Process;
use wrasse_testkit::station::{AFTER_DEATH, PATIENCE, Station, eventually};

const KILL: i32 = 9;

/// A host that shares a fixture server.
fn host(station: &mut Station, flags: &[&str], server: &[&str]) -> Hosted {
    let flags = [&["--scope", "shared"], flags].concat();
    let program = station.program("wrasse-fixture").display().to_string();
    let words = [&[program.as_str()], server].concat();
    let mut host = Hosted::wrapped(station, &flags, &words);
    host.initialize(&json!({ "elicitation": {}, "sampling": {}, "roots": {} }));
    host
}

/// What the server's counter says: its pid, and how often it was called.
fn count(host: &mut Hosted) -> (u64, u64) {
    let text = host.call_text("counter", &json!({}));
    let first = text.lines().next().unwrap();
    let value: Value = serde_json::from_str(first).unwrap_or_else(|_| panic!("{text}"));
    (value["pid"].as_u64().unwrap(), value["count"].as_u64().unwrap())
}

fn brokers(seen: &[Process]) -> Vec<u32> {
    let is_broker = |process: &&Process| process.name == "wrasse-broker" && process.state != 'Z';
    seen.iter().filter(is_broker).map(|process| process.pid).collect()
}

/// The one broker.
fn broker(station: &mut Station) -> u32 {
    let found = brokers(&station.oracle.list());
    assert_eq!(found.len(), 1, "{}", station.log());
    found[0]
}

/// The files of brokers: none when none runs.
fn files(station: &Station) -> Vec<PathBuf> {
    let Ok(files) = std::fs::read_dir(station.path("state/wrap/broker")) else { return Vec::new() };
    files.map(|file| file.unwrap().path()).collect()
}

fn assert_flat(station: &mut Station) {
    station.assert_empty();
    assert_eq!(files(station), Vec::<PathBuf>::new(), "{}", station.log());
}

/// Waits until no broker and nothing of one is left, whatever hosts and shims there are.
fn wait_no_server(station: &mut Station) {
    let left = station.oracle.wait_until(PATIENCE, |seen| {
        !seen.iter().any(|process| {
            process.name.starts_with("wrasse-broker") || process.name.starts_with("wrasse-guardian")
        })
    });
    assert!(left.is_ok(), "{left:#?}\n{}", station.log());
}

/// Waits until so many sessions know how their server ended, and say so. What is called before the news has come may have
/// been on its way to the server.
fn wait_told(station: &Station, how: &str, sessions: usize) {
    station.eventually(how, || station.log().matches(how).count() >= sessions);
}

// failure mode J8
#[test]
fn hosts_share_one_server_and_the_last_one_ends_it() {
    let mut station = Station::new();
    let mut hosts: Vec<Hosted> =
        (0..3).map(|_| host(&mut station, &["--idle", "off"], &["f-counter"])).collect();
    let counts: Vec<(u64, u64)> = hosts.iter_mut().map(count).collect();
    assert!(counts.iter().all(|(pid, _)| *pid == counts[0].0), "{counts:?}");
    assert_eq!(counts.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [1, 2, 3]);
    let own = broker(&mut station);
    for host in &hosts {
        assert!(
            host.below(&mut station).iter().all(|process| process.pid != own),
            "it is nobody's"
        );
    }
    let mut last = hosts.pop().unwrap();
    for host in hosts {
        assert_eq!(host.end(&mut station), 0);
    }
    assert_eq!(count(&mut last), (counts[0].0, 4));
    assert_eq!(last.end(&mut station), 0);
    assert_flat(&mut station);
}

/// All at once: one broker is started, and everybody is served by it.
#[test]
fn hosts_that_start_at_once_share_one_server() {
    let mut station = Station::new();
    let mut hosts: Vec<Hosted> = (0..4).map(|_| host(&mut station, &[], &["f-counter"])).collect();
    let asked: Vec<u64> = hosts
        .iter_mut()
        .map(|host| host.ask("tools/call", &json!({ "name": "counter", "arguments": {} })))
        .collect();
    let answers: Vec<String> = hosts
        .iter_mut()
        .zip(asked)
        .map(|(host, id)| host.answer(id)["result"]["content"][0]["text"].to_string())
        .collect();
    let pid = |text: &String| text.split("count").next().unwrap().to_owned();
    assert!(answers.iter().all(|text| pid(text) == pid(&answers[0])), "{answers:?}");
    broker(&mut station);
    for host in hosts {
        assert_eq!(host.end(&mut station), 0);
    }
    assert_flat(&mut station);
}

/// Another environment, another server.
#[test]
fn what_is_configured_otherwise_is_not_shared() {
    let mut station = Station::new();
    let mut one = host(&mut station, &[], &["f-counter"]);
    station.set_env("API_KEY", "another");
    let mut two = host(&mut station, &[], &["f-counter"]);
    assert_ne!(count(&mut one).0, count(&mut two).0);
    assert_eq!(brokers(&station.oracle.list()).len(), 2);
    assert_eq!(one.end(&mut station), 0);
    assert_eq!(count(&mut two).1, 2, "the other one's end is not this one's");
    assert_eq!(two.end(&mut station), 0);
    assert_flat(&mut station);
}

/// Both use the same ids; each gets its own answer, whichever comes first.
// failure mode J8
#[test]
fn answers_are_not_swapped_and_one_cancels_only_its_own() {
    let mut station = Station::new();
    let mut one = host(&mut station, &[], &["f-ok"]);
    let mut two = host(&mut station, &[], &["f-ok"]);
    one.call_text("echo", &json!({ "text": "1" }));
    two.call_text("echo", &json!({ "text": "2" }));
    let until = station.path("until");
    let hold =
        |text: &str| json!({ "name": "hold", "arguments": { "until": until, "text": text } });
    let held = [one.ask("tools/call", &hold("1")), two.ask("tools/call", &hold("2"))];
    assert_eq!(held[0], held[1], "the same id on both sides");
    one.notify("notifications/cancelled", &json!({ "requestId": held[0] }));
    assert_eq!(two.call_text("echo", &json!({ "text": "second" })), "second");
    assert_eq!(one.call_text("echo", &json!({ "text": "first" })), "first");
    std::fs::write(&until, "").unwrap();
    assert!(two.answer(held[1])["result"].is_object());
    assert!(one.heard.iter().all(|line| line["id"] != held[0]), "{:?}", one.heard);
    for host in [one, two] {
        assert_eq!(host.end(&mut station), 0);
    }
    assert_flat(&mut station);
}

// failure mode J3: another session's end is not this one's
#[test]
fn a_killed_host_does_not_touch_the_other() {
    let mut station = Station::new();
    let mut one = host(&mut station, &[], &["f-daemon"]);
    let mut two = host(&mut station, &[], &["f-daemon"]);
    // Whoever is killed is the one that started the broker.
    let before = count(&mut one);
    let until = station.path("until");
    assert_eq!(count(&mut two).0, before.0);
    let held = two.ask("tools/call", &json!({ "name": "hold", "arguments": { "until": until } }));
    let below: Vec<u32> = one.below(&mut station).iter().map(|process| process.pid).collect();
    station.oracle.signal(&[one.pid], KILL);
    let gone = station
        .oracle
        .wait_until(PATIENCE, |seen| !seen.iter().any(|process| below.contains(&process.pid)));
    assert!(gone.is_ok(), "{gone:#?}");
    std::fs::write(&until, "").unwrap();
    assert!(two.answer(held)["result"].is_object());
    assert_eq!(count(&mut two).0, before.0);
    assert_eq!(two.end(&mut station), 0);
    assert_flat(&mut station);
}

/// Nobody is left to say goodbye: the broker sees it, and waits for no ladder.
// failure mode A1
#[test]
fn nothing_is_left_when_all_shims_are_killed() {
    for server in ["f-term-deaf", "f-daemon"] {
        let mut station = Station::new();
        let mut hosts: Vec<Hosted> =
            (0..2).map(|_| host(&mut station, &["--idle", "off"], &[server])).collect();
        for host in &mut hosts {
            host.call_text("echo", &json!({ "text": "x" }));
        }
        let mut pids: Vec<u32> = hosts.iter().map(|host| host.pid).collect();
        pids.extend(hosts.iter().map(|host| host.shim(&mut station)));
        station.kill_at_once(&pids);
        let left = station.oracle.wait_until(AFTER_DEATH, <[_]>::is_empty);
        assert!(left.is_ok(), "{server}: {left:#?}\n{}", station.log());
        assert_flat(&mut station);
    }
}

// failure mode J9: a call whose outcome is unknown is not repeated
#[test]
fn a_killed_broker_takes_its_server_along_and_the_next_call_starts_another() {
    for server in ["f-ok", "f-daemon", "f-term-deaf"] {
        let mut station = Station::new();
        let mut one = host(&mut station, &[], &[server]);
        let mut two = host(&mut station, &[], &[server]);
        let before = count(&mut one);
        count(&mut two);
        let started = station.path("started");
        let held =
            one.ask("tools/call", &json!({ "name": "hold", "arguments": { "started": started } }));
        eventually("the call is in flight", PATIENCE, || started.exists());
        let killed = broker(&mut station);
        assert_eq!(station.oracle.signal(&[killed], KILL), 1);
        let error = one.answer(held)["error"].clone();
        assert!(error["message"].as_str().unwrap().contains("outcome is unknown"), "{error}");
        wait_no_server(&mut station);
        wait_told(&station, "was ended with the broker that shared it (", 2);
        for host in [&mut one, &mut two] {
            let text = host.call_text("counter", &json!({}));
            assert!(text.contains("was restarted for this call"), "{text}");
        }
        let after = count(&mut one);
        assert_ne!(after.0, before.0);
        assert_eq!(after.0, count(&mut two).0, "they share again");
        for host in [one, two] {
            assert_eq!(host.end(&mut station), 0);
        }
        station.assert_empty();
    }
}

/// The server dies: everybody hears of it, with what it said last, and shares the next one.
#[test]
fn a_server_that_dies_is_told_to_all() {
    let mut station = Station::new();
    let mut one = host(&mut station, &[], &["f-ok"]);
    let mut two = host(&mut station, &[], &["f-ok"]);
    count(&mut one);
    count(&mut two);
    let error = one.call("crash", &json!({}))["error"].clone();
    assert!(error["message"].as_str().unwrap().contains("exited with code 3"), "{error}");
    wait_told(&station, "wrasse-fixture exited with code 3 (", 2);
    for host in [&mut two, &mut one] {
        let text = host.call_text("counter", &json!({}));
        assert!(text.contains("exited with code 3"), "{text}");
    }
    assert_eq!(count(&mut one).0, count(&mut two).0);
    for host in [one, two] {
        assert_eq!(host.end(&mut station), 0);
    }
    assert_flat(&mut station);
}

/// The host has said all it has to say, and its call kills the server: that is an answer, too.
// failure mode J9
#[test]
fn a_host_that_has_closed_hears_that_its_server_died() {
    let mut station = Station::new();
    for _ in 0..5 {
        let mut one = host(&mut station, &[], &["f-ok"]);
        count(&mut one);
        let asked = one.ask("tools/call", &json!({ "name": "crash", "arguments": {} }));
        one.close();
        let error = one.answer(asked)["error"].clone();
        assert_eq!(error["data"]["wrasse"]["outcome"], "unknown", "{error}");
        assert!(error["message"].as_str().unwrap().contains("exited with code 3"), "{error}");
        assert_eq!(one.end(&mut station), 0);
    }
    assert_flat(&mut station);
}

/// How much memory a process uses, in bytes.
fn resident(pid: u32) -> usize {
    let sizes = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    sizes.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// A server that reads nothing more makes the broker read no further; it sees all the same that everybody is gone.
// failure mode A1
#[test]
fn a_deaf_server_does_not_outlive_its_shims() {
    for killed in [true, false] {
        let mut station = Station::new();
        let mut one = host(&mut station, &["--idle", "off"], &["f-stdin-stop"]);
        // The first session of all starts the server, to learn what it offers.
        let own = broker(&mut station);
        let before = resident(own);
        let text = "x".repeat(8 << 20);
        one.ask("tools/call", &json!({ "name": "echo", "arguments": { "text": text } }));
        eventually("the broker has the call, which the server does not take", PATIENCE, || {
            resident(own) >= before + (7 << 20)
        });
        one.ask("tools/call", &json!({ "name": "echo", "arguments": { "text": "second" } }));
        if killed {
            let pids = [one.pid, one.shim(&mut station)];
            station.kill_at_once(&pids);
            let left =
                station.oracle.wait_until(std::time::Duration::from_secs(10), <[_]>::is_empty);
            assert!(left.is_ok(), "{left:#?}\n{}", station.log());
        } else {
            assert_eq!(one.end(&mut station), 0);
        }
        assert_flat(&mut station);
    }
}

/// What comes between the idle time and the end never reached the server: it is no call of unknown outcome.
#[test]
fn a_call_in_the_last_moments_is_not_started() {
    let mut station = Station::new();
    let mut one = host(&mut station, &["--idle", "2s"], &["f-eof-deaf"]);
    let before = count(&mut one);
    let is_socket = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "sock");
    eventually("the ladder has begun", PATIENCE, || !files(&station).iter().any(is_socket));
    let error = one.call("counter", &json!({}))["error"].clone();
    assert_eq!(error["code"], -32051, "{error}");
    assert_eq!(error["data"]["wrasse"]["outcome"], "not started");
    wait_told(&station, "without a call (0 requests", 1);
    let text = one.call_text("counter", &json!({}));
    assert!(text.contains("was restarted for this call"), "{text}");
    assert!(!text.contains(&before.0.to_string()), "{text}");
    assert_eq!(one.end(&mut station), 0);
    assert_flat(&mut station);
}

/// Nobody calls: server and broker end; whoever calls next starts both, and is told.
#[test]
fn an_idle_server_ends_with_its_broker() {
    let mut station = Station::new();
    // Long enough for both to be there before the end.
    let mut one = host(&mut station, &["--idle", "2s"], &["f-counter"]);
    let mut two = host(&mut station, &["--idle", "3s"], &["f-counter"]);
    let before = count(&mut one);
    count(&mut two);
    wait_no_server(&mut station);
    wait_told(&station, "without a call (0 requests", 2);
    assert_eq!(files(&station), Vec::<PathBuf>::new());
    let text = two.call_text("counter", &json!({}));
    assert!(text.contains("was restarted for this call"), "{text}");
    assert_ne!(count(&mut one).0, before.0);
    for host in [one, two] {
        assert_eq!(host.end(&mut station), 0);
    }
    assert_flat(&mut station);
}

/// A question is answered by who must be meant, and refused where two could be.
// failure mode J8
#[test]
fn a_question_reaches_who_called_and_nobody_else() {
    let mut station = Station::new();
    let mut one = host(&mut station, &[], &["protocol"]);
    let mut two = host(&mut station, &[], &["protocol"]);
    one.call_text("state", &json!({}));
    two.call_text("state", &json!({}));
    let call = json!({ "name": "ask", "arguments": { "method": "elicitation/create" } });
    let asked = two.ask("tools/call", &call);
    let question = two.hear(|line| line["method"] == "elicitation/create");
    two.say(&json!({ "jsonrpc": "2.0", "id": question["id"],
        "result": { "action": "accept", "content": { "name": "two" } } }));
    assert!(two.answer(asked)["result"].is_object());
    // Somebody else's call is in flight: nobody is asked.
    let waits = one.ask("tools/call", &json!({ "name": "wait", "arguments": {} }));
    one.request("ping", &json!({}));
    let answer = two.request("tools/call", &call);
    assert!(answer.to_string().contains("no certain addressee"), "{answer}");
    station.assert_logs("--scope private");
    let questions = |host: &Hosted| {
        host.heard.iter().filter(|line| line["method"] == "elicitation/create").count()
    };
    assert_eq!((questions(&one), questions(&two)), (0, 0));
    one.notify("notifications/cancelled", &json!({ "requestId": waits }));
    for host in [one, two] {
        assert_eq!(host.end(&mut station), 0);
    }
    assert_flat(&mut station);
}
