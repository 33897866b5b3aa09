//! The hosts that run now: which processes are theirs, which version, which configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use wrasse_types::UnixMillis;

use super::known::base;
use super::openclaw::Place;
use super::processes::{Identity, Process, Processes, environment, executable};
use crate::import::Host;

/// A host that runs.
#[derive(Debug, Clone)]
pub struct LiveHost {
    /// Which.
    pub host: Host,
    /// Its main process.
    pub id: Identity,
    /// Since when that runs.
    pub started_at: UnixMillis,
    /// Its version, where it can be told.
    pub version: Option<String>,
    /// Its configuration and records, of an OpenClaw whose environment we may read.
    pub place: Option<Place>,
    /// The variables it was started with, where we may read them.
    pub env: BTreeMap<String, String>,
    /// Every process of its own: launchers and workers, not what it started for a server.
    pub processes: BTreeSet<u32>,
    /// It runs in another container or mount namespace: its files are not the ones that we find under their names.
    pub elsewhere: bool,
}

/// What a process is to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The host itself, or a part of it.
    Host(Host),
    /// A process that OpenClaw 2026.9 puts above one server: its relay or its anchor. It goes with the server.
    Helper,
}

/// What a process is, by what it executes.
pub(super) fn role(process: &Process) -> Option<Role> {
    let first = process.argv.first()?;
    // A title may hold blanks: `openclaw gateway`.
    let name = base(first.split(' ').next().unwrap_or(first));
    let script = process.argv.iter().skip(1).take(3).find(|word| word.starts_with('/'));
    let below = |package: &str| {
        script.is_some_and(|script| script.contains(&format!("/node_modules/{package}/")))
    };
    if below("openclaw") && script.is_some_and(|script| base(script).starts_with("service-child-"))
    {
        return Some(Role::Helper);
    }
    let is_openclaw = name == "openclaw" || name.starts_with("openclaw-");
    let runs_openclaw =
        below("openclaw") || script.is_some_and(|word| base(word) == "openclaw.mjs");
    if is_openclaw || (matches!(name, "node" | "nodejs" | "bun") && runs_openclaw) {
        return Some(Role::Host(Host::OpenClaw));
    }
    let host = match name {
        "claude" => Host::ClaudeCode,
        "claude-desktop" | "Claude" => Host::ClaudeDesktop,
        "codex" => Host::Codex,
        "cursor" | "Cursor" | "cursor-agent" => Host::Cursor,
        "code" | "code-insiders" | "codium" => Host::VsCode,
        "gemini" => Host::Gemini,
        _ if below("@anthropic-ai/claude-code") => Host::ClaudeCode,
        _ if below("@openai/codex") => Host::Codex,
        _ if below("@google/gemini-cli") => Host::Gemini,
        _ if first.contains("/.vscode-server/") => Host::VsCode,
        _ => return None,
    };
    Some(Role::Host(host))
}

/// Every host that runs. A process whose parent is a part of the same host belongs to it too.
pub(super) fn find(processes: &Processes) -> Vec<LiveHost> {
    let parts: BTreeMap<u32, Host> = processes
        .iter()
        .filter(|process| !process.zombie && !process.ours)
        .filter_map(|process| match role(process)? {
            Role::Host(host) => Some((process.id.pid, host)),
            Role::Helper => None,
        })
        .collect();
    let mut groups: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for (pid, host) in &parts {
        let mut top = *pid;
        while let Some(parent) = processes.get(top).map(|process| process.ppid)
            && parts.get(&parent) == Some(host)
        {
            top = parent;
        }
        groups.entry(top).or_default().insert(*pid);
    }
    groups
        .into_iter()
        .filter_map(|(top, members)| live(processes, parts[&top], top, members))
        .collect()
}

fn live(processes: &Processes, host: Host, top: u32, members: BTreeSet<u32>) -> Option<LiveHost> {
    let gateway = members.iter().find(|pid| {
        processes
            .get(**pid)
            .and_then(|process| process.argv.first())
            .is_some_and(|first| base(first) == "openclaw-gateway")
    });
    let main = processes.get(*gateway.unwrap_or(&top))?;
    let elsewhere =
        members.iter().filter_map(|pid| processes.get(*pid)).any(|process| process.elsewhere);
    // Its paths would lead us to the files of another installation.
    let env = match elsewhere {
        true => BTreeMap::new(),
        false => environment(main.id.pid).unwrap_or_default(),
    };
    let place = if host == Host::OpenClaw { Place::of(&env) } else { None };
    let version = match host {
        _ if elsewhere => None,
        Host::OpenClaw => openclaw_version(processes, &members, main, &env, place.as_ref()),
        Host::ClaudeCode
        | Host::ClaudeDesktop
        | Host::Codex
        | Host::Cursor
        | Host::VsCode
        | Host::Gemini => script_version(&main.argv),
    };
    Some(LiveHost {
        host,
        id: main.id,
        started_at: main.started_at,
        version,
        place,
        env,
        processes: members,
        elsewhere,
    })
}

