//! Whether a host's configuration makes it leak.

use super::discover::Options;
use super::known::KnownServer;
use super::live;
use super::openclaw::{Place, Trap, Version, Weight, last_version, traps};
use super::processes::Processes;
use crate::import::{self, Host, ImportError, Kind, Where};

/// What was found about one host.
#[derive(Debug, Clone)]
pub struct Checkup {
    /// The host and its version, where that is known, and where that is known from.
    pub title: String,
    /// What there is to say, in order.
    pub findings: Vec<Trap>,
}

/// Looks at a host's configuration.
///
/// # Errors
/// When it has none, or it cannot be read.
pub fn checkup(host: Host, options: &Options) -> Result<Checkup, ImportError> {
    let found = import::find(host, &options.around, &Where::Usual)?;
    let (mut programs, mut unpinned, mut wrapped) = (Vec::new(), Vec::new(), 0);
    for entry in &found.entries {
        match entry.kind {
            Kind::Wrapped { .. } => wrapped += 1,
            Kind::Stdio | Kind::Unsuited(_) => {
                let starts = &entry.starts;
                let file = entry.file.clone();
                let env = &options.around.env;
                let server = KnownServer::new(
                    host,
                    file,
                    entry.name.clone(),
                    &starts.command,
                    &starts.args,
                    env,
                );
                if server.is_unpinned() {
                    unpinned.push(entry.name.clone());
                }
                programs.push(entry.name.clone());
            }
            Kind::Disabled | Kind::Remote => {}
        }
    }
    let files: Vec<String> = found.files().map(|file| file.display().to_string()).collect();
    let files = files.join(", ");
    if host == Host::OpenClaw {
        return Ok(openclaw(options, &files, &programs, &unpinned, wrapped));
    }
    Ok(Checkup {
        title: format!("{}: {files}", host.name()),
        findings: other(host, &programs, &unpinned, wrapped),
    })
}

fn openclaw(
    options: &Options,
    files: &str,
    programs: &[String],
    unpinned: &[String],
    wrapped: usize,
) -> Checkup {
    let place = Place::of(&options.around.env);
    let running =
        Processes::look(options.scope).map(|processes| live::find(&processes)).unwrap_or_default();
    let running = running.into_iter().find(|live| {
        live.host == Host::OpenClaw
            && live.version.is_some()
            && live.place.as_ref().map(|place| &place.config)
                == place.as_ref().map(|place| &place.config)
    });
    let (version, from) = match (&running, &place) {
        (Some(live), _) => (live.version.clone(), format!("running as pid {}", live.id.pid)),
        (None, Some(place)) => match last_version(place) {
            Some((version, from)) => (Some(version), format!("{from}; none is running")),
            None => (None, String::new()),
        },
        (None, None) => (None, String::new()),
    };
    let title = match &version {
        Some(version) => format!("openclaw {version} ({from}): {files}"),
        None => format!("openclaw, version not known: {files}"),
    };
    let Some(place) = place else { return Checkup { title, findings: Vec::new() } };
    let version = version.as_deref().and_then(Version::parse);
    Checkup { title, findings: traps(&place, version, programs, unpinned, wrapped) }
}

/// What can be said about every host alike. What else makes these leak is not in their configuration.
fn other(host: Host, programs: &[String], unpinned: &[String], wrapped: usize) -> Vec<Trap> {
    let mut findings = Vec::new();
    let name = host.name();
    let mut add = |weight, subject, text| findings.push(Trap { weight, subject, text });
    if programs.is_empty() {
        let text = match wrapped {
            0 => "no server is a program: nothing can leak".to_owned(),
            _ => format!("all {wrapped} go through Wrasse: nothing can leak"),
        };
        add(Weight::Ok, "servers", text);
        return findings;
    }
    if !unpinned.is_empty() {
        let text = format!(
            "{} started by a package runner without a version: three processes each instead of one, and what runs changes by \
             itself; give a version (pkg@1.2.3)",
            unpinned.join(", ")
        );
        add(Weight::Warn, "npx", text);
    }
    let text = format!(
        "{} started without Wrasse, once for every session and sub-agent: what ends them is up to {name}, which has left \
         servers behind in many versions; wrasse import {name} --wrap",
        programs.join(", ")
    );
    add(Weight::Warn, "servers", text);
    let text = format!(
        "nothing else in this file bears on leaks; {name} keeps no records that would tell which of its servers are done \
         with: wrasse reap --foreign   finds those it has left"
    );
    add(Weight::Note, "records", text);
    findings
}
