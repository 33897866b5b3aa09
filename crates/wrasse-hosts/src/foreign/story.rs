//! Why a foreign server process is there: whose it is, whether its run is over, whether that version of its host ends
//! it, whose fault it is, and what to do.

use wrasse_types::{ByteSize, UnixMillis, format_duration};

use super::openclaw::{self, Blame, CHECKED_ON, Disposal, Situation, Version};
use super::report::{Class, Report, Set};
use super::trees::Tree;
use crate::import::Host;

/// The answer, one labelled line a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// The process in one line.
    pub title: String,
    /// Label and text, in the order in which they are shown.
    pub facts: Vec<(&'static str, String)>,
    /// Whose doing it is.
    pub blame: Blame,
}

/// Tells about a process, if it is part of what was found.
pub fn story(report: &Report, pid: u32) -> Option<Story> {
    let set = report.set_of(pid)?;
    let tree = set.trees.iter().find(|tree| tree.members.iter().any(|member| member.pid == pid))?;
    let server = &report.servers[tree.server];
    let version =
        set.host.and_then(|host| report.hosts[host].version.as_deref()).and_then(Version::parse);
    let mut facts = vec![
        ("is", is(report, set, tree)),
        ("host", host(report, set, server.host)),
        ("session", session(set)),
        ("class", format!("{}: {}", set.class.name(), set.why)),
    ];
    let told = (server.host == Host::OpenClaw).then(|| situation(set)).flatten();
    let disposal = told.map(|situation| openclaw::disposal(version, situation));
    let blame = match &disposal {
        Some(disposal) => {
            facts.extend(about(disposal, version));
            disposal.blame
        }
        None => Blame::Unknown,
    };
    facts.push(("now", now(set, disposal.as_ref())));
    let title = format!(
        "{pid} {}  ({} of {} in its set, {}, running {})",
        server.name,
        plural(tree.members.len(), "process", "processes"),
        set.processes().count(),
        ByteSize(set.memory_bytes()),
        format_duration(UnixMillis::now().since(tree.started_at)),
    );
    Some(Story { title, facts, blame })
}

fn is(report: &Report, set: &Set, tree: &Tree) -> String {
    let server = &report.servers[tree.server];
    let others: Vec<&str> = set
        .trees
        .iter()
        .filter(|other| other.root != tree.root)
        .map(|other| report.servers[other.server].name.as_str())
        .collect();
    let with = if others.is_empty() {
        String::new()
    } else {
        format!(", started together with {}", others.join(", "))
    };
    format!(
        "server \"{}\" of {}, by {}, as pid {}{with}",
        server.name,
        server.host.name(),
        server.file.display(),
        tree.root.pid
    )
}

fn host(report: &Report, set: &Set, host: Host) -> String {
    match set.host.map(|at| &report.hosts[at]) {
        Some(live) => format!(
            "{} {}, pid {}, alive since {}",
            live.host.name(),
            live.version.as_deref().unwrap_or("of unknown version"),
            live.id.pid,
            live.started_at
        ),
        None => format!("none that lives holds it; its configuration is {}'s", host.name()),
    }
}

fn session(set: &Set) -> String {
    let Some(owner) = &set.owner else { return "not known: no record leaves only one".to_owned() };
    let mut text = if owner.key.is_empty() { owner.id.clone() } else { owner.key.clone() };
    if let Some(label) = &owner.label {
        text.push_str(&format!(" ({label})"));
    }
    if let Some(last) = owner.last {
        text.push_str(&format!(", last at work {last}"));
    }
    if let Some(outcome) = &owner.outcome {
        text.push_str(&format!(", {outcome}"));
    }
    text.push_str(match owner.ending {
        Some(_) => "; its run is over, and it is never run again",
        None => "; it can be continued",
    });
    text
}

fn situation(set: &Set) -> Option<Situation> {
    match (set.class, set.owner.as_ref().and_then(|owner| owner.ending)) {
        (Class::Orphan, _) => Some(Situation::HostGone),
        (Class::Finished | Class::Unknown, Some(ending)) => Some(Situation::Ended(ending)),
        (Class::InUse, _) => Some(Situation::Kept),
        (Class::Finished | Class::Unknown, None) => None,
    }
}

fn about(disposal: &Disposal, version: Option<Version>) -> Vec<(&'static str, String)> {
    let version =
        version.map_or_else(|| "openclaw".to_owned(), |version| format!("openclaw {version}"));
    let whose = match disposal.blame {
        Blame::Bug => "a bug of the host, not your configuration",
        Blame::Design => "how the host is meant to work, not your configuration",
        Blame::Config => "a setting of yours would end it",
        Blame::Unknown => "not known without the version",
    };
    vec![
        ("ends it?", format!("{version} {}", disposal.what)),
        ("since", format!("{} (table of {CHECKED_ON})", disposal.changed)),
        ("whose", whose.to_owned()),
        ("for good", disposal.advice.to_owned()),
    ]
}

fn now(set: &Set, disposal: Option<&Disposal>) -> String {
    let pid = set.trees.first().map_or(0, |tree| tree.root.pid);
    match set.class {
        Class::Orphan => format!("wrasse reap --foreign {pid} --yes   ends it"),
        Class::Finished => format!("wrasse reap --foreign --finished {pid} --yes   ends its set"),
        Class::InUse => match disposal.map(|disposal| disposal.blame) {
            Some(Blame::Config) => {
                "leave it; or end the session in its host, or set what is said above".to_owned()
            }
            Some(Blame::Bug | Blame::Design | Blame::Unknown) | None => {
                "leave it, or end the session in its host: Wrasse never ends what is in use"
                    .to_owned()
            }
        },
        Class::Unknown => {
            "leave it, or stop its host: Wrasse never ends what it is not certain of".to_owned()
        }
    }
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
