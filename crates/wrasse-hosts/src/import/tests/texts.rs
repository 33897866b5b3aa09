//! What becomes of texts: only command and args change, and taking Wrasse out gives the text from before.

use super::*;

/// A host, its text, and the text once wrapped.
type Row = (Host, &'static str, &'static str);

const ROWS: &[Row] = &[
    // Plain.
    (
        Host::ClaudeDesktop,
        r#"{"mcpServers":{"fs":{"command":"npx","args":["-y","pkg"],"env":{"TOKEN":"t"}}}}"#,
        r#"{"mcpServers":{"fs":{"command":"/opt/bin/wrasse","args":["wrap", "--name", "fs", "--", "npx", "-y","pkg"],"env":{"TOKEN":"t"}}}}"#,
    ),
    // Comments, single quotes, trailing commas, tabs; the list keeps its own layout and spelling.
    (
        Host::OpenClaw,
        "// mine\n{\n\tmcp: { servers: {\n\t\tfs: { // files\n\t\t\targs: [\n\t\t\t\t'-y', // yes\n\t\t\t\t\"p\\u006bg\",\n\t\t\t],\n\t\t\t/* how */ command: '${NPX}',\n\t\t},\n\t}, },\n}\n",
        "// mine\n{\n\tmcp: { servers: {\n\t\tfs: { // files\n\t\t\targs: [\n\t\t\t\t\"wrap\", \"--name\", \"fs\", \"--\", '${NPX}', '-y', // yes\n\t\t\t\t\"p\\u006bg\",\n\t\t\t],\n\t\t\t/* how */ command: \"/opt/bin/wrasse\",\n\t\t},\n\t}, },\n}\n",
    ),
    // No arguments at all, on lines of their own.
    (
        Host::Cursor,
        "{\n  \"mcpServers\": {\n    \"fs\": {\n      \"command\": \"mcp-fs\"\n    }\n  }\n}",
        "{\n  \"mcpServers\": {\n    \"fs\": {\n      \"command\": \"/opt/bin/wrasse\",\n      \"args\": [\"wrap\", \"--name\", \"fs\", \"--\", \"mcp-fs\"]\n    }\n  }\n}",
    ),
    // The same with a comma, a comment, CRLF and a byte order mark.
    (
        Host::VsCode,
        "\u{feff}{\r\n  \"servers\": {\r\n    \"fs\": {\r\n      \"command\": \"mcp-fs\", // c\r\n      \"type\": \"stdio\"\r\n    }\r\n  }\r\n}\r\n",
        "\u{feff}{\r\n  \"servers\": {\r\n    \"fs\": {\r\n      \"command\": \"/opt/bin/wrasse\",\r\n      \"args\": [\"wrap\", \"--name\", \"fs\", \"--\", \"mcp-fs\"], // c\r\n      \"type\": \"stdio\"\r\n    }\r\n  }\r\n}\r\n",
    ),
    // On one line; empty and null lists.
    (
        Host::Gemini,
        r#"{ "mcpServers": { "a": { "command": "x" }, "b": { "command": "y", "args": [ ] }, "c": { "args": null, "command": "z" } } }"#,
        r#"{ "mcpServers": { "a": { "command": "/opt/bin/wrasse", "args": ["wrap", "--name", "a", "--", "x"] }, "b": { "command": "/opt/bin/wrasse", "args": ["wrap", "--name", "b", "--", "y" ] }, "c": { "args": ["wrap", "--name", "c", "--", "z"], "command": "/opt/bin/wrasse" } } }"#,
    ),
    // Projects, a name that a host would expand, one that looks like a flag.
    (
        Host::ClaudeCode,
        r#"{"mcpServers":{"-x":{"command":"a","args":["1"]}},"projects":{"/home/u/p.q":{"mcpServers":{"${H}":{"type":"stdio","command":"b","args":[]}},"lastCost":1.5}}}"#,
        r#"{"mcpServers":{"-x":{"command":"/opt/bin/wrasse","args":["wrap", "--name=-x", "--", "a", "1"]}},"projects":{"/home/u/p.q":{"mcpServers":{"${H}":{"type":"stdio","command":"/opt/bin/wrasse","args":["wrap", "--name", "_{H}", "--", "b"]}},"lastCost":1.5}}}"#,
    ),
    // TOML: tables, inline tables, dotted keys, comments, literal strings, several lines.
    (
        Host::Codex,
        "model = \"o\" # m\n\n[mcp_servers.fs] # files\n  command = 'npx' # c\n  args = [\n    \"-y\", # yes\n    'pkg',\n  ]\n\n[mcp_servers.fs.env]\nTOKEN = \"t\"\n",
        "model = \"o\" # m\n\n[mcp_servers.fs] # files\n  command = \"/opt/bin/wrasse\" # c\n  args = [\n    \"wrap\", \"--name\", \"fs\", \"--\", 'npx', \"-y\", # yes\n    'pkg',\n  ]\n\n[mcp_servers.fs.env]\nTOKEN = \"t\"\n",
    ),
    (
        Host::Codex,
        "[mcp_servers]\nfs = { command = \"a\", args = [\"1\"], env = { T = \"t\" } }\nb = { command = \"x\" } # b\n",
        "[mcp_servers]\nfs = { command = \"/opt/bin/wrasse\", args = [\"wrap\", \"--name\", \"fs\", \"--\", \"a\", \"1\"], env = { T = \"t\" } }\nb = { command = \"/opt/bin/wrasse\", args = [\"wrap\", \"--name\", \"b\", \"--\", \"x\"] } # b\n",
    ),
    (
        Host::Codex,
        "mcp_servers.\"a b\".command = \"x\" # c\r\nmcp_servers.c.args = []\r\nmcp_servers.c.command = '''y'''",
        "mcp_servers.\"a b\".command = \"/opt/bin/wrasse\" # c\r\nmcp_servers.\"a b\".args = [\"wrap\", \"--name\", \"a b\", \"--\", \"x\"]\r\nmcp_servers.c.args = [\"wrap\", \"--name\", \"c\", \"--\", '''y''']\r\nmcp_servers.c.command = \"/opt/bin/wrasse\"",
    ),
    (
        Host::Codex,
        "\u{feff}[mcp_servers.fs]\r\n\tcommand = \"x\"",
        "\u{feff}[mcp_servers.fs]\r\n\tcommand = \"/opt/bin/wrasse\"\r\n\targs = [\"wrap\", \"--name\", \"fs\", \"--\", \"x\"]",
    ),
];

