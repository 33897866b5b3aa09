//! The arguments of the commands that deal with other hosts.

use std::path::PathBuf;

use clap::Args;

/// `wrasse reap …`
#[derive(Debug, Clone, Args)]
pub(crate) struct ReapArgs {
    /// Every unleased instance, now
    #[arg(long)]
    pub(crate) idle: bool,
    /// Servers that other hosts left behind
    #[arg(long, conflicts_with = "idle")]
    pub(crate) foreign: bool,
    /// With --foreign: also those whose session is over for good, though their host lives
    #[arg(long, requires = "foreign")]
    pub(crate) finished: bool,
    /// With --foreign: show every set, those in use and unknown too
    #[arg(long, requires = "foreign")]
    pub(crate) all: bool,
    /// With --foreign: how long finished servers must have done nothing
    #[arg(long, requires = "foreign", value_name = "DURATION", default_value = "10s", value_parser = watch_time)]
    pub(crate) watch: std::time::Duration,
    /// With --foreign: look only at processes below this one
    #[arg(long, requires = "foreign", value_name = "PID")]
    pub(crate) below: Option<u32>,
    /// Only these, by the number a listing shows or the number of a process of theirs
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
}

/// Shorter says nothing about being idle. What tests start is spoken to all the time, or never.
const WATCH_MIN: std::time::Duration =
    std::time::Duration::from_millis(if cfg!(debug_assertions) { 100 } else { 1000 });

fn watch_time(text: &str) -> Result<std::time::Duration, String> {
    let time = wrasse_types::parse_duration(text).map_err(|error| error.to_string())?;
    if time < WATCH_MIN {
        return Err(
            "too short to tell whether a server is idle; the least is 1s, 10s is usual".to_owned()
        );
    }
    Ok(time)
}

/// `wrasse import HOST …`
#[derive(Debug, Clone, Args)]
pub(crate) struct ImportArgs {
    /// Whose servers
    #[arg(value_parser = host_names())]
    pub(crate) host: String,
    /// Let its servers go through Wrasse: those named, else all that it starts as programs
    #[arg(long, value_name = "NAME", num_args = 0.., conflicts_with = "undo")]
    pub(crate) wrap: Option<Vec<String>>,
    /// Put its files back as they were, byte for byte
    #[arg(long)]
    pub(crate) undo: bool,
    /// With --undo: put back only the command and args of each server; for a file that was changed since
    #[arg(long, requires = "undo")]
    pub(crate) entries_only: bool,
    /// Show what would change and write nothing; so it is without --yes
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// This file instead of the host's usual ones
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,
}

fn host_names() -> clap::builder::PossibleValuesParser {
    wrasse_hosts::import::Host::ALL.map(wrasse_hosts::import::Host::name).into()
}

/// `wrasse doctor …`
#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorArgs {
    /// Reach for no network
    #[arg(long)]
    pub(crate) offline: bool,
    /// Look at another host's configuration for what makes it leak
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_watched_for_no_time() {
        for short in ["0s", "0ms", "99ms"] {
            assert!(watch_time(short).unwrap_err().contains("least is 1s"), "{short}");
        }
        assert_eq!(watch_time("1s"), Ok(std::time::Duration::from_secs(1)));
        assert!(watch_time("soon").is_err());
    }
}
