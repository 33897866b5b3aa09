//! Every server that a configuration file names which the caller or a live host uses.

use std::path::PathBuf;

use super::known::KnownServer;
use super::live::LiveHost;
use super::processes::working_dir;
use crate::import::{self, Host, Kind, Surroundings, Where};

/// The servers of the caller's own configuration files and of those that live hosts use.
pub(super) fn known_servers(
    hosts: &[LiveHost],
    around: &Surroundings,
    notes: &mut Vec<String>,
) -> (Vec<KnownServer>, Vec<PathBuf>) {
    let mut servers: Vec<KnownServer> = Vec::new();
    let mut files: Vec<PathBuf> = Vec::new();
    let mut read = |host: Host, around: &Surroundings| {
        if !host.files(around).iter().any(|file| file.is_file()) {
            return;
        }
        match import::find(host, around, &Where::Usual) {
            Ok(found) => {
                for file in found.files() {
                    if !files.iter().any(|known| known == file) {
                        files.push(file.to_owned());
                    }
                }
                let main =
                    host.files(around).into_iter().find(|file| file.is_file()).unwrap_or_default();
                for entry in found.entries {
                    if entry.starts.command.is_empty()
                        || matches!(entry.kind, Kind::Wrapped { .. } | Kind::Remote)
                    {
                        continue;
                    }
                    let starts = &entry.starts;
                    let server = KnownServer::new(
                        host,
                        main.clone(),
                        entry.name,
                        &starts.command,
                        &starts.args,
                        &around.env,
                    );
                    if !servers.contains(&server) {
                        servers.push(server);
                    }
                }
            }
            Err(error) => notes.push(format!("{}: {error}", host.name())),
        }
    };
    for host in Host::ALL {
        read(host, around);
    }
    for live in hosts {
        let Some(home) = live.env.get("HOME") else { continue };
        let cwd = working_dir(live.id.pid).unwrap_or_else(|| PathBuf::from("/"));
        let around = Surroundings { env: live.env.clone(), home: Some(home.into()), cwd };
        read(live.host, &around);
    }
    (servers, files)
}
