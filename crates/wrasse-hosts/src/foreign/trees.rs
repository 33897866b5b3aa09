//! Server processes, gathered to the trees they were started as.

use std::collections::{BTreeMap, BTreeSet};

use wrasse_types::UnixMillis;

use super::ends::{Ends, FarEnd};
use super::known::{Evidence, KnownServer};
use super::live::{LiveHost, Role, role};
use super::processes::{Identity, Process, Processes, Stdio, memory};

/// One start of a server: its first process and everything below it.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Which of the known servers.
    pub server: usize,
    /// How sure that is.
    pub evidence: Evidence,
    /// Its first process.
    pub root: Identity,
    /// Every process of it, the first one first.
    pub members: Vec<Identity>,
    /// When its first process started.
    pub started_at: UnixMillis,
    /// Anonymous and shared memory of all.
    pub memory_bytes: u64,
    /// Who can still speak to it.
    pub hold: Hold,
}

/// Who can still speak to a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// A live host, by its place in the list of hosts.
    Host(usize),
    /// A live host is above it, and has closed its stdin.
    LetGo(usize),
    /// Nobody can write to it, nobody can read from it, and no host is above it.
    Nobody,
    /// Nobody can write to it, but somebody may read what it says.
    Unwritable,
    /// Processes that are no host we know.
    Strangers(Vec<u32>),
    /// Somebody we cannot see.
    Unseen,
    /// It has no stdin that anybody could hold: it is on its own.
    Detached,
    /// The kernel does not say.
    Unknown,
}

/// Gathers the processes of known servers.
pub(super) fn gather(
    processes: &Processes,
    hosts: &[LiveHost],
    servers: &[KnownServer],
    ends: &Ends,
) -> Vec<Tree> {
    let host_of: BTreeMap<u32, usize> = hosts
        .iter()
        .enumerate()
        .flat_map(|(at, host)| host.processes.iter().map(move |pid| (*pid, at)))
        .collect();
    let mut roots: BTreeMap<u32, (usize, Evidence)> = BTreeMap::new();
    for process in processes.iter() {
        if process.zombie || process.ours || host_of.contains_key(&process.id.pid) {
            continue;
        }
        let above = above(processes, &host_of, process.id.pid).map(|(_, host)| host);
        let Some((server, evidence)) = recognise(process, servers, above.map(|at| &hosts[at]))
        else {
            continue;
        };
        let root = root(processes, &host_of, servers, process);
        let known = roots.entry(root).or_insert((server, evidence));
        if evidence > known.1 {
            *known = (server, evidence);
        }
    }
    let nested: Vec<u32> = roots
        .keys()
        .copied()
        .filter(|root| processes.ancestors(*root).iter().any(|above| roots.contains_key(above)))
        .collect();
    roots.retain(|root, _| !nested.contains(root));
    let tree = |(root, (server, evidence)): (&u32, &(usize, Evidence))| {
        let first = processes.get(*root)?;
        let members = members(processes, &host_of, first);
        let hold = hold(processes, &host_of, ends, first, &members);
        Some(Tree {
            server: *server,
            evidence: *evidence,
            root: first.id,
            memory_bytes: members.iter().map(|member| memory(member.pid)).sum(),
            members,
            started_at: first.started_at,
            hold,
        })
    };
    let mut trees: Vec<Tree> = roots.iter().filter_map(tree).collect();
    trees.sort_by_key(|tree| (tree.started_at, tree.root));
    trees
}

/// The server that a process is, of equal ones the one that the host above it names.
fn recognise(
    process: &Process,
    servers: &[KnownServer],
    above: Option<&LiveHost>,
) -> Option<(usize, Evidence)> {
    let own = |server: &KnownServer| {
        above.is_some_and(|host| {
            host.host == server.host
                && host.place.as_ref().is_none_or(|place| place.config == server.file)
        })
    };
    servers
        .iter()
        .enumerate()
        .filter_map(|(at, server)| Some((at, server.recognises(process)?)))
        .max_by_key(|(at, evidence)| (*evidence, own(&servers[*at]), std::cmp::Reverse(*at)))
}

