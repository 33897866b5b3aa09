//! From a look at the machine to a report: who is a host, what is a server, whose it is, and what may be done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wrasse_types::UnixMillis;

use super::configured::known_servers;
use super::ends::Ends;
use super::judging::{Judgement, OTHERWISE, class_of, owner, why_owned};
use super::known::{Evidence, KnownServer};
use super::live::{self, LiveHost};
use super::matching::{Verdict, verdicts};
use super::openclaw::{self, Fate, Place, Records, Session};
use super::processes::{Processes, Scope, environment};
use super::report::{Class, Report, Set};
use super::trees::{Hold, Tree, gather};
use super::watch::{Activities, watch};
use crate::import::{Host, Surroundings};

/// How long a process must have done nothing before it counts as idle.
pub const WATCH: Duration = Duration::from_secs(10);
/// Servers that nobody's records assign to a session form one set when they started within this of each other.
const TOGETHER_MS: i64 = 30_000;
/// A daemon may have been started this long after the last that its session's records say.
const AFTERWARDS_MS: i64 = 60_000;

/// What to look at.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which processes.
    pub scope: Scope,
    /// Where configuration files are looked for.
    pub around: Surroundings,
    /// How long processes that would be *finished* are watched.
    pub watch: Duration,
}

/// Looks at the machine and decides about every set. Blocks for as long as processes are watched.
///
/// # Errors
/// When the process table cannot be read.
pub fn discover(options: &Options) -> std::io::Result<Report> {
    let mut report = look(options)?;
    watch(&mut report, options.watch);
    finish(&mut report);
    Ok(report)
}

/// The same without watching: what is *finished* may still be found busy.
pub(super) fn look(options: &Options) -> std::io::Result<Report> {
    let processes = Processes::look(options.scope)?;
    let hosts = live::find(&processes);
    let mut notes = Vec::new();
    let (servers, files) = known_servers(&hosts, &options.around, &mut notes);
    let ends = Ends::look();
    if !ends.knows_peers() {
        notes.push(
            "the kernel does not say who holds the other end of a socket here: servers that a dead host started that way \
             stay unknown"
                .to_owned(),
        );
    }
    let trees = gather(&processes, &hosts, &servers, &ends);
    notes.extend(stopped(&processes, &trees));
    let mut judge = Judge {
        processes: &processes,
        hosts: &hosts,
        servers: &servers,
        around: &options.around,
        notes,
    };
    let sets = judge.sets(trees);
    let notes = judge.notes;
    let ours = processes.iter().filter(|process| process.ours && !process.zombie).count();
    Ok(Report {
        looked_at: processes.len(),
        uid: options.scope.uid,
        servers,
        files,
        hosts,
        sets,
        ours,
        watched: None,
        notes,
    })
}

/// What to do about servers that do not go on by themselves.
fn stopped(processes: &Processes, trees: &[Tree]) -> Option<String> {
    let members = trees.iter().flat_map(|tree| &tree.members);
    let stopped: Vec<String> = members
        .filter(|member| processes.get(member.pid).is_some_and(|process| process.stopped))
        .map(|member| member.pid.to_string())
        .collect();
    (!stopped.is_empty()).then(|| {
        let pids = stopped.join(" ");
        format!(
            "{} server processes are stopped, by a person or by a reap that was killed while it looked again; kill -CONT \
             {pids}   lets them go on",
            stopped.len()
        )
    })
}

struct Judge<'a> {
    processes: &'a Processes,
    hosts: &'a [LiveHost],
    servers: &'a [KnownServer],
    around: &'a Surroundings,
    notes: Vec<String>,
}

