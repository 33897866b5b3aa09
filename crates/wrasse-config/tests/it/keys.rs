//! Key classes: what is unused, what is denied, what is acknowledged.

use crate::support::{bad, good, load_with, options};

const RESTRICTING: &str = "approvals: { exec: { enabled: true, mode: 'session' } }, \
    tools: { deny: ['group:fs', 'sqlite__*'], subagents: { tools: { deny: ['message'] } } }, channels: { telegram: { enabled: true, botToken: 'x' } }";

#[test]
fn a_restricting_key_denies_what_it_guards() {
    let config = good(&format!("{{ {RESTRICTING} }}"));
    let denied: Vec<(&str, &str)> =
        config.denied_tools.iter().map(|one| (one.tool.as_str(), one.key.as_str())).collect();
    assert_eq!(
        denied,
        [
            ("exec", "approvals.exec"),
            ("process", "approvals.exec"),
            ("message", "tools.subagents.tools.deny"),
        ]
    );
    assert_eq!(config.unused_keys, ["channels.telegram.enabled", "channels.telegram.botToken"]);
    assert_eq!(
        config.agents.list[0].tools.deny,
        ["read", "write", "edit", "apply_patch", "sqlite__*"]
    );
}

#[test]
fn unsafe_ignore_acknowledges() {
    let text = format!("{{ {RESTRICTING}, unsafeIgnore: ['approvals', 'tools.exec'] }}");
    let loaded = load_with(&options(), &text).expect("good");
    assert_eq!(loaded.config.denied_tools.len(), 1);
    let report = loaded.key_report();
    let key = |key: &str, tools: &[&str]| {
        (key.to_owned(), tools.iter().map(|&tool| tool.to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(report.denied, [key("tools.subagents.tools.deny", &["message"])]);
    assert_eq!(report.acknowledged, [key("approvals.exec", &["exec", "process"])]);
    assert_eq!(report.unused_by_section(), [("channels".to_owned(), 2)]);
    assert!(report.implemented.contains(&"tools.deny".to_owned()));
    let said = loaded.config.warnings.join("\n");
    assert!(said.contains("\"tools.exec\" names no restricting key"), "{said}");
}

#[test]
fn an_unknown_key_is_a_fault_but_a_warning_under_servers() {
    assert_eq!(
        bad("{ gatway: { port: 1 }, gateway: { prot: 2 } }"),
        "openclaw.json:1:3 gatway: unknown key; did you mean \"gateway\"?\n\
         openclaw.json:1:35 gateway.prot: unknown key; did you mean \"port\"?"
    );
    let config = good("{ mcp: { servers: { x: { command: 'c', comand: 'd', stdio: true } } } }");
    assert_eq!(
        config.warnings[..2],
        [
            "openclaw.json:1 mcp.servers.x.comand: unknown key; did you mean \"command\"?",
            "openclaw.json:1 mcp.servers.x.stdio: unknown key",
        ]
    );
    assert_eq!(
        bad("{ mcp: { servers: { x: { command: 'c', disabled: true } } } }"),
        "openclaw.json:1:40 mcp.servers.x.disabled: unknown key; write enabled: false"
    );
}

#[test]
fn a_profile_narrows_and_so_does_each_agent() {
    let config = good(
        "{ tools: { profile: 'messaging', alsoAllow: ['cron'] }, agents: { list: [{ id: 'a', tools: { allow: ['sessions_list', 'bundle-mcp'] } }] } }",
    );
    let allow = &config.agents.list[0].tools.allow;
    assert_eq!(allow.len(), 2);
    assert_eq!(
        allow[0],
        [
            "message",
            "sessions_list",
            "sessions_history",
            "sessions_send",
            "session_status",
            "*__*",
            "cron"
        ]
    );
    assert_eq!(allow[1], ["sessions_list", "*__*"]);
}
