//! The reference clients see no difference between a server and the same server behind `wrasse wrap`.
//!
//! Each client walks through everything the server offers, three times: with the server as its own child, through a
//! shim that knows nothing yet, and through one that has the catalogue. All three transcripts must be equal, and so must
//! be what the server was sent.

mod transcript;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use wrasse_testkit::station::{Station, has};

use transcript::Transcript;

/// How long one walk may take.
const WALK: Duration = Duration::from_secs(120);

/// A client with which to walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    TypeScript,
    Python,
}

/// The folder of clients, if what they need is installed there.
fn installed(test: &str, client: Client) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients");
    let folder = folder.canonicalize().unwrap();
    let there = |path: &str| folder.join(path).exists();
    let needed = match client {
        Client::TypeScript => "node_modules/.wrasse-lock",
        Client::Python => ".venv/.wrasse-lock",
    };
    if has("node") && there("node_modules/.wrasse-lock") && there(needed) {
        return Some(folder);
    }
    eprintln!(
        "SKIPPED {test}: no node, or tests/clients/{needed} is missing: cargo xtask test installs it"
    );
    None
}

/// Runs a command line to its end below the oracle and returns what it printed.
fn run(station: &mut Station, argv: &[String]) -> String {
    let out = station.path("client.out");
    drop(std::fs::remove_file(&out));
    let log = station.path("gateway.log").display().to_string();
    let shell = ["sh", "-c", "exec \"$@\" 2>>\"$0\"", &log];
    let argv: Vec<String> =
        shell.iter().map(|word| (*word).to_owned()).chain(argv.iter().cloned()).collect();
    let pid = station.spawn_into(&argv, &out);
    let code = station.oracle.exit_code(pid, WALK);
    let printed = std::fs::read_to_string(&out).unwrap_or_default();
    assert_eq!(code, Some(0), "{argv:?}\n{printed}\n{}", station.log());
    station.assert_empty();
    printed
}

fn words(words: &[&dyn AsRef<std::ffi::OsStr>]) -> Vec<String> {
    words.iter().map(|word| word.as_ref().to_str().unwrap().to_owned()).collect()
}