impl Judge<'_> {
    fn sets(&mut self, trees: Vec<Tree>) -> Vec<Set> {
        let mut held: BTreeMap<usize, Vec<Tree>> = BTreeMap::new();
        let mut rest: Vec<Tree> = Vec::new();
        for tree in trees {
            match tree.hold {
                Hold::Host(host) => held.entry(host).or_default().push(tree),
                Hold::LetGo(_)
                | Hold::Nobody
                | Hold::Unwritable
                | Hold::Strangers(_)
                | Hold::Unseen
                | Hold::Detached
                | Hold::Unknown => rest.push(tree),
            }
        }
        let busy: BTreeSet<usize> = held
            .values()
            .flatten()
            .chain(rest.iter().filter(|tree| tree.hold != Hold::Detached))
            .map(|tree| tree.server)
            .collect();
        let mut sets = Vec::new();
        for (host, trees) in held {
            self.held(host, trees, &mut sets);
        }
        let judged: Vec<(Class, String, Tree)> = rest
            .into_iter()
            .map(|tree| {
                let (class, why) = self.unheld(&tree, &busy);
                (class, why, tree)
            })
            .collect();
        together(judged, None, &mut sets);
        sets
    }

    /// What a live host holds.
    fn held(&mut self, at: usize, trees: Vec<Tree>, sets: &mut Vec<Set>) {
        let host = &self.hosts[at];
        let Some(place) = &host.place else {
            let why =
                format!("{}, pid {}, lives and holds its stdin", host.host.name(), host.id.pid);
            let class = if host.host == Host::OpenClaw { Class::Unknown } else { Class::InUse };
            return together(
                trees.into_iter().map(|tree| (class, why.clone(), tree)).collect(),
                Some(at),
                sets,
            );
        };
        let servers = self.servers.iter().filter(|server| server.file == place.config).count();
        let mut records = openclaw::records(place, host.started_at, servers);
        if openclaw::was_set(&host.env, host.id, host.started_at) {
            self.notes.push(format!(
                "the clock was set since openclaw, pid {}, started, so its records do not fit: nothing counts as finished",
                host.id.pid
            ));
            records.sessions.iter_mut().for_each(|session| session.fate = Fate::Open);
        }
        self.notes.extend(
            records
                .unreadable
                .iter()
                .map(|fault| format!("cannot read {fault}: nothing counts as finished")),
        );
        let mut matched: Vec<(Verdict, Tree)> = Vec::new();
        let mut by_server: BTreeMap<usize, Vec<Tree>> = BTreeMap::new();
        for tree in trees {
            by_server.entry(tree.server).or_default().push(tree);
        }
        for (_, trees) in by_server {
            let starts: Vec<UnixMillis> = trees.iter().map(|tree| tree.started_at).collect();
            matched.extend(verdicts(&starts, &records.sessions).into_iter().zip(trees));
        }
        let contradictions: Vec<UnixMillis> = matched
            .iter()
            .filter(|(verdict, _)| *verdict == Verdict::Contradiction)
            .map(|(_, tree)| tree.started_at)
            .collect();
        let judged = matched.into_iter().map(|(verdict, tree)| -> (Judgement, Tree) {
            (class_of(verdict, &tree, host, &records, &contradictions), tree)
        });
        let mut owned: BTreeMap<(usize, Class), Vec<Tree>> = BTreeMap::new();
        let mut loose = Vec::new();
        for (judgement, tree) in judged {
            match judgement {
                Ok((class, session)) => owned.entry((session, class)).or_default().push(tree),
                Err((class, why)) => loose.push((class, why, tree)),
            }
        }
        for ((session, class), mut trees) in owned {
            trees.sort_by_key(|tree| (tree.started_at, tree.root));
            let owner = owner(&records.sessions[session]);
            let why = why_owned(class, &owner);
            sets.push(Set {
                number: 0,
                class,
                why,
                host: Some(at),
                owner: Some(owner),
                trees,
                last_seen: Activities::new(),
            });
        }
        loose.sort_by_key(|(_, _, tree)| (tree.started_at, tree.root));
        together(loose, Some(at), sets);
    }

    /// What no live host holds.
    fn unheld(&mut self, tree: &Tree, busy: &BTreeSet<usize>) -> (Class, String) {
        let unknown = |why: String| (Class::Unknown, why);
        if let Some(why) = &tree.entangled {
            return unknown(why.clone());
        }
        match &tree.hold {
            // One program serves many ends: `ssh` to a server, and a tunnel that its script left on purpose.
            Hold::Nobody if tree.evidence == Evidence::Program => unknown(OTHERWISE.to_owned()),
            Hold::Nobody => (
                Class::Orphan,
                "no live host above it, and nobody holds its stdin or reads its stdout".to_owned(),
            ),
            Hold::Detached => match self.daemon_of_the_dead(tree, busy) {
                Ok(()) => (
                    Class::Orphan,
                    "a daemon of a configured server: it started in a recorded run, no host of that configuration \
                     lives, nothing else of that server runs"
                        .to_owned(),
                ),
                Err(doubt) => unknown(format!("it is on its own, without a stdin to go by, and {doubt}")),
            },
            Hold::LetGo(host) => unknown(format!(
                "its host, pid {}, lives and has closed its stdin: it is being stopped, or ignores that",
                self.hosts[*host].id.pid
            )),
            Hold::Unwritable => unknown("nobody can write to it, but its output still goes somewhere".to_owned()),
            Hold::Strangers(pids) => unknown(format!("its stdin is held by {}, no host we know", self.named(pids))),
            Hold::Unseen => unknown("its stdin is held by a process we cannot see".to_owned()),
            Hold::Unknown | Hold::Host(_) => unknown("its stdin is no pipe, or the kernel does not say who holds the other end".to_owned()),
        }
    }

    fn named(&self, pids: &[u32]) -> String {
        let name = |pid: &u32| {
            let name =
                self.processes.get(*pid).map_or("of another user", |process| process.name.as_str());
            format!("pid {pid} ({name})")
        };
        pids.iter().take(3).map(name).collect::<Vec<_>>().join(", ")
    }

    /// Every server that the first process of a tree may be of, of whatever configuration.
    fn recognised_as(&self, tree: &Tree) -> Vec<usize> {
        let process = self.processes.get(tree.root.pid);
        let is = |at: &usize| {
            *at == tree.server
                || process.is_some_and(|process| self.servers[*at].recognises(process).is_some())
        };
        (0..self.servers.len()).filter(is).collect()
    }

    /// Whether a detached process is what a server of a dead OpenClaw started; else what speaks against it.
    ///
    /// Nothing in a daemon names its origin once its parents are gone, so every other explanation must be ruled out:
    /// a live host, a living server of that name, a person or a service manager that started it.
    fn daemon_of_the_dead(&self, tree: &Tree, busy: &BTreeSet<usize>) -> Result<(), String> {
        let server = &self.servers[tree.server];
        if server.host != Host::OpenClaw {
            return Err("its host keeps no records that could tell".to_owned());
        }
        for at in self.recognised_as(tree) {
            let other = &self.servers[at];
            if at != tree.server && other.file == server.file {
                return Err(format!("{} and {} both run its program", server.name, other.name));
            }
            if let Some(host) = self.hosts.iter().find(|host| {
                host.host == other.host
                    && host.place.as_ref().is_none_or(|place| place.config == other.file)
            }) {
                let name = host.host.name();
                return Err(format!("{name}, pid {}, lives and may have started it", host.id.pid));
            }
            if busy.contains(&at) {
                return Err(format!("a server {} still runs that may have started it", other.name));
            }
        }
        let allowed =
            ["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "PWD", "OLDPWD", "_", "SHLVL"];
        let Some(env) = environment(tree.root.pid) else {
            return Err("its environment cannot be read".to_owned());
        };
        if let Some(name) =
            env.keys().find(|name| !allowed.contains(&name.as_str()) && !name.starts_with("npm_"))
        {
            return Err(format!("its environment has {name}, which OpenClaw gives to no server"));
        }
        let Some(place) = Place::of(&self.around.env).filter(|place| place.config == server.file)
        else {
            return Err("whose records could tell is not certain".to_owned());
        };
        let records: Records = openclaw::records(&place, UnixMillis::new(0), self.servers.len());
        if !records.unreadable.is_empty() {
            return Err("the records cannot be read".to_owned());
        }
        let during = |session: &Session| {
            let from = session.spans.iter().map(|span| span.from).min();
            let written =
                session.spans.iter().map(|span| span.to).filter(|to| *to != i64::MAX).max();
            let to = session.last.map(UnixMillis::get).max(written);
            let at = tree.started_at.get();
            matches!((from, to), (Some(from), Some(to)) if (from..=to + AFTERWARDS_MS).contains(&at))
        };
        if records.sessions.iter().any(during) {
            Ok(())
        } else {
            Err("no recorded run was at work when it started".to_owned())
        }
    }
}

