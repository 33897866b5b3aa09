//! The state machine alone: every process and every clock is imagined.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use serde_json::{Value, json};

use super::*;
use crate::catalogue::Answer;

#[derive(Debug, Clone, Default)]
pub(super) struct Memory(pub(super) Rc<RefCell<HashMap<String, Entry>>>);

impl Shelf for Memory {
    fn load(&self, opening: &str) -> Option<Entry> {
        self.0.borrow().get(opening).cloned()
    }

    fn save(&self, opening: &str, entry: &Entry) -> std::io::Result<()> {
        self.0.borrow_mut().insert(opening.to_owned(), entry.clone());
        Ok(())
    }
}

/// A session, the time, and what it has ordered.
pub(super) struct Scene {
    pub(super) session: Session,
    memory: Memory,
    pub(super) now: BootInstant,
}

pub(super) fn at(seconds: u64) -> BootInstant {
    BootInstant::from_boot(Duration::from_secs(1000 + seconds))
}

impl Scene {
    pub(super) fn new(memory: &Memory) -> Self {
        let options = SessionOptions {
            name: "s".to_owned(),
            idle: Some(Duration::from_secs(30)),
            nonce: "own".to_owned(),
        };
        let session = Session::new(options, Box::new(memory.clone()), at(0));
        Self { session, memory: memory.clone(), now: at(0) }
    }

    pub(super) fn host(&mut self, message: Value) -> Vec<Output> {
        self.session.host_line(message.to_string().into_bytes(), self.now);
        self.orders()
    }

    pub(super) fn server(&mut self, message: Value) -> Vec<Output> {
        self.session.server_line(message.to_string().into_bytes(), self.now);
        self.orders()
    }

    pub(super) fn orders(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.session.next_output()).collect()
    }

    pub(super) fn initialize(&mut self) -> Vec<Output> {
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {} });
        let mut orders = self.host(json!({ "id": 0, "method": "initialize", "params": params }));
        orders.extend(self.host(json!({ "method": "notifications/initialized" })));
        orders
    }

    pub(super) fn started(&mut self) -> Vec<Output> {
        self.session.started(self.now);
        self.orders()
    }

    pub(super) fn ended(&mut self, how: &str) -> Vec<Output> {
        let ended = Ended { how: how.to_owned(), last_words: String::new() };
        self.session.ended(&ended, self.now);
        self.orders()
    }

    /// Moves the clock to where the session wants to be woken, at most to a second.
    pub(super) fn tick(&mut self, second: u64) -> Vec<Output> {
        self.now = at(second);
        self.session.tick(self.now);
        self.orders()
    }

    /// A server that was started for a call and has answered our own opening and lists.
    pub(super) fn ready(&mut self) -> Vec<Output> {
        let mut orders = self.started();
        let opening = sent(&orders).remove(0);
        assert_eq!(opening["method"], "initialize", "{opening}");
        orders = self.server(json!({ "id": opening["id"], "result": result() }));
        let learning: Vec<_> =
            sent(&orders).into_iter().filter(|said| said["method"] == "tools/list").collect();
        for page in learning {
            orders.extend(self.server(json!({ "id": page["id"], "result": { "tools": [] } })));
        }
        orders
    }
}

pub(super) fn result() -> Value {
    json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": { "listChanged": true } } })
}

/// A catalogue that knows the server, with no tools.
pub(super) fn learnt() -> Memory {
    let memory = Memory::default();
    let mut scene = Scene::new(&memory);
    scene.initialize();
    scene.started();
    let orders = scene.server(json!({ "id": 0, "result": result() }));
    let page = sent(&orders).into_iter().find(|said| said["method"] == "tools/list").unwrap();
    scene.server(json!({ "id": page["id"], "result": { "tools": [] } }));
    assert_eq!(memory.0.borrow().len(), 1);
    memory
}

fn parsed(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap()
}

pub(super) fn sent(orders: &[Output]) -> Vec<Value> {
    let lines = orders.iter().filter_map(|order| match order {
        Output::ToServer(line) => Some(parsed(line)),
        _ => None,
    });
    lines.collect()
}

pub(super) fn told(orders: &[Output]) -> Vec<Value> {
    let lines = orders.iter().filter_map(|order| match order {
        Output::ToHost(line) => Some(parsed(line)),
        _ => None,
    });
    lines.collect()
}

pub(super) fn call(id: u64) -> Value {
    json!({ "id": id, "method": "tools/call", "params": { "name": "t" } })
}

pub(super) fn done(id: u64) -> Value {
    json!({ "id": id, "result": { "content": [] } })
}

