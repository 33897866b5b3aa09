//! A gateway on a terminal: Ctrl-C, Ctrl-Z, `fg`, and a terminal that is closed, with a real shell where one matters.

use std::time::{Duration, Instant};

use serde_json::json;
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::processes;
use wrasse_testkit::station::{AFTER_DEATH, PATIENCE, Station, eventually};

use crate::hygiene::{configure, hold, look, named};

const SIGKILL: i32 = 9;
const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";
/// A second signal that comes sooner counts as the same one.
const SAME_SIGNAL: Duration = Duration::from_millis(350);
/// Within how long an end is one without a ladder, by the oracle's clock.
const NOW: Duration = Duration::from_secs(3);

/// Whether terminals can be had here; a test without says its name.
fn has_terminals(test: &str) -> bool {
    let tried = std::fs::File::options().read(true).write(true).open("/dev/ptmx");
    if let Err(error) = &tried {
        eprintln!("SKIPPED {test}: no terminal: {error}");
    }
    tried.is_ok()
}

/// A station whose gateway is on a terminal.
struct Terminal {
    station: Station,
    keys: std::fs::File,
    /// The process that holds the terminal open.
    screen: u32,
}

impl Terminal {
    /// A terminal that runs a command line on a station whose server is deaf to everything and has this long a ladder.
    #[expect(clippy::disallowed_methods, reason = "makes a fifo")]
    fn open(rung: &str, command: impl FnOnce(&Station) -> Vec<String>) -> Self {
        let mut station = Station::new();
        let mut server = station.fixture(Mode::TermDeaf);
        server["lifecycle"] = json!({ "stop": { "eof": rung, "term": rung } });
        configure(&station, server, json!({ "gateway": { "shutdownDeadline": "30s" } }));
        let keys = station.path("keys");
        let made = std::process::Command::new("mkfifo").arg(&keys).status().unwrap();
        assert!(made.success());
        station.set_env("TERM", "dumb");
        station.set_env("PS1", "$ ");
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/terminal.py");
        let [python, ..] = super::host::python("");
        let mut argv = vec![python, script.display().to_string(), keys.display().to_string()];
        argv.extend(command(&station));
        let screen = station.spawn(&argv);
        // For reading too: to write alone, one would wait for a terminal that may have failed to start.
        let keys = std::fs::File::options().read(true).write(true).open(keys).unwrap();
        let mut terminal = Self { station, keys, screen };
        terminal.station.wait_ready();
        terminal
    }

    /// The gateway itself leads the terminal's session.
    fn direct(rung: &str) -> Self {
        Self::open(rung, |station| {
            vec![station.wrasse().display().to_string(), "gateway".to_owned(), "run".to_owned()]
        })
    }

    /// A shell with job control does, and the gateway is its foreground job.
    fn shell() -> Self {
        Self::open("300ms", |station| {
            let line = format!("{} gateway run\n", station.wrasse().display());
            std::fs::write(station.path("line"), line).unwrap();
            // The line is typed before the shell asks: the terminal keeps it.
            let script = "cat \"$0\" >\"$1\"; exec sh -i";
            let (line, keys) = (station.path("line"), station.path("keys"));
            ["sh", "-c", script]
                .map(str::to_owned)
                .into_iter()
                .chain([line, keys].map(|path| path.display().to_string()))
                .collect()
        })
    }

    fn press(&mut self, keys: &str) {
        std::io::Write::write_all(&mut self.keys, keys.as_bytes()).unwrap();
    }

    fn warden(&mut self) -> u32 {
        named(&self.station.oracle.list(), "wrasse-warden")[0].pid
    }

    fn shows(&self, text: &str) {
        let station = &self.station;
        station.assert_logs(text);
    }

    fn wait_state(&mut self, warden: u32, stopped: bool) {
        eventually("the warden stops or goes on", PATIENCE, || {
            processes::read(warden).is_some_and(|process| (process.state == 'T') == stopped)
        });
    }

    fn expect_exit(mut self, code: i32) {
        let got = self.station.oracle.exit_code(self.screen, PATIENCE);
        assert_eq!(got, Some(code), "{}", self.station.log());
        self.flat();
    }

    fn flat(mut self) {
        self.station.assert_empty();
        self.station.assert_ledger_closed();
        let open = self.station.query("SELECT count(*) FROM runs WHERE end_reason IS NULL");
        assert_eq!(open.trim(), "0", "{}", self.station.log());
        self.station.start();
        self.station.assert_flat();
    }
}

