//! `mcp`: what all servers share.

use super::cursor::{At, Context};
use super::server;
use crate::{InheritEnv, Mcp};

/// Reads `mcp` and every server.
pub(super) fn read(cx: &Context<'_>, root: &At<'_>) -> Mcp {
    let mcp = root.get("mcp");
    let key = |keys: &[&str]| mcp.as_ref().and_then(|mcp| mcp.follow(keys));
    // Its value is in the defaults of the servers already; here only its kind is checked.
    if let Some(at) = key(&["sessionIdleTtlMs"]) {
        at.int(0..=i64::MAX);
    }
    check_limits(key(&["limits"]));
    let written = key(&["servers"]).map(|servers| servers.members()).unwrap_or_default();
    let mut servers: Vec<_> =
        written.iter().filter_map(|(name, at)| server::read(cx, name, at)).collect();
    servers.sort_by(|a, b| a.name.cmp(&b.name));
    let concurrency = key(&["limits", "startConcurrency"]);
    Mcp {
        servers,
        inherit_env: key(&["inheritEnv"]).map(|at| inherit_env(cx, &at)).unwrap_or_default(),
        start_concurrency: concurrency.and_then(|at| at.count(1..=1000)).unwrap_or(4),
        processes: key(&["limits", "processes"])
            .and_then(|at| at.int(1..=i64::from(u32::MAX)))
            .and_then(|processes| u32::try_from(processes).ok()),
    }
}

/// A glob is not asked what it covers when it is written, so the dangerous ones among our variables are withheld.
fn inherit_env(cx: &Context<'_>, at: &At<'_>) -> InheritEnv {
    let inherit = InheritEnv { names: at.texts() };
    let withheld = cx.options.env.keys().filter(|name| inherit.withholds(name));
    let withheld: Vec<&str> = withheld.map(String::as_str).collect();
    if !withheld.is_empty() {
        at.warn(&format!(
            "{} can make a server run something else or open our door and {} not passed on; one that is meant must be \
             named in full",
            withheld.join(", "),
            if withheld.len() == 1 { "is" } else { "are" }
        ));
    }
    inherit
}

fn check_limits(limits: Option<At<'_>>) {
    let Some(limits) = limits else { return };
    if let Some(at) = limits.get("memory")
        && server::size(&at).is_some()
    {
        at.warn("is not enforced yet");
    }
}