#[test]
fn what_is_known_needs_no_server() {
    let mut scene = Scene::new(&learnt());
    let orders = scene.initialize();
    assert_eq!(told(&orders)[0]["result"], result());
    let lists = [("tools/list", true), ("prompts/list", false), ("ping", true)];
    for (method, known) in lists {
        let orders = scene.host(json!({ "id": method, "method": method }));
        assert_eq!(told(&orders).len(), 1, "{orders:?}");
        assert_eq!(told(&orders)[0]["result"].is_object(), known);
        assert!(!orders.contains(&Output::Start), "{method}");
    }
    assert_eq!(scene.session.wake_at(scene.now), None, "nothing runs, nothing wakes");
}

#[test]
fn a_server_ends_when_it_is_idle_and_not_before() {
    let mut scene = Scene::new(&learnt());
    scene.initialize();
    assert_eq!(scene.host(call(1)), [Output::Start]);
    let orders = scene.ready();
    assert!(sent(&orders).iter().any(|said| said["id"] == 1), "{orders:?}");
    assert_eq!(scene.tick(600), [], "a call is in flight");
    scene.server(done(1));
    assert_eq!(scene.tick(629), []);
    assert_eq!(scene.session.wake_at(scene.now), Some(at(630)));
    assert_eq!(scene.tick(630), [Output::Stop]);
    // A call that comes meanwhile waits for the end, and is then for a new server.
    assert_eq!(scene.host(call(2)), []);
    assert_eq!(scene.ended("was ended"), [Output::Start]);
    let orders = scene.ready();
    assert!(sent(&orders).iter().any(|said| said["id"] == 2));
    let answer = told(&scene.server(done(2))).remove(0);
    assert!(answer.to_string().contains("restarted"), "{answer}");
    scene.host(call(3));
    assert_eq!(told(&scene.server(done(3)))[0]["result"]["content"], json!([]), "said once");
}

#[test]
fn a_question_of_the_server_keeps_it_for_a_time() {
    let mut scene = Scene::new(&learnt());
    scene.initialize();
    scene.host(call(1));
    scene.ready();
    scene.server(done(1));
    scene.server(json!({ "id": "q", "method": "elicitation/create" }));
    assert_eq!(scene.tick(500), []);
    assert_eq!(
        scene.tick(630),
        [Output::Stop],
        "a host that never answers does not keep it for ever"
    );
}

#[test]
fn who_only_asks_what_there_is_keeps_nothing() {
    let mut scene = Scene::new(&learnt());
    scene.initialize();
    scene.host(call(1));
    scene.ready();
    scene.server(done(1));
    for second in (5..30).step_by(5) {
        assert_eq!(scene.tick(second), []);
        for method in ["ping", "tools/list"] {
            scene.host(json!({ "id": second, "method": method }));
            scene.server(json!({ "id": second, "result": { "tools": [] } }));
        }
    }
    assert_eq!(scene.tick(30), [Output::Stop]);
}

/// A host that has said all it has to say is not kept waiting for a stream that never ends.
#[test]
fn a_stream_is_no_answer_that_is_owed() {
    let mut scene = Scene::new(&learnt());
    scene.initialize();
    scene.host(call(1));
    scene.ready();
    let wanted = json!({ "notifications": { "resourceSubscriptions": ["a"] } });
    scene.host(json!({ "id": "l", "method": "subscriptions/listen", "params": wanted }));
    assert!(scene.session.owes_answers());
    scene.server(done(1));
    assert!(!scene.session.owes_answers());
}

#[test]
fn a_task_keeps_its_server() {
    let mut scene = Scene::new(&learnt());
    scene.initialize();
    scene.host(json!({ "id": 1, "method": "tools/call", "params": { "name": "t", "task": { "ttl": 60000 } } }));
    scene.ready();
    scene.server(json!({ "id": 1, "result": { "task": { "taskId": "k", "status": "working", "ttl": 300_000 } } }));
    assert_eq!(scene.tick(299), []);
    let over = json!({ "method": "notifications/tasks/status", "params": { "taskId": "k", "status": "completed" } });
    scene.server(over);
    assert_eq!(scene.tick(320), []);
    assert_eq!(scene.tick(329), [Output::Stop]);
}

#[test]
fn what_was_in_flight_is_unknown_and_what_waited_goes_to_the_next() {
    let mut scene = Scene::new(&learnt());
    scene.initialize();
    scene.host(call(1));
    scene.ready();
    scene.server(done(1));
    scene.host(call(2));
    scene.host(call(3));
    scene.host(json!({ "method": "notifications/cancelled", "params": { "requestId": 3 } }));
    let answers = told(&scene.ended("exited with code 1"));
    assert_eq!(answers.len(), 1, "the cancelled one wants no answer: {answers:?}");
    assert_eq!((&answers[0]["id"], &answers[0]["error"]["code"]), (&json!(2), &json!(-32050)));
    assert_eq!(scene.host(call(4)), [Output::Start], "no back-off: it had worked");
}

