//! Two or three shims, one server, and nobody gets what is another's.

use std::time::Duration;

use serde_json::{Value, json};
use wrasse_scope::clock::{self, BootInstant};

use super::{CallerId, Hub, Output};

struct Stage {
    hub: Hub,
    now: BootInstant,
    /// What the server was sent.
    server: Vec<Value>,
    /// What the shims were sent.
    callers: Vec<(CallerId, Value)>,
    said: Vec<String>,
}

impl Stage {
    fn with(callers: &[CallerId]) -> Self {
        let now = clock::now();
        let hub = Hub::new("fix", now);
        let mut stage =
            Self { hub, now, server: Vec::new(), callers: Vec::new(), said: Vec::new() };
        for caller in callers {
            stage.hub.attach(*caller, Some(Duration::from_secs(30)), now);
        }
        stage
    }

    fn collect(&mut self) {
        let read = |line: Vec<u8>| serde_json::from_slice(&line).unwrap();
        while let Some(output) = self.hub.next_output() {
            match output {
                Output::To(caller, line) => self.callers.push((caller, read(line))),
                Output::ToServer(line) => self.server.push(read(line)),
                Output::SayAll(text) => self.said.push(text),
            }
        }
    }

    fn from(&mut self, caller: CallerId, message: &Value) {
        self.hub.caller_line(caller, message.to_string().as_bytes(), self.now);
        self.collect();
    }

    fn call(&mut self, caller: CallerId, id: &Value) -> Value {
        self.request(caller, id, "tools/call", json!({ "name": "x" }))
    }

    /// Sends a request and returns the id under which the server has it.
    fn request(&mut self, caller: CallerId, id: &Value, method: &str, params: Value) -> Value {
        self.from(
            caller,
            &json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }),
        );
        self.server.last().unwrap()["id"].clone()
    }

    fn says(&mut self, message: &Value) {
        self.hub.server_line(message.to_string().as_bytes(), self.now);
        self.collect();
    }

    fn answers(&mut self, id: &Value, result: Value) {
        self.says(&json!({ "jsonrpc": "2.0", "id": id, "result": result }));
    }

    fn heard(&mut self) -> Vec<(CallerId, Value)> {
        std::mem::take(&mut self.callers)
    }
}

/// failure mode J8
#[test]
fn equal_ids_of_two_sessions_are_told_apart() {
    let mut stage = Stage::with(&[1, 2]);
    let one = stage.call(1, &json!(7));
    let two = stage.call(2, &json!(7));
    assert_ne!(one, two);
    stage.answers(&two, json!({ "for": 2 }));
    stage.answers(&one, json!({ "for": 1 }));
    // The same answer again is nobody's.
    stage.answers(&one, json!({ "for": 1 }));
    let expected =
        |caller: u64| (caller, json!({ "jsonrpc": "2.0", "id": 7, "result": { "for": caller } }));
    assert_eq!(stage.heard(), [expected(2), expected(1)]);
}

#[test]
fn the_server_is_opened_once_and_all_get_the_answer() {
    let mut stage = Stage::with(&[1, 2, 3]);
    let params = json!({ "protocolVersion": "2025-11-25" });
    let open = stage.request(1, &json!("a"), "initialize", params.clone());
    stage.request(2, &json!("b"), "initialize", params.clone());
    assert_eq!(stage.server.len(), 1);
    // Who asked first is gone before the answer.
    stage.hub.detach(1, stage.now);
    stage.answers(&open, json!({ "v": 1 }));
    stage.request(3, &json!("c"), "initialize", params);
    for caller in [2, 3] {
        stage.from(caller, &json!({ "method": "notifications/initialized" }));
    }
    let told: Vec<_> =
        stage.heard().into_iter().map(|(to, line)| (to, line["id"].clone())).collect();
    assert_eq!(told, [(2, json!("b")), (3, json!("c"))]);
    let methods: Vec<_> = stage.server.iter().map(|line| line["method"].clone()).collect();
    assert_eq!(methods, [json!("initialize"), json!("notifications/initialized")]);
}

