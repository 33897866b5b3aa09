//! `config print`.

use wrasse_config::{LoadOptions, Origin, load_with_tree};

use crate::support::{files, options, with_env};

const TEXT: &str = r#"{
  meta: { lastTouchedVersion: "2026.4.15" },
  agents: { defaults: { model: "mine/m", subagents: { maxSpawnDepth: 2 } }, list: [{ id: "hub", default: true }] },
  models: { providers: { mine: { baseUrl: "https://user:pw@h/v1?api_key=1", apiKey: "${KEY}", headers: { "X-Team": "t" }, models: [{ id: "m", maxTokens: 100 }] } } },
  mcp: { servers: {
    sqlite: { command: "npx", args: ["-y", "mcp-server-sqlite-npx", "--token", "abc", "--password=abc", "pre-${KEY}"],
              env: { DB: "x", N: 5, REF: { source: "env", provider: "default", id: "KEY" } } },
  } },
  gateway: { auth: { token: "t0p" } },
  channels: { telegram: { botToken: "123:abc", maxTokens: 5 } },
}"#;

#[test]
fn effective_values_without_secrets() {
    let options = with_env(&[("KEY", "sekrit")]);
    let loaded = load_with_tree(&options, &files(&[("openclaw.json", TEXT)])).expect("good");
    let text = loaded.print(Origin::Hide);
    for secret in ["sekrit", "t0p", "123:abc", "abc", "pw@"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(json["models"]["providers"]["mine"]["apiKey"], "${KEY}", "a name is no secret");
    insta::assert_snapshot!(text);
}

#[test]
fn origins_name_files_lines_and_defaults() {
    let over = r#"{ base: "~/.openclaw/openclaw.json", mcp: { servers: { sqlite: { lifecycle: { idle: "30s" } } } } }"#;
    let list = [("/home/node/.wrasse/wrasse.json5", over), ("openclaw.json", TEXT)];
    let options = LoadOptions { path: None, ..options() };
    let loaded = load_with_tree(&options, &files(&list)).expect("good");
    let text = loaded.print(Origin::Show);
    insta::assert_snapshot!(text);
    let again = load_with_tree(
        &LoadOptions { path: Some("openclaw.json".into()), ..options },
        &files(&[(
            "openclaw.json",
            text.lines()
                .filter(|line| !line.contains("\"base\""))
                .collect::<Vec<_>>()
                .join("\n")
                .as_str(),
        )]),
    );
    again.expect("what is printed can be read");
}
