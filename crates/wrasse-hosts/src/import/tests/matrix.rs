//! Every host with every shape of file, through everything that can happen to it.

use std::os::unix::fs::symlink;

use super::super::Kind;
use super::super::host::Format;
use super::*;

/// How a JSON file is written; `@` stands for the object of servers' key.
const JSON: [(&str, &str); 9] = [
    ("plain", r#"{"@":{"a":{"command":"x","args":["1"]},"b":{"command":"y","args":["2","3"]}}}"#),
    (
        "comments",
        "// c\n{ /* c */ \"@\": { \"a\": { // c\n \"command\" /* c */ : \"x\" /* c */, \"args\": [ /* c */ \"1\" // c\n ] }, \"b\": { \"command\": \"y\" // c\n } } }\n// c",
    ),
    (
        "crlf",
        "{\r\n  \"@\": {\r\n    \"a\": {\r\n      \"command\": \"x\"\r\n    },\r\n    \"b\": {\r\n      \"args\": [\r\n        \"1\"\r\n      ],\r\n      \"command\": \"y\"\r\n    }\r\n  }\r\n}\r\n",
    ),
    (
        "mark",
        "\u{feff}{ \"@\": { \"a\": { \"command\": \"é\" }, \"b\": { \"command\": \"🐟\", \"args\": [] } } }",
    ),
    (
        "tabs",
        "{\n\t\"@\": {\n\t\t\"a\": {\n\t\t\t\"command\": \"x\"\n\t\t},\n\t\t\"b\": {\n\t\t\t\"command\": \"y\",\n\t\t\t\"args\": [\n\t\t\t\t\"1\"\n\t\t\t]\n\t\t}\n\t}\n}",
    ),
    (
        "empty args",
        r#"{ "@": { "a": { "command": "x", "args": [] }, "b": { "command": "y", "args": [ ] } } }"#,
    ),
    (
        "no args",
        r#"{ "@": { "a": { "command": "x" }, "b": { "env": {}, "command": "y" , "cwd": "/" } } }"#,
    ),
    (
        "null args",
        r#"{ "@": { "a": { "args": null, "command": "x" }, "b": { "command": "y", "args": null } } }"#,
    ),
    (
        "trailing commas",
        r#"{ "@": { "a": { "command": "x", }, "b": { "command": "y", "args": ["1",], }, }, }"#,
    ),
];

const TOML: [(&str, &str); 7] = [
    (
        "plain",
        "[mcp_servers.a]\ncommand = \"x\"\nargs = [\"1\"]\n\n[mcp_servers.b]\ncommand = \"y\"\nargs = [\"2\", \"3\"]\n",
    ),
    (
        "comments",
        "# c\n[mcp_servers.a] # c\ncommand = \"x\" # c\n# c\n[mcp_servers.b]\nargs = [ # c\n \"1\", # c\n] # c\ncommand = 'y' # c",
    ),
    (
        "crlf",
        "[mcp_servers.a]\r\ncommand = \"x\"\r\n[mcp_servers.b]\r\nargs = []\r\ncommand = \"y\"\r\n",
    ),
    (
        "mark",
        "\u{feff}[mcp_servers.a]\ncommand = \"é\"\n[mcp_servers.b]\ncommand = \"🐟\"\nargs = [ ]\n",
    ),
    (
        "tabs",
        "[mcp_servers]\n\t[mcp_servers.a]\n\tcommand\t=\t\"x\"\n\t[mcp_servers.b]\n\t\tcommand = \"y\"\n",
    ),
    (
        "inline",
        "mcp_servers = { a = { command = \"x\" }, b = { args = [\"1\"], command = \"y\" } }\n",
    ),
    (
        "dotted",
        "mcp_servers.a.command = \"x\"\nmcp_servers . b . command = \"y\"\nmcp_servers.b.args = [\"1\"]",
    ),
];

fn json(host: Host, shape: &str) -> String {
    match host {
        Host::OpenClaw => {
            let (mark, text) = match shape.strip_prefix('\u{feff}') {
                Some(text) => ("\u{feff}", text),
                None => ("", shape),
            };
            format!("{mark}{{ mcp: {}\n}}", text.replace('@', "servers"))
        }
        Host::VsCode => shape.replace('@', "servers"),
        Host::ClaudeCode | Host::ClaudeDesktop | Host::Codex | Host::Cursor | Host::Gemini => {
            shape.replace('@', "mcpServers")
        }
    }
}

fn homes() -> Vec<(String, Home, String)> {
    let mut homes = Vec::new();
    for host in Host::ALL {
        let shapes: Vec<(&str, String)> = match host.format() {
            Format::Toml => TOML.iter().map(|(name, text)| (*name, (*text).to_owned())).collect(),
            Format::Json => JSON.iter().map(|(name, text)| (*name, json(host, text))).collect(),
        };
        for (name, text) in shapes {
            homes.push((format!("{}, {name}", host.name()), Home::with(host, &text), text));
        }
    }
    // What only some hosts have.
    let projects = r#"{"mcpServers":{"a":{"command":"x"}},"projects":{"/p":{"mcpServers":{"b":{"command":"y"}}}}}"#;
    homes.push(("projects".into(), Home::with(Host::ClaudeCode, projects), projects.into()));
    homes
}

/// What each server starts in the end, Wrasse or not.
fn starts(home: &Home) -> Vec<(String, Vec<String>, bool)> {
    let entries = home.find().unwrap().entries.into_iter();
    let mut starts: Vec<_> = entries
        .map(|entry| {
            let wrapped = matches!(entry.kind, Kind::Wrapped { .. });
            let line = entry.starts.unwrapped().unwrap_or(entry.starts);
            (entry.name, line.shown(), wrapped)
        })
        .collect();
    starts.sort();
    starts
}

fn all(starts: &[(String, Vec<String>, bool)], wrapped: bool) -> Vec<(String, Vec<String>, bool)> {
    starts.iter().map(|(name, line, _)| (name.clone(), line.clone(), wrapped)).collect()
}

#[test]
fn two_wraps_then_undo() {
    for (what, home, text) in homes() {
        let before = starts(&home);
        assert_eq!(before.len(), 2, "{what}");
        home.wrap(&["b"]).unwrap();
        home.wrap(&[]).unwrap();
        assert_eq!(starts(&home), all(&before, true), "{what}: {}", home.file());
        home.undo().unwrap();
        assert_eq!(home.file(), text, "{what}");
        home.assert_clean();
    }
}

#[test]
fn changed_since_then_entry_by_entry() {
    for (what, home, text) in homes() {
        let before = starts(&home);
        home.wrap(&[]).unwrap();
        home.write(usual(home.host), home.file() + "\n");
        let refused = home.undo().unwrap_err();
        assert!(matches!(refused, ImportError::ChangedSince { .. }), "{what}: {refused}");
        home.entries_only().unwrap();
        assert_eq!(home.file(), text.clone() + "\n", "{what}");
        assert_eq!(starts(&home), all(&before, false), "{what}");
        home.assert_clean();
    }
}

#[test]
fn changed_meanwhile() {
    for (what, home, _) in homes() {
        let plan = home.find().unwrap().wrap(&[], &shim(), &home.records()).unwrap();
        let theirs = home.file() + "\n";
        home.write(usual(home.host), &theirs);
        let refused = plan.write(&home.records()).unwrap_err();
        assert!(matches!(refused, ImportError::Concurrent { .. }), "{what}: {refused}");
        assert_eq!(home.file(), theirs, "{what}");
        home.assert_clean();
    }
}

#[test]
fn through_a_symbolic_link() {
    for (what, home, text) in homes() {
        let link = home.path(usual(home.host));
        std::fs::rename(&link, home.path("real")).unwrap();
        symlink(home.path("real"), &link).unwrap();
        home.wrap(&[]).unwrap();
        assert!(link.is_symlink() && home.read("real") != text, "{what}");
        home.undo().unwrap();
        assert!(link.is_symlink() && home.read("real") == text, "{what}");
    }
}
