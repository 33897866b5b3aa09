use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use wrasse_model::{Message, ModelFault, Models, ToolCall, TurnFailure, TurnReply, TurnRequest};
use wrasse_scope::clock;
use wrasse_types::{AgentId, SessionKey};

use crate::support::{models, request, scripted, turn};

struct Script {
    models: Models,
    path: PathBuf,
    _dir: TempDir,
}

fn script(text: &str) -> Script {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script.json5");
    std::fs::write(&path, text).unwrap();
    Script { models: models(vec![scripted("script", &path)]), path, _dir: dir }
}

impl Script {
    async fn ask(&self, request: TurnRequest) -> Result<TurnReply, TurnFailure> {
        turn(&self.models, &["script/any"], request).await
    }

    async fn says(&self, request: TurnRequest) -> String {
        self.ask(request).await.unwrap().text
    }
}

fn assistant(calls: Vec<ToolCall>) -> Message {
    Message::Assistant { text: String::from("so"), tool_calls: calls }
}

fn tool(text: &str) -> Message {
    Message::ToolResult {
        call_id: String::from("c"),
        name: String::from("t"),
        text: String::from(text),
        is_error: false,
    }
}

fn with(messages: Vec<Message>) -> TurnRequest {
    TurnRequest { messages, ..request("") }
}

const RULES: &str = r"
// The first match wins.
{ rules: [
    { when: { agent: 'hub', text: 'plan' }, reply: { text: 'hub plans' } },
    { when: { depth: 2 }, reply: { text: 'leaf {{depth}} of {{session}}' } },
    { when: { last: 'tool', text: 'row 7' }, reply: { text: 'found {{last}}' } },
    { when: { last: 'tool', turn: 2 }, reply: { text: 'second' } },
    { when: { text: 'begin' }, reply: { text: 'calling', calls: [
        { name: 'fs__read', arguments: { path: 'a {{agent}}', deep: [ '{{last}}', 5, null ] } },
        { name: 'fs__list' } ] } },
    { when: { text: 'mustache' }, reply: { text: '{{ x }} {{{agent}} {{last' } },
  ],
  otherwise: { text: 'otherwise' } }
";

#[tokio::test]
async fn the_first_rule_that_matches_answers() {
    let script = script(RULES);
    let user = |text: &str| Message::User { text: String::from(text) };
    let hub = TurnRequest { agent: AgentId::new("hub"), ..request("make a plan") };
    let leaf = TurnRequest { depth: 2, ..request("plan") };
    let table = [
        (hub, "hub plans"),
        (request("make a plan"), "otherwise"),
        (leaf, "leaf 2 of agent:main:main"),
        (with(vec![user("go"), assistant(Vec::new()), tool("row 7")]), "found row 7"),
        (with(vec![user("row 7")]), "otherwise"),
        (
            with(vec![
                user("a"),
                assistant(Vec::new()),
                user("b"),
                assistant(Vec::new()),
                tool("x"),
                assistant(Vec::new()),
                tool("y"),
            ]),
            "second",
        ),
        (request("mustache {{agent}}"), "{{ x }} {main {{last"),
        (with(Vec::new()), "otherwise"),
    ];
    for (asked, expected) in table {
        assert_eq!(script.says(asked.clone()).await, expected, "{asked:?}");
    }
}

#[tokio::test]
async fn calls_have_ids_of_their_own_and_filled_arguments() {
    let script = script(RULES);
    let first = script.ask(request("begin")).await.unwrap();
    assert_eq!(first.text, "calling");
    let arguments = json!({ "path": "a main", "deep": ["begin", 5, null] });
    let expected = [
        ToolCall::new("call_1_0", "fs__read", arguments),
        ToolCall::new("call_1_1", "fs__list", json!({})),
    ];
    assert_eq!(first.tool_calls, expected);
    let again = script.ask(request("begin")).await.unwrap();
    assert_eq!(first, again, "the same conversation gets the same answer at the same cost");
    assert!(first.usage.input > 0 && first.usage.output > 0);
}