/// The version of a running OpenClaw. It writes a title over its command line, so the package is looked for where its
/// workers, its launcher, its node and its `PATH` are; else its configuration names the version that last wrote it.
fn openclaw_version(
    processes: &Processes,
    members: &BTreeSet<u32>,
    main: &Process,
    env: &BTreeMap<String, String>,
    place: Option<&Place>,
) -> Option<String> {
    let named = ["OPENCLAW_SERVICE_VERSION", "OPENCLAW_VERSION"];
    let named = named.iter().find_map(|name| env.get(*name).cloned());
    let by_script = || {
        let mut pids: Vec<u32> = members.iter().copied().collect();
        pids.extend(processes.descendants(main.id.pid));
        let own = |process: &&Process| {
            matches!(role(process), Some(Role::Host(Host::OpenClaw) | Role::Helper))
        };
        pids.iter()
            .filter_map(|pid| processes.get(*pid))
            .filter(own)
            .find_map(|process| script_version(&process.argv))
    };
    let by_node = || {
        let node = executable(main.id.pid)?;
        node.ancestors().skip(1).take(5).find_map(|folder| {
            let packages = ["lib/node_modules/openclaw", "node_modules/openclaw", "openclaw"];
            packages.iter().find_map(|package| package_version(folder.join(package)))
        })
    };
    let by_path = || {
        std::env::split_paths(env.get("PATH")?).find_map(|folder| {
            let program = std::fs::canonicalize(folder.join("openclaw")).ok()?;
            program.ancestors().skip(1).take(3).find_map(package_version)
        })
    };
    named
        .or_else(by_script)
        .or_else(by_node)
        .or_else(by_path)
        .or_else(|| place.and_then(Place::touched_by).map(str::to_owned))
}

/// The version of the package that a script among these words belongs to.
fn script_version(argv: &[String]) -> Option<String> {
    let script =
        argv.iter().find(|word| word.starts_with('/') && word.contains("/node_modules/"))?;
    Path::new(script).ancestors().skip(1).find_map(package_version)
}

fn package_version(folder: impl Into<PathBuf>) -> Option<String> {
    let text = std::fs::read(folder.into().join("package.json")).ok()?;
    let package: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let known = matches!(
        package["name"].as_str()?,
        "openclaw" | "@anthropic-ai/claude-code" | "@openai/codex" | "@google/gemini-cli"
    );
    known.then(|| package["version"].as_str().map(str::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::processes::Stdio;
    use super::*;

    #[test]
    fn hosts_are_known_by_what_they_execute() {
        let role_of = |argv: &[&str]| {
            role(&Process {
                id: Identity { pid: 9, start_ticks: 0 },
                ppid: 1,
                uid: 0,
                name: String::new(),
                argv: argv.iter().map(|word| (*word).to_owned()).collect(),
                started_at: UnixMillis::new(0),
                terminal: None,
                elsewhere: false,
                stopped: false,
                zombie: false,
                ours: false,
                stdio: [Stdio::Null; 3],
            })
        };
        let openclaw = Some(Role::Host(Host::OpenClaw));
        assert_eq!(role_of(&["openclaw-gateway"]), openclaw);
        assert_eq!(role_of(&["openclaw"]), openclaw);
        assert_eq!(
            role_of(&["node", "/usr/lib/node_modules/openclaw/openclaw.mjs", "gateway"]),
            openclaw
        );
        assert_eq!(
            role_of(&["/x/node", "/x/node_modules/openclaw/dist/process/spawn-broker/worker.js"]),
            openclaw
        );
        assert_eq!(
            role_of(&[
                "/x/node",
                "/x/node_modules/openclaw/dist/process/supervisor/service-child-relay.js"
            ]),
            Some(Role::Helper)
        );
        assert_eq!(role_of(&["claude", "--continue"]), Some(Role::Host(Host::ClaudeCode)));
        assert_eq!(
            role_of(&["node", "/x/node_modules/@google/gemini-cli/dist/index.js"]),
            Some(Role::Host(Host::Gemini))
        );
        for other in [
            &["tail", "-f", "/var/log/openclaw.log"][..],
            &["vi", "/x/openclaw.mjs"],
            &["npm exec openclaw-mcp"],
            &[],
        ] {
            assert_eq!(role_of(other), None, "{other:?}");
        }
    }
}
