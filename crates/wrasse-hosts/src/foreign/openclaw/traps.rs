//! What in a configuration of OpenClaw makes it leak or cost more than it must, by version.

use serde_json::Value;

use super::facts::Version;
use super::place::Place;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// It is right.
    Ok,
    /// Worth knowing.
    Note,
    /// It makes servers pile up under some use.
    Warn,
    /// It makes servers pile up.
    Fail,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// How bad.
    pub weight: Weight,
    /// What about.
    pub subject: &'static str,
    /// What it is, and the cure.
    pub text: String,
}

const WRAP: &str = "wrasse import openclaw --wrap";

/// Looks for them. `servers` are the names of the programs it starts, `unpinned` those of them that a package runner
/// starts without a version, `wrapped` how many go through Wrasse.
pub fn traps(
    place: &Place,
    version: Option<Version>,
    servers: &[String],
    unpinned: &[String],
    wrapped: usize,
) -> Vec<Trap> {
    let mut found = Vec::new();
    let mut add = |weight, subject, text: String| found.push(Trap { weight, subject, text });
    if servers.is_empty() {
        let text = if wrapped == 0 {
            "no server is a program: nothing can leak".to_owned()
        } else {
            format!(
                "all {wrapped} go through Wrasse: nothing can leak, whatever the rest of this says"
            )
        };
        add(Weight::Ok, "servers", text);
        return found;
    }
    add(
        Weight::Note,
        "servers",
        format!(
            "{} started by every session that runs, whether its agent uses them or not: {}",
            servers.len(),
            servers.join(", ")
        ),
    );
    if !unpinned.is_empty() {
        let text = format!(
            "{} started by a package runner without a version: three processes each instead of one, the registry is \
             asked at every start, and what runs changes by itself; give a version (pkg@1.2.3), or: {WRAP}",
            unpinned.join(", ")
        );
        add(Weight::Warn, "npx", text);
    }
    let Some(version) = version else {
        let text = format!(
            "the version is not known, so neither is what it ends; {WRAP}   works with every version"
        );
        add(Weight::Warn, "version", text);
        return found;
    };
    by_version(place, version, &mut add);
    found
}

