//! The report: every fault at once, each with its place and its cure.

use crate::support::{bad, files, options};

#[test]
fn every_fault_at_once() {
    let text = r#"{
  compat: "2026.5",
  gateway: { port: 99999, auth: { token: ["x"] } },
  agents: {
    defaults: { model: 7, subagents: { maxSpawnDepth: 9 }, timeoutSecond: 5 },
    list: [{ id: "hub" }, { id: "Hub" }, { id: "a b" }, { name: "x" }],
  },
  mcp: { servers: {
    context7: { comand: "npx", args: ["-y", "@upstash/context7-mcp"] },
    sqlite: { command: "npx", lifecycle: { idle: "later", stop: { eof: 2 } }, connectionTimeoutMs: 0 },
    remote: { url: "ftp://x" },
  } },
  models: { providers: { mine: { api: "openai-completions" }, local: { baseUrl: "localhost:1" }, s: { api: "scripted" } } },
  cron: { jobs: [{ name: "d", cron: "0 99 * * *", message: "m", agentId: "nobody" }, { name: "e", every: "1s", message: "m", agentId: "hubb" }] },
  session: { reset: { mode: "dayly", atHour: 24 } },
  store: { durability: 1 },
  toolz: {},
}"#;
    insta::assert_snapshot!(bad(text));
}

#[test]
fn broken_text_in_several_places() {
    let text = "{\n  mcp: { servers: { a: { command: npx } } },\n  agents = {},\n  cron: { enabled: true \"x\": 1 }\n";
    insta::assert_snapshot!(bad(text));
}

#[test]
fn broken_text_in_several_files() {
    let list = [
        ("openclaw.json", "{ '$include': ['a.json', 'b.json'], x: }"),
        ("a.json", "{ a }"),
        ("b.json", "[}"),
    ];
    let faults = wrasse_config::load(&options(), &files(&list)).expect_err("broken");
    insta::assert_snapshot!(faults);
}

#[test]
fn a_missing_command_names_its_cure() {
    assert_eq!(
        bad("{ mcp: { servers: { x: { args: ['-y'] } } } }"),
        "openclaw.json:1:24 mcp.servers.x: there is no command to start this server with; \
         add command: \"npx\", args: [\"-y\", \"<package>\"], or url for a remote server, or enabled: false"
    );
}

#[test]
fn a_file_that_is_no_object() {
    assert_eq!(bad("[1]"), "openclaw.json:1:1 expected an object, found a list");
    assert_eq!(bad(""), "openclaw.json:1:1 the file is empty; write at least {}");
}
