//! Why an import is refused.

use std::path::PathBuf;

use wrasse_config::Faults;

use super::host::Host;

/// Why a host's files cannot be read, changed or put back. No text holds a value of the file.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// None of the host's files is there.
    #[error(
        "{} has no configuration file here; looked for {}",
        host.name(),
        looked.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NotFound {
        /// The host.
        host: Host,
        /// Where it would be.
        looked: Vec<PathBuf>,
    },
    /// A file cannot be used.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// A verb.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not text.
    #[error("{} is not UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be understood.
    #[error("{} cannot be read as it stands; nothing was changed\n{faults}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        faults: Faults,
    },
    /// An included file is out of reach.
    #[error("{}:{line}: the included {} {why}", file.display(), included.display())]
    Include {
        /// The file that includes.
        file: PathBuf,
        /// Where it does.
        line: u32,
        /// What it includes.
        included: PathBuf,
        /// A verb and what follows.
        why: String,
    },
    /// A server that was named is not there.
    #[error("{} has no server {name:?}", host.name())]
    ServerUnknown {
        /// The host.
        host: Host,
        /// What was asked for.
        name: String,
        /// What may have been meant.
        suggestion: Option<String>,
        /// The servers there are.
        known: Vec<String>,
    },
    /// A server that was named cannot be wrapped.
    #[error("{name:?} cannot go through wrasse: {why}")]
    ServerUnsuited {
        /// The server.
        name: String,
        /// A lowercase reason.
        why: String,
    },
    /// The path of the program cannot stand in a host's file.
    #[error("the path of this program, {path:?}, cannot stand in a host's file: {why}")]
    ProgramUnsuited {
        /// The path.
        path: String,
        /// A lowercase reason.
        why: &'static str,
    },
    /// The file is not as we left it.
    #[error(
        "{} was changed since it was wrapped ({}), so it is not put back whole",
        path.display(), changed.join(", ")
    )]
    ChangedSince {
        /// The file.
        path: PathBuf,
        /// The keys whose values differ, or that only the layout does.
        changed: Vec<String>,
        /// Where its bytes from before lie.
        original: PathBuf,
    },
    /// A file that was wrapped is gone.
    #[error("{} is not there any more; as it was before lies in {}", path.display(), original.display())]
    FileGone {
        /// The file.
        path: PathBuf,
        /// Where its bytes from before lie.
        original: PathBuf,
    },
    /// Entries go through Wrasse, but nothing says what the file was before.
    #[error(
        "{entries} of {}'s servers go through wrasse, but {} holds no record of what the file was before",
        host.name(), records.display()
    )]
    RecordMissing {
        /// The host.
        host: Host,
        /// How many go through Wrasse.
        entries: usize,
        /// Where records lie.
        records: PathBuf,
    },
    /// A record, or the bytes it speaks of, is damaged.
    #[error("the record {} cannot be used: {why}", path.display())]
    RecordDamaged {
        /// The record.
        path: PathBuf,
        /// A lowercase reason.
        why: String,
    },
    /// Somebody wrote the file while we were about to.
    #[error("{} was changed by somebody else in this moment; {}", path.display(), done(written))]
    Concurrent {
        /// The file.
        path: PathBuf,
        /// What had been written already.
        written: Vec<PathBuf>,
    },
    /// The file would not keep its owner.
    #[error("{} belongs to user {owner}, and only that user or root can replace it and keep that so", path.display())]
    OwnerLost {
        /// The file.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
    },
    /// The file is mounted by itself.
    #[error("{} is mounted by itself (a container's volume?) and cannot be replaced in one step", path.display())]
    Mounted {
        /// The file.
        path: PathBuf,
    },
    /// The changed text would mean something else than intended: a bug of ours.
    #[error("the change of {} would do more than intended; nothing was written", path.display())]
    Unintended {
        /// The file.
        path: PathBuf,
    },
}

fn done(written: &[PathBuf]) -> String {
    if written.is_empty() {
        return "nothing was written".to_owned();
    }
    let names: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
    format!("already written: {}", names.join(", "))
}
