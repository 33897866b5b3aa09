//! One server of `mcp.servers`.

use std::collections::BTreeMap;

use wrasse_types::{ByteSize, ServerName};

use super::cursor::{At, Context, LONGEST};
use super::secret;
use crate::text::Value;
use crate::variables::is_dangerous;
use crate::{Idle, Lifecycle, Secret, Server, ServerLimits, Transport};

/// Reads a server; `None` when it cannot be used, which is noted.
pub(super) fn read(cx: &Context<'_>, name: &str, at: &At<'_>) -> Option<Server> {
    if !matches!(at.node.value, Value::Object(_)) {
        at.fault(format!("expected an object, found {}", at.node.kind()), None);
        return None;
    }
    if name.trim().is_empty() || name == "__proto__" || name.contains(char::is_control) {
        at.fault(format!("{name:?} cannot be the name of a server"), None);
        return None;
    }
    let name = ServerName::new(name);
    let enabled = at.get("enabled").and_then(|at| at.flag()).unwrap_or(true);
    let list =
        |key: &str| at.follow(&["toolFilter", key]).map(|list| list.texts()).unwrap_or_default();
    let millis = |key: &str, fallback: u64| {
        let written = at.get(key).and_then(|at| at.millis());
        written.unwrap_or(std::time::Duration::from_millis(fallback))
    };
    let lifecycle = lifecycle(at);
    Some(Server {
        transport: transport(&name, at, enabled)?,
        origin: cx.sources.line(at.node.place),
        name,
        enabled,
        connection_timeout: millis("connectionTimeoutMs", 30_000),
        request_timeout: millis("requestTimeoutMs", 60_000),
        include: list("include"),
        exclude: list("exclude"),
        lifecycle,
    })
}

fn transport(name: &ServerName, at: &At<'_>, enabled: bool) -> Option<Transport> {
    let text = |key: &str| at.get(key).and_then(|at| at.text()).filter(|text| !text.is_empty());
    if let Some(command) = text("command") {
        let cwd = at.get("cwd").or_else(|| at.get("workingDirectory"));
        return Some(Transport::Stdio {
            command,
            args: at.get("args").map(|args| self::args(&args)).unwrap_or_default(),
            env: at.get("env").map(|env| self::env(&env)).unwrap_or_default(),
            cwd: cwd.and_then(|cwd| cwd.file_path()),
        });
    }
    if let Some(url) = text("url") {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            at.get("url")?.fault(
                format!("{url:?} is not a web address"),
                Some("write http://… or https://…"),
            );
            return None;
        }
        if enabled {
            at.warn(&format!(
                "remote servers are not implemented yet: {name} is offered without tools"
            ));
        }
        return Some(Transport::Http { url });
    }
    if enabled {
        at.fault(
            "there is no command to start this server with",
            Some(
                "add command: \"npx\", args: [\"-y\", \"<package>\"], or url for a remote server, or enabled: false",
            ),
        );
    } else {
        at.warn("has no command; it is left out");
    }
    None
}

/// Texts only, as in OpenClaw; anything else is dropped.
fn args(at: &At<'_>) -> Vec<String> {
    if matches!(at.node.value, Value::Text(_)) {
        return at.texts();
    }
    let mut args = Vec::new();
    for item in at.items() {
        match item.node.text() {
            Some(text) => args.push(text.to_owned()),
            None => item.warn(&format!(
                "an argument must be text; this one, {}, is dropped",
                item.node.kind()
            )),
        }
    }
    args
}

