//! The ledger of shims: one file for each, at `<state dir>/wrap/shims/<id>.json`.
//!
//! A shim writes its file when it starts, again before every server it starts ("row before go"), and removes it when it
//! ends with nothing left. So a file whose shim is dead says that a shim, or a shim and a guardian, died by force: what
//! carries the mark of one of its instances, and is not older than that instance's guardian, is left over and may be
//! ended. A shim that lives is an owner that lives: nothing of it is ever touched.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wrasse_contain::sweep::{self, Effort, LeaseProof, Leftover, SweepError, SweepReport};
use wrasse_contain::{ProcessIdentity, pid_namespace};
use wrasse_types::UnixMillis;

use crate::place::{self, Place};

const VERSION: u32 = 1;
/// When a file that nobody can read is nobody's.
const TORN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// A process as the ledger remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRow {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
    /// Its name, for people.
    #[serde(default)]
    pub name: String,
}

impl ProcessRow {
    /// The process that has this number now.
    pub fn of(pid: u32) -> Option<Self> {
        let start_ticks = ProcessIdentity::of(pid)?.start_ticks;
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Some(Self { pid, start_ticks, name: name.trim().to_owned() })
    }

    /// Whether it still runs, as one that was started in this boot.
    fn is_alive(&self, boot_id: &str) -> bool {
        let (pid, start_ticks) = (self.pid, self.start_ticks);
        ProcessIdentity { pid, start_ticks, boot_id: boot_id.to_owned() }.is_alive()
    }
}

/// One server of a shim, from before its start until its tree is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRow {
    /// The number that its processes carry.
    pub instance: u64,
    /// Its guardian.
    pub guardian: ProcessRow,
    /// The server itself, once it runs.
    pub server: Option<ProcessRow>,
    /// When it was started.
    pub since: UnixMillis,
    /// Tool calls it was given, as far as they were written down.
    pub calls: u64,
}

impl InstanceRow {
    /// Whether its guardian or its server lives.
    fn lives(&self, boot_id: &str) -> bool {
        let mut processes = std::iter::once(&self.guardian).chain(&self.server);
        processes.any(|process| process.is_alive(boot_id))
    }
}

/// One shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimRow {
    version: u32,
    /// Names the file.
    pub id: String,
    /// The shim's process.
    pub process: ProcessRow,
    /// The boot it was started in.
    pub boot_id: String,
    /// The pid namespace its numbers belong to.
    pub pid_namespace: String,
    /// The installation that its marks name.
    pub installation: u16,
    /// The process that started it.
    pub host: Option<ProcessRow>,
    /// The name of the server.
    pub name: String,
    /// The server's command line, secrets left out.
    pub command: Vec<String>,
    /// Who may use its server: `private` or `shared`; `broker` for who has a shared one.
    pub scope: String,
    /// What ends a server of it while the host lives, in words.
    #[serde(default)]
    pub ends: String,
    /// The shims that share its server, where it is a broker.
    #[serde(default)]
    pub shared_by: Vec<u32>,
    /// When it was started.
    pub since: UnixMillis,
    /// Its servers: none while it is idle.
    pub instances: Vec<InstanceRow>,
}

/// What became of a shim, as far as can be told from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// It lives: what it started is its own.
    Alive,
    /// It is dead, in this boot: what it started may be left over.
    Dead,
    /// It was of an earlier boot: nothing of it can be left.
    EarlierBoot,
    /// It lives, or lived, in another pid namespace: nobody here can tell.
    Elsewhere,
}

