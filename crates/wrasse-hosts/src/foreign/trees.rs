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
    /// Why it must be left alone whoever holds it: somebody else's work goes on in it.
    pub entangled: Option<String>,
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
            entangled: entangled(processes, hosts, &host_of, first, &hold),
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

/// What lives below a server that is not its own: it would be stopped and ended with it. And what lives in another
/// container or mount namespace: the files that would tell about it are not the ones we find.
fn entangled(
    processes: &Processes,
    hosts: &[LiveHost],
    host_of: &BTreeMap<u32, usize>,
    first: &Process,
    hold: &Hold,
) -> Option<String> {
    let below = processes.descendants(first.id.pid);
    let below = below.into_iter().filter_map(|pid| processes.get(pid));
    for process in below.filter(|process| !process.zombie) {
        let pid = process.id.pid;
        if let Some(host) = host_of.get(&pid) {
            return Some(format!("a host runs below it: {}, pid {pid}", hosts[*host].host.name()));
        }
        if process.ours {
            return Some(format!("a process of Wrasse, pid {pid}, runs below it"));
        }
        // A terminal that a server opened itself has somebody at its other end.
        if process.terminal.is_some() && process.terminal != first.terminal {
            return Some(format!("pid {pid} ({}) below it works at a terminal", process.name));
        }
        if process.elsewhere {
            return Some(format!(
                "pid {pid} below it runs in another container or mount namespace"
            ));
        }
    }
    let of_elsewhere = match hold {
        Hold::Host(host) | Hold::LetGo(host) => hosts[*host].elsewhere,
        Hold::Nobody
        | Hold::Unwritable
        | Hold::Strangers(_)
        | Hold::Unseen
        | Hold::Detached
        | Hold::Unknown => false,
    };
    (first.elsewhere || of_elsewhere).then(|| {
        "it runs in another container or mount namespace, whose files we do not see: run wrasse there"
            .to_owned()
    })
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
            FarEnd::Closed if first.terminal.is_none() => Hold::Nobody,
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
    matches!(process.stdio[0], Stdio::Null | Stdio::None)
        && nowhere(1)
        && process.terminal.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, ppid: u32) -> Process {
        Process {
            id: Identity { pid, start_ticks: 0 },
            ppid,
            uid: 0,
            name: "p".to_owned(),
            argv: Vec::new(),
            started_at: UnixMillis::new(0),
            terminal: Some(7),
            zombie: false,
            ours: false,
            elsewhere: false,
            stopped: false,
            stdio: [Stdio::Null; 3],
        }
    }

    #[test]
    fn what_is_not_a_servers_own_below_it_entangles_it() {
        let told = |change: fn(&mut Process), hosts: &[u32]| {
            let mut leaf = process(12, 11);
            change(&mut leaf);
            let all = [process(10, 1), process(11, 10), leaf];
            let all = Processes::new(all.into_iter().map(|one| (one.id.pid, one)).collect());
            let host = LiveHost {
                host: crate::import::Host::Codex,
                id: Identity { pid: 12, start_ticks: 0 },
                started_at: UnixMillis::new(0),
                version: None,
                place: None,
                env: BTreeMap::new(),
                processes: hosts.iter().copied().collect(),
                elsewhere: false,
            };
            let host_of = hosts.iter().map(|pid| (*pid, 0)).collect();
            let first = all.get(10).unwrap();
            entangled(&all, &[host], &host_of, first, &Hold::Nobody).unwrap_or_default()
        };
        assert_eq!(told(|_| {}, &[]), "");
        assert_eq!(told(|leaf| leaf.terminal = None, &[]), "");
        assert!(told(|_| {}, &[12]).contains("a host runs below it: codex, pid 12"));
        assert!(told(|leaf| leaf.ours = true, &[]).contains("a process of Wrasse, pid 12"));
        assert!(told(|leaf| leaf.terminal = Some(8), &[]).contains("works at a terminal"));
        assert!(told(|leaf| leaf.elsewhere = true, &[]).contains("another container"));
        let ended = |leaf: &mut Process| {
            leaf.terminal = Some(8);
            leaf.zombie = true;
        };
        assert_eq!(told(ended, &[]), "");
    }

    #[test]
    fn what_lives_in_another_container_is_entangled_by_that_alone() {
        let mut first = process(10, 1);
        first.elsewhere = true;
        let all = Processes::new(BTreeMap::from([(10, first.clone())]));
        let told = entangled(&all, &[], &BTreeMap::new(), &first, &Hold::Nobody).unwrap();
        assert!(told.contains("run wrasse there"), "{told}");
    }
}
