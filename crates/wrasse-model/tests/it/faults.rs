//! What is said when an endpoint does not answer as it should, and how often it is asked.

use std::time::Duration;

use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use wrasse_model::{ModelError, ModelFault, TurnFailure};

use crate::support::{KEY, Plan, Server, Step, ask, delta, event, models, provider, request, turn};

fn single(failure: TurnFailure) -> ModelError {
    match failure {
        TurnFailure::Single(error) => error,
        TurnFailure::Cancelled | TurnFailure::Exhausted(_) => panic!("not a single one: {failure}"),
    }
}

/// The endpoint answers like this; the fault is of this kind, says these words, after so many requests.
async fn check(plans: Vec<Plan>, kind: ModelFault, words: &[&str], requests: usize) {
    let server = Server::start(plans).await;
    let error = single(ask(&server).await.unwrap_err());
    assert_eq!(error.kind, kind, "{error}");
    assert_eq!(error.model, "local/small");
    for word in words.iter().chain(&["model endpoint http://127.0.0.1:"]) {
        assert!(error.message.contains(word), "{word:?} is missing in: {error}");
    }
    assert_eq!(server.count(), requests, "{error}");
}

#[tokio::test]
async fn a_wrong_key_is_said_and_not_tried_again() {
    let body = json!({ "error": { "message": format!("Incorrect API key provided: {KEY}") } });
    let words = ["401", "Incorrect API key provided: (secret)", "models.providers.local.apiKey"];
    check(vec![Plan::status(401, &body.to_string())], ModelFault::Auth, &words, 1).await;
}

