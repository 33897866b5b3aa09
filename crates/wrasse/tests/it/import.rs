//! `wrasse import`: other hosts' real files through the real program, and a server that is started by what it wrote.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::station::{PATIENCE, Station, eventually, text};

const OPENCLAW: &str = "{ // mine\r\n\tmcp: { servers: {\r\n\t\tfs: { command: 'npx', args: ['-y', '--token', 'hush'], env: { KEY: 'hush' } },\r\n\t\tfar: { url: 'https://u:hush@h/x' },\r\n\t} },\r\n}\r\n";

fn write(station: &Station, name: &str, text: &str) {
    let path = station.path("home").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn read(station: &Station, name: &str) -> String {
    std::fs::read_to_string(station.path("home").join(name)).unwrap()
}

/// Runs a command line, which must leave with a code and must not print a secret; what it printed on both ways.
fn run(station: &Station, args: &[&str], code: i32) -> String {
    let Output { status, stdout, stderr } = station.cli(args);
    let printed = text(&stdout) + &text(&stderr);
    assert_eq!(status.code(), Some(code), "{args:?}: {printed}");
    assert!(!printed.contains("hush"), "{args:?}: {printed}");
    // A refusal says what would help.
    assert!(stderr.is_empty() || printed.contains("→") || code == 64, "{args:?}: {printed}");
    printed
}

#[test]
fn shows_then_writes_then_puts_back() {
    let station = Station::new();
    let file = ".openclaw/openclaw.json";
    write(&station, file, OPENCLAW);
    let printed = run(&station, &["import", "openclaw"], 0);
    assert!(printed.contains("mcp.servers.fs") && printed.contains("~/.openclaw/openclaw.json:3"));
    assert!(printed.contains("1 to wrap") && printed.contains("1 remote"), "{printed}");
    let printed = run(&station, &["import", "openclaw", "--wrap"], 3);
    assert!(printed.contains("  - npx -y --token [redacted]"), "{printed}");
    assert!(printed.contains(" wrap --name fs -- npx -y --token [redacted]"), "{printed}");
    assert!(printed.contains("→ wrasse import openclaw --wrap --yes"), "{printed}");
    assert!(printed.contains("build or a temporary file"), "{printed}");
    assert_eq!(read(&station, file), OPENCLAW);
    assert!(!station.path("state").join("import").exists());
    let printed = run(&station, &["import", "openclaw", "--wrap", "--yes"], 0);
    assert!(printed.contains("1 server in 1 file changed"), "{printed}");
    let wrapped = read(&station, file);
    let program = station.wrasse().display().to_string();
    assert!(
        wrapped.contains(&format!("command: \"{program}\", args: [\"--state-dir\", ")),
        "{wrapped}"
    );
    assert!(wrapped.contains("\"wrap\", \"--name\", \"fs\", \"--\", 'npx', '-y', '--token', 'hush'], env: { KEY: 'hush' }"));
    // Once more there is nothing to do.
    run(&station, &["import", "openclaw", "--wrap"], 0);
    run(&station, &["import", "openclaw", "--wrap", "fs", "--yes"], 0);
    assert_eq!(read(&station, file), wrapped);
    run(&station, &["import", "openclaw", "--undo"], 3);
    assert_eq!(read(&station, file), wrapped);
    run(&station, &["import", "openclaw", "--undo", "--yes"], 0);
    assert_eq!(read(&station, file), OPENCLAW);
    run(&station, &["import", "openclaw", "--undo"], 0);
}

#[test]
fn a_changed_file_is_put_back_entry_by_entry() {
    let station = Station::new();
    let before = r#"{"numStartups":1,"mcpServers":{"fs":{"command":"npx","args":["-y"]}}}"#;
    write(&station, ".claude.json", before);
    run(&station, &["import", "claude-code", "--wrap", "--yes"], 0);
    let since = |text: &str| text.replace("\"numStartups\":1", "\"numStartups\":2");
    let changed = since(&read(&station, ".claude.json"));
    write(&station, ".claude.json", &changed);
    let printed = run(&station, &["import", "claude-code", "--undo", "--yes"], 1);
    assert!(printed.contains("(numStartups)") && printed.contains("--entries-only"), "{printed}");
    assert_eq!(read(&station, ".claude.json"), changed);
    run(&station, &["import", "claude-code", "--undo", "--entries-only"], 3);
    run(&station, &["import", "claude-code", "--undo", "--entries-only", "--yes"], 0);
    assert_eq!(read(&station, ".claude.json"), since(before));
}

#[test]
fn refusals_name_the_cause_and_the_cure() {
    let station = Station::new();
    run(&station, &["import", "emacs"], 64);
    let printed = run(&station, &["import", "codex", "--wrap"], 1);
    assert!(printed.contains("~/.codex/config.toml") && printed.contains("--file"), "{printed}");
    write(&station, ".codex/config.toml", "[mcp_servers.filesystem]\ncommand = \"a\"\n");
    let printed = run(&station, &["import", "codex", "--wrap", "filesytem"], 64);
    assert!(printed.contains("--wrap filesystem   did you mean this?"), "{printed}");
    let printed = run(&station, &["import", "codex", "--yes"], 64);
    assert!(printed.contains("--wrap --yes"), "{printed}");
    run(&station, &["import", "codex", "--wrap", "--yes", "--dry-run"], 64);
    run(&station, &["import", "codex", "--wrap", "--undo"], 64);
    run(&station, &["import", "codex", "--entries-only"], 64);
    write(&station, ".codex/config.toml", "[mcp_servers.x]\nenv = { K = \"hush\"\nkey = hush\n");
    let printed = run(&station, &["import", "codex", "--wrap", "--yes"], 78);
    assert!(printed.contains("config.toml:2:") || printed.contains("config.toml:3:"), "{printed}");
    // Wrapped with another state dir: nothing is known of it here.
    write(&station, ".codex/config.toml", "[mcp_servers.x]\ncommand = \"a\"\n");
    run(&station, &["--state-dir", "../other", "import", "codex", "--wrap", "--yes"], 0);
    let printed = run(&station, &["import", "codex", "--undo"], 1);
    assert!(printed.contains("--entries-only") && printed.contains("--state-dir"), "{printed}");
    run(&station, &["--state-dir", "../other", "import", "codex", "--undo", "--yes"], 0);
}

#[test]
fn answers_as_json() {
    let station = Station::new();
    write(
        &station,
        ".cursor/mcp.json",
        r#"{"mcpServers":{"fs":{"command":"npx"},"far":{"url":"https://h"}}}"#,
    );
    let found = station.json(&["import", "cursor"]);
    assert_eq!(found["schema"], 1);
    assert_eq!(found["servers"][0]["is"], "stdio");
    assert_eq!(found["servers"][1]["is"], "remote");
    let Output { stdout, .. } = station.cli(&["import", "cursor", "--wrap", "--json"]);
    let plan: Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!((&plan["written"], &plan["changes"][0]["name"]), (&json!(false), &json!("fs")));
    assert_eq!(plan["changes"][0]["before"], json!(["npx"]));
    assert_eq!(plan["left"][0]["name"], "far");
    let done = station.json(&["import", "cursor", "--wrap", "--yes"]);
    assert_eq!(done["written"], true);
}

/// A link that an update turns over stands in the file, not what it leads to today.
#[test]
fn a_link_to_the_program_is_kept() {
    let station = Station::new();
    write(&station, ".gemini/settings.json", r#"{"mcpServers":{"fs":{"command":"npx"}}}"#);
    std::fs::create_dir(station.path("bin")).unwrap();
    let link = station.path("bin").join("wrasse");
    symlink(station.wrasse(), &link).unwrap();
    let command = station.command(&["import", "gemini", "--wrap", "--yes"]);
    #[expect(clippy::disallowed_methods, reason = "the program under test by another name")]
    let mut by_link = std::process::Command::new(&link);
    by_link.args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        by_link.env(name, value.unwrap_or_default());
    }
    by_link.current_dir(station.path("work"));
    assert!(by_link.output().unwrap().status.success());
    let wrapped: Value = serde_json::from_str(&read(&station, ".gemini/settings.json")).unwrap();
    assert_eq!(wrapped["mcpServers"]["fs"]["command"], link.display().to_string());
}

/// What a host would execute after the import works, and what it started ends with it.
#[test]
fn the_written_command_serves_the_server() {
    let mut station = Station::new();
    let server = station.fixture(Mode::Ok);
    let entry = json!({ "command": server["command"], "args": server["args"] });
    write(&station, ".claude.json", &json!({ "mcpServers": { "fix": entry } }).to_string());
    run(&station, &["import", "claude-code", "--wrap", "--yes"], 0);
    let wrapped: Value = serde_json::from_str(&read(&station, ".claude.json")).unwrap();
    let entry = &wrapped["mcpServers"]["fix"];
    let mut argv = vec!["sh", "-c", "exec \"$@\" < in", "sh", entry["command"].as_str().unwrap()];
    argv.extend(entry["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()));
    let argv: Vec<String> = argv.into_iter().map(str::to_owned).collect();
    let fifo = station.path("work").join("in");
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let output = station.path("work").join("out");
    station.spawn_into(&argv, &output);
    // For reading too: to write alone, one would wait for a reader that may have failed to start.
    let mut host = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let mut say = |message: Value| writeln!(host, "{message}").unwrap();
    let answered = |id: u32| {
        let said = std::fs::read_to_string(&output).unwrap_or_default();
        let answers = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        answers.into_iter().find(|answer| answer["id"] == id)
    };
    say(json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "host", "version": "1" } } }));
    eventually("initialize is answered", PATIENCE, || answered(1).is_some());
    say(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    say(
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "self", "arguments": {} } }),
    );
    eventually("the call is answered", PATIENCE, || answered(2).is_some());
    assert!(answered(2).unwrap()["result"]["content"].is_array(), "{:?}", answered(2));
    drop(host);
    let left = station.oracle.wait_until(Duration::from_secs(20), <[_]>::is_empty);
    assert!(left.is_ok(), "{left:#?}\n{}", std::fs::read_to_string(&output).unwrap());
}
