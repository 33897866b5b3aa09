//! One server made ready to be started for one workspace: every value resolved, nothing started.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wrasse_config::{Lifecycle, Secret, Server, ServerLimits, Transport};
use wrasse_contain::{Ladder, Limits, SpawnSpec};
use wrasse_types::{InstanceId, ServerName};

use crate::environment::{self, Environment};
use crate::fingerprint::Fingerprints;
use crate::package::{self, Package};

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
    pub(crate) package: Option<Package>,
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
        inherit: &[String],
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
        Some(Arc::new(Self {
            server: server.name.clone(),
            origin: server.origin.clone(),
            command: command.clone(),
            args: args.clone(),
            environment,
            cwd: directory,
            in_workspace: cwd.is_none(),
            fingerprint,
            package: package::of(command, args),
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
            _ => without_userinfo(arg),
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
        ] {
            assert_eq!(shown("npx", &words(line), &[&secret]), want);
        }
    }
}