#[test]
fn only_command_and_args_change_and_back_again() {
    for (host, text, wrapped) in ROWS {
        let home = Home::with(*host, text);
        let plan = home.wrap(&[]).unwrap();
        assert_eq!(home.file(), *wrapped);
        assert_eq!(plan.passed.len(), 0, "{:?}", plan.passed);
        // What is wrapped is not wrapped again.
        assert!(home.wrap(&[]).unwrap().is_empty());
        assert_eq!(home.undo().unwrap().files.len(), 1);
        assert_eq!(home.file(), *text);
        home.assert_clean();
        assert!(home.undo().unwrap().is_empty());
    }
}

/// Entry by entry, with a record that says what args were, the same bytes come back.
#[test]
fn entry_by_entry_gives_the_same_text() {
    for (host, text, _) in ROWS {
        let home = Home::with(*host, text);
        home.wrap(&[]).unwrap();
        home.entries_only().unwrap();
        assert_eq!(home.file(), *text);
        home.assert_clean();
    }
}

/// Without a record only an entry that had no list of arguments is spelled differently.
#[test]
fn without_a_record_the_meaning_comes_back() {
    for (host, text, _) in ROWS {
        let home = Home::with(*host, text);
        home.wrap(&[]).unwrap();
        std::fs::remove_dir_all(home.records().dir()).unwrap();
        let refused = home.undo().unwrap_err();
        assert!(matches!(refused, ImportError::RecordMissing { .. }), "{refused}");
        home.entries_only().unwrap();
        let starts = |home: &Home| {
            let found = home.find().unwrap();
            found.entries.into_iter().map(|entry| (entry.at, entry.starts)).collect::<Vec<_>>()
        };
        assert_eq!(starts(&home), starts(&Home::with(*host, text)));
        if !text.contains("null") && text.matches("args").count() == text.matches("command").count()
        {
            assert_eq!(home.file(), *text);
        }
    }
}

/// A formatter that went over the wrapped file does not keep the entries from being taken out.
#[test]
fn a_reformatted_file_is_unwrapped_too() {
    for (host, text, _) in ROWS.iter().filter(|row| row.0 == Host::ClaudeCode) {
        let home = Home::with(*host, text);
        home.wrap(&[]).unwrap();
        let value: serde_json::Value = serde_json::from_str(&home.file()).unwrap();
        home.write(usual(*host), format!("{value:#}\n"));
        home.entries_only().unwrap();
        let now: serde_json::Value = serde_json::from_str(&home.file()).unwrap();
        let before: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(now, before);
    }
}

