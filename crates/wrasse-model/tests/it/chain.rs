use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;
use wrasse_config::{Provider, ProviderApi};
use wrasse_model::{ModelFault, Models, TurnFailure};

use crate::support::{Plan, Server, models, provider, request, scripted, turn};

fn failing() -> [Plan; 2] {
    [Plan::status(500, "broken"), Plan::status(500, "broken")]
}

#[tokio::test]
async fn the_next_of_the_chain_answers_where_one_fails() {
    let (first, second) =
        (Server::start(failing()).await, Server::start([Plan::text("I do")]).await);
    let models = models(vec![provider("local", &first.url), provider("other", &second.url)]);
    let reply = turn(&models, &["fast", "other/meta/llama"], request("hello")).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.model.as_str()), ("I do", "other/meta/llama"));
    assert_eq!((first.count(), second.count()), (2, 1));
    assert_eq!(second.asked(0).1["model"], "meta/llama", "a model's id may hold a slash");
}

#[tokio::test]
async fn an_exhausted_chain_lists_every_fault_in_order() {
    let first = Server::start(failing()).await;
    let second = Server::start([Plan::status(401, "")]).await;
    let unsupported = Provider {
        id: String::from("claude"),
        api: ProviderApi::Unsupported { api: String::from("anthropic-messages") },
        timeout: None,
        headers: BTreeMap::new(),
        models: Vec::new(),
    };
    let providers =
        vec![provider("local", &first.url), provider("other", &second.url), unsupported];
    let chain = ["local/small", "other/small", "claude/large", "nobody/x"];
    let failure = turn(&models(providers), &chain, request("hello")).await.unwrap_err();
    let TurnFailure::Exhausted(errors) = &failure else {
        panic!("not exhausted: {failure}");
    };
    let found: Vec<_> = errors.iter().map(|error| (error.model.as_str(), error.kind)).collect();
    let expected = [
        ("local/small", ModelFault::Server),
        ("other/small", ModelFault::Auth),
        ("claude/large", ModelFault::Unsupported),
        ("nobody/x", ModelFault::NotConfigured),
    ];
    assert_eq!(found, expected);
    let text = failure.to_string();
    assert!(text.contains("anthropic-messages") && text.contains("nobody"), "{text}");
}

#[tokio::test]
async fn a_reference_to_nothing_says_what_there_is() {
    let models = models(vec![provider("local", "http://127.0.0.1:1/v1")]);
    let table = [
        ("locl/small", "did you mean \"local/small\"?"),
        ("small", "neither provider/model nor an alias"),
        ("fats", "did you mean \"fast\"?"),
        ("/small", "must have the form provider/model"),
        ("zzzzzz/zzzzzzzzz", "configured: "),
    ];
    for (reference, word) in table {
        let failure = turn(&models, &[reference], request("hello")).await.unwrap_err();
        let error = &failure.errors()[0];
        assert_eq!((error.kind, error.model.as_str()), (ModelFault::NotConfigured, reference));
        assert!(error.message.contains(word), "{error}");
    }
    let none =
        Models::new(&wrasse_config::Models { providers: Vec::new(), aliases: BTreeMap::new() });
    let failure = turn(&none, &["a/b"], request("hello")).await.unwrap_err();
    assert!(failure.to_string().contains("models.providers"), "{failure}");
    let failure = turn(&none, &[], request("hello")).await.unwrap_err();
    assert!(failure.to_string().contains("agent main has no model"), "{failure}");
}

#[tokio::test]
async fn a_cancelled_token_asks_nobody() {
    let server = Server::start([Plan::text("no")]).await;
    let models = models(vec![provider("local", &server.url)]);
    let token = CancellationToken::new();
    token.cancel();
    let outcome = models.turn(&[String::from("fast")], request("hello"), &token).await;
    assert_eq!(outcome, Err(TurnFailure::Cancelled));
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn models_are_listed_and_tested_without_showing_secrets() {
    let server = Server::start([Plan::text("ready")]).await;
    let path = std::path::Path::new("script.json5");
    let url = server.url.replace("127.0.0.1", "user:password@127.0.0.1");
    let models = models(vec![provider("local", &url), scripted("script", path)]);
    let list = models.list();
    assert_eq!(list[0].reference, "local/small");
    assert_eq!(list[0].aliases, ["fast"]);
    assert!(list[0].has_key && !list[0].endpoint.contains("password"));
    assert_eq!(
        (list[1].reference.as_str(), list[1].endpoint.as_str()),
        ("script/*", "script.json5")
    );
    let report = models.test("fast", &CancellationToken::new()).await.unwrap();
    assert_eq!((report.model.as_str(), report.text.as_str()), ("local/small", "ready"));
}