#[test]
fn a_server_that_never_comes_up_is_tried_less_and_less_often() {
    let mut scene = Scene::new(&learnt());
    scene.initialize();
    let mut now = 0;
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(scene.host(call(1)), [Output::Start]);
        scene.started();
        let refused = told(&scene.ended("exited with code 1")).remove(0);
        assert_eq!(refused["error"]["code"], -32051, "{refused}");
        now += pause - 1;
        scene.now = at(now);
        let refused = told(&scene.host(call(2))).remove(0);
        assert!(refused["error"]["message"].as_str().unwrap().contains("next try"), "{refused}");
        now += 1;
        scene.now = at(now);
    }
    assert_eq!(scene.host(call(1)), [Output::Start]);
    assert_eq!(scene.tick(now + 299), []);
    let orders = scene.tick(now + 300);
    assert!(orders.contains(&Output::Stop), "it hangs: {orders:?}");
}

#[test]
fn a_request_that_is_cancelled_before_it_was_sent_is_never_sent() {
    let mut scene = Scene::new(&learnt());
    scene.initialize();
    scene.host(call(1));
    scene.host(json!({ "method": "notifications/cancelled", "params": { "requestId": 1 } }));
    assert_eq!(scene.session.waiting_bytes(), 0);
    let orders = scene.ready();
    assert!(!orders.iter().any(|order| format!("{order:?}").contains("tools/call")), "{orders:?}");
}

#[test]
fn ids_of_our_own_are_never_the_hosts() {
    let mut scene = Scene::new(&learnt());
    scene.initialize();
    // The host uses the very words.
    let taken = json!({ "id": "own-1", "method": "tools/call", "params": { "name": "t" } });
    scene.host(taken);
    let orders = scene.started();
    let opening = &sent(&orders)[0];
    assert_ne!(opening["id"], "own-1", "{opening}");
}

#[test]
fn a_changed_list_is_told_to_a_host_that_holds_the_old_one() {
    let memory = learnt();
    let mut scene = Scene::new(&memory);
    scene.initialize();
    scene.host(json!({ "id": 1, "method": "tools/list" }));
    scene.host(call(2));
    scene.started();
    let orders = scene.server(json!({ "id": "own-1", "result": result() }));
    let page = sent(&orders).into_iter().find(|said| said["method"] == "tools/list").unwrap();
    let first =
        json!({ "id": page["id"], "result": { "tools": [{ "name": "a" }], "nextCursor": "c" } });
    let orders = scene.server(first);
    let page = sent(&orders).remove(0);
    assert_eq!(page["params"]["cursor"], "c");
    let orders =
        scene.server(json!({ "id": page["id"], "result": { "tools": [{ "name": "b" }] } }));
    assert_eq!(told(&orders)[0]["method"], "notifications/tools/list_changed");
    let entry = memory.0.borrow().values().next().unwrap().clone();
    let Answer::Result(tools) = &entry.lists["tools/list"] else { panic!("{entry:?}") };
    assert_eq!(
        parsed(tools.get().as_bytes()),
        json!({ "tools": [{ "name": "a" }, { "name": "b" }] })
    );
}