#[test]
fn progress_goes_to_who_called_under_its_own_token() {
    let mut stage = Stage::with(&[1, 2]);
    let params = json!({ "name": "x", "_meta": { "progressToken": 1 } });
    stage.request(1, &json!(1), "tools/call", params.clone());
    stage.request(2, &json!(1), "tools/call", params);
    let tokens: Vec<_> =
        stage.server.iter().map(|line| line["params"]["_meta"]["progressToken"].clone()).collect();
    assert_ne!(tokens[0], tokens[1]);
    for token in [&tokens[1], &json!("nobody's"), &tokens[0]] {
        stage.says(&json!({ "method": "notifications/progress",
            "params": { "progressToken": token, "progress": 0.5 } }));
    }
    let heard = stage.heard();
    assert_eq!(heard.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [2, 1]);
    assert!(heard.iter().all(|(_, line)| line["params"]["progressToken"] == 1), "{heard:?}");
}

#[test]
fn one_cancels_only_its_own() {
    let mut stage = Stage::with(&[1, 2]);
    stage.call(1, &json!(5));
    let two = stage.call(2, &json!(5));
    stage.server.clear();
    stage.from(1, &json!({ "method": "notifications/cancelled", "params": { "requestId": 6 } }));
    assert_eq!(stage.server, [] as [Value; 0]);
    stage.from(2, &json!({ "method": "notifications/cancelled", "params": { "requestId": 5 } }));
    assert_eq!(stage.server[0]["params"]["requestId"], two);
    stage.answers(&two, json!({}));
    assert_eq!(stage.heard(), [], "a cancelled call has no answer");
}

fn question(id: u32) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": {} })
}

#[test]
fn a_question_goes_to_who_must_be_meant() {
    let mut stage = Stage::with(&[1, 2]);
    stage.call(2, &json!(1));
    stage.says(&question(0));
    let heard = stage.heard();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].0, 2);
    let id = heard[0].1["id"].clone();
    // Nobody answers for another.
    stage.server.clear();
    stage.from(1, &json!({ "id": id, "result": { "action": "accept" } }));
    assert_eq!(stage.server, [] as [Value; 0]);
    stage.from(2, &json!({ "id": id, "result": { "action": "decline" } }));
    assert_eq!(stage.server[0], json!({ "id": 0, "result": { "action": "decline" } }));
}

/// failure mode J8
#[test]
fn a_question_is_refused_when_another_could_be_meant() {
    let refused = |prepare: fn(&mut Stage)| {
        let mut stage = Stage::with(&[1, 2]);
        prepare(&mut stage);
        stage.heard();
        stage.server.clear();
        stage.says(&question(3));
        assert_eq!(stage.heard(), []);
        assert_eq!(stage.server[0]["id"], 3);
        let why = stage.server[0]["error"]["message"].as_str().unwrap().to_owned();
        assert!(why.contains("--scope private"), "{why}");
        assert_eq!(stage.said.len(), 1, "{:?}", stage.said);
    };
    refused(|_| {});
    refused(|stage| {
        stage.call(1, &json!(1));
        stage.call(2, &json!(1));
    });
    refused(|stage| {
        stage.call(1, &json!(1));
        stage.call(1, &json!(2));
    });
    // The server may still be at work on what was cancelled, or left behind.
    refused(|stage| {
        stage.call(1, &json!(1));
        stage
            .from(1, &json!({ "method": "notifications/cancelled", "params": { "requestId": 1 } }));
        stage.call(2, &json!(1));
    });
    refused(|stage| {
        stage.call(1, &json!(1));
        stage.hub.detach(1, stage.now);
        stage.call(2, &json!(1));
    });
    refused(|stage| {
        let id = stage.call(1, &json!(1));
        stage.answers(&id, json!({ "task": { "taskId": "t", "status": "working" } }));
        stage.call(2, &json!(1));
    });
}

#[test]
fn a_list_asks_nobody_anything() {
    let mut stage = Stage::with(&[1, 2]);
    stage.call(1, &json!(1));
    stage.request(2, &json!(1), "tools/list", json!({}));
    stage.says(&question(3));
    assert_eq!(stage.heard()[0].0, 1);
}