fn by_version(place: &Place, version: Version, add: &mut impl FnMut(Weight, &'static str, String)) {
    let old = version < Version(2026, 4, 22);
    if old {
        let text = format!(
            "{version} never ends the servers of isolated cron runs and sub-agents; spawning with cleanup \"delete\" does \
             not either: upgrade to 2026.9.5 or newer, or: {WRAP}"
        );
        add(Weight::Fail, "version", text);
    } else if version < Version(2026, 9, 0) {
        let text = format!(
            "{version} ends the servers of most runs, with known holes (docs/hosts/openclaw.md): upgrade to 2026.9.5 or \
             newer, or: {WRAP}"
        );
        add(Weight::Warn, "version", text);
    } else {
        add(
            Weight::Ok,
            "version",
            format!("{version} ends the servers of cron runs and sub-agents with their run"),
        );
    }
    idle(place, version, add);
    heartbeat(place, version, add);
    resets(place, version, add);
    subagents(place, version, add);
    if version >= Version(2026, 9, 0) {
        let text = "every server takes two more node processes, its relay and its anchor, about 80 MiB: nothing to set";
        add(Weight::Note, "relays", text.to_owned());
    }
}

fn idle(place: &Place, version: Version, add: &mut impl FnMut(Weight, &'static str, String)) {
    let ttl = place.setting("mcp.sessionIdleTtlMs").and_then(Value::as_f64);
    if version < Version(2026, 9, 0) {
        if ttl.is_some() {
            let text = format!(
                "mcp.sessionIdleTtlMs is set, which {version} may refuse or ignore: it counts since 2026.9"
            );
            add(Weight::Warn, "idle", text);
        } else {
            let text = format!(
                "{version} has no idle time to set: each session keeps its servers; {WRAP}   ends them after 30 s"
            );
            add(Weight::Warn, "idle", text);
        }
        return;
    }
    match ttl {
        Some(ttl) if ttl >= 1.0 => {
            let text = format!(
                "mcp.sessionIdleTtlMs ends a session's servers after {} s idle",
                ttl / 1000.0
            );
            add(Weight::Ok, "idle", text);
        }
        Some(_) | None => {
            let text = "mcp.sessionIdleTtlMs is not set: sessions that can be continued keep their servers for ever, and at 256 \
                        of them new ones are refused; set it, 300000 is 5 minutes";
            add(Weight::Fail, "idle", text.to_owned());
        }
    }
}

/// The heartbeat of the defaults and of each agent that has its own.
fn heartbeat(place: &Place, version: Version, add: &mut impl FnMut(Weight, &'static str, String)) {
    let defaults = place.setting("agents.defaults.heartbeat");
    let beats = |beat: &Value| {
        !matches!(beat.get("every").and_then(Value::as_str), Some("0" | "0m" | "0s" | "0h"))
    };
    let own: Vec<&Value> = agents(place).filter_map(|agent| agent.get("heartbeat")).collect();
    let every: Vec<&Value> = if own.is_empty() { defaults.into_iter().collect() } else { own };
    let active = if every.is_empty() { true } else { every.iter().any(|beat| beats(beat)) };
    if !active {
        return add(Weight::Ok, "heartbeat", "off".to_owned());
    }
    let isolated =
        every.iter().any(|beat| beat.get("isolatedSession").and_then(Value::as_bool) == Some(true));
    match (isolated, version < Version(2026, 9, 5)) {
        (true, true) => {
            let text = format!(
                "heartbeats in a session of their own each start every server, and {version} never ends them (mended in \
                 2026.9.5): set agents.defaults.heartbeat.every to \"0m\", or isolatedSession to false"
            );
            add(Weight::Fail, "heartbeat", text);
        }
        (false, _) => {
            let text = "beats in the main session (every 30 min unless set), which therefore always has its servers; every: \
                        \"0m\" turns it off";
            add(Weight::Note, "heartbeat", text.to_owned());
        }
        (true, false) => add(
            Weight::Ok,
            "heartbeat",
            format!("{version} ends what an isolated heartbeat started"),
        ),
    }
}

fn resets(place: &Place, version: Version, add: &mut impl FnMut(Weight, &'static str, String)) {
    if version >= Version(2026, 6, 0) {
        return;
    }
    let mode = place.setting("session.reset.mode").and_then(Value::as_str).unwrap_or("daily");
    let text = format!(
        "session.reset.mode is {mode}: {version} ends a session's servers at a reset only when the next message comes by a \
         chat; sessions.reset and sessions.delete leave them running"
    );
    add(Weight::Warn, "resets", text);
}

fn subagents(place: &Place, version: Version, add: &mut impl FnMut(Weight, &'static str, String)) {
    let number = |key: &str, default: u64| {
        let set =
            place.setting(&format!("agents.defaults.subagents.{key}")).and_then(Value::as_u64);
        set.unwrap_or(default)
    };
    let new = version >= Version(2026, 9, 0);
    let depth = number("maxSpawnDepth", if new { 5 } else { 1 });
    let (children, at_once) = (number("maxChildrenPerAgent", 5), number("maxConcurrent", 8));
    let text = format!(
        "up to {at_once} sub-agents at once, {children} for each agent, {depth} deep: each with a set of servers of its own"
    );
    add(if depth > 2 { Weight::Warn } else { Weight::Note }, "sub-agents", text);
}

/// Every agent, in either way of writing them.
fn agents(place: &Place) -> impl Iterator<Item = &Value> {
    let list = place.setting("agents.list").and_then(Value::as_array);
    let entries = place.setting("agents.entries").and_then(Value::as_object);
    list.into_iter().flatten().chain(entries.into_iter().flat_map(|entries| entries.values()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(config: &str, version: &str, unpinned: &[&str]) -> Vec<(&'static str, Weight)> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("openclaw.json");
        std::fs::write(&file, config).unwrap();
        let place = Place::at(file, dir.path().to_owned());
        let unpinned: Vec<String> = unpinned.iter().map(|name| (*name).to_owned()).collect();
        traps(&place, Version::parse(version), &["s".to_owned()], &unpinned, 0)
            .into_iter()
            .map(|trap| (trap.subject, trap.weight))
            .collect()
    }

    #[test]
    fn the_reports_release_fails_whatever_is_set() {
        let found = weights("{}", "2026.4.15", &["s"]);
        assert!(
            found.contains(&("version", Weight::Fail)) && found.contains(&("npx", Weight::Warn))
        );
        assert!(
            found.contains(&("idle", Weight::Warn)) && found.contains(&("resets", Weight::Warn))
        );
    }

    #[test]
    fn the_newest_release_is_right_once_its_idle_time_is_set() {
        assert!(weights("{}", "2026.9.6", &[]).contains(&("idle", Weight::Fail)));
        let set = "{ mcp: { sessionIdleTtlMs: 300000 }, agents: { defaults: { heartbeat: { every: '0m' }, subagents: { maxSpawnDepth: 1 } } } }";
        let found = weights(set, "2026.9.6", &[]);
        assert!(
            found.iter().all(|(_, weight)| matches!(weight, Weight::Ok | Weight::Note)),
            "{found:?}"
        );
    }

    #[test]
    fn an_isolated_heartbeat_leaks_until_it_was_mended() {
        let config = "{ agents: { list: [ { id: 'main', heartbeat: { every: '5m', isolatedSession: true } } ] } }";
        assert!(weights(config, "2026.9.4", &[]).contains(&("heartbeat", Weight::Fail)));
        assert!(weights(config, "2026.9.5", &[]).contains(&("heartbeat", Weight::Ok)));
        assert!(weights("{}", "", &[]).contains(&("version", Weight::Warn)));
    }
}
