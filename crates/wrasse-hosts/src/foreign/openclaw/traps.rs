//! What in a configuration of OpenClaw makes it leak or cost more than it must, by version.

use serde_json::{Map, Value};

use super::facts::{Idle, Version, period};
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
            "{version} never ends the servers of isolated cron runs and sub-agents: upgrade to 2026.9.5 or newer, or: {WRAP}"
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
    spawned(version, add);
    subagents(place, version, add);
    if version >= Version(2026, 9, 0) {
        let text = "every server takes two more node processes, its relay and its anchor, about 80 MiB: nothing to set";
        add(Weight::Note, "relays", text.to_owned());
    }
}

/// How many milliseconds of idleness are set, if any.
fn idle_set(place: &Place) -> Option<f64> {
    place.setting("mcp.sessionIdleTtlMs").and_then(Value::as_f64)
}

fn idle(place: &Place, version: Version, add: &mut impl FnMut(Weight, &'static str, String)) {
    let period = period(version);
    let ends = |set: f64| set >= 1.0;
    let weight = match (period.idle, idle_set(place)) {
        (Idle::StayUnlessSet, Some(set)) if ends(set) => {
            let text = format!(
                "mcp.sessionIdleTtlMs ends a session's servers after {} s idle",
                set / 1000.0
            );
            return add(Weight::Ok, "idle", text);
        }
        (Idle::StayUnlessSet, _) => {
            let text = "mcp.sessionIdleTtlMs is not set: sessions that can be continued keep their servers for ever, and at 256 \
                        of them new ones are refused; set it, 300000 is 5 minutes";
            return add(Weight::Fail, "idle", text.to_owned());
        }
        (Idle::TenMinutesOrSet, Some(set)) if !ends(set) => Weight::Fail,
        (Idle::TenMinutesHardlySet | Idle::TenMinutes, None) => Weight::Note,
        (Idle::Stay | Idle::TenMinutesOrSet | Idle::TenMinutesHardlySet | Idle::TenMinutes, _) => {
            Weight::Warn
        }
    };
    let is_set = if idle_set(place).is_some() { "is set; it " } else { "is not set; it " };
    let text = format!(
        "when a session that can be continued is idle, {version} ends its servers: {}; mcp.sessionIdleTtlMs {is_set}{} \
         ({}: {}); {WRAP}   ends them after 30 s",
        period.after, period.setting, period.releases, period.sources
    );
    add(weight, "idle", text);
}

/// What each agent that beats has set: the defaults with its own laid over them, key by key. Once any agent has a
/// heartbeat of its own, no other beats.
fn heartbeats(place: &Place) -> Vec<Map<String, Value>> {
    let defaults = place.setting("agents.defaults.heartbeat").and_then(Value::as_object);
    let over = |own: &Map<String, Value>| {
        let mut all = defaults.cloned().unwrap_or_default();
        all.extend(own.clone());
        all
    };
    let own: Vec<_> =
        agents(place).filter_map(|agent| agent.get("heartbeat")?.as_object()).map(over).collect();
    if own.is_empty() { vec![over(&Map::new())] } else { own }
}

/// Whether a heartbeat comes at all: a time that is nothing, or no time, turns it off.
fn beats(heartbeat: &Map<String, Value>) -> bool {
    let Some(every) = heartbeat.get("every").and_then(Value::as_str) else { return true };
    every.contains(|letter: char| ('1'..='9').contains(&letter))
}

fn heartbeat(place: &Place, version: Version, add: &mut impl FnMut(Weight, &'static str, String)) {
    let beating: Vec<_> = heartbeats(place).into_iter().filter(beats).collect();
    let is_isolated = |beat: &Map<String, Value>| beat.get("isolatedSession") == Some(&true.into());
    if beating.is_empty() {
        return add(Weight::Ok, "heartbeat", "off".to_owned());
    }
    if !beating.iter().any(is_isolated) {
        let text = "beats in the main session (every 30 min unless set), which therefore always has its servers; every: \
                    \"0m\" turns it off";
        return add(Weight::Note, "heartbeat", text.to_owned());
    }
    if version >= Version(2026, 9, 5) {
        let text = format!("{version} ends what an isolated heartbeat started");
        return add(Weight::Ok, "heartbeat", text);
    }
    let (weight, ends) = match (period(version).idle, idle_set(place)) {
        (Idle::StayUnlessSet | Idle::TenMinutesOrSet, Some(set)) if set >= 1.0 => {
            (Weight::Warn, "ends them only as idle, by mcp.sessionIdleTtlMs")
        }
        (Idle::TenMinutesOrSet, None) | (Idle::TenMinutesHardlySet | Idle::TenMinutes, _) => {
            (Weight::Warn, "ends them only as idle, after 10 minutes")
        }
        (Idle::Stay | Idle::StayUnlessSet | Idle::TenMinutesOrSet, _) => {
            (Weight::Fail, "never ends them")
        }
    };
    let text = format!(
        "heartbeats in a session of their own each start every server, and {version} {ends} (mended in 2026.9.5): set \
         heartbeat.every to \"0m\", or isolatedSession to false"
    );
    add(weight, "heartbeat", text);
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

/// With or without `cleanup: "delete"`: each call says it, and no configuration.
fn spawned(version: Version, add: &mut impl FnMut(Weight, &'static str, String)) {
    let (weight, what) = if version < Version(2026, 4, 22) {
        (Weight::Fail, "keeps a sub-agent's servers either way: \"delete\" deletes its record only")
    } else if version < Version(2026, 4, 24) {
        (
            Weight::Warn,
            "ends a sub-agent's servers with its run either way, but not a helper agent's",
        )
    } else {
        (
            Weight::Note,
            "ends a sub-agent's servers with its run either way, unless its thread can go on",
        )
    };
    let text = format!(
        "cleanup \"delete\" is an argument of each sessions_spawn, which no configuration shows or sets; {version} {what}"
    );
    add(weight, "spawned", text);
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
    fn an_idle_time_is_judged_by_what_the_version_makes_of_it() {
        for (version, unset, set, zero) in [
            ("2026.4.29", Weight::Warn, Weight::Warn, Weight::Warn),
            ("2026.5.0", Weight::Warn, Weight::Warn, Weight::Fail),
            ("2026.6.11", Weight::Warn, Weight::Warn, Weight::Fail),
            ("2026.7.0", Weight::Note, Weight::Warn, Weight::Warn),
            ("2026.8.2", Weight::Note, Weight::Warn, Weight::Warn),
            ("2026.9.0", Weight::Fail, Weight::Ok, Weight::Fail),
        ] {
            for (config, expected) in [
                ("{}", unset),
                ("{ mcp: { sessionIdleTtlMs: 300000 } }", set),
                ("{ mcp: { sessionIdleTtlMs: 0 } }", zero),
            ] {
                let found = weights(config, version, &[]);
                assert!(found.contains(&("idle", expected)), "{version} {config}: {found:?}");
            }
        }
    }

    #[test]
    fn what_a_sub_agent_is_spawned_with_is_said_for_every_version() {
        for (version, expected) in [
            ("2026.4.21", Weight::Fail),
            ("2026.4.22", Weight::Warn),
            ("2026.4.24", Weight::Note),
            ("2026.9.6", Weight::Note),
        ] {
            assert!(weights("{}", version, &[]).contains(&("spawned", expected)), "{version}");
        }
    }

    #[test]
    fn an_isolated_heartbeat_leaks_until_it_was_mended() {
        let of = |agents: &str, version: &str| {
            let found = weights(&format!("{{ agents: {{ {agents} }} }}"), version, &[]);
            found.into_iter().find(|(subject, _)| *subject == "heartbeat").unwrap().1
        };
        let own = "list: [ { id: 'main', heartbeat: { every: '5m', isolatedSession: true } } ]";
        for (version, expected) in [
            ("2026.4.15", Weight::Fail),
            ("2026.6.0", Weight::Warn),
            ("2026.8.2", Weight::Warn),
            ("2026.9.4", Weight::Fail),
            ("2026.9.5", Weight::Ok),
        ] {
            assert_eq!(of(own, version), expected, "{version}");
        }
        assert!(weights("{}", "", &[]).contains(&("version", Weight::Warn)));
    }

    #[test]
    fn an_agents_heartbeat_is_the_defaults_with_its_own_laid_over_them() {
        let isolated = "defaults: { heartbeat: { isolatedSession: true } }";
        let off = "defaults: { heartbeat: { isolatedSession: true, every: '0m' } }";
        for (defaults, agents, expected) in [
            (isolated, "", Weight::Fail),
            (isolated, "list: [ { id: 'a' } ]", Weight::Fail),
            (isolated, "list: [ { id: 'a', heartbeat: { every: '5m' } } ]", Weight::Fail),
            (isolated, "entries: { a: { heartbeat: {} } }", Weight::Fail),
            (
                isolated,
                "list: [ { id: 'a', heartbeat: { isolatedSession: false } } ]",
                Weight::Note,
            ),
            (isolated, "list: [ { id: 'a', heartbeat: { every: '0h' } } ]", Weight::Ok),
            (off, "", Weight::Ok),
            (off, "list: [ { id: 'a', heartbeat: { every: '10m' } } ]", Weight::Fail),
            // The one that is isolated does not beat, the one that beats is not isolated.
            (
                "defaults: { heartbeat: { every: '0m' } }",
                "list: [ { heartbeat: { isolatedSession: true } }, { heartbeat: { every: '5m' } } ]",
                Weight::Note,
            ),
        ] {
            let config = format!("{{ agents: {{ {defaults}, {agents} }} }}");
            let found = weights(&config, "2026.9.4", &[]);
            assert!(found.contains(&("heartbeat", expected)), "{config}: {found:?}");
        }
    }
}
