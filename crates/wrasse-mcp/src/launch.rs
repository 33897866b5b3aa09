//! One server made ready to be started for one workspace: every value resolved, nothing started.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wrasse_config::{InheritEnv, Lifecycle, Secret, Server, ServerLimits, Transport};
use wrasse_contain::{Ladder, Limits, SpawnSpec};
use wrasse_types::{InstanceId, ServerName};

use crate::environment::{self, Environment};
use crate::fingerprint::Fingerprints;
use crate::package::{self, Package};
use crate::package_place::Place;

/// What the backend starts. Clones are the same.
pub(crate) type LaunchSpec = Arc<Launch>;

/// A server with its values resolved.
pub(crate) struct Launch {
    pub(crate) server: ServerName,
    pub(crate) origin: String,
    pub(crate) command: String,
    pub(crate) args: Vec<String>,
    pub(crate) environment: Environment,
    pub(crate) cwd: PathBuf,
    /// Whether the working directory is the workspace, which is made when missing.
    pub(crate) in_workspace: bool,
    pub(crate) fingerprint: String,
    /// What it downloads at its first launch, and where that is kept.
    pub(crate) package: Option<(Package, Place)>,
    /// For people: the command line, secrets replaced.
    pub(crate) shown: String,
    pub(crate) connection_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) lifecycle: Lifecycle,
}

impl Launch {
    /// Resolves a stdio server; `None` for another transport.
    pub(crate) fn resolve(
        server: &Server,
        workspace: &Path,
        ours: &HashMap<OsString, OsString>,
        inherit: &InheritEnv,
        fingerprints: &Fingerprints,
    ) -> Option<LaunchSpec> {
        let Transport::Stdio { command, args, env, cwd } = &server.transport else { return None };
        let environment = Environment::build(ours, inherit, env);
        let directory =
            cwd.as_ref().map_or_else(|| workspace.to_owned(), |cwd| workspace.join(cwd));
        let fingerprint = fingerprints.of_stdio(
            command,
            args,
            env,
            &environment::inherited(ours, inherit),
            &directory,
        );
        let package = package::of(command, args).map(|package| {
            let place = Place::of(&package, &environment, &directory);
            (package, place)
        });
        Some(Arc::new(Self {
            server: server.name.clone(),
            origin: server.origin.clone(),
            command: command.clone(),
            args: args.clone(),
            environment,
            cwd: directory,
            in_workspace: cwd.is_none(),
            fingerprint,
            package,
            shown: shown(command, args, &env.values().collect::<Vec<_>>()),
            connection_timeout: server.connection_timeout,
            request_timeout: server.request_timeout,
            lifecycle: server.lifecycle.clone(),
        }))
    }

    /// What the containment is asked for.
    pub(crate) fn spawn_spec(&self, instance: InstanceId) -> SpawnSpec {
        let relative = self.command.contains('/') && !self.command.starts_with('/');
        let program = if relative {
            self.cwd.join(&self.command).into_os_string()
        } else {
            OsString::from(&self.command)
        };
        SpawnSpec {
            name: self.server.to_string(),
            instance: instance.number(),
            program,
            args: self.args.iter().map(OsString::from).collect(),
            env: self.environment.pairs(),
            cwd: self.cwd.clone(),
            limits: limits(&self.lifecycle.limits),
        }
    }

    /// The stop ladder of its lifecycle.
    pub(crate) fn ladder(&self) -> Ladder {
        Ladder { eof: self.lifecycle.stop_eof, term: self.lifecycle.stop_term }
    }
}

fn limits(limits: &ServerLimits) -> Limits {
    let ServerLimits { memory_max, processes_max, nice, oom_score_adj, address_space_max } =
        *limits;
    Limits { memory_max, processes_max, nice, oom_score_adj, address_space_max }
}

/// How a server is launched, for people.
pub(crate) fn shown_transport(transport: &Transport) -> String {
    match transport {
        Transport::Stdio { command, args, env, .. } => {
            shown(command, args, &env.values().collect::<Vec<_>>())
        }
        Transport::Http { url } => without_userinfo(url),
    }
}

const HIDDEN: &str = "***";

/// A command line with what may be secret replaced: values of telling flags, user parts of URLs, and
/// whatever is also a value of the server's own environment (failure mode J7).
fn shown(command: &str, args: &[String], secrets: &[&Secret]) -> String {
    let mut words = vec![command.to_owned()];
    let mut hide_next = false;
    for arg in args {
        let word = match arg.split_once('=') {
            _ if hide_next && !arg.starts_with('-') => HIDDEN.to_owned(),
            Some((name, _)) if is_telling(name) => format!("{name}={HIDDEN}"),
            _ => without_tokens(&without_userinfo(arg)),
        };
        hide_next = arg.starts_with('-') && !arg.contains('=') && is_telling(arg);
        words.push(word);
    }
    let mut line = words.join(" ");
    for secret in secrets {
        if secret.reveal().len() >= 8 {
            line = line.replace(secret.reveal(), HIDDEN);
        }
    }
    line
}

fn is_telling(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["token", "key", "secret", "password", "passwd", "auth", "credential"]
        .iter()
        .any(|word| name.contains(word))
}

/// How tokens of well-known services begin.
const TOKENS: [&str; 14] = [
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "sk-",
    "xoxa-",
    "xoxb-",
    "xoxe-",
    "xoxp-",
    "xoxr-",
    "xoxs-",
];
/// `sk-` begins names of packages, too; a token is longer than their words, or has digits or capitals.
const PLAIN_MAX: usize = 16;

fn is_token(word: &str) -> bool {
    let Some(rest) = TOKENS.iter().find_map(|begin| word.strip_prefix(begin)) else { return false };
    let is_plain = rest.len() <= PLAIN_MAX
        && rest.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '-' | '_'));
    let names_a_package = word.starts_with("sk-") && is_plain;
    !(rest.is_empty() || names_a_package)
}

/// Replaces the words of a text that look like tokens, wherever in it they are.
fn without_tokens(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut shown = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        shown.push_str(if is_token(word) { HIDDEN } else { word });
        let next = after.find(is_word).unwrap_or(after.len());
        shown.push_str(&after[..next]);
        rest = &after[next..];
    }
    shown
}

fn without_userinfo(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{HIDDEN}{}", &rest[at..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // failure mode J7
    #[test]
    fn what_may_be_secret_is_not_shown() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let secret = Secret::new("s3cr3t-value");
        for (line, want) in [
            ("-y pkg --api-key abc x", "npx -y pkg --api-key *** x"),
            ("--token=abc --port 3", "npx --token=*** --port 3"),
            ("postgres://u:p@h/db", "npx postgres://***@h/db"),
            ("https://h/@scope/x", "npx https://h/@scope/x"),
            ("-H X:s3cr3t-value", "npx -H X:***"),
            ("-y pkg ghp_a1b2 glpat-x sk-ant-api03-Zz xoxb-1-2", "npx -y pkg *** *** *** ***"),
            ("--pat=github_pat_11A X:sk-abcdefghijklmnopqrst", "npx --pat=*** X:***"),
            ("-y @me/sk-learn-mcp sk-learn-mcp ghp_", "npx -y @me/sk-learn-mcp sk-learn-mcp ghp_"),
        ] {
            assert_eq!(shown("npx", &words(line), &[&secret]), want);
        }
    }
}