#[test]
fn a_host_that_does_not_wait_is_heard_whole() {
    let mut scene = Scene::new(&Memory::default());
    let orders = scene.initialize();
    assert_eq!(orders, [Output::Start]);
    scene.host(call(1));
    let methods = |orders: &[Output]| -> Vec<String> {
        sent(orders).iter().map(|said| said["method"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(methods(&scene.started()), ["initialize", "tools/call"]);
    let orders = scene.server(json!({ "id": 0, "result": result() }));
    assert_eq!(methods(&orders), ["notifications/initialized", "tools/list"]);
}

#[test]
fn a_list_without_end_is_given_up() {
    let mut scene = Scene::new(&learnt());
    scene.initialize();
    scene.host(call(1));
    scene.started();
    let orders = scene.server(json!({ "id": "own-1", "result": result() }));
    let mut page = sent(&orders).into_iter().find(|said| said["method"] == "tools/list").unwrap();
    for number in 0.. {
        assert!(number < 2000, "it goes on for ever");
        let orders = scene.server(
            json!({ "id": page["id"], "result": { "tools": [], "nextCursor": number.to_string() } }),
        );
        match sent(&orders).pop() {
            Some(next) => page = next,
            None => break,
        }
    }
}

#[test]
fn questions_under_a_used_id_get_another() {
    let mut scene = Scene::new(&learnt());
    scene.initialize();
    scene.host(call(1));
    scene.ready();
    scene.server(done(1));
    scene.server(json!({ "id": 1, "method": "roots/list" }));
    let taken_back = told(&scene.ended("died"));
    assert_eq!(taken_back[0]["params"]["requestId"], 1);
    scene.host(call(2));
    scene.ready();
    let asked = told(&scene.server(json!({ "id": 1, "method": "roots/list" }))).remove(0);
    assert_ne!(asked["id"], 1);
    assert_eq!(scene.host(json!({ "id": 1, "result": { "late": 1 } })), []);
    let answered = sent(&scene.host(json!({ "id": asked["id"], "result": { "roots": [] } })));
    assert_eq!(answered[0]["id"], 1);
    // The server takes a question back by its own id.
    let again = told(&scene.server(json!({ "id": 1, "method": "roots/list" }))).remove(0);
    assert_eq!(again["id"], 1, "the late answer came: the id is free");
}

#[test]
fn nonsense_is_counted() {
    let mut scene = Scene::new(&learnt());
    for bad in ["x", "[1]", "{}", "[]", "3"] {
        scene.session.host_line(bad.as_bytes().to_vec(), scene.now);
        scene.session.server_line(bad.as_bytes().to_vec(), scene.now);
    }
    let counts = scene.session.counts();
    assert_eq!((counts.bad_host_lines, counts.bad_server_lines), (5, 5));
    assert_eq!(scene.memory.0.borrow().len(), 1);
}

mod any_order {
    use proptest::prelude::*;

    use super::*;

    fn event() -> impl Strategy<Value = u8> {
        0..17_u8
    }

    proptest! {
        /// Whatever happens in whatever order: every request is answered at most once, nothing starts twice, and an idle
        /// server is stopped in the end.
        #[test]
        fn at_most_one_answer_and_one_server(events in proptest::collection::vec(event(), 0..200)) {
            let mut scene = Scene::new(&learnt());
            scene.initialize();
            let mut running = 0_i32;
            let mut up = false;
            let mut stopping = false;
            let mut answered = HashMap::<String, u32>::new();
            let mut out: Vec<Value> = Vec::new();
            let mut next = 0;
            let mut second = 0;
            for event in events {
                next += 1;
                let orders = match event {
                    0..=2 => scene.host(call(next)),
                    3 => scene.host(json!({ "id": next, "method": "tools/list" })),
                    4 => scene.host(json!({ "method": "notifications/cancelled", "params": { "requestId": next - 1 } })),
                    5 if running == 1 && !up => { up = true; scene.started() }
                    6 if running == 1 => { running = 0; stopping = false; scene.ended("died") }
                    7 if running == 1 && !up => { running = 0; stopping = false; scene.session.start_failed("no", scene.now); scene.orders() }
                    8..=10 => match out.pop() {
                        Some(said) if said["method"] == "initialize" => scene.server(json!({ "id": said["id"], "result": result() })),
                        Some(said) if !said["id"].is_null() => scene.server(json!({ "id": said["id"], "result": { "content": [], "tools": [] } })),
                        _ => Vec::new(),
                    },
                    11 => scene.server(json!({ "id": next % 3, "method": "roots/list" })),
                    13 => scene.host(json!({ "id": next, "method": "ping" })),
                    14 => scene.host(json!({ "id": next, "method": "subscriptions/listen", "params": { "notifications": { "resourceSubscriptions": ["a"] } } })),
                    12 => scene.server(json!({ "method": "notifications/tools/list_changed" })),
                    _ => { second += 20; scene.tick(second) }
                };
                for order in &orders {
                    match order {
                        Output::Start => { prop_assert_eq!(running, 0); running = 1; up = false; out.clear(); }
                        Output::Stop => { prop_assert!(running == 1 && !stopping); stopping = true; }
                        Output::ToServer(line) => out.push(parsed(line)),
                        Output::ToHost(line) => {
                            let said = parsed(line);
                            if said["method"].is_null() {
                                let times = answered.entry(said["id"].to_string()).or_default();
                                *times += 1;
                                prop_assert_eq!(*times, 1, "{}", said);
                            }
                        }
                        Output::Say(_) => {}
                    }
                }
                if stopping && event % 2 == 0 {
                    running = 0;
                    stopping = false;
                    for order in scene.ended("was ended") {
                        match order {
                            Output::Start => { running = 1; up = false; out.clear(); }
                            Output::ToHost(line) => {
                                let said = parsed(&line);
                                if said["method"].is_null() {
                                    *answered.entry(said["id"].to_string()).or_default() += 1;
                                }
                            }
                            Output::ToServer(_) | Output::Stop | Output::Say(_) => {}
                        }
                    }
                }
            }
        }
    }
}
