//! `gateway`, `session`, `containment`, `store`.

use std::time::Duration;

use super::cursor::{At, Context, LONGEST};
use super::secret;
use crate::text::Value;
use crate::{Containment, Durability, Gateway, GuardSource, Layers, Reset, Secret, Session, Store};

/// Reads `gateway`.
pub(super) fn gateway(cx: &Context<'_>, root: &At<'_>) -> Gateway {
    let key = |keys: &[&str]| root.get("gateway").and_then(|gateway| gateway.follow(keys));
    let port = key(&["port"]).and_then(|at| at.int(1..=65_535));
    if let Some(at) = key(&["bind"])
        && let Some(bind) = at.node.text()
        && !matches!(bind, "loopback" | "auto")
    {
        // Not under the path of the key, which is an unused one.
        let message = format!(
            "gateway.bind {bind:?} is not implemented: the gateway listens on 127.0.0.1 only"
        );
        cx.notes.warn(cx.sources, at.node.place, "", &message);
    }
    // The variable is what a service manager sets; it wins over the file.
    let variable = cx.options.env.get("WRASSE_GATEWAY_TOKEN").filter(|token| !token.is_empty());
    let written = || key(&["auth", "token"]).and_then(|at| secret::read(&at));
    Gateway {
        port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or(18_790),
        token: variable.map(Secret::new).or_else(written),
        shutdown_deadline: key(&["shutdownDeadline"])
            .and_then(|at| at.duration())
            .unwrap_or(Duration::from_secs(8)),
    }
}

/// Reads `session`.
pub(super) fn session(root: &At<'_>) -> Session {
    let key = |keys: &[&str]| root.get("session").and_then(|session| session.follow(keys));
    let minutes = key(&["reset", "idleMinutes"]).or_else(|| key(&["idleMinutes"]));
    let hour = key(&["reset", "atHour"]).and_then(|at| at.int(0..=23));
    let at_hour = hour.and_then(|hour| u8::try_from(hour).ok()).unwrap_or(4);
    let daily = Reset::Daily { at_hour };
    let mode = key(&["reset", "mode"]).and_then(|at| {
        at.one_of(&[("daily", daily), ("idle", Reset::None), ("none", Reset::None)])
    });
    Session {
        reset: mode.unwrap_or(Reset::None),
        reset_idle: minutes
            .and_then(|at| at.int(0..=i64::from(u32::MAX)))
            .and_then(|minutes| u64::try_from(minutes).ok())
            .filter(|minutes| *minutes > 0)
            .map(|minutes| Duration::from_secs(minutes * 60)),
    }
}

/// Reads `containment`.
pub(super) fn containment(root: &At<'_>) -> Containment {
    let key = |keys: &[&str]| root.get("containment").and_then(|at| at.follow(keys));
    let mut chosen = Layers::Probe;
    if let Some(layers) = key(&["layers"]) {
        chosen = Layers::Floor;
        for name in layers.texts() {
            if name == "cgroup2" {
                chosen = Layers::Cgroup2;
            } else if name != "floor" {
                layers.fault(
                    format!("{name:?} is not a layer"),
                    Some("the one layer above the floor is \"cgroup2\"; [] is the floor alone"),
                );
            }
        }
    }
    let guard = key(&["guard"]).and_then(|at| {
        at.one_of(&[
            ("auto", GuardSource::Auto),
            ("file", GuardSource::File),
            ("memfd", GuardSource::Memfd),
            ("self", GuardSource::Itself),
        ])
    });
    Containment { guard: guard.unwrap_or(GuardSource::Auto), layers: chosen }
}

/// Reads `store`.
pub(super) fn store(root: &At<'_>) -> Store {
    let durability = root.follow(&["store", "durability"]).and_then(|at| {
        at.one_of(&[("process", Durability::Process), ("power", Durability::Power)])
    });
    Store { durability: durability.unwrap_or(Durability::Process) }
}

/// How long something is kept: a duration, a bare number of hours, or `false` for ever.
pub(super) fn retention(at: &At<'_>) -> Option<Duration> {
    let hours = |hours: u64| {
        (hours > 0).then(|| Duration::from_secs(hours.saturating_mul(3600)).min(LONGEST))
    };
    match &at.node.value {
        Value::Bool(false) => None,
        Value::Text(text) => match text.trim().parse() {
            Ok(number) => hours(number),
            Err(_) => at.duration().filter(|time| !time.is_zero()),
        },
        Value::Int(number) if *number >= 0 => hours(number.unsigned_abs()),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Array(_)
        | Value::Object(_) => {
            at.fault(
                format!("expected a duration or false, found {}", at.node.kind()),
                Some("write for example \"24h\""),
            );
            None
        }
    }
}