/// One key press is one signal, though the terminal sends it to a group and the warden passes it on.
#[test]
fn one_ctrl_c_drains() {
    if !has_terminals("one_ctrl_c_drains") {
        return;
    }
    let mut terminal = Terminal::direct("1s");
    hold(&terminal.station);
    terminal.press(CTRL_C);
    terminal.shows("stopping");
    let ended = "SELECT count(*) FROM runs WHERE end_reason = 'gateway_stopped'";
    let path = terminal.station.path("gateway.log");
    let station = &mut terminal.station;
    assert!(station.oracle.exit_code(terminal.screen, PATIENCE) == Some(0), "{}", station.log());
    assert_eq!(station.query(ended).trim(), "1");
    let log = std::fs::read_to_string(path).unwrap();
    assert!(!log.contains("second signal"), "{log}");
    terminal.flat();
}

/// The ladder would take twenty seconds; the second key press ends it now.
#[test]
fn two_ctrl_c_end_now() {
    if !has_terminals("two_ctrl_c_end_now") {
        return;
    }
    let mut terminal = Terminal::direct("10s");
    hold(&terminal.station);
    terminal.press(CTRL_C);
    terminal.shows("stopping");
    // The warden counts from when it passed the first signal on, and the gateway speaks after that.
    let pressed = Instant::now();
    // What makes a second signal one is time, so time has to pass.
    std::thread::sleep(SAME_SIGNAL.saturating_sub(pressed.elapsed()));
    terminal.press(CTRL_C);
    let code = terminal.station.oracle.exit_code(terminal.screen, NOW);
    assert_eq!(code, Some(143), "{}", terminal.station.log());
    assert!(terminal.station.log().contains("second signal"), "{}", terminal.station.log());
    terminal.station.assert_empty();
    terminal.station.start();
    terminal.station.assert_flat();
}

/// Ctrl-Z stops the warden alone: the gateway serves meanwhile, and `fg` goes on as if nothing had been.
#[test]
fn ctrl_z_and_fg() {
    if !has_terminals("ctrl_z_and_fg") {
        return;
    }
    let mut terminal = Terminal::shell();
    let warden = terminal.warden();
    hold(&terminal.station);
    for _ in 0..2 {
        terminal.press(CTRL_Z);
        terminal.wait_state(warden, true);
        look(&terminal.station);
        terminal.press("fg\n");
        terminal.wait_state(warden, false);
    }
    look(&terminal.station);
    terminal.press(CTRL_C);
    eventually("the warden is gone", PATIENCE, || processes::read(warden).is_none());
    terminal.press("echo code=$?\n");
    terminal.shows("code=0");
    terminal.press("exit 5\n");
    terminal.expect_exit(5);
}

/// A stopped warden misses nothing: the gateway is killed meanwhile, and `fg` ends what is left and tells how.
#[test]
fn the_gateway_is_killed_while_the_warden_is_stopped() {
    if !has_terminals("the_gateway_is_killed_while_the_warden_is_stopped") {
        return;
    }
    let mut terminal = Terminal::shell();
    let warden = terminal.warden();
    hold(&terminal.station);
    terminal.press(CTRL_Z);
    terminal.wait_state(warden, true);
    let gateway = terminal.station.gateway();
    terminal.station.oracle.signal(&[gateway], SIGKILL);
    // The guardian needs no warden.
    let gone = |seen: &[processes::Process]| named(seen, "wrasse-guardian").is_empty();
    let left = terminal.station.oracle.wait_until(AFTER_DEATH, gone);
    assert!(left.is_ok(), "{left:#?}");
    terminal.press("fg\n");
    eventually("the warden is gone", PATIENCE, || processes::read(warden).is_none());
    terminal.press("echo code=$?\n");
    terminal.shows("code=137");
    terminal.press("exit 0\n");
    let code = terminal.station.oracle.exit_code(terminal.screen, PATIENCE);
    assert_eq!(code, Some(0), "{}", terminal.station.log());
    terminal.station.assert_empty();
    terminal.station.start();
    terminal.station.assert_flat();
}

/// The window is closed: HUP drains, whoever led the session, and though nothing can be written any more.
#[test]
fn a_closed_terminal_drains() {
    if !has_terminals("a_closed_terminal_drains") {
        return;
    }
    for mut terminal in [Terminal::direct("300ms"), Terminal::shell()] {
        hold(&terminal.station);
        let screen = terminal.screen;
        assert_eq!(terminal.station.oracle.signal(&[screen], SIGKILL), 1);
        terminal.flat();
    }
}

/// The same while it is stopped: an orphaned job is sent HUP and CONT.
#[test]
fn a_terminal_closed_on_a_stopped_gateway_drains() {
    if !has_terminals("a_terminal_closed_on_a_stopped_gateway_drains") {
        return;
    }
    let mut terminal = Terminal::shell();
    let warden = terminal.warden();
    hold(&terminal.station);
    terminal.press(CTRL_Z);
    terminal.wait_state(warden, true);
    let screen = terminal.screen;
    assert_eq!(terminal.station.oracle.signal(&[screen], SIGKILL), 1);
    terminal.flat();
}
