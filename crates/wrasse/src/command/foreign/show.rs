//! How what other hosts left behind is printed.

use serde_json::{Value, json};
use wrasse_hosts::foreign::openclaw::{Situation, Version, disposal};
use wrasse_hosts::foreign::{Class, Outcome, Reaped, Report, Set};
use wrasse_types::{ByteSize, UnixMillis, format_duration};

use crate::args::ReapArgs;
use crate::output::{line, table};

/// Sets of one class that are shown without `--all`.
const SHOWN: usize = 5;

pub(super) fn report(report: &Report, args: &ReapArgs, chosen: &[&Set]) {
    head(report);
    if report.sets.is_empty() {
        line("no server process of another host was found");
        notes(report);
        return;
    }
    classes(report);
    line("");
    for class in Class::ALL {
        sets(report, class, args);
    }
    notes(report);
    line("");
    line("Nothing was ended.");
    about_versions(report);
    cures(report, args, chosen);
}

fn head(report: &Report) {
    let whose = match report.uid {
        Some(uid) => format!("of uid {uid}"),
        None => "of every user, as root sees them".to_owned(),
    };
    let mut names: Vec<&str> = report.servers.iter().map(|server| server.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let files: Vec<String> = report.files.iter().map(|file| file.display().to_string()).collect();
    let known = if names.is_empty() {
        "no configuration of a host names a server".to_owned()
    } else {
        format!("known servers from {}: {}", files.join(", "), names.join(", "))
    };
    line(format_args!("looked at {} processes {whose}; {known}", report.looked_at));
    for (at, host) in report.hosts.iter().enumerate() {
        let held: usize = report
            .sets
            .iter()
            .filter(|set| set.host == Some(at))
            .map(|set| set.processes().count())
            .sum();
        line(format_args!(
            "host: {} {}, pid {}, alive, holds the stdin of {held} server processes",
            host.host.name(),
            host.version.as_deref().unwrap_or("of unknown version"),
            host.id.pid,
        ));
    }
    if report.ours > 0 {
        line(format_args!(
            "{} processes are Wrasse's own or below its guardians, and left alone",
            report.ours
        ));
    }
    line("");
}

fn classes(report: &Report) {
    let rows: Vec<Vec<String>> = Class::ALL
        .iter()
        .map(|class| {
            let sets: Vec<&Set> = report.of(*class).collect();
            let processes: usize = sets.iter().map(|set| set.processes().count()).sum();
            let memory: u64 = sets.iter().map(|set| set.memory_bytes()).sum();
            let oldest = sets.iter().map(|set| set.since()).min();
            vec![
                class.name().to_owned(),
                sets.len().to_string(),
                processes.to_string(),
                if memory == 0 { "0".to_owned() } else { ByteSize(memory).to_string() },
                oldest.map_or_else(|| "-".to_owned(), age),
                meaning(report, *class),
            ]
        })
        .collect();
    table(&["CLASS", "SETS", "PROCS", "MEM", "OLDEST", "WHY"], &rows);
}

fn meaning(report: &Report, class: Class) -> String {
    match class {
        Class::Orphan => "no live host, nobody holds its stdin".to_owned(),
        Class::Finished => {
            let watched = report.watched.unwrap_or(wrasse_hosts::foreign::WATCH);
            format!(
                "its session is over by the host's own records; the last {} no work, no message",
                format_duration(watched)
            )
        }
        Class::InUse => "a run uses it, or its session can be continued".to_owned(),
        Class::Unknown => "not certain: never touched".to_owned(),
    }
}

fn age(since: UnixMillis) -> String {
    format_duration(UnixMillis::now().since(since))
}

fn sets(report: &Report, class: Class, args: &ReapArgs) {
    let endable = super::is_endable(class);
    let all: Vec<&Set> = report.of(class).collect();
    let shown = match (args.all, endable) {
        (true, _) => all.len(),
        (false, true) => all.len().min(SHOWN),
        (false, false) => 0,
    };
    for set in &all[..shown] {
        line(format_args!("  #{:<3} {:<9} {}", set.number, class.name(), describe(report, set)));
        if !endable || set.owner.is_none() {
            line(format_args!("       {}", set.why));
        }
    }
    if shown < all.len() && shown > 0 {
        line(format_args!("  …    {} more {} (--all shows them)", all.len() - shown, class.name()));
    }
}

fn describe(report: &Report, set: &Set) -> String {
    let mut words: Vec<String> = Vec::new();
    if let Some(owner) = &set.owner {
        let key = if owner.key.is_empty() { owner.id.clone() } else { owner.key.clone() };
        words.push(match &owner.label {
            Some(label) => format!("{label} {key}"),
            None => key,
        });
        let ended = if owner.ending.is_some() { "ended" } else { "last at work" };
        if let Some(last) = owner.last {
            words.push(format!("{ended} {last}"));
        }
        words.extend(owner.outcome.clone());
    } else {
        let names: Vec<&str> =
            set.trees.iter().map(|tree| report.servers[tree.server].name.as_str()).collect();
        words.push(names.join(", "));
    }
    let pids: Vec<String> = set.processes().map(|process| process.pid.to_string()).collect();
    let more = if pids.len() > 6 { " …" } else { "" };
    words.push(format!(
        "{} procs {}  since {}  pids {}{more}",
        pids.len(),
        ByteSize(set.memory_bytes()),
        age(set.since()),
        pids[..pids.len().min(6)].join(" ")
    ));
    words.join("  ")
}

fn notes(report: &Report) {
    for note in &report.notes {
        line(format_args!("! {note}"));
    }
}

/// What the host's version has to do with it.
fn about_versions(report: &Report) {
    let mut said: Vec<String> = Vec::new();
    for set in report.of(Class::Finished) {
        let Some(ending) = set.owner.as_ref().and_then(|owner| owner.ending) else { continue };
        let Some(live) = set.host.map(|at| &report.hosts[at]) else { continue };
        let version = live.version.as_deref();
        let about = disposal(version.and_then(Version::parse), Situation::Ended(ending));
        let text = format!(
            "{} {} {}; {}.",
            live.host.name(),
            version.unwrap_or("of unknown version"),
            about.what,
            about.changed
        );
        if !said.contains(&text) {
            said.push(text);
        }
    }
    for text in &said {
        line(text);
    }
    if !said.is_empty() {
        line("Ending a finished set is safe because its session is never run again.");
    }
}

fn cures(report: &Report, args: &ReapArgs, chosen: &[&Set]) {
    let below = args.below.map(|pid| format!(" --below {pid}")).unwrap_or_default();
    let memory =
        |class: Class| ByteSize(report.of(class).map(Set::memory_bytes).sum::<u64>()).to_string();
    let mut rows: Vec<(&str, String)> = Vec::new();
    if !args.ids.is_empty() {
        let numbers: Vec<String> = chosen.iter().map(|set| set.number.to_string()).collect();
        rows.push((
            "end these:",
            format!("wrasse reap --foreign{below} {} --yes", numbers.join(" ")),
        ));
    } else {
        if report.of(Class::Orphan).next().is_some() {
            let back = memory(Class::Orphan);
            rows.push((
                "end the orphans:",
                format!("wrasse reap --foreign{below} --yes      (about {back} back)"),
            ));
        }
        if let Some(first) = report.of(Class::Finished).next() {
            let back = memory(Class::Finished);
            rows.push((
                "end the finished sets too:",
                format!("wrasse reap --foreign{below} --finished --yes      (about {back} back)"),
            ));
            rows.push((
                "end some:",
                format!("wrasse reap --foreign{below} {} --yes", first.number),
            ));
        }
    }
    if let Some(set) = report.sets.first() {
        let pid = set.trees.first().map_or(0, |tree| tree.root.pid);
        rows.push(("why one is there:", format!("wrasse why {pid}")));
        let host = set.trees.first().map(|tree| report.servers[tree.server].host.name());
        rows.push((
            "stop it from recurring:",
            format!("wrasse import {} --wrap", host.unwrap_or("HOST")),
        ));
    }
    for (what, command) in rows {
        line(format_args!("  {what:<27} {command}"));
    }
}

pub(super) fn ended(report: &Report, done: &[Reaped]) {
    if done.is_empty() {
        line("there was nothing to end");
        let finished = report.of(Class::Finished).count();
        if finished > 0 {
            line(format_args!(
                "{finished} finished sets were left alone: add --finished to end those too"
            ));
        }
        return;
    }
    about_versions(report);
    for reaped in done {
        let what = match reaped.outcome {
            Outcome::Ended => "ended",
            Outcome::Spared => "SPARED: it changed while it was looked at again",
            Outcome::Survivors => "NOT ALL ended",
        };
        line(format_args!(
            "{what}  {} {}  {} procs ({} on SIGTERM, {} killed, {} left)",
            reaped.class,
            reaped.session.as_deref().unwrap_or(&reaped.servers.join(", ")),
            super::processes(reaped),
            reaped.on_term,
            reaped.killed,
            reaped.survivors,
        ));
    }
    let (sets, memory) = done
        .iter()
        .filter(|reaped| reaped.outcome == Outcome::Ended)
        .fold((0, 0), |(sets, memory), reaped| (sets + 1, memory + reaped.memory_bytes));
    line(format_args!("{sets} sets ended, about {} back", ByteSize(memory)));
}

pub(super) fn story(title: &str, facts: &[(&'static str, String)]) {
    line(title);
    for (label, text) in facts {
        line(format_args!("{label:<9} {text}"));
    }
}

pub(super) fn past(pid: u32, reaped: &Reaped) {
    line(format_args!(
        "{pid} was a server process of {} that wrasse reap ended {}",
        reaped.host, reaped.at
    ));
    let facts = [
        ("was", format!("{}: {}", reaped.class, reaped.why)),
        ("session", reaped.session.clone().unwrap_or_else(|| "not known".to_owned())),
        ("servers", reaped.servers.join(", ")),
        (
            "how",
            format!(
                "{} processes: {} on SIGTERM, {} killed, {} left",
                super::processes(reaped),
                reaped.on_term,
                reaped.killed,
                reaped.survivors
            ),
        ),
    ];
    for (label, text) in facts {
        line(format_args!("{label:<9} {text}"));
    }
}

pub(super) fn footer(report: &Report) -> Option<String> {
    let processes: usize = report.sets.iter().map(|set| set.processes().count()).sum();
    let memory: u64 = report.sets.iter().map(Set::memory_bytes).sum();
    if processes == 0 {
        return None;
    }
    let hosts: Vec<String> = report
        .hosts
        .iter()
        .enumerate()
        .filter(|(at, _)| report.sets.iter().any(|set| set.host == Some(*at)))
        .map(|(_, host)| format!("{} (pid {})", host.host.name(), host.id.pid))
        .collect();
    let held = if hosts.is_empty() {
        "held by no host that lives".to_owned()
    } else {
        format!("of {}", hosts.join(", "))
    };
    Some(format!(
        "not ours, untouched: {processes} server processes {held}, {} → wrasse reap --foreign",
        ByteSize(memory)
    ))
}

pub(super) fn json(report: &Report, done: &[Reaped]) -> Value {
    let hosts: Vec<Value> = report
        .hosts
        .iter()
        .map(|host| {
            json!({ "host": host.host.name(), "pid": host.id.pid, "version": host.version, "started_at": host.started_at })
        })
        .collect();
    let sets: Vec<Value> = report.sets.iter().map(|set| set_json(report, set)).collect();
    let servers: Vec<Value> = report
        .servers
        .iter()
        .map(|server| json!({ "name": server.name, "host": server.host.name(), "file": server.file }))
        .collect();
    json!({
        "schema": 1, "looked_at": report.looked_at, "uid": report.uid, "files": report.files, "servers": servers,
        "hosts": hosts, "sets": sets, "ours": report.ours, "notes": report.notes,
        "watched_ms": report.watched.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)), "ended": done,
    })
}

pub(super) fn set_json(report: &Report, set: &Set) -> Value {
    let owner = set.owner.as_ref().map(|owner| {
        json!({
            "key": owner.key, "id": owner.id, "label": owner.label, "ending": owner.ending, "outcome": owner.outcome,
            "last_at": owner.last,
        })
    });
    let servers: Vec<Value> = set
        .trees
        .iter()
        .map(|tree| {
            let pids: Vec<u32> = tree.members.iter().map(|member| member.pid).collect();
            json!({
                "name": report.servers[tree.server].name, "pid": tree.root.pid, "processes": pids,
                "started_at": tree.started_at, "memory_bytes": tree.memory_bytes,
            })
        })
        .collect();
    json!({
        "number": set.number, "class": set.class, "why": set.why,
        "host_pid": set.host.map(|at| report.hosts[at].id.pid), "session": owner, "servers": servers,
        "processes": set.processes().count(), "memory_bytes": set.memory_bytes(), "since": set.since(),
    })
}
