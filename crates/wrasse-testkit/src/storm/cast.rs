//! The servers of a storm, and what can be expected of each.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::real;
use crate::fixture::Mode;
use crate::station::Station;

/// What a run that calls the server comes to, while nobody is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// It holds the call until told, then answers.
    Held,
    /// It holds the call for a while, then answers, and stays until its session ends.
    Kept,
    /// The server never comes up; the run ends without it.
    Without,
    /// The call is never answered: the run must be cancelled.
    Never,
}

/// Which process of a tree answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serves {
    /// The leader: it lives and answers whatever becomes of its members.
    Leader,
    /// A process below it: the leader may leave by itself when that is killed.
    Below,
}

/// One server.
#[derive(Debug, Clone)]
pub(super) struct Actor {
    pub(super) name: String,
    pub(super) reply: Reply,
    pub(super) serves: Serves,
    /// Whether its processes stay the same while it holds a call.
    pub(super) steady: bool,
    pub(super) server: Value,
    pub(super) call: Value,
    /// One that is answered at once, for a server that is there for more than one run.
    pub(super) again: Option<Value>,
}

/// All servers of a gateway.
#[derive(Debug, Clone)]
pub(super) struct Cast {
    pub(super) actors: Vec<Actor>,
    /// Those with members besides the leader.
    pub(super) trees: Vec<usize>,
    /// What a station needs besides: links in its `work` folder.
    pub(super) modules: Option<PathBuf>,
}

/// In the text of an answer that was held and then let go.
pub(super) const LET_GO: &str = "held until told";

const MIX: [(Mode, Reply); 18] = [
    (Mode::Ok, Reply::Held),
    (Mode::Npx, Reply::Held),
    (Mode::Shc, Reply::Held),
    (Mode::EofDeaf, Reply::Held),
    (Mode::TermDeaf, Reply::Held),
    (Mode::TermDeadlock, Reply::Held),
    (Mode::Daemon, Reply::Held),
    (Mode::LeaderDies, Reply::Held),
    (Mode::EofSpin, Reply::Held),
    (Mode::StderrFlood, Reply::Held),
    (Mode::StdoutFlood, Reply::Held),
    (Mode::NotifyFlood, Reply::Held),
    (Mode::Zombie, Reply::Held),
    (Mode::Comet, Reply::Held),
    (Mode::StopGuardian, Reply::Held),
    (Mode::SlowInit, Reply::Without),
    (Mode::ExitNow, Reply::Without),
    (Mode::StdinStop, Reply::Never),
];

impl Cast {
    /// The fixtures that may storm on any machine.
    pub(super) fn fixtures() -> Self {
        let actors: Vec<Actor> = MIX.into_iter().map(|(mode, reply)| actor(mode, reply)).collect();
        let has_members =
            [Mode::Npx, Mode::Shc, Mode::Daemon, Mode::LeaderDies, Mode::TermDeadlock];
        let trees = (0..MIX.len()).filter(|place| has_members.contains(&MIX[*place].0)).collect();
        Self { actors, trees, modules: None }
    }

    /// Only the servers of these names.
    pub(super) fn only(mut self, names: &[String]) -> Self {
        if names.is_empty() {
            return self;
        }
        let kept = |place: &usize| names.contains(&self.actors[*place].name);
        let places: Vec<usize> = (0..self.actors.len()).filter(kept).collect();
        let tree = |place: &usize| self.trees.contains(place);
        self.trees = (0..places.len()).filter(|new| tree(&places[*new])).collect();
        self.actors = places.into_iter().map(|place| self.actors[place].clone()).collect();
        self
    }

    /// The second Wrasse's one server, which holds a call throughout.
    pub(super) fn second() -> Self {
        Self { actors: vec![actor(Mode::EofDeaf, Reply::Held)], trees: Vec::new(), modules: None }
    }

    /// Starts the bystanders of real servers; fixtures have some of their own.
    pub(super) fn start_bystanders(
        &self,
        other: &mut Station,
        first: &Station,
    ) -> Result<(), String> {
        match &self.modules {
            Some(modules) => real::start_bystanders(&self.actors, modules, other, first),
            None => Ok(()),
        }
    }

    /// Configures a station with one agent a server.
    pub(super) fn configure(&self, station: &Station, port: u16, token: &str, extra: &Value) {
        let work = station.path("work");
        let (mut servers, mut agents, mut rules) = (json!({}), Vec::new(), Vec::new());
        for actor in &self.actors {
            let text = actor.server.to_string();
            let text = text.replace("WORK", &work.display().to_string());
            let text =
                text.replace("FIXTURE", &station.program("wrasse-fixture").display().to_string());
            servers[&actor.name] = serde_json::from_str(&text).unwrap();
            agents.push(
                json!({ "id": actor.name, "tools": { "allow": [format!("{}__*", actor.name)] } }),
            );
            // The first rule that fits is the one.
            let again = actor.again.iter().map(|call| (real::AGAIN, call));
            for (text, call) in again.chain([("", &actor.call)]) {
                rules.push(json!({ "reply": { "calls": [call] },
                    "when": { "agent": actor.name, "last": "user", "text": text } }));
            }
        }
        let mut config = json!({
            "gateway": { "port": port, "auth": { "token": token } },
            "agents": { "list": agents, "defaults": { "maxConcurrent": 32 } },
            "mcp": { "servers": servers },
        });
        for (key, value) in extra.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        station.configure(config, &json!({ "rules": rules, "otherwise": { "text": "{{last}}" } }));
        if let Some(modules) = &self.modules {
            std::os::unix::fs::symlink(modules, work.join("node_modules")).unwrap();
        }
    }
}

fn actor(mode: Mode, reply: Reply) -> Actor {
    let name = mode.name().to_owned();
    let patience = if mode == Mode::SlowInit { 3_000 } else { 30_000 };
    Actor {
        reply,
        serves: if matches!(mode, Mode::Npx | Mode::Shc | Mode::TermDeadlock) {
            Serves::Below
        } else {
            Serves::Leader
        },
        steady: !matches!(mode, Mode::Comet | Mode::ExitNow | Mode::SlowInit),
        server: json!({ "command": "FIXTURE", "args": [name], "connectionTimeoutMs": patience,
            "requestTimeoutMs": 3_600_000,
            "lifecycle": { "stop": { "eof": "150ms", "term": "150ms" } } }),
        // The message is the stem of the files by which a call is known to have begun and is let go.
        call: json!({ "name": format!("{name}__hold"),
            "arguments": { "started": format!("{{{{last}}}}.{name}"), "until": "{{last}}.go" } }),
        again: None,
        name,
    }
}
