//! The servers of a soak.

use serde_json::{Value, json};

use crate::fixture::Mode;
use crate::station::{Station, free_port};

/// What a fixture does in a soak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It answers, and holds a call until it is ended.
    Holds,
    /// Its calls are never answered, or it never comes up: the run goes on without it. Its breaker is reset before
    /// each cycle, else it would not be started again for minutes.
    Fails,
    /// Not played: it needs something that a station does not have.
    LeftOut,
}

/// What each fixture does. A new one must be given a role here.
pub(super) const fn role(mode: Mode) -> Role {
    match mode {
        Mode::Ok
        | Mode::Npx
        | Mode::Shc
        | Mode::EofDeaf
        | Mode::TermDeaf
        | Mode::TermDeadlock
        | Mode::Daemon
        | Mode::LeaderDies
        | Mode::EofSpin
        | Mode::StderrFlood
        | Mode::StdoutFlood
        | Mode::NotifyFlood
        | Mode::Lock
        | Mode::Port
        | Mode::Counter
        | Mode::Bg
        | Mode::Grow
        | Mode::Zombie
        | Mode::ListChg
        | Mode::Comet
        | Mode::StopGuardian
        | Mode::Garbage => Role::Holds,
        Mode::SlowInit | Mode::ExitNow | Mode::StdinStop | Mode::SideFx => Role::Fails,
        // A daemon of its own; a stage of its own; a limit of processes.
        Mode::Docker | Mode::KillAll | Mode::ForkBomb => Role::LeftOut,
    }
}

/// Every fixture that is played.
pub(super) fn modes() -> Vec<Mode> {
    Mode::ALL.into_iter().filter(|mode| role(*mode) != Role::LeftOut).collect()
}

/// Configures a station with one agent and one server a fixture, the ladder shortened: "echo" asks once, "hold" leaves a
/// call in flight and touches the file `<fixture>.held`.
pub(super) fn configure(station: &Station, port: u16, token: &str) {
    let work = station.path("work");
    let (mut servers, mut agents, mut rules) = (json!({}), Vec::new(), Vec::new());
    for mode in modes() {
        let name = mode.name();
        let mut server = station.fixture(mode);
        server["lifecycle"]["stop"] = json!({ "eof": "50ms", "term": "50ms" });
        let argument = [
            (Mode::Lock, work.join("lock").display().to_string()),
            (Mode::SideFx, work.join("effects").display().to_string()),
            (Mode::Port, free_port().to_string()),
            (Mode::Grow, "10".to_owned()),
        ];
        let argument = argument.into_iter().find(|(wanted, _)| *wanted == mode);
        if let Some((_, argument)) = argument {
            server["args"] = json!([name, argument]);
        }
        if mode == Mode::SlowInit {
            server["connectionTimeoutMs"] = json!(200);
        }
        if mode == Mode::StdinStop {
            server["requestTimeoutMs"] = json!(200);
        }
        servers[name] = server;
        agents.push(json!({ "id": name, "tools": { "allow": [format!("{name}__*")] } }));
        let call = |text: &str, tool: &str, arguments: Value| {
            json!({ "when": { "agent": name, "last": "user", "text": text },
                "reply": { "calls": [{ "name": format!("{name}__{tool}"), "arguments": arguments }] } })
        };
        rules.push(call("echo", "echo", json!({ "text": "heard" })));
        rules.push(call("hold", "hold", json!({ "started": held(station, mode) })));
    }
    station.configure(
        json!({
            "gateway": { "port": port, "auth": { "token": token } },
            "agents": { "list": agents },
            "mcp": { "servers": servers },
        }),
        &json!({ "rules": rules, "otherwise": { "text": "done" } }),
    );
}

/// The file by which a call is known to be in flight.
pub(super) fn held(station: &Station, mode: Mode) -> std::path::PathBuf {
    station.path("work").join(format!("{}.held", mode.name()))
}
