//! Servers, hosts and disks that fail.

use serde_json::json;
use wrasse_testkit::station::{PATIENCE, Station, eventually};

use super::{assert_flat, learn, wrap};

// failure mode J9: a call repeated after a reconnect acts twice
#[test]
fn a_server_that_dies_in_a_call_is_said_and_not_repeated() {
    let mut station = Station::new();
    let log = station.path("work").join("effects");
    let server = ["f-sidefx", log.to_str().unwrap()];
    learn(&mut station, &server);
    let mut host = wrap(&mut station, &[], &server);
    host.initialize(&json!({}));
    let failed = host.call("echo", &json!({ "text": "x" }));
    assert_eq!(failed["error"]["data"]["wrasse"]["outcome"], "unknown", "{failed}");
    assert!(
        failed["error"]["message"].as_str().unwrap().contains("outcome is unknown"),
        "{failed}"
    );
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 1, "once");
    assert_eq!(host.end(&mut station), 0);

    let mut host = wrap(&mut station, &[], &["protocol"]);
    host.initialize(&json!({}));
    host.call_text("state", &json!({}));
    let failed = host.call("die", &json!({}));
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("exited with code 7") && message.contains("something broke"),
        "{message}"
    );
    let next = host.call_text("state", &json!({}));
    assert!(next.contains("restarted") && next.contains("exited with code 7"), "{next}");
    assert_eq!(host.end(&mut station), 0);
    assert_flat(&mut station);
}

#[test]
fn bad_lines_of_either_side_end_nothing() {
    let mut station = Station::new();
    let mut host = wrap(&mut station, &[], &["f-garbage"]);
    for bad in [
        "",
        "nonsense",
        "{",
        "[]",
        "null",
        "{\"jsonrpc\":\"2.0\"}",
        "{\"id\":null,\"result\":{}}",
        "\u{0}",
    ] {
        host.say_raw(bad);
    }
    host.initialize(&json!({}));
    host.say_raw("{\"jsonrpc\":\"2.0\",\"id\":99,\"result\":{}}");
    assert_eq!(host.call_text("echo", &json!({ "text": "x" })), "x");
    // A batch, which one version of the protocol knew.
    host.say_raw(
        r#"[{"jsonrpc":"2.0","id":"a","method":"ping"},{"jsonrpc":"2.0","id":"b","method":"ping"}]"#,
    );
    for id in ["a", "b"] {
        host.hear(|message| message["id"] == id && message["result"] == json!({}));
    }
    station.assert_logs("a line that is no message");
    assert_eq!(host.end(&mut station), 0);
    assert_flat(&mut station);
}

#[test]
fn a_line_without_end_is_left_out() {
    let mut station = Station::new();
    let mut host = wrap(&mut station, &[], &["f-ok"]);
    host.initialize(&json!({}));
    host.say_raw(&"x".repeat(33 << 20));
    assert_eq!(host.call_text("echo", &json!({ "text": "x" })), "x");
    station.assert_logs("32 MiB");
    assert_eq!(host.end(&mut station), 0);
    assert_flat(&mut station);
}

#[test]
fn a_server_that_cannot_start_says_why_and_is_not_tried_at_once() {
    let mut station = Station::new();
    let mut host = wrap(&mut station, &["--name", "health"], &["f-exit-now"]);
    let failed = host.initialize(&json!({}));
    let message =
        failed["error"]["message"].as_str().unwrap_or_else(|| panic!("{failed}")).to_owned();
    assert!(message.contains("health") && message.contains("HEALTH_DB is not set"), "{message}");
    // The pause doubles with each try, so that some request is within it, however slow the machine.
    eventually("a try that comes too soon is refused", PATIENCE, || {
        let again = host.initialize(&json!({}));
        again["error"]["message"].as_str().unwrap().contains("next try is in")
    });
    assert_eq!(host.end(&mut station), 0);

    let mut host = wrasse_testkit::hosted::Hosted::wrapped(&mut station, &[], &["no-such-program"]);
    let failed = host.initialize(&json!({}));
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("command not found") && message.contains("→"), "{message}");
    assert_eq!(host.end(&mut station), 0);
    assert_flat(&mut station);
}

#[test]
fn a_state_dir_that_cannot_be_written_costs_the_cache_and_nothing_else() {
    let mut station = Station::new();
    std::fs::write(station.path("state").join("wrap"), b"in the way").unwrap();
    let mut host = wrap(&mut station, &[], &["f-daemon"]);
    host.initialize(&json!({}));
    assert_eq!(host.call_text("echo", &json!({ "text": "x" })), "x");
    assert_eq!(station.log().matches("cannot be written").count(), 1, "{}", station.log());
    assert_eq!(station.oracle.signal(&[host.pid], 9), 1);
    let left = station.oracle.wait_until(super::AFTER_HOST, <[_]>::is_empty);
    assert!(left.is_ok(), "{left:#?}");
}

/// The server gets what the host has, and nothing of ours.
#[test]
fn a_server_sees_its_host_and_not_the_shim() {
    let mut station = Station::new();
    station.set_env("FROM_THE_HOST", "1");
    let mut host = wrap(&mut station, &[], &["f-ok"]);
    host.initialize(&json!({}));
    let own = host.call_text("self", &json!({}));
    let own: serde_json::Value = serde_json::from_str(&own).unwrap();
    let env: Vec<_> =
        own["env"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(env.contains(&"FROM_THE_HOST") && env.contains(&"WRASSE_MARK"), "{env:?}");
    assert!(!env.contains(&"GLIBC_TUNABLES") && !env.contains(&"WRASSE_WRAP_TUNABLES"), "{env:?}");
    assert_eq!(own["fds"].as_array().unwrap().len(), 3, "{own}");
    assert_eq!(host.end(&mut station), 0);
    assert_flat(&mut station);
}