/// The reference server behind a recorder.
fn everything(station: &Station, folder: &Path) -> Vec<String> {
    let server = folder.join("node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    words(&[&"node", &folder.join("record.mjs"), &station.path("record"), &"--", &"node", &server])
}

/// Walks through a server with a client.
fn walk(
    station: &mut Station,
    folder: &Path,
    client: Client,
    walk: &str,
    server: &[String],
) -> Transcript {
    let mut argv = match client {
        Client::TypeScript => words(&[&"node", &folder.join("walk.mjs"), &walk, &"--"]),
        Client::Python => {
            words(&[&folder.join(".venv/bin/python"), &folder.join("walk.py"), &walk, &"--"])
        }
    };
    argv.extend(server.iter().cloned());
    let record = station.path("record");
    drop(std::fs::remove_file(&record));
    let printed = run(station, &argv);
    Transcript::read(&printed, &std::fs::read_to_string(record).unwrap_or_default())
}

fn wrapped(station: &Station, server: &[String]) -> Vec<String> {
    let mut argv = words(&[&station.wrasse(), &"wrap", &"--"]);
    argv.extend(server.iter().cloned());
    argv
}

fn assert_same(how: &str, direct: &Transcript, other: &Transcript, station: &Station) {
    let found = direct.differences(other);
    assert!(found.is_empty(), "{how}:\n{}\n{}", found.join("\n"), station.log());
}

/// Direct, through a shim without a catalogue, and through one with it.
fn no_difference(test: &str, client: Client, name: &str) {
    let Some(folder) = installed(test, client) else { return };
    let mut station = Station::new();
    let server = match name {
        "big" => words(&[&station.program("wrasse-fixture"), &"f-ok"]),
        _ => everything(&station, &folder),
    };
    let direct = walk(&mut station, &folder, client, name, &server);
    let steps = if name == "big" { 5 } else { 40 };
    assert!(direct.steps().len() >= steps, "{:?}", direct.steps());
    if name == "big" {
        let big = &direct.answer("big 10000000")["result"]["length"];
        assert_eq!(*big, json!(10_000_000), "{big}");
    }
    let shim = wrapped(&station, &server);
    let cold = walk(&mut station, &folder, client, name, &shim);
    assert_same("cold", &direct, &cold, &station);
    let warm = walk(&mut station, &folder, client, name, &shim);
    assert_same("warm", &direct, &warm, &station);
    if name == "big" {
        // The reference server asks for roots while nobody calls, which a shared one cannot; a big result it can give.
        let mut shim = shim;
        shim.splice(2..2, ["--scope".to_owned(), "shared".to_owned()]);
        let shared = walk(&mut station, &folder, client, name, &shim);
        assert_same("shared", &direct, &shared, &station);
    }
}

#[test]
fn the_typescript_client_sees_no_difference() {
    no_difference("the_typescript_client_sees_no_difference", Client::TypeScript, "everything");
}

#[test]
fn the_python_client_sees_no_difference() {
    no_difference("the_python_client_sees_no_difference", Client::Python, "everything");
}

#[test]
fn ten_megabytes_pass_unchanged_to_the_typescript_client() {
    let test = "ten_megabytes_pass_unchanged_to_the_typescript_client";
    no_difference(test, Client::TypeScript, "big");
}

#[test]
fn ten_megabytes_pass_unchanged_to_the_python_client() {
    no_difference("ten_megabytes_pass_unchanged_to_the_python_client", Client::Python, "big");
}

/// Every method of the Inspector's command line; each is a client of its own.
const INSPECTIONS: [&[&str]; 9] = [
    &["--method", "tools/list"],
    &["--method", "tools/call", "--tool-name", "echo", "--tool-arg", "message=hi"],
    &[
        "--method",
        "tools/call",
        "--tool-name",
        "get-structured-content",
        "--tool-arg",
        "location=Chicago",
    ],
    &["--method", "tools/call", "--tool-name", "no-such-tool"],
    &["--method", "resources/list"],
    &["--method", "resources/read", "--uri", "demo://resource/dynamic/text/1"],
    &["--method", "resources/templates/list"],
    &["--method", "prompts/list"],
    &["--method", "prompts/get", "--prompt-name", "args-prompt", "--prompt-args", "city=Oslo"],
];

#[test]
fn the_inspector_sees_no_difference() {
    let test = "the_inspector_sees_no_difference";
    let Some(folder) = installed(test, Client::TypeScript) else { return };
    let mut station = Station::new();
    let server = everything(&station, &folder);
    let shim = wrapped(&station, &server);
    let config = station.path("servers.json");
    let entry = |argv: &[String]| json!({ "type": "stdio", "command": argv[0], "args": argv[1..] });
    let servers = json!({ "mcpServers": { "direct": entry(&server), "wrapped": entry(&shim) } });
    std::fs::write(&config, servers.to_string()).unwrap();
    let inspector = folder.join("node_modules/.bin/mcp-inspector");
    for method in INSPECTIONS {
        let mut look = |name: &str| {
            let mut argv = words(&[&inspector, &"--cli", &"--config", &config, &"--server", &name]);
            argv.extend(method.iter().map(|word| (*word).to_owned()));
            argv.extend(words(&[&"--format", &"json", &"--quiet"]));
            // A tool that does not exist is a failure of its own kind; what counts is that both say the same.
            let script = "\"$@\"; echo \"{\\\"step\\\":\\\"exit\\\",\\\"answer\\\":$?}\"";
            let argv = [words(&[&"sh", &"-c", &script, &"sh"]), argv].concat();
            let printed = run(&mut station, &argv);
            let printed = printed.replace('\n', " ").replace("{\"step\"", "\n{\"step\"");
            Transcript::read(printed.trim_start(), "")
        };
        let (direct, other) = (look("direct"), look("wrapped"));
        assert!(direct.steps().contains(&"exit"), "{method:?}: {direct:?}");
        assert_same(&method.join(" "), &direct, &other, &station);
    }
}