/// The nearest host above a process, and the process just below it.
fn above(processes: &Processes, host_of: &BTreeMap<u32, usize>, pid: u32) -> Option<(u32, usize)> {
    let mut child = pid;
    for parent in processes.ancestors(pid) {
        if let Some(host) = host_of.get(&parent) {
            return Some((child, *host));
        }
        child = parent;
    }
    None
}

/// The first process of the start that a process belongs to.
fn root(
    processes: &Processes,
    host_of: &BTreeMap<u32, usize>,
    servers: &[KnownServer],
    process: &Process,
) -> u32 {
    if let Some((root, _)) = above(processes, host_of, process.id.pid) {
        return root;
    }
    let mut at = process;
    // Without a host: as far up as the same server, its helpers or the same stdin reach.
    while let Some(parent) = processes.get(at.ppid).filter(|parent| parent.id.pid > 1) {
        let same_stdin = parent.stdio[0] == at.stdio[0]
            && matches!(at.stdio[0], Stdio::Pipe(_) | Stdio::Socket(_));
        let helper = role(parent) == Some(Role::Helper);
        let server = servers.iter().any(|server| server.recognises(parent).is_some());
        if parent.ours || parent.zombie || !(same_stdin || helper || server) {
            break;
        }
        at = parent;
    }
    at.id.pid
}

/// A process and what is below it, without what is ours, and without hosts below it.
fn members(
    processes: &Processes,
    host_of: &BTreeMap<u32, usize>,
    first: &Process,
) -> Vec<Identity> {
    let mut found = vec![first.id];
    for pid in processes.descendants(first.id.pid) {
        let Some(process) = processes.get(pid) else { continue };
        let nested = processes
            .ancestors(pid)
            .into_iter()
            .take_while(|above| *above != first.id.pid)
            .chain([pid])
            .any(|above| host_of.contains_key(&above));
        if !nested && !process.ours && !process.zombie {
            found.push(process.id);
        }
    }
    found
}

fn hold(
    processes: &Processes,
    host_of: &BTreeMap<u32, usize>,
    ends: &Ends,
    first: &Process,
    members: &[Identity],
) -> Hold {
    let pid = first.id.pid;
    let above = above(processes, host_of, pid).map(|(_, host)| host);
    let outside = |holders: BTreeSet<u32>| -> Vec<u32> {
        holders
            .into_iter()
            .filter(|holder| members.iter().all(|member| member.pid != *holder))
            .collect()
    };
    match (ends.of_stdin(pid, first.stdio[0]), above) {
        (FarEnd::Held(holders), above) => {
            let holders = outside(holders);
            let host = holders.iter().find_map(|holder| host_of.get(holder).copied());
            match (host, holders.is_empty(), above) {
                (Some(host), _, None) => Hold::Host(host),
                // The host that holds it is the one it descends from, or it is nobody's we understand.
                (Some(host), _, Some(above)) if host == above => Hold::Host(host),
                (Some(_), _, Some(_)) => Hold::Strangers(holders),
                (None, true, _) => Hold::Unseen,
                (None, false, _) => Hold::Strangers(holders),
            }
        }
        (FarEnd::Closed, Some(host)) => Hold::LetGo(host),
        (FarEnd::Closed, None) => match ends.of_stdout(pid, first.stdio[1]) {
            FarEnd::Closed if !first.has_terminal => Hold::Nobody,
            FarEnd::Closed | FarEnd::Held(_) | FarEnd::Unknown => Hold::Unwritable,
        },
        (FarEnd::Unknown, Some(host)) if is_pipe(first.stdio[0]) => Hold::Host(host),
        (FarEnd::Unknown, _) if is_cut_off(ends, first) => Hold::Detached,
        (FarEnd::Unknown, _) => Hold::Unknown,
    }
}

fn is_pipe(stdio: Stdio) -> bool {
    matches!(stdio, Stdio::Pipe(_) | Stdio::Socket(_))
}

/// Whether none of a process's stdio leads anywhere.
fn is_cut_off(ends: &Ends, process: &Process) -> bool {
    let nowhere = |fd: usize| {
        matches!(process.stdio[fd], Stdio::Null | Stdio::None)
            || ends.of_stdout(process.id.pid, process.stdio[fd]) == FarEnd::Closed
    };
    matches!(process.stdio[0], Stdio::Null | Stdio::None) && nowhere(1) && !process.has_terminal
}