#[test]
fn updates_go_to_who_subscribed() {
    let mut stage = Stage::with(&[1, 2]);
    let uri = json!({ "uri": "file:///a" });
    for caller in [1, 2] {
        let id = stage.request(caller, &json!(1), "resources/subscribe", uri.clone());
        stage.answers(&id, json!({}));
    }
    stage.heard();
    let update = json!({ "method": "notifications/resources/updated", "params": uri });
    stage.says(&update);
    assert_eq!(stage.heard().len(), 2);
    stage.server.clear();
    stage.from(1, &json!({ "id": 2, "method": "resources/unsubscribe", "params": uri }));
    assert_eq!(stage.server, [] as [Value; 0], "somebody else still listens");
    stage.heard();
    stage.says(&update);
    assert_eq!(stage.heard().iter().map(|(to, _)| *to).collect::<Vec<_>>(), [2]);
    assert_eq!(stage.hub.idle_at(stage.now), None);
    stage.hub.detach(2, stage.now);
    stage.collect();
    assert_eq!(stage.server[0]["method"], "resources/unsubscribe");
}

#[test]
fn each_hears_the_log_at_its_own_level() {
    let mut stage = Stage::with(&[1, 2]);
    for (caller, level) in [(1, "error"), (2, "debug")] {
        stage.from(
            caller,
            &json!({ "id": 1, "method": "logging/setLevel", "params": { "level": level } }),
        );
    }
    let asked: Vec<_> = stage.server.iter().map(|line| line["params"]["level"].clone()).collect();
    assert_eq!(asked, [json!("error"), json!("debug")], "the chattiest wins");
    stage.heard();
    let message =
        |level: &str| json!({ "method": "notifications/message", "params": { "level": level } });
    stage.says(&message("info"));
    stage.says(&message("alert"));
    assert_eq!(stage.heard().iter().map(|(to, _)| *to).collect::<Vec<_>>(), [2, 1, 2]);
}

#[test]
fn tasks_are_their_owners() {
    let mut stage = Stage::with(&[1, 2]);
    let id = stage.call(1, &json!(1));
    stage.answers(&id, json!({ "task": { "taskId": "t", "status": "working" } }));
    stage.heard();
    for method in ["tasks/get", "tasks/result", "tasks/cancel", "tasks/list"] {
        stage.server.clear();
        stage.from(2, &json!({ "id": 4, "method": method, "params": { "taskId": "t" } }));
        assert_eq!(stage.server, [] as [Value; 0], "{method}");
        assert!(stage.heard()[0].1["error"]["message"].is_string());
    }
    stage.says(&json!({ "method": "notifications/tasks/status",
        "params": { "taskId": "t", "status": "completed" } }));
    assert_eq!(stage.heard()[0].0, 1);
    assert!(stage.hub.idle_at(stage.now).is_some());
    // What is asked on behalf of a task is for who began it.
    stage.says(&json!({ "id": 9, "method": "elicitation/create", "params": {
        "_meta": { "io.modelcontextprotocol/related-task": { "taskId": "t" } } } }));
    assert_eq!(stage.heard()[0].0, 1);
}

