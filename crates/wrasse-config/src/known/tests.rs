use super::{classify, closest};
use crate::text::{FileId, parse};

fn classes(text: &str) -> super::Classified {
    let parsed = parse(text, FileId(0));
    assert!(parsed.faults.is_empty(), "{:?}", parsed.faults);
    classify(&parsed.node)
}

#[test]
fn each_key_has_one_class() {
    let found = classes(
        "{ mcp: { servers: { a: { command: 'x', comand: 'y', headers: { H: '1' } } } }, channels: { t: { x: 1, y: {} } },\
          approvals: { exec: { enabled: true } }, agents: { list: [{ id: 'a', sandbox: { mode: 'all' } }], defaults: { sandbox: { mode: 'off' } } } }",
    );
    assert_eq!(found.implemented, ["mcp.servers.a.command", "agents.list[0].id"]);
    assert_eq!(
        found.unused,
        ["mcp.servers.a.headers.H", "channels.t.x", "channels.t.y", "agents.defaults.sandbox"]
    );
    let denied: Vec<&str> = found.denied.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(denied, ["approvals.exec", "agents.list[0].sandbox"]);
    assert_eq!(found.unknown.len(), 1);
    assert_eq!(found.unknown[0].path, "mcp.servers.a.comand");
    assert_eq!(found.unknown[0].suggestion.as_deref(), Some("did you mean \"command\"?"));
}

#[test]
fn a_restricting_key_that_restricts_nothing_denies_nothing() {
    let table = [
        ("{ tools: { exec: { security: 'full', ask: 'off', timeoutSec: 3 } } }", 0),
        ("{ tools: { exec: { security: 'allowlist' } } }", 1),
        ("{ tools: { exec: { ask: 'on-miss', host: 'sandbox' } } }", 2),
        ("{ tools: { elevated: { enabled: false } } }", 0),
        ("{ tools: { elevated: { enabled: true, allowFrom: { telegram: ['1'] } } } }", 1),
        ("{ tools: { fs: { workspaceOnly: false } } }", 0),
        ("{ tools: { fs: { workspaceOnly: true } } }", 1),
        ("{ tools: { sessions: { visibility: 'all' } } }", 0),
        ("{ tools: { sessions: { visibility: 'tree' } } }", 1),
        ("{ tools: { agentToAgent: { enabled: true } } }", 0),
        ("{ tools: { agentToAgent: { enabled: true, allow: ['*'] } } }", 0),
        ("{ tools: { agentToAgent: { enabled: true, allow: ['a'] } } }", 1),
        ("{ tools: { subagents: { tools: { deny: ['x'], allow: [] } } } }", 1),
        ("{ approvals: {} }", 0),
        ("{ approvals: { future: 1 } }", 1),
        ("{ agents: { defaults: { sandbox: { mode: 'non-main' } } } }", 1),
        ("{ agents: { defaults: { sandbox: { scope: 'agent' } } } }", 0),
    ];
    for (text, denied) in table {
        let found = classes(text);
        assert_eq!(found.denied.len(), denied, "{text}: {:?}", found.denied);
        assert!(found.unknown.is_empty(), "{text}: {:?}", found.unknown);
    }
}

#[test]
fn suggestions_are_near_or_none() {
    let names = ["command", "args", "env", "cwd", "requestTimeoutMs"];
    assert_eq!(closest("comand", names), Some("command"));
    assert_eq!(closest("Command", names), Some("command"));
    assert_eq!(closest("evn", names), Some("env"));
    assert_eq!(closest("request_timeout_ms", names), Some("requestTimeoutMs"));
    assert_eq!(closest("colour", names), None);
    let found = classes("{ _comment: 'x', ports: 1, maxSpawnDepth: 2 }");
    let suggestions: Vec<_> =
        found.unknown.iter().map(|unknown| unknown.suggestion.as_deref()).collect();
    assert_eq!(suggestions[0], Some("write comments as // text"));
    assert_eq!(suggestions[1], Some("did you mean gateway.port?").filter(|_| false));
    assert_eq!(suggestions[2], Some("did you mean agents.defaults.subagents.maxSpawnDepth?"));
}
