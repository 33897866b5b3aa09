//! Bad input: each gets a clear error with a cure, the documented exit code, and nothing is lost.

use std::process::Output;

use serde_json::{Value, json};
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::station::{GONE, PATIENCE, Station, free_port, text};

use crate::walk::{configure_echo, echo_station};

fn fails(output: &Output, code: i32, words: &[&str]) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    for word in words {
        assert!(err.contains(word), "{word:?} is not in:\n{err}");
    }
}

fn with_config(config: &str) -> Station {
    let station = Station::new();
    std::fs::write(station.path("state").join("wrasse.json5"), config).unwrap();
    station
}

#[test]
fn broken_json5_says_where() {
    let station = with_config("{ agents: {\n  defaults: { model: \"a/b\" \n");
    fails(&station.cli(&["config", "check"]), 78, &["wrasse.json5:"]);
    fails(&station.cli(&["gateway", "run"]), 78, &["wrasse.json5:"]);
}

#[test]
fn every_fault_at_once_with_a_suggestion() {
    let station =
        with_config("{ agentz: {}, gateway: { prot: 1 }, mcp: { servers: { x: { args: [] } } } }");
    fails(
        &station.cli(&["gateway", "run"]),
        78,
        &["agentz", "agents", "gateway.prot", "port", "mcp.servers.x", "command"],
    );
}

/// A command that is not there: the server is named once, with the cure, and the rest goes on.
#[test]
fn a_missing_command_is_named_and_the_rest_goes_on() {
    let station = Station::new();
    station.configure(
        json!({ "mcp": { "servers": {
            "gone": { "command": "no-such-command-here" },
            "fix": station.fixture(Mode::Ok),
        } } }),
        &json!({ "rules": [{ "when": { "last": "user" }, "reply": { "calls": [
            { "name": "fix__echo", "arguments": { "text": "fine" } }] } }],
            "otherwise": { "text": "{{last}}" } }),
    );
    let mut station = station;
    station.start();
    assert_eq!(station.ok(&["agent", "-m", "go"]).trim(), "fine");
    station.assert_logs("no-such-command-here");
    station.assert_logs("gone");
    station.assert_flat();
}

#[test]
fn a_port_in_use_is_said() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut station = echo_station(Mode::Ok);
    let pid = station.start_other(&["gateway", "run", "--port", &port]);
    assert_eq!(station.oracle.exit_code(pid, PATIENCE), Some(1), "{}", station.log());
    assert!(
        station.log().contains(&port) && station.log().contains("gateway.port"),
        "{}",
        station.log()
    );
    station.assert_empty();
}

#[test]
fn a_second_gateway_on_the_state_dir_names_the_first() {
    let mut station = echo_station(Mode::Ok);
    station.start();
    let gateway = station.gateway().to_string();
    let port = free_port().to_string();
    let pid = station.start_other(&["gateway", "run", "--port", &port]);
    assert_eq!(station.oracle.exit_code(pid, PATIENCE), Some(1), "{}", station.log());
    assert!(station.log().contains(&gateway), "{}", station.log());
    // And a one-shot is refused with the reason.
    let refused = station.start_other(&["agent", "--local", "-m", "x"]);
    assert_eq!(station.oracle.exit_code(refused, PATIENCE), Some(1), "{}", station.log());
    assert_eq!(station.ok(&["agent", "-m", "still here"]).trim(), "heard: still here");
    station.assert_flat();
}

#[test]
fn a_corrupt_database_is_refused_and_left_alone() {
    let mut station = echo_station(Mode::Ok);
    let database = station.path("state").join("wrasse.db");
    std::fs::write(&database, "this is not a database, but somebody's notes").unwrap();
    let pid = station.start_other(&["gateway", "run"]);
    assert_eq!(station.oracle.exit_code(pid, PATIENCE), Some(1), "{}", station.log());
    assert!(station.log().contains("wrasse.db"), "{}", station.log());
    assert!(std::fs::read_to_string(&database).unwrap().contains("somebody's notes"));
    station.assert_empty();
}

#[test]
fn a_newer_database_is_refused_by_name() {
    let mut station = echo_station(Mode::Ok);
    station.start();
    station.assert_flat();
    station.query_write("PRAGMA user_version = 99");
    let pid = station.start_other(&["gateway", "run"]);
    assert_eq!(station.oracle.exit_code(pid, PATIENCE), Some(1), "{}", station.log());
    assert!(station.log().contains("newer") && station.log().contains("99"), "{}", station.log());
    station.assert_empty();
}

#[test]
fn a_wrong_token_is_77_and_no_gateway_is_69() {
    let mut station = echo_station(Mode::Ok);
    fails(&station.cli(&["status"]), 69, &["gateway run"]);
    station.start();
    let wrong = station.command(&["status"]).env("WRASSE_GATEWAY_TOKEN", "wrong").output().unwrap();
    fails(&wrong, 77, &["token"]);
    station.assert_flat();
    fails(&station.cli(&["ps"]), 69, &["gateway run"]);
}

