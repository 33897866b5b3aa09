//! The defaults, all in one place: filled into the tree before it is read, so that what is printed is what counts.

use serde_json::{Value as Json, json};

use super::cursor::At;
use crate::text::{FileId, Node, Place, Value};
use crate::{Compat, LoadOptions};

/// The place of a default that differs between the two OpenClaw releases.
pub(crate) const COMPAT_DEFAULT: Place = Place { file: FileId(usize::MAX - 1), line: 0, column: 0 };
/// The place of any other default.
pub(crate) const DEFAULT: Place = Place { file: FileId(usize::MAX - 2), line: 0, column: 0 };

/// Which defaults are meant: `compat`, else the OpenClaw that last wrote the file, else the newer.
pub(crate) fn compat(root: &Node) -> Compat {
    match root.get("compat").and_then(Node::text) {
        Some("2026.4") => return Compat::V2026_4,
        Some("2026.9") => return Compat::V2026_9,
        Some(_) | None => {}
    }
    let version = root.at(&["meta", "lastTouchedVersion"]).and_then(Node::text);
    version.and_then(nearest).unwrap_or(Compat::V2026_9)
}

/// The release nearest to a version such as `2026.4.15`.
fn nearest(version: &str) -> Option<Compat> {
    let mut parts = version.trim_start_matches('v').split(['.', '-']);
    let year: u32 = parts.next()?.parse().ok()?;
    let month: u32 = parts.next()?.parse().ok()?;
    Some(if (year, month) <= (2026, 6) { Compat::V2026_4 } else { Compat::V2026_9 })
}

/// Checks the key itself.
pub(super) fn check_compat(root: &At<'_>) {
    if let Some(at) = root.get("compat") {
        at.one_of(&[("2026.4", ()), ("2026.9", ())]);
    }
}

/// Puts every default into the tree where the files say nothing.
pub(crate) fn fill(root: &mut Node, compat: Compat, options: &LoadOptions) {
    let main_lane = match compat {
        Compat::V2026_4 => 4,
        Compat::V2026_9 => (options.cpu_count * 4).max(8),
    };
    let (depth, cron_runs, reset) = match compat {
        Compat::V2026_4 => (1, 1, "daily"),
        Compat::V2026_9 => (5, 8, "none"),
    };
    add(
        root,
        COMPAT_DEFAULT,
        &json!({
            "agents": { "defaults": { "maxConcurrent": main_lane, "subagents": { "maxSpawnDepth": depth } } },
            "cron": { "maxConcurrentRuns": cron_runs },
            "session": { "reset": { "mode": reset } },
        }),
    );
    add(
        root,
        DEFAULT,
        &json!({
            "agents": { "defaults": {
                "timeoutSeconds": 172_800,
                "llm": { "idleTimeoutSeconds": 120 },
                "subagents": { "maxChildrenPerAgent": 5, "maxConcurrent": 8, "runTimeoutSeconds": 0 },
                "budget": { "turns": 200, "calls": 1000 },
            } },
            "mcp": { "limits": { "startConcurrency": 4 } },
            "cron": { "enabled": true, "sessionRetention": "24h" },
            "gateway": { "port": 18_790, "shutdownDeadline": "8s" },
            "containment": { "guard": "auto" },
            "store": { "durability": "process" },
        }),
    );
    if root.at(&["session", "reset", "mode"]).and_then(Node::text) == Some("daily") {
        add(root, DEFAULT, &json!({ "session": { "reset": { "atHour": 4 } } }));
    }
    let has = |key| root.at(&["agents", key]).is_some_and(|node| node.value != Value::Null);
    if !has("list") && !has("entries") {
        add(root, DEFAULT, &json!({ "agents": { "list": [ { "id": "main", "default": true } ] } }));
    }
    fill_servers(root);
}

fn fill_servers(root: &mut Node) {
    // OpenClaw's one idle time for all servers is the default of each server's own. Its 0 means that nothing is said.
    let ttl = root.at(&["mcp", "sessionIdleTtlMs"]).and_then(|node| match node.value {
        Value::Int(millis) if millis > 0 => Some((node.place, format!("{millis}ms"))),
        #[expect(clippy::cast_possible_truncation, reason = "`as` cuts off and saturates")]
        Value::Float(millis) if millis >= 1.0 => Some((node.place, format!("{}ms", millis as i64))),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Text(_)
        | Value::Array(_)
        | Value::Object(_) => None,
    });
    let (idle_place, idle) = ttl.unwrap_or((DEFAULT, "run".to_owned()));
    let Some(mcp) = member_mut(root, "mcp") else { return };
    let Some(servers) = member_mut(mcp, "servers") else { return };
    let Value::Object(members) = &mut servers.value else { return };
    for member in members {
        if !matches!(member.node.value, Value::Object(_)) {
            continue;
        }
        add(&mut member.node, idle_place, &json!({ "lifecycle": { "idle": idle } }));
        add(
            &mut member.node,
            DEFAULT,
            &json!({
                "enabled": true, "connectionTimeoutMs": 30_000, "requestTimeoutMs": 60_000,
                "lifecycle": { "scope": "session", "start": "lazy", "launch": "auto", "stop": { "eof": "2s", "term": "3s" } },
            }),
        );
    }
}

fn member_mut<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    let Value::Object(members) = &mut node.value else { return None };
    members.iter_mut().find(|member| member.key == key).map(|member| &mut member.node)
}

/// Adds what is not there; what is there stays, of whatever kind it is.
fn add(node: &mut Node, place: Place, defaults: &Json) {
    let (Value::Object(members), Json::Object(defaults)) = (&mut node.value, defaults) else {
        return;
    };
    for (key, default) in defaults {
        let at = members.iter().position(|member| member.key == *key);
        match at.map(|at| &mut members[at]) {
            Some(member) if member.node.value == Value::Null => {
                member.node = at_place(default, place);
            }
            Some(member) => add(&mut member.node, place, default),
            None => members.push(crate::text::Member {
                key: key.clone(),
                key_place: place,
                node: at_place(default, place),
            }),
        }
    }
}

fn at_place(value: &Json, place: Place) -> Node {
    let mut node = Node::from_json(value);
    node.set_place(place);
    node
}