impl ShimRow {
    /// A row for this very process.
    pub fn of_this_process(place: &Place, name: &str, command: Vec<String>, scope: &str) -> Self {
        let own = std::process::id();
        let identity = ProcessIdentity::of(own);
        let host = rustix::process::getppid().and_then(|pid| u32::try_from(pid.as_raw_pid()).ok());
        Self {
            version: VERSION,
            id: format!("{own}-{}", place::hex(&place::random::<4>())),
            process: ProcessRow::of(own).unwrap_or(ProcessRow {
                pid: own,
                start_ticks: 0,
                name: String::new(),
            }),
            boot_id: identity.map(|identity| identity.boot_id).unwrap_or_default(),
            pid_namespace: pid_namespace(),
            installation: place.installation,
            host: host.and_then(ProcessRow::of),
            name: name.to_owned(),
            command,
            scope: scope.to_owned(),
            ends: String::new(),
            shared_by: Vec::new(),
            since: UnixMillis::now(),
            instances: Vec::new(),
        }
    }

    /// What became of it.
    pub fn owner(&self) -> Owner {
        let Some(here) = ProcessIdentity::of(std::process::id()) else { return Owner::Elsewhere };
        if here.boot_id != self.boot_id {
            return Owner::EarlierBoot;
        }
        if self.pid_namespace != pid_namespace() {
            return Owner::Elsewhere;
        }
        if self.process.is_alive(&self.boot_id) { Owner::Alive } else { Owner::Dead }
    }

    /// The instance that a process belongs to: a guardian of this shim, or anything below one.
    pub fn instance_of(&self, pid: u32) -> Option<&InstanceRow> {
        let above = ancestors(pid);
        self.instances.iter().find(|row| above.contains(&row.guardian.pid))
    }
}

/// A process and everything above it.
fn ancestors(pid: u32) -> Vec<u32> {
    let mut chain = vec![pid];
    while let Some(parent) = chain.last().and_then(|pid| parent_of(*pid)) {
        if parent == 0 || chain.contains(&parent) {
            break;
        }
        chain.push(parent);
    }
    chain
}

fn parent_of(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// This shim's own row. Clones write the same file.
#[derive(Debug, Clone)]
pub struct Row {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    row: ShimRow,
}

impl Row {
    /// A row that is not written yet.
    pub fn new(place: &Place, row: ShimRow) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { folder: place.shims(), row })) }
    }

    /// Changes the row, and writes it.
    ///
    /// # Errors
    /// When it cannot be written. The change stands all the same, and is written with the next one.
    pub fn change(&self, change: impl FnOnce(&mut ShimRow)) -> std::io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut inner.row);
        place::write(&path(&inner.folder, &inner.row.id), &serde_json::to_vec(&inner.row)?)
    }

    /// Removes the file: nothing is left of this shim.
    pub fn remove(&self) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // Where it was never written it is not there.
        drop(std::fs::remove_file(path(&inner.folder, &inner.row.id)));
    }
}

fn path(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.json"))
}

/// Every row of a state dir, with its file. Files that cannot be read are left out.
fn rows(state_dir: &Path) -> Vec<(PathBuf, ShimRow)> {
    let Ok(files) = std::fs::read_dir(place::shims(state_dir)) else { return Vec::new() };
    let paths = files.flatten().map(|file| file.path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter_map(|path| {
            let row: ShimRow = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
            (row.version == VERSION).then_some((path, row))
        })
        .collect()
}

/// The shims of a state dir that live, the oldest first.
pub fn live(state_dir: &Path) -> Vec<ShimRow> {
    let rows = rows(state_dir).into_iter().map(|(_, row)| row);
    let mut live: Vec<_> = rows.filter(|row| row.owner() == Owner::Alive).collect();
    for row in &mut live {
        let boot_id = row.boot_id.clone();
        // A start that was given up leaves its instance in the row: proof, should something of it be left.
        row.instances.retain(|instance| instance.lives(&boot_id));
    }
    live.sort_by_key(|row| row.since);
    live
}

/// The living shim that is a process, or holds it; and which of its instances that process belongs to.
pub fn find(state_dir: &Path, pid: u32) -> Option<(ShimRow, Option<InstanceRow>)> {
    live(state_dir).into_iter().find_map(|row| {
        let instance = row.instance_of(pid).cloned();
        (row.process.pid == pid || instance.is_some()).then_some((row, instance))
    })
}

/// What dead shims left behind.
#[derive(Debug, Default)]
pub struct Remains {
    /// Processes, each proven by mark, ledger, boot, pid namespace and age.
    pub leftovers: Vec<Leftover>,
    /// The rows of the dead shims they belonged to, or may have.
    pub rows: Vec<ShimRow>,
    files: Vec<PathBuf>,
}

impl Remains {
    /// With those of another state dir.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.leftovers.extend(other.leftovers);
        self.rows.extend(other.rows);
        self.files.extend(other.files);
        self
    }
}