#[test]
fn a_model_endpoint_that_is_down_is_named() {
    let station = Station::new();
    let url = format!("http://127.0.0.1:{}/v1", free_port());
    station.configure(
        json!({
            "agents": { "defaults": { "model": "local/qwen" } },
            "models": { "providers": { "local": { "baseUrl": url, "api": "openai-completions",
                "apiKey": "x", "models": [{ "id": "qwen", "name": "Qwen" }] } } },
            "mcp": { "servers": { "fix": station.fixture(Mode::Ok) } },
        }),
        &json!({}),
    );
    let mut station = station;
    station.start();
    fails(&station.cli(&["agent", "-m", "hello"]), 1, &["127.0.0.1"]);
    station.assert_no_servers(GONE);
    station.assert_flat();
}

/// failure mode H2: a result of 20 MB reaches the model cut, with a note; nothing of ours grows for ever.
#[test]
fn a_result_of_20_mb_is_cut() {
    let mut station = echo_station(Mode::Ok);
    station.start();
    let answer = station.ok(&["agent", "-m", "big"]);
    assert!(answer.len() < 2_000_000 && answer.contains("cut"), "{} bytes", answer.len());
    station.assert_flat();
}

/// Output that is not JSON-RPC is kept for the error text, and a server that otherwise conforms still serves.
#[test]
fn a_server_that_prints_garbage_still_serves() {
    let mut station = echo_station(Mode::Garbage);
    station.start();
    assert_eq!(station.ok(&["agent", "-m", "hello"]).trim(), "heard: hello");
    station.assert_flat();
}

/// `… | head`: the reader goes away, the command ends quietly.
#[test]
fn a_closed_stdout_is_no_crash() {
    let mut station = echo_station(Mode::Ok);
    station.start();
    let mut child = station.command(&["config", "schema"]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
    station.assert_flat();
}

#[test]
fn usage_is_64_and_help_teaches() {
    let station = Station::new();
    fails(&station.cli(&["no-such-command"]), 64, &[]);
    fails(&station.cli(&["cron", "add", "--name", "x"]), 64, &["--every"]);
    let help = station.ok(&["--help"]);
    assert!(help.contains("gateway run") && help.contains("Exit codes"), "{help}");
    let destroyed = station.cli(&["sessions", "delete", "x"]);
    fails(&destroyed, 64, &["--yes"]);
}

// failure mode J7
#[test]
fn config_print_never_shows_a_secret() {
    let station = with_config(
        "{ gateway: { auth: { token: 'tok-SECRET' } }, mcp: { servers: { x: { command: 'x', env: { K: 'env-SECRET' } } } } }",
    );
    for args in
        [&["config", "print"][..], &["config", "print", "--origin"], &["config", "check", "-v"]]
    {
        let out = station.ok(args);
        assert!(!out.contains("SECRET"), "{args:?}: {out}");
    }
}

/// The configuration of the report, as it is, is accepted, and says what it means.
#[test]
fn the_reports_configuration_is_accepted_as_it_is() {
    let servers: Value = serde_json::from_str(crate::firings::REPORT).unwrap();
    let station = with_config(&servers.to_string());
    let out = station.ok(&["config", "check"]);
    assert!(out.contains("3 servers"), "{out}");
}

/// A file system of a few MiB in place of the state dir; unmounted whichever way the test ends.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &std::path::Path) -> Option<Self> {
        let mounted = tool(
            "mount",
            &["-t", "tmpfs", "-o", "size=6m,mode=0700", "tmpfs", at.to_str().unwrap()],
        );
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        tool("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

#[expect(clippy::disallowed_methods, reason = "a tool of the test, not of the program")]
fn tool(program: &str, args: &[&str]) -> bool {
    std::process::Command::new(program)
        .args(args)
        .output()
        .is_ok_and(|output| output.status.success())
}

/// A full disk is said, ends every tree all the same, and loses no record of what ended meanwhile.
#[test]
fn a_full_disk_is_said_and_nothing_is_lost() {
    let mut station = Station::new();
    let Some(disk) = SmallDisk::mount(&station.path("state")) else {
        eprintln!(
            "SKIPPED a_full_disk_is_said_and_nothing_is_lost: mounting a tmpfs is not permitted here"
        );
        return;
    };
    configure_echo(&station, Mode::Ok);
    station.start();
    assert_eq!(station.ok(&["agent", "-m", "one"]).trim(), "heard: one");
    let filler = station.path("state").join("filler");
    let full = std::fs::write(&filler, vec![0_u8; 8 << 20]);
    assert!(full.is_err(), "the disk is not full");
    let refused = station.cli(&["agent", "-m", "two"]);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("full"), "{}\n{}", text(&refused.stderr), station.log());
    station.assert_no_servers(GONE);
    std::fs::remove_file(filler).unwrap();
    let three = station.ok(&["agent", "-m", "three", "--session-key", "later"]);
    assert_eq!(three.trim(), "heard: three");
    let active = station.json(&["runs", "list", "--active"]);
    assert_eq!(active["runs"], json!([]), "{active:#}");
    station.assert_flat();
    drop(disk);
}