#[test]
fn a_list_that_changed_is_told_to_all_and_what_is_nobodys_to_none() {
    let mut stage = Stage::with(&[1, 2]);
    stage.says(&json!({ "method": "notifications/tools/list_changed" }));
    assert_eq!(stage.heard().len(), 2);
    stage.says(&json!({ "method": "notifications/of/somebody", "params": { "secret": 1 } }));
    assert_eq!(stage.heard(), []);
    // A stream of the stateless era is named by the request that opened it.
    let id = stage.request(2, &json!("l"), "subscriptions/listen", json!({}));
    stage.says(&json!({ "method": "notifications/tools/list_changed",
        "params": { "_meta": { "io.modelcontextprotocol/subscriptionId": id } } }));
    let heard = stage.heard();
    assert_eq!(heard[0].0, 2);
    assert_eq!(heard[0].1["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "l");
    assert_eq!(heard.len(), 1);
}

#[test]
fn the_longest_idle_time_counts_and_a_call_stops_the_clock() {
    let mut stage = Stage::with(&[1]);
    let idle = |stage: &Stage| stage.hub.idle_at(stage.now).map(|at| at.since(stage.now).as_secs());
    assert_eq!(idle(&stage), Some(30));
    stage.hub.attach(2, Some(Duration::from_secs(90)), stage.now);
    assert_eq!(idle(&stage), Some(90));
    let id = stage.call(1, &json!(1));
    assert_eq!(idle(&stage), None);
    stage.answers(&id, json!({}));
    assert_eq!(idle(&stage), Some(90));
    stage.hub.attach(3, None, stage.now);
    assert_eq!(idle(&stage), None);
}

#[test]
fn what_passes_is_not_written_anew() {
    let mut stage = Stage::with(&[1]);
    let odd = br#"{"id":1,"method":"tools/call","params":{"arguments":{"n":123456789012345678901234567890,"x":1.50}}}"#;
    stage.hub.caller_line(1, odd, stage.now);
    let Some(Output::ToServer(line)) = stage.hub.next_output() else { panic!("nothing was sent") };
    let line = String::from_utf8(line).unwrap();
    assert!(
        line.ends_with(r#""params":{"arguments":{"n":123456789012345678901234567890,"x":1.50}}}"#),
        "{line}"
    );
}

/// failure mode E9
#[test]
fn who_only_asks_whether_it_is_there_does_not_keep_it() {
    let mut stage = Stage::with(&[1]);
    let idle = |stage: &Stage| stage.hub.idle_at(stage.now).map(|at| at.since(stage.now).as_secs());
    stage.now = stage.now + Duration::from_secs(20);
    for (id, method) in [(1, "ping"), (2, "tools/list")] {
        let own = stage.request(1, &json!(id), method, json!({}));
        stage.answers(&own, json!({}));
    }
    assert_eq!(idle(&stage), Some(10));
    // One that is never answered, likewise.
    stage.request(1, &json!(3), "ping", json!({}));
    assert_eq!(idle(&stage), Some(10));
    let own = stage.call(1, &json!(4));
    stage.answers(&own, json!({}));
    assert_eq!(idle(&stage), Some(30));
}

#[test]
fn what_was_cancelled_is_forgotten_in_the_end() {
    let mut stage = Stage::with(&[1, 2]);
    for id in 0..3 {
        stage.call(1, &json!(id));
        stage.from(
            1,
            &json!({ "method": "notifications/cancelled", "params": { "requestId": id } }),
        );
    }
    stage.hub.detach(1, stage.now);
    stage.now = stage.now + Duration::from_secs(601);
    stage.call(2, &json!(1));
    stage.heard();
    stage.says(&question(3));
    assert_eq!(stage.heard()[0].0, 2, "nobody else can be meant any more");
    stage.from(2, &json!({ "method": "notifications/cancelled", "params": { "requestId": 1 } }));
    assert_eq!(stage.hub.calls.len(), 1);
}

#[test]
fn tasks_that_are_over_are_not_remembered_without_end() {
    let mut stage = Stage::with(&[1]);
    for number in 0..super::TASKS_MAX + 10 {
        let id = stage.call(1, &json!(number));
        let status = if number == 0 { "working" } else { "completed" };
        stage.answers(&id, json!({ "task": { "taskId": format!("t{number}"), "status": status } }));
        stage.now = stage.now + Duration::from_millis(1);
    }
    assert_eq!(stage.hub.tasks.len(), super::TASKS_MAX);
    assert!(stage.hub.tasks.contains_key("t0"), "it is at work");
    assert!(!stage.hub.tasks.contains_key("t1"));
}

#[test]
fn a_call_that_comes_while_the_server_ends_is_not_started() {
    let mut stage = Stage::with(&[1]);
    let too_late = |stage: &mut Stage, method: &str| {
        let line = json!({ "id": 1, "method": method, "params": {} }).to_string();
        stage.hub.caller_too_late(1, line.as_bytes());
        stage.collect();
        stage.heard()
    };
    let heard = too_late(&mut stage, "tools/call");
    assert_eq!(heard[0].1["error"]["code"], -32051);
    assert_eq!(heard[0].1["error"]["data"]["wrasse"]["outcome"], "not started");
    for method in ["initialize", "ping", "tools/list", "subscriptions/listen"] {
        assert_eq!(too_late(&mut stage, method), [], "{method}: the session settles it");
    }
    assert_eq!(stage.server, [] as [Value; 0]);
}

#[test]
fn an_update_is_of_what_was_subscribed_to_or_below_it() {
    let mut stage = Stage::with(&[1]);
    let id = stage.request(1, &json!(1), "resources/subscribe", json!({ "uri": "file:///a" }));
    stage.answers(&id, json!({}));
    stage.heard();
    for uri in ["file:///ab", "file:///a/b", "file:///b", "file:///a"] {
        stage.says(
            &json!({ "method": "notifications/resources/updated", "params": { "uri": uri } }),
        );
    }
    let heard: Vec<_> =
        stage.heard().into_iter().map(|(_, line)| line["params"]["uri"].clone()).collect();
    assert_eq!(heard, [json!("file:///a/b"), json!("file:///a")]);
}
