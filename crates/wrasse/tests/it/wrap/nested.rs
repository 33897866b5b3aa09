//! A shim whose host is Wrasse's own gateway: two chains of guardians, one inside the other.

use serde_json::json;
use wrasse_testkit::station::Station;

use super::{AFTER_HOST, fixture};

fn nested(idle: &str) -> Station {
    let mut station = Station::new();
    let mut args = vec!["wrap".to_owned(), "--idle".to_owned(), "off".to_owned(), "--".to_owned()];
    args.extend(fixture(&station, &["f-daemon"]));
    let server = json!({ "command": station.wrasse(), "args": args, "lifecycle": { "idle": idle },
                         "env": { "WRASSE_STATE_DIR": station.path("inner") } });
    station.configure(
        json!({ "mcp": { "servers": { "fix": server } } }),
        &json!({ "rules": [{ "when": { "last": "user" }, "reply": { "calls": [
            { "name": "fix__echo", "arguments": { "text": "{{last}}" } }] } }],
            "otherwise": { "text": "heard: {{last}}" } }),
    );
    station.start();
    let answer = station.json(&["agent", "-m", "hello", "--session-key", "nested"]);
    assert_eq!(answer["text"], "heard: hello", "{answer:#}\n{}", station.log());
    station
}

#[test]
fn a_run_that_ends_ends_the_shim_and_what_it_wraps() {
    let mut station = nested("run");
    station.assert_no_servers(std::time::Duration::from_secs(8));
    station.assert_flat();
    assert_eq!(std::fs::read_dir(station.path("inner/wrap/shims")).unwrap().count(), 0);
}

#[test]
fn a_killed_gateway_leaves_neither_chain() {
    let mut station = nested("off");
    let (gateway, warden) = (station.gateway(), station.warden.take().unwrap());
    station.kill_at_once(&[warden, gateway]);
    let left = station.oracle.wait_until(AFTER_HOST, <[_]>::is_empty);
    assert!(left.is_ok(), "{left:#?}\n{}", station.log());
    station.start();
    station.assert_flat();
}
