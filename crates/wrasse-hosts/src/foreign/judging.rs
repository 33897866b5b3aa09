//! From whose a server is to what may be done about it: every doubt that remains when the times are matched.

use wrasse_types::UnixMillis;

use super::known::Evidence;
use super::live::LiveHost;
use super::matching::Verdict;
use super::openclaw::{Ending, Fate, Records, Session, Situation, Version, disposal};
use super::report::{Class, Owner};
use super::trees::Tree;

/// What is known by its program alone may be anybody's.
pub(super) const OTHERWISE: &str =
    "it runs a server's program, but not as the configuration starts it";

/// A class and whose it is, or a class and why it is nobody's.
pub(super) type Judgement = Result<(Class, usize), (Class, String)>;

/// Decides about one server that a live OpenClaw holds. `contradictions`: when servers started that the records do not
/// account for, those of other names too.
pub(super) fn class_of(
    verdict: Verdict,
    tree: &Tree,
    host: &LiveHost,
    records: &Records,
    contradictions: &[UnixMillis],
) -> Judgement {
    let unknown = |why: &str| Err((Class::Unknown, why.to_owned()));
    if let Some(why) = &tree.entangled {
        return unknown(why);
    }
    if tree.evidence == Evidence::Program {
        return unknown(OTHERWISE);
    }
    if tree.started_at < host.started_at {
        return unknown("it is older than the host that holds it");
    }
    match verdict {
        Verdict::Over(_) if is_contradicted(tree.started_at, &records.sessions, contradictions) => {
            unknown("more servers were started then than the runs on record can have")
        }
        Verdict::Over(session) if is_ended_by_host(&records.sessions[session], host, records) => {
            Ok((Class::Unknown, session))
        }
        Verdict::Over(session) => Ok((Class::Finished, session)),
        Verdict::Open(session) => Ok((Class::InUse, session)),
        Verdict::Either => unknown(
            "it may be of a session that ended, or of one that can be continued, or of none on record",
        ),
        Verdict::Nobody => unknown("no run on record was being set up when it started"),
        Verdict::Contradiction => {
            unknown("more of this server were started then than the runs on record can have")
        }
    }
}

/// Whether something ran in the same span of time that the records do not know: then this server may be its.
fn is_contradicted(
    started: UnixMillis,
    sessions: &[Session],
    contradictions: &[UnixMillis],
) -> bool {
    let spans = sessions.iter().flat_map(|session| &session.spans);
    spans
        .filter(|span| span.holds(started))
        .any(|span| contradictions.iter().any(|at| span.holds(*at)))
}

/// Whether the host's version should have ended the servers of a session by itself. That one is still there then says
/// that it is another session's, which left no record, as much as that the version forgot it.
fn is_ended_by_host(session: &Session, host: &LiveHost, records: &Records) -> bool {
    let Fate::Over(ending) = session.fate else { return false };
    let versions = [host.version.as_deref(), records.version.as_deref()];
    let ends = |version: &str| disposal(Version::parse(version), Situation::Ended(ending)).ends;
    let mut known = versions.into_iter().flatten().map(ends).peekable();
    // A version that nobody knows may be one that does.
    known.peek().is_none() || known.any(|ends| ends != Some(false))
}

/// Whose a set is, as it is shown.
pub(super) fn owner(session: &Session) -> Owner {
    let ending = match session.fate {
        Fate::Over(ending) => Some(ending),
        Fate::Open => None,
    };
    Owner {
        key: session.key.clone(),
        id: session.id.clone(),
        label: session.label.clone(),
        ending,
        outcome: session.outcome.clone(),
        last: session.last,
    }
}

/// Why a set with an owner is of its class.
pub(super) fn why_owned(class: Class, owner: &Owner) -> String {
    match (class, owner.ending) {
        (Class::Unknown, Some(ending)) => format!(
            "by its time it was started by {}, but this version, as far as it is known, ends such servers itself: it may be another's that left \
             no record",
            ending.text()
        ),
        (Class::Finished, Some(Ending::CronRun)) => {
            "started while an isolated cron run was set up that the run log reports ended"
                .to_owned()
        }
        (_, Some(ending)) => format!("started by {}", ending.text()),
        (_, None) => "its session can be continued".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::openclaw::{Begins, Span};
    use super::super::processes::Identity;
    use super::super::trees::Hold;
    use super::*;
    use crate::import::Host;

    const ROOT: Identity = Identity { pid: u32::MAX, start_ticks: 0 };

    fn tree() -> Tree {
        Tree {
            server: 0,
            evidence: Evidence::CommandLine,
            root: ROOT,
            members: vec![ROOT],
            started_at: UnixMillis::new(5),
            memory_bytes: 0,
            hold: Hold::Host(0),
            entangled: None,
        }
    }

    fn host(version: Option<&str>) -> LiveHost {
        LiveHost {
            host: Host::OpenClaw,
            id: ROOT,
            started_at: UnixMillis::new(0),
            version: version.map(str::to_owned),
            place: None,
            env: BTreeMap::new(),
            processes: BTreeSet::new(),
            elsewhere: false,
        }
    }

    fn records(ending: Ending, version: Option<&str>) -> Records {
        let session = Session {
            id: String::new(),
            key: String::new(),
            label: None,
            fate: Fate::Over(ending),
            outcome: None,
            last: None,
            spans: vec![Span { begins: Begins::Recorded, from: 0, to: 10 }],
        };
        Records {
            sessions: vec![session],
            version: version.map(str::to_owned),
            ..Records::default()
        }
    }

    fn class(tree: &Tree, host: &LiveHost, records: &Records, doubts: &[i64]) -> Class {
        let doubts: Vec<UnixMillis> = doubts.iter().map(|at| UnixMillis::new(*at)).collect();
        match class_of(Verdict::Over(0), tree, host, records, &doubts) {
            Ok((class, _)) | Err((class, _)) => class,
        }
    }

    #[test]
    fn what_the_version_ends_itself_is_not_finished_but_unknown() {
        for (ending, live, written, expected) in [
            (Ending::CronRun, Some("2026.4.15"), None, Class::Finished),
            (Ending::CronRun, None, None, Class::Unknown),
            (Ending::CronRun, Some("2026.4.15"), Some("2026.9.6"), Class::Unknown),
            (Ending::CronRun, Some("2026.4.22"), None, Class::Unknown),
            (Ending::CronRun, Some("2026.9.6"), Some("2026.9.6"), Class::Unknown),
            (Ending::SubAgent, None, Some("2026.9.6"), Class::Unknown),
            (Ending::SubAgent, None, Some("of tomorrow"), Class::Unknown),
            (Ending::Deleted, Some("2026.4.22"), None, Class::Finished),
            (Ending::Deleted, Some("2026.6.1"), None, Class::Unknown),
        ] {
            let found = class(&tree(), &host(live), &records(ending, written), &[]);
            assert_eq!(found, expected, "{ending:?} {live:?} {written:?}");
        }
    }

    #[test]
    fn a_start_that_no_record_explains_makes_its_neighbours_unknown() {
        let (host, records) = (host(Some("2026.4.15")), records(Ending::CronRun, None));
        assert_eq!(class(&tree(), &host, &records, &[11]), Class::Finished);
        assert_eq!(class(&tree(), &host, &records, &[9]), Class::Unknown);
    }

    #[test]
    fn what_others_live_below_is_unknown() {
        let (host, records) = (host(Some("2026.4.15")), records(Ending::CronRun, None));
        let entangled = Tree { entangled: Some("a host runs below it".to_owned()), ..tree() };
        assert_eq!(class(&entangled, &host, &records, &[]), Class::Unknown);
    }
}