#[tokio::test]
async fn times_count_in_each_session() {
    let script = script(
        "{ rules: [ { when: { times: 2 }, reply: { text: 'rule' } } ], otherwise: { text: 'over' } }",
    );
    for expected in ["rule", "rule", "over"] {
        assert_eq!(script.says(request("x")).await, expected);
    }
    let mut other = request("x");
    other.session_key = SessionKey::subagent(&other.agent, "1");
    assert_eq!(script.says(other).await, "rule");
}

#[tokio::test]
async fn errors_are_those_of_a_real_model() {
    let script = script(
        "{ rules: [
            { when: { text: 'once', times: 1 }, reply: { error: 'rate_limited' } },
            { when: { text: 'key' }, reply: { error: 'auth', delay_ms: 1 } } ],
          otherwise: { text: 'fine' } }",
    );
    assert_eq!(script.says(request("once")).await, "fine", "asked again after the first");
    let failure = script.ask(request("key")).await.unwrap_err();
    assert_eq!(failure.errors()[0].kind, ModelFault::Auth);
}

#[tokio::test]
async fn hanging_ends_by_the_idle_timeout_or_the_token() {
    let script = script(
        "{ rules: [ { when: { text: 'slow' }, reply: { text: 'late', delay_ms: 60000 } } ], otherwise: { hang: true } }",
    );
    for text in ["hang", "slow"] {
        let mut asked = request(text);
        asked.idle_timeout = Some(Duration::from_millis(50));
        let failure = script.ask(asked).await.unwrap_err();
        assert_eq!(failure.errors()[0].kind, ModelFault::Timeout);
    }
    let token = CancellationToken::new();
    let chain = [String::from("script/any")];
    let asked = script.models.turn(&chain, request("hang"), &token);
    let (outcome, ()) = tokio::join!(asked, async {
        clock::sleep(Duration::from_millis(20)).await;
        token.cancel();
    });
    assert_eq!(outcome, Err(TurnFailure::Cancelled));
}

#[tokio::test]
async fn a_delay_passes() {
    let script = script("{ otherwise: { text: 'at last', delay_ms: 30 } }");
    let start = clock::now();
    assert_eq!(script.says(request("x")).await, "at last");
    assert!(start.elapsed() >= Duration::from_millis(30));
}

#[tokio::test]
async fn faults_of_the_script_name_the_file_and_the_place() {
    let table = [
        ("{ rules: [ }", "at line 1"),
        ("{ rulez: [] }", "rulez"),
        ("{}", "neither `rules` nor `otherwise`"),
        ("{ rules: [ { reply: {} } ] }", "the reply of rule 1 is empty"),
        ("{ rules: [ { reply: { text: 'a', hang: true } } ] }", "only one of them"),
        ("{ rules: [ { reply: { error: 'tired' } } ] }", "tired"),
        (
            "{ otherwise: { calls: [ { name: 'a', arguments: 3 } ] } }",
            "`otherwise` has `arguments`",
        ),
        ("{ rules: [ { when: { text: 'never' }, reply: { text: 'a' } } ] }", "no rule matches"),
    ];
    for (text, word) in table {
        let script = script(text);
        let failure = script.ask(request("hello")).await.unwrap_err();
        let error = &failure.errors()[0];
        assert_eq!(error.kind, ModelFault::NotConfigured, "{error}");
        assert!(error.message.contains(&script.path.display().to_string()), "{error}");
        assert!(error.message.contains(word), "{word:?} is missing in: {error}");
    }
}

#[tokio::test]
async fn a_script_is_read_again_when_it_has_changed_and_missed_when_it_is_gone() {
    let script = script("{ otherwise: { text: 'old' } }");
    assert_eq!(script.says(request("x")).await, "old");
    std::fs::write(&script.path, "{ otherwise: { text: 'newer' } }").unwrap();
    assert_eq!(script.says(request("x")).await, "newer");
    std::fs::remove_file(&script.path).unwrap();
    let failure = script.ask(request("x")).await.unwrap_err();
    assert!(failure.to_string().contains("cannot be read"), "{failure}");
}