/// Puts servers that no records group into sets: those of one class and reason that started close to each other, each
/// server once.
fn together(judged: Vec<(Class, String, Tree)>, host: Option<usize>, sets: &mut Vec<Set>) {
    let mut made: Vec<Set> = Vec::new();
    for (class, why, tree) in judged {
        let fits = made.iter_mut().rev().find(|set| {
            let last = set.trees.iter().map(|tree| tree.started_at.get()).max().unwrap_or(i64::MIN);
            set.class == class
                && set.why == why
                && tree.started_at.get().saturating_sub(last) <= TOGETHER_MS
                && set.trees.iter().all(|other| other.server != tree.server)
        });
        match fits {
            Some(set) => set.trees.push(tree),
            None => made.push(Set {
                number: 0,
                class,
                why,
                host,
                owner: None,
                trees: vec![tree],
                last_seen: Activities::new(),
            }),
        }
    }
    sets.extend(made);
}

/// Sorts the sets and numbers them.
pub(super) fn finish(report: &mut Report) {
    report
        .sets
        .sort_by_key(|set| (set.class, set.since(), set.trees.first().map(|tree| tree.root)));
    for (index, set) in report.sets.iter_mut().enumerate() {
        set.number = index + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::processes::Identity;
    use super::*;

    #[test]
    fn what_nobody_holds_is_an_orphan_only_if_it_was_started_as_configured() {
        let around = Surroundings { env: BTreeMap::new(), home: None, cwd: "/".into() };
        let processes = Processes::default();
        let mut judge = Judge {
            processes: &processes,
            hosts: &[],
            servers: &[],
            around: &around,
            notes: Vec::new(),
        };
        let mut class = |evidence, entangled: Option<&str>| {
            let root = Identity { pid: u32::MAX, start_ticks: 0 };
            let tree = Tree {
                server: 0,
                evidence,
                root,
                members: vec![root],
                started_at: UnixMillis::new(0),
                memory_bytes: 0,
                hold: Hold::Nobody,
                entangled: entangled.map(str::to_owned),
            };
            judge.unheld(&tree, &BTreeSet::new()).0
        };
        assert_eq!(class(Evidence::CommandLine, None), Class::Orphan);
        assert_eq!(class(Evidence::Program, None), Class::Unknown);
        assert_eq!(class(Evidence::CommandLine, Some("a host below")), Class::Unknown);
    }
}
