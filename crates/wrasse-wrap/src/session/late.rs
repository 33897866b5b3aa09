//! Sessions whose host, or whose server, is not where the other takes it to be.

use serde_json::{Value, json};

use super::tests::{Scene, at, call, done, learnt, result, sent, told};
use super::*;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

fn discover() -> Value {
    let meta = json!({ VERSION: "2026-07-28" });
    json!({ "id": "d", "method": "server/discover", "params": { "_meta": meta } })
}

fn refusal() -> Value {
    json!({ "id": "d", "error": { "code": -32601, "message": "Method not found" } })
}

fn listen(id: &str) -> Value {
    let wanted = json!({ "resourceSubscriptions": ["file:///a"] });
    json!({ "id": id, "method": "subscriptions/listen", "params": { "notifications": wanted } })
}

fn methods(orders: &[Output]) -> Vec<String> {
    sent(orders).iter().map(|said| said["method"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_server_that_runs_for_a_refused_discover_sees_the_hosts_initialize() {
    let mut scene = Scene::new(&learnt());
    assert_eq!(scene.host(discover()), [Output::Start]);
    assert_eq!(methods(&scene.started()), ["server/discover"]);
    assert_eq!(told(&scene.server(refusal())).len(), 1);
    let orders = scene.initialize();
    assert_eq!(methods(&orders), ["initialize", "notifications/initialized", "tools/list"]);
    assert_eq!(told(&orders), Vec::<Value>::new(), "its answer is the server's");
    let orders = scene.server(json!({ "id": 0, "result": result() }));
    assert_eq!(told(&orders)[0]["id"], 0);
    // The next one is opened by us, as nobody else will.
    scene.host(call(1));
    scene.server(done(1));
    scene.ended("died");
    assert_eq!(scene.host(call(2)), [Output::Start]);
    assert_eq!(methods(&scene.started()), ["initialize"]);
}

#[test]
fn a_discover_that_waits_takes_the_initialize_along() {
    let mut scene = Scene::new(&learnt());
    scene.host(discover());
    assert_eq!(scene.initialize(), [], "the server that is being started must see it");
    assert_eq!(methods(&scene.started()), ["server/discover", "initialize"]);
    // A refusal that comes late does not undo the handshake.
    scene.server(refusal());
    let orders = scene.server(json!({ "id": 0, "result": result() }));
    assert_eq!(methods(&orders), ["notifications/initialized", "tools/list"]);
    scene.host(call(1));
    scene.server(done(1));
    scene.ended("died");
    scene.host(call(2));
    assert_eq!(methods(&scene.started()), ["initialize"]);
}

#[test]
fn a_server_that_we_open_leaves_the_hosts_initialize_to_the_catalogue() {
    let mut scene = Scene::new(&learnt());
    assert_eq!(scene.host(call(1)), [Output::Start]);
    assert_eq!(told(&scene.initialize()).len(), 1);
    assert_eq!(methods(&scene.started()), ["initialize"]);
}

#[test]
fn a_stream_that_came_before_the_server_is_given_to_it() {
    let mut scene = Scene::new(&learnt());
    scene.initialize();
    scene.host(call(1));
    assert_eq!(scene.host(listen("starting")), []);
    scene.started();
    assert_eq!(scene.host(listen("opening")), []);
    let orders = scene.server(json!({ "id": "own-1", "result": result() }));
    let given = sent(&orders).into_iter().filter(|said| said["method"] == "subscriptions/listen");
    let given: Vec<_> = given.map(|said| said["id"].clone()).collect();
    assert_eq!(given, ["starting", "opening"]);
}

#[test]
fn a_stream_that_came_while_the_server_was_ending_starts_another() {
    let mut scene = Scene::new(&learnt());
    scene.initialize();
    scene.host(call(1));
    scene.ready();
    scene.server(done(1));
    assert_eq!(scene.tick(30), [Output::Stop]);
    assert_eq!(scene.host(listen("l")), []);
    assert_eq!(scene.ended("was ended"), [Output::Start]);
    let orders = scene.ready();
    assert!(sent(&orders).iter().any(|said| said["id"] == "l"), "{orders:?}");
}

#[test]
fn a_stream_hears_that_the_server_does_not_start() {
    let mut scene = Scene::new(&learnt());
    scene.initialize();
    assert_eq!(scene.host(listen("l")), [Output::Start]);
    scene.session.start_failed("no such program", scene.now);
    let answers = told(&scene.orders());
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!((&answers[0]["id"], &answers[0]["error"]["code"]), (&json!("l"), &json!(-32051)));
    scene.now = at(5);
    scene.host(call(1));
    let orders = scene.ready();
    assert!(!sent(&orders).iter().any(|said| said["id"] == "l"), "it was answered: {orders:?}");
}

#[test]
fn what_comes_while_a_refusing_server_is_ended_does_not_start_it_at_once() {
    let mut scene = Scene::new(&learnt());
    scene.initialize();
    scene.host(call(1));
    scene.started();
    let orders =
        scene.server(json!({ "id": "own-1", "error": { "code": -32603, "message": "no" } }));
    assert!(orders.contains(&Output::Stop), "{orders:?}");
    assert_eq!(scene.host(call(2)), []);
    let orders = scene.ended("was ended");
    assert!(!orders.contains(&Output::Start), "{orders:?}");
    let refused = told(&orders).remove(0);
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(2), &json!(-32051)));
    assert!(refused["error"]["message"].as_str().unwrap().contains("next try"), "{refused}");
    scene.now = at(1);
    assert_eq!(scene.host(call(3)), [Output::Start]);
}

#[test]
fn a_ping_that_the_end_overtakes_is_answered() {
    let mut scene = Scene::new(&learnt());
    scene.initialize();
    scene.host(call(1));
    scene.ready();
    scene.server(done(1));
    scene.host(json!({ "id": "p", "method": "ping" }));
    assert_eq!(scene.tick(30), [Output::Stop]);
    let answers = told(&scene.ended("was ended"));
    assert_eq!(answers, [json!({ "jsonrpc": "2.0", "id": "p", "result": {} })]);
}