fn env(at: &At<'_>) -> BTreeMap<String, Secret> {
    let mut env = BTreeMap::new();
    let mut dropped = Vec::new();
    for (name, value) in at.members() {
        if is_dangerous(name) {
            dropped.push(name);
            continue;
        }
        if super::is_reference(value.node) {
            if let Some(secret) = secret::read(&value) {
                env.insert(name.to_owned(), secret);
            }
        } else if name.is_empty() || name.contains(['=', '\0']) {
            value.fault(format!("{name:?} cannot be the name of a variable"), None);
        } else if let Some(text) = value.scalar() {
            env.insert(name.to_owned(), Secret::new(text));
        }
    }
    if !dropped.is_empty() {
        at.warn(&format!(
            "{} can make a program run something else and {} dropped",
            dropped.join(", "),
            if dropped.len() == 1 { "is" } else { "are" }
        ));
    }
    env
}

fn lifecycle(at: &At<'_>) -> Lifecycle {
    let key = |keys: &[&str]| at.get("lifecycle").and_then(|at| at.follow(keys));
    let stop = |name: &str, fallback: u64| {
        let written = key(&["stop", name]).and_then(|at| at.duration());
        written.unwrap_or(std::time::Duration::from_secs(fallback))
    };
    if let Some(at) = key(&["scope"]) {
        let choices = [("session", None), ("agent", Some("agent")), ("shared", Some("shared"))];
        if let Some(Some(scope)) = at.one_of(&choices) {
            // Private is always safe; sharing is what must be asked for.
            at.warn(&format!("{scope:?} is not implemented yet; \"session\" is used"));
        }
    }
    if let Some(at) = key(&["start"])
        && at.one_of(&[("lazy", false), ("eager", true)]) == Some(true)
    {
        at.warn("\"eager\" is not implemented yet; the server starts at its first use");
    }
    if let Some(at) = key(&["launch"]) {
        // "verbatim" is what is done for now, so it needs no word.
        at.one_of(&[("auto", ()), ("verbatim", ())]);
    }
    Lifecycle {
        idle: key(&["idle"]).and_then(|at| idle(&at)).unwrap_or(Idle::Run),
        stop_eof: stop("eof", 2),
        stop_term: stop("term", 3),
        limits: at.get("lifecycle").map(|at| limits(&at)).unwrap_or_default(),
    }
}

fn limits(at: &At<'_>) -> ServerLimits {
    let size = |name: &str| {
        let at = at.get(name)?;
        let size = size(&at)?;
        if size.0 == 0 {
            at.fault("nothing runs in no memory".to_owned(), Some("leave it out for no limit"));
            return None;
        }
        Some(size.0)
    };
    let number = |name: &str, range| at.get(name).and_then(|at| at.int(range));
    ServerLimits {
        memory_max: size("memoryMax"),
        processes_max: number("processesMax", 1..=i64::from(u32::MAX))
            .and_then(|number| u32::try_from(number).ok()),
        nice: number("nice", 0..=19).and_then(|number| u8::try_from(number).ok()),
        oom_score_adj: number("oomScoreAdj", 0..=1000)
            .and_then(|number| u16::try_from(number).ok()),
        address_space_max: size("addressSpaceMax"),
    }
}

fn idle(at: &At<'_>) -> Option<Idle> {
    match at.node.text() {
        Some("run") => Some(Idle::Run),
        Some("off") => Some(Idle::Off),
        Some(text) => match wrasse_types::parse_duration(text) {
            Ok(time) if time.is_zero() => Some(Idle::Run),
            Ok(time) => Some(Idle::For(time.min(LONGEST))),
            Err(_) => {
                at.fault(
                    format!("{text:?} is neither \"run\", \"off\" nor a duration such as \"30s\""),
                    None,
                );
                None
            }
        },
        None => {
            at.fault(
                format!("expected \"run\", \"off\" or a duration, found {}", at.node.kind()),
                Some("write a duration with its unit, as in \"30s\""),
            );
            None
        }
    }
}

/// A size; a fault is noted when it is none.
pub(super) fn size(at: &At<'_>) -> Option<ByteSize> {
    let text = at.scalar()?;
    match ByteSize::parse(&text) {
        Ok(size) => Some(size),
        Err(error) => {
            at.fault(error.to_string(), None);
            None
        }
    }
}
