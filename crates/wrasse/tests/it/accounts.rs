//! What somebody should know of, who pays for the processor: said in `ps` while it lasts, and once in the log.

use serde_json::{Value, json};
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::station::{PATIENCE, Station, eventually};

/// One kept server; "go" calls it once.
fn station(server: impl FnOnce(&Station) -> Value) -> Station {
    let station = Station::new();
    let mut server = server(&station);
    server["lifecycle"]["idle"] = json!("off");
    station.configure(
        json!({ "mcp": { "servers": { "fix": server } } }),
        &json!({ "rules": [{ "when": { "last": "user", "text": "go" },
            "reply": { "calls": [{ "name": "fix__echo", "arguments": { "text": "x" } }] } }],
            "otherwise": { "text": "done" } }),
    );
    station
}

fn go(station: &Station) {
    station.ok(&["agent", "-m", "go", "--session-key", "kept"]);
    // The answer comes before the run lets its server go.
    station.eventually("the lease is given back", || {
        station.json(&["ps"])["instances"][0]["leases"] == json!([])
    });
}

/// The warnings of the only instance.
fn warnings(station: &Station) -> Vec<String> {
    let ps = station.json(&["ps"]);
    let instances = ps["instances"].as_array().unwrap();
    assert_eq!(instances.len(), 1, "{ps:#}");
    assert_eq!(instances[0]["leases"], json!([]), "{ps:#}");
    let said = instances[0]["warnings"].as_array().cloned().unwrap_or_default();
    said.iter().map(|one| Value::as_str(one).unwrap().to_owned()).collect()
}

fn logged(station: &Station, what: &str) -> usize {
    station.log().lines().filter(|line| line.contains("WARN") && line.contains(what)).count()
}

/// It was let go, nobody calls it, and it burns a processor: named where people look.
#[test]
fn a_tree_that_burns_while_nobody_holds_it_is_named() {
    let what = "nobody holds it and it uses ";
    // Several, each in a session of its own: the scheduler shares the processors out among sessions, and a machine that
    // is busy with others must not hide these.
    let script =
        "for n in 1 2 3 4 5 6; do setsid sh -c 'while :; do :; done' & done; exec \"$0\" f-ok";
    let mut station = station(|station| {
        let mut server = station.fixture(Mode::Ok);
        server["args"] = json!(["-c", script, server["command"]]);
        server["command"] = json!("sh");
        server
    });
    station.start();
    go(&station);
    eventually("ps names it", PATIENCE, || {
        warnings(&station)
            .iter()
            .any(|one| one.starts_with(what) && one.ends_with(" % of a processor"))
    });
    eventually("the log names it", PATIENCE, || logged(&station, what) > 0);
    let shown = station.ok(&["ps"]);
    assert!(shown.lines().any(|line| line.starts_with("! i-") && line.contains(what)), "{shown}");
    // Once more is looked for it: it is said once for each instance.
    assert_eq!(logged(&station, what), 1, "{}", station.log());
    station.assert_flat();
}

/// A server that waits for none of its children: named while their number grows.
// failure mode G3
#[test]
fn a_tree_whose_zombies_grow_is_named() {
    let what = "it does not reap its children: ";
    let mut station = station(|station| station.fixture(Mode::Zombie));
    station.start();
    eventually("ps and the log name it", PATIENCE, || {
        go(&station);
        warnings(&station).iter().any(|one| one.starts_with(what)) && logged(&station, what) > 0
    });
    assert_eq!(logged(&station, what), 1, "{}", station.log());
    station.assert_flat();
}

/// Shared pages are counted once only when asked: it reads a large file of each process.
#[test]
fn proportional_memory_is_shown_when_asked() {
    let mut station = station(|station| station.fixture(Mode::Ok));
    station.start();
    go(&station);
    let plain = station.json(&["ps"]);
    assert!(plain["instances"][0].get("pss_bytes").is_none_or(Value::is_null), "{plain:#}");
    let asked = station.json(&["ps", "--pss"]);
    let pss = asked["instances"][0]["pss_bytes"].as_u64().unwrap_or_else(|| panic!("{asked:#}"));
    // More than a stack, less than everything that the program maps.
    assert!((64 << 10..64 << 20).contains(&pss), "{asked:#}");
    let shown = station.ok(&["ps", "--pss"]);
    assert!(shown.contains("(PSS "), "{shown}");
    station.assert_flat();
}