/// Looks for what dead shims of a state dir left behind. Changes nothing.
///
/// # Errors
/// When the process table cannot be read.
pub fn leftovers(state_dir: &Path) -> Result<Remains, SweepError> {
    let Some(installation) = place::installation_of(state_dir) else {
        return Ok(Remains::default());
    };
    let mut remains = Remains::default();
    for (file, row) in rows(state_dir) {
        let over = match row.owner() {
            Owner::Alive | Owner::Elsewhere => false,
            Owner::Dead | Owner::EarlierBoot => true,
        };
        if over {
            remains.files.push(file);
            remains.rows.push(row);
        }
    }
    // A row that was copied along with its state dir names another installation: its processes are not ours.
    let ours = |row: &&ShimRow| row.installation == installation && row.owner() == Owner::Dead;
    let proof = |instance: u64| {
        remains.rows.iter().filter(ours).find_map(|row| {
            let found = row.instances.iter().find(|row| row.instance == instance)?;
            Some(LeaseProof {
                guardian_start_ticks: found.guardian.start_ticks,
                boot_id: row.boot_id.clone(),
            })
        })
    };
    if remains.rows.iter().filter(ours).any(|row| !row.instances.is_empty()) {
        remains.leftovers = sweep::find_of_dead_owners(installation, Effort::Search, proof)?;
    }
    Ok(remains)
}

/// Removes what a shim or a machine that died in the middle of writing left: files that never got their name, and rows
/// that are no JSON. What is younger than a day may still become something.
fn tidy(folder: &Path) {
    let Ok(files) = std::fs::read_dir(folder) else { return };
    for file in files.flatten() {
        let written = file.metadata().and_then(|metadata| metadata.modified());
        let old = written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > TORN_AFTER));
        let unnamed = file.file_name().as_encoded_bytes().starts_with(b".");
        let unreadable = || {
            let text = std::fs::read(file.path());
            text.is_ok_and(|text| serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_err())
        };
        if old && (unnamed || unreadable()) {
            drop(std::fs::remove_file(file.path()));
        }
    }
}

/// Ends what dead shims of a state dir left behind, and removes the rows of those of which nothing is left.
///
/// # Errors
/// When the process table cannot be read.
pub async fn sweep(state_dir: &Path) -> Result<SweepReport, SweepError> {
    tidy(&place::shims(state_dir));
    let alive = |owner: Owner| match owner {
        Owner::Alive | Owner::Elsewhere => true,
        Owner::Dead | Owner::EarlierBoot => false,
    };
    if rows(state_dir).iter().all(|(_, row)| alive(row.owner())) {
        return Ok(SweepReport::default());
    }
    // Many looks at the process table: not for a thread that serves somebody.
    let (own, runtime) = (state_dir.to_owned(), tokio::runtime::Handle::current());
    let swept = tokio::task::spawn_blocking(move || runtime.block_on(sweep_dead(&own))).await;
    swept.map_err(|fault| SweepError::Proc(std::io::Error::other(fault)))?
}

async fn sweep_dead(state_dir: &Path) -> Result<SweepReport, SweepError> {
    let remains = leftovers(state_dir)?;
    let mut first = Some(remains.leftovers);
    let find = || match first.take() {
        Some(found) => Ok(found),
        None => leftovers(state_dir).map(|remains| remains.leftovers),
    };
    let report = sweep::until_clean(find).await?;
    if report.survivors == 0 {
        for file in remains.files {
            // Another shim may have done it.
            drop(std::fs::remove_file(file));
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests;
