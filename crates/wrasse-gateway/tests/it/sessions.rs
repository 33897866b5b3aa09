//! Reset, lazy reset, delete, and what a session is found by.

use std::time::Duration;

use serde_json::{Value, json};
use wrasse_config::Reset;
use wrasse_types::{EndReason, SessionKey, UnixMillis};

use crate::station::{Station, eventually, rule};

fn hangs_on(word: &str) -> Value {
    json!([rule(json!({ "text": word }), json!({ "hang": true }))])
}

async fn hanging_run(station: &Station, key: &str) -> String {
    let run = station.begin(key, "hang on").await;
    eventually("it works", async || {
        station.active().await.iter().any(|run| run["state"] == "running")
    })
    .await;
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_ends_the_run_and_begins_anew() {
    let station = Station::start(hangs_on("hang"), json!({})).await;
    station.say("s", "before").await;
    let before = station.ok("sessions.show", json!({ "key": "s" })).await;
    let run = hanging_run(&station, "s").await;
    let reset = station.ok("sessions.reset", json!({ "key": "s" })).await;
    assert_eq!(reset["endedRuns"], json!([run]));
    assert_ne!(reset["sessionId"], before["session"]["sessionId"]);
    assert_eq!(station.run(&run).await.end, Some(EndReason::SessionReset));
    assert_eq!(station.texts("s").await, []);
    assert_eq!(station.say("s", "after").await, "heard: after");
    assert_eq!(station.texts("s").await.len(), 2);
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_ends_the_run_and_the_record_but_never_a_main_session() {
    let station = Station::start(hangs_on("hang"), json!({})).await;
    let run = hanging_run(&station, "s").await;
    station.ok("sessions.delete", json!({ "key": "s" })).await;
    assert_eq!(station.run(&run).await.end, Some(EndReason::SessionDeleted));
    assert_eq!(station.refused("sessions.show", json!({ "key": "s" })).await.code, "not_found");
    assert_eq!(station.refused("sessions.delete", json!({ "key": "s" })).await.code, "not_found");
    assert_eq!(station.say("s", "again").await, "heard: again", "the key can be used anew");
    station.say("main", "x").await;
    let refused = station.refused("sessions.delete", json!({ "key": "main" })).await;
    assert_eq!(refused.code, "refused");
    assert_eq!(refused.help.unwrap(), "wrasse sessions reset agent:main:main");
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_session_begins_anew_when_a_message_comes() {
    // The file says whole minutes; a test has less time, and yet the second run must begin within it.
    let idle = Duration::from_secs(3);
    let station = Station::start_tuned(hangs_on("hang"), |config| {
        config.session = wrasse_config::Session { reset: Reset::None, reset_idle: Some(idle) };
    })
    .await;
    station.say("s", "before").await;
    let run = hanging_run(&station, "s").await;
    let key = SessionKey::from_store("agent:main:s");
    eventually("the session has expired", async || {
        let row = station.store.session(&key).await.unwrap().unwrap();
        UnixMillis::now().since(row.last_interaction_at) > idle
    })
    .await;
    assert_eq!(station.say("s", "after").await, "heard: after");
    assert_eq!(station.run(&run).await.end, Some(EndReason::SessionLazyReset));
    assert_eq!(station.texts("s").await.len(), 2, "the old span is not read");
    let shown = station.ok("sessions.show", json!({ "key": "s" })).await;
    assert_eq!(shown["session"]["resetCount"], 1);
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_found_by_id_or_by_the_name_it_is_given() {
    let station = Station::start(json!([]), json!({})).await;
    let by_name = json!({ "sessionId": "Probe-1", "message": "a" });
    let first = station.ok("agent", by_name.clone()).await;
    assert_eq!(first["sessionKey"], "agent:main:explicit:probe-1");
    let second = station.ok("agent", by_name).await;
    assert_eq!(second["sessionKey"], first["sessionKey"]);
    let shown = station.ok("sessions.show", json!({ "key": first["sessionKey"] })).await;
    let by_id = json!({ "sessionId": shown["session"]["sessionId"], "message": "b" });
    assert_eq!(station.ok("agent", by_id).await["sessionKey"], first["sessionKey"]);
    station.quiet().await;
    for key in ["agent:main:subagent:made-up", "agent:main:cron:x", "agent:main:acp:x"] {
        let refused = station.refused("agent", json!({ "sessionKey": key, "message": "x" })).await;
        assert_eq!(refused.code, "refused", "{key}");
    }
    assert_eq!(
        station.refused("agent", json!({ "agentId": "nobody", "message": "x" })).await.code,
        "not_found"
    );
    station.stop().await;
}