#[tokio::test]
async fn statuses_have_kinds() {
    let over = "{\"error\":{\"message\":\"This model's maximum context length is 8192 tokens\"}}";
    let coded = "{\"error\":{\"message\":\"too long\",\"code\":\"context_length_exceeded\"}}";
    let quota = "{\"error\":{\"message\":\"You exceeded your current quota\"}}";
    let table = [
        (403, "{\"detail\":\"no\"}", ModelFault::Auth, "no"),
        (404, "{\"error\":\"no model small\"}", ModelFault::NotConfigured, "ends in /v1"),
        (400, over, ModelFault::ContextOverflow, "reset the session"),
        (400, coded, ModelFault::ContextOverflow, "context_length_exceeded"),
        (400, "{\"message\":\"bad schema\"}", ModelFault::Refused, "bad schema"),
        (402, "pay first", ModelFault::Refused, "pay first"),
        (429, quota, ModelFault::Refused, "quota"),
        (422, "{\"detail\":[{\"msg\":\"field required\"}]}", ModelFault::Refused, "field required"),
        (307, "", ModelFault::NotConfigured, "baseUrl"),
        (504, "", ModelFault::Timeout, "504"),
    ];
    for (status, body, kind, word) in table {
        check(vec![Plan::status(status, body)], kind, &[word], 1).await;
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_key() {
    let plan = Plan::status(302, "").header("location", "https://u:p@elsewhere.test/v1?k=1");
    let words = ["302", "https://elsewhere.test/v1", "baseUrl"];
    check(vec![plan], ModelFault::NotConfigured, &words, 1).await;
}

#[tokio::test]
async fn failing_endpoints_are_asked_twice() {
    let page = "<!doctype html><html><head><title>502 Bad Gateway</title></head></html>";
    let titled = ["502", "a web page titled \"502 Bad Gateway\""];
    check(vec![Plan::status(502, page), Plan::status(502, page)], ModelFault::Server, &titled, 2)
        .await;
    let busy = || Plan::status(503, "busy");
    check(vec![busy(), busy()], ModelFault::Overloaded, &["503: busy"], 2).await;
}

#[tokio::test]
async fn a_rate_limit_that_passes_is_waited_for() {
    let limited = Plan::status(429, "{\"error\":{\"message\":\"slow down\"}}");
    let plans = [limited.header("retry-after", "0.6"), Plan::text("now")];
    let server = Server::start(plans).await;
    assert_eq!(ask(&server).await.unwrap().text, "now");
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn a_rate_limit_that_lasts_is_not_waited_for() {
    let limited = Plan::status(429, "later").header("retry-after", "3600");
    check(vec![limited], ModelFault::RateLimited, &["429: later"], 1).await;
}

#[tokio::test]
async fn a_cut_connection_is_tried_again() {
    let cut = || Plan::steps(vec![event(&delta(json!({ "content": "Hal" }))), Step::Cut]);
    let server = Server::start([cut(), Plan::text("whole")]).await;
    assert_eq!(ask(&server).await.unwrap().text, "whole", "no half answer is left in it");
    let words = ["broke before the answer was complete"];
    check(vec![cut(), cut()], ModelFault::Network, &words, 2).await;
}

#[tokio::test]
async fn a_stream_that_just_ends_is_not_taken_for_whole() {
    let short = || Plan::steps(vec![event(&delta(json!({ "content": "Hal" })))]);
    let words = ["ended before the answer was complete"];
    check(vec![short(), short()], ModelFault::Network, &words, 2).await;
}

#[tokio::test]
async fn what_is_no_stream_of_completions_is_a_bad_reply() {
    let garbage = Step::Send(b"data: }{ garbage\n\n".to_vec());
    let words = ["not a chat completion", "}{ garbage"];
    check(vec![Plan::steps(vec![garbage])], ModelFault::BadReply, &words, 1).await;
    check(vec![Plan::status(200, "")], ModelFault::BadReply, &["empty"], 1).await;
    let page = Plan::status(200, "<html><title>Router login</title></html>");
    let words = ["a web page titled \"Router login\"", "/v1"];
    check(vec![page], ModelFault::NotConfigured, &words, 1).await;
}

#[tokio::test]
async fn a_line_of_20_mb_is_refused() {
    let piece = vec![b'x'; 1024 * 1024];
    let mut steps = vec![Step::Send(b"data: {\"choices\":[{\"delta\":{\"content\":\"".to_vec())];
    steps.extend((0..20).map(|_| Step::Send(piece.clone())));
    steps.push(Step::Stall);
    check(vec![Plan::steps(steps)], ModelFault::BadReply, &["more than 4 MiB"], 1).await;
}

#[tokio::test]
async fn a_json_answer_of_20_mb_is_refused() {
    let mut body = String::from("{\"choices\":[{\"message\":{\"content\":\"");
    body.push_str(&"x".repeat(20 * 1024 * 1024));
    check(vec![Plan::status(200, &body)], ModelFault::BadReply, &["more than 16 MiB"], 1).await;
}

#[tokio::test]
async fn silence_ends_a_turn_wherever_it_begins() {
    let hello = || event(&delta(json!({ "content": "Hal" })));
    let plans = [
        vec![Step::Stall],
        vec![hello(), Step::Stall],
        // Signs of life are not an answer.
        vec![hello(), Step::Comments],
    ];
    for steps in plans {
        let server = Server::start([Plan::steps(steps)]).await;
        let models = models(vec![provider("local", &server.url)]);
        let mut asked = request("hello");
        asked.idle_timeout = Some(Duration::from_secs(1));
        let error = single(turn(&models, &["local/small"], asked).await.unwrap_err());
        assert_eq!(error.kind, ModelFault::Timeout);
        assert!(error.message.contains("said nothing for 1s"), "{error}");
        assert_eq!(server.count(), 1);
        server.bodies_open(0).await;
    }
}

#[tokio::test]
async fn the_providers_own_limit_counts_too() {
    // A listener that never accepts: the connection stands, nothing is ever answered.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut local = provider("local", &format!("http://{}/v1", deaf.local_addr().unwrap()));
    local.timeout = Some(Duration::from_millis(300));
    let failure = turn(&models(vec![local]), &["fast"], request("hello")).await.unwrap_err();
    assert_eq!(single(failure).kind, ModelFault::Timeout);
}

/// A port that nobody else gets and nobody listens on, for as long as this lives.
fn refusing() -> TcpSocket {
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    taken
}

#[tokio::test]
async fn a_refused_connection_asks_whether_it_is_running() {
    let taken = refusing();
    let url = format!("http://user:{KEY}@{}/v1", taken.local_addr().unwrap());
    let models = models(vec![provider("local", &url)]);
    let error = single(turn(&models, &["fast"], request("hello")).await.unwrap_err());
    assert_eq!(error.kind, ModelFault::Network);
    assert!(error.message.contains("refused the connection: is it running?"), "{error}");
}

/// The TLS side is built without a provider installed by anyone else, or says what the machine lacks.
#[tokio::test]
async fn an_https_endpoint_is_built_at_first_use() {
    let taken = refusing();
    let url = format!("https://{}/v1", taken.local_addr().unwrap());
    let models = models(vec![provider("local", &url)]);
    let error = single(turn(&models, &["fast"], request("hello")).await.unwrap_err());
    let refused = error.message.contains("refused the connection");
    assert!(refused || error.message.contains("no HTTP client could be made"), "{error}");
}

#[tokio::test]
async fn what_cannot_work_is_said_before_anything_is_sent() {
    let table =
        [("not a url", "not an http or https URL"), ("ftp://127.0.0.1/v1", "http or https")];
    for (url, word) in table {
        let models = models(vec![provider("local", url)]);
        let error = single(turn(&models, &["fast"], request("hello")).await.unwrap_err());
        assert_eq!(error.kind, ModelFault::NotConfigured);
        assert!(error.message.contains(word), "{error}");
    }
    let mut local = provider("local", "http://127.0.0.1:1/v1");
    local.headers.insert(String::from("bad name"), wrasse_config::Secret::new("value"));
    let error = single(turn(&models(vec![local]), &["fast"], request("x")).await.unwrap_err());
    assert!(error.message.contains("header \"bad name\""), "{error}");
}