#[test]
fn what_cannot_be_wrapped_is_left_and_named() {
    let text = r#"{ "mcpServers": {
        "far": { "url": "https://x" }, "typed": { "type": "http", "url": "https://x" }, "off": { "command": "a", "disabled": true },
        "both": { "command": "a", "url": "https://x" }, "none": {}, "odd": { "command": "a", "args": "x" },
        "words": { "command": "npx -y @a/b" }, "list": [], "number": { "command": 1 } } }"#;
    let home = Home::with(Host::Cursor, text);
    let plan = home.wrap(&[]).unwrap();
    assert!(plan.is_empty());
    assert_eq!(plan.passed.len(), 9, "{:?}", plan.passed);
    for name in ["far", "typed", "both", "none", "odd", "words", "list", "number"] {
        let refused = home.wrap(&[name]).unwrap_err();
        assert!(matches!(refused, ImportError::ServerUnsuited { .. }), "{name}: {refused}");
    }
    assert_eq!(home.file(), text);
    assert_eq!(home.wrap(&["off"]).unwrap().files.len(), 1);
}

#[test]
fn hosts_with_ways_of_their_own() {
    let text = r#"{"servers":{"d":{"command":"node","args":["x"],"dev":{"debug":{"type":"node"}}},"s":{"command":"a","sandboxEnabled":true}}}"#;
    assert!(Home::with(Host::VsCode, text).wrap(&[]).unwrap().is_empty());
    let text = "[mcp_servers.r]\ncommand = \"a\"\nexperimental_environment = \"remote\"\n[mcp_servers.off]\ncommand = \"a\"\nenabled = false\n";
    assert!(Home::with(Host::Codex, text).wrap(&[]).unwrap().is_empty());
}

#[test]
fn names_that_were_not_meant() {
    let home = Home::with(Host::Cursor, r#"{"mcpServers":{"filesystem":{"command":"a"}}}"#);
    let refused = home.wrap(&["filesytem"]).unwrap_err();
    let ImportError::ServerUnknown { suggestion, known, .. } = refused else {
        panic!("{refused}");
    };
    assert_eq!((suggestion.as_deref(), known.len()), (Some("filesystem"), 1));
}

#[test]
fn programs_whose_path_a_host_would_not_read() {
    for path in ["/opt/$HOME/wrasse", "/opt/a\nb/wrasse", "/opt/other"] {
        assert!(Shim::new(Path::new(path), &[]).is_err(), "{path}");
    }
    let shim = Shim::new(Path::new("/a b/\"q\"/wrasse"), &["--state-dir".into(), "/s".into()]);
    let home = Home::with(Host::Codex, "[mcp_servers.fs]\ncommand = \"a\"\n");
    let plan = home.find().unwrap().wrap(&[], &shim.unwrap(), &home.records()).unwrap();
    plan.write(&home.records()).unwrap();
    assert_eq!(
        home.file(),
        "[mcp_servers.fs]\ncommand = \"/a b/\\\"q\\\"/wrasse\"\nargs = [\"--state-dir\", \"/s\", \"wrap\", \"--name\", \"fs\", \"--\", \"a\"]\n"
    );
    home.undo().unwrap();
    assert_eq!(home.file(), "[mcp_servers.fs]\ncommand = \"a\"\n");
}

/// Nothing that is shown holds what a flag or a variable keeps secret.
#[test]
fn secrets_are_not_shown() {
    let text = r#"{"mcpServers":{"a":{"command":"x","args":["--token","hush","-e","API_KEY=hush","https://u:hush@h"],"env":{"K":"hush"}}}}"#;
    let home = Home::with(Host::Cursor, text);
    let plan = home.wrap(&[]).unwrap();
    let shown = format!("{:?}", plan.files[0].entries);
    assert!(!shown.contains("hush") && shown.contains("[redacted]"), "{shown}");
    let found = home.find().unwrap();
    assert!(!format!("{:?}", found.entries).contains("hush"));
    assert!(home.file().contains("\"K\":\"hush\""));
}

#[test]
fn faults_name_their_place() {
    let text = "{ \"mcpServers\": {\n  \"a\": { \"command\" \"x\" } } }";
    let refused = Home::with(Host::Cursor, text).wrap(&[]).unwrap_err().to_string();
    assert!(refused.contains("mcp.json:2:20"), "{refused}");
    let refused =
        Home::with(Host::Codex, "a = 1\n[mcp_servers\n").wrap(&[]).unwrap_err().to_string();
    assert!(refused.contains("config.toml:2:"), "{refused}");
    let home = Home::new(Host::Cursor);
    home.write(usual(Host::Cursor), [0xff, 0xfe, b'{', 0]);
    assert!(matches!(home.wrap(&[]).unwrap_err(), ImportError::NotText { .. }));
}
