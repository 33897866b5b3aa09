//! What the kills met, and whether that is enough: rounds in which nobody was there to be hit prove nothing.

use std::collections::BTreeMap;
use std::fmt;

use super::aim::Progress;
use super::cast::Cast;
use super::plan::Kill;
use super::round::Report;
use super::{Options, Summary};

/// From so many rounds on, each class must have met what it is for.
const MANY: u64 = 100;
/// The same for real servers, of which there are three: all of them are in every round.
const MANY_REAL: u64 = 20;

/// What the kills of one class met.
#[derive(Debug, Default, Clone)]
pub struct Met {
    rounds: u64,
    processes: usize,
    /// Rounds with nothing below any guardian.
    idle: u64,
    instances: BTreeMap<Progress, usize>,
    /// Instances that were not hit and had to live on.
    siblings: usize,
}

impl Met {
    pub(super) fn note(&mut self, report: &Report) {
        self.rounds += 1;
        self.processes += report.processes;
        self.idle += u64::from(report.processes == 0);
        self.siblings += report.siblings;
        for stage in &report.stages {
            *self.instances.entry(*stage).or_default() += 1;
        }
    }

    fn count(&self, stage: Progress) -> usize {
        self.instances.get(&stage).copied().unwrap_or(0)
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>5} rounds ({} idle), {:>6} processes; instances: {} starting, {} handshaking, {} ready, {} in mid-call, {} ending; {} siblings",
            self.rounds,
            self.idle,
            self.processes,
            self.count(Progress::Starting),
            self.count(Progress::Handshaking),
            self.count(Progress::Ready),
            self.count(Progress::MidCall),
            self.count(Progress::Ending),
            self.siblings,
        )
    }
}

/// What a storm had to meet and did not. Nothing is asked of a short one, nor of what was left out on purpose.
pub(super) fn unmet(summary: &Summary, options: &Options, cast: &Cast) -> Vec<String> {
    let many = if options.real_servers.is_some() { MANY_REAL } else { MANY };
    if summary.rounds < many {
        return Vec::new();
    }
    let mut unmet = Vec::new();
    let kills = if options.only.is_empty() { &Kill::ALL[..] } else { &options.only };
    for kill in kills {
        let met = summary.met.get(kill).cloned().unwrap_or_default();
        let name = kill.name();
        if met.rounds == 0 {
            unmet.push(format!("no round was of class {name}"));
        } else if met.idle == met.rounds {
            unmet.push(format!("no process was there in any round of class {name}"));
        }
    }
    let unused = cast.actors.iter().filter(|actor| !summary.servers.contains(&actor.name));
    unmet.extend(unused.map(|actor| format!("{} was in no round", actor.name)));
    if !options.only.is_empty() || !options.servers.is_empty() {
        return unmet;
    }
    for stage in [Progress::Starting, Progress::Handshaking, Progress::MidCall] {
        if summary.met.values().all(|met| met.count(stage) == 0) {
            unmet.push(format!("no instance was {stage:?}"));
        }
    }
    if summary.met.values().all(|met| met.siblings == 0) {
        unmet.push("no instance was beside one that was hit".to_owned());
    }
    unmet
}

#[cfg(test)]
mod tests {
    use super::super::round::Report;
    use super::{Cast, Kill, MANY, Options, Progress, Summary, unmet};

    /// A storm in which each class met everything, and every server was used.
    fn full(cast: &Cast) -> Summary {
        let mut summary = Summary { rounds: MANY, ..Summary::default() };
        let stages = vec![Progress::Starting, Progress::Handshaking, Progress::MidCall];
        let report = Report { processes: 1, siblings: 1, stages, ..Report::default() };
        for kill in Kill::ALL {
            summary.met.entry(kill).or_default().note(&report);
        }
        summary.servers.extend(cast.actors.iter().map(|actor| actor.name.clone()));
        summary
    }

    #[test]
    fn whatever_a_storm_did_not_meet_is_named() {
        let (cast, options) = (Cast::fixtures(), Options::default());
        let lacks = |spoil: fn(&mut Summary), what: &str| {
            let mut summary = full(&cast);
            spoil(&mut summary);
            let found = unmet(&summary, &options, &cast);
            assert!(found.len() == 1 && found[0].contains(what), "{what}: {found:?}");
        };
        assert!(unmet(&full(&cast), &options, &cast).is_empty());
        lacks(|summary| summary.met.retain(|kill, _| *kill != Kill::Warden), "class warden");
        lacks(
            |summary| summary.met.get_mut(&Kill::Member).unwrap().idle = 1,
            "in any round of class member",
        );
        lacks(|summary| summary.servers.retain(|name| name != "f-comet"), "f-comet");
        let never = |summary: &mut Summary, stage| {
            summary.met.values_mut().for_each(|met| met.instances.retain(|one, _| *one != stage));
        };
        for stage in [Progress::Starting, Progress::Handshaking, Progress::MidCall] {
            let mut summary = full(&cast);
            never(&mut summary, stage);
            assert_eq!(unmet(&summary, &options, &cast), [format!("no instance was {stage:?}")]);
        }
        lacks(
            |summary| summary.met.values_mut().for_each(|met| met.siblings = 0),
            "beside one that was hit",
        );
    }
}
