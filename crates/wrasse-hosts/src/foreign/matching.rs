//! Which session started which server, decided from times alone, and only as far as the times are certain.
//!
//! Each server process was started by one session, and a session starts each server at most once. So a server can be
//! anybody's whose span holds its start, but not everybody's at once: if the only other session it could belong to has
//! one of its own already, it is not that one's. A verdict is given when every way to hand out the servers agrees on
//! it. When there is no way at all, something ran that the records do not know, and nothing is said about any server
//! it could concern.

use wrasse_types::UnixMillis;

use super::openclaw::{Begins, Fate, Session};

/// Whose one server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Of a session that is over, whichever way they are handed out: for example this one.
    Over(usize),
    /// Of a session that can be continued, whichever way: for example this one.
    Open(usize),
    /// It could be of one or the other.
    Either,
    /// No session can have started it.
    Nobody,
    /// More were started than the sessions on record can have.
    Contradiction,
}

/// Decides about all starts of one server.
pub(super) fn verdicts(starts: &[UnixMillis], sessions: &[Session]) -> Vec<Verdict> {
    let candidates: Vec<Vec<usize>> = starts
        .iter()
        .map(|start| {
            let mut found: Vec<usize> = (0..sessions.len())
                .filter(|at| sessions[*at].spans.iter().any(|span| span.holds(*start)))
                .collect();
            // Those whose span ends soonest are the likeliest, which matters only to what is shown.
            found.sort_by_key(|at| {
                let ends = sessions[*at]
                    .spans
                    .iter()
                    .filter(|span| span.holds(*start))
                    .map(|span| span.to);
                ends.min().unwrap_or(i64::MAX)
            });
            found
        })
        .collect();
    // That a session is over says nothing about a server that is only perhaps its.
    let surely = |start: usize, session: usize| {
        let spans = sessions[session].spans.iter();
        spans.filter(|span| span.holds(starts[start])).any(|span| span.begins == Begins::Recorded)
    };
    let over = |start: usize, session: &usize| {
        matches!(sessions[*session].fate, Fate::Over(_)) && surely(start, *session)
    };
    let open = |session: &usize| sessions[*session].fate == Fate::Open;
    let all: Vec<usize> = (0..starts.len()).collect();
    (0..starts.len())
        .map(|start| {
            let own = &candidates[start];
            if own.is_empty() {
                return Verdict::Nobody;
            }
            let group = connected(start, &all, &candidates);
            let Some(handed_out) = hand_out(&group, &candidates, None) else {
                return Verdict::Contradiction;
            };
            let of = handed_out
                .iter()
                .find(|(at, _)| *at == start)
                .map_or(own[0], |(_, session)| *session);
            let possible = |kind: &dyn Fn(&usize) -> bool| {
                own.iter()
                    .filter(|session| kind(session))
                    .any(|session| hand_out(&group, &candidates, Some((start, *session))).is_some())
            };
            let is_over = |session: &usize| over(start, session);
            let is_neither = |session: &usize| !is_over(session) && !open(session);
            match (possible(&is_over), possible(&open), possible(&is_neither)) {
                (true, false, false) => Verdict::Over(of),
                (false, true, false) => Verdict::Open(of),
                (false, false, false) => Verdict::Contradiction,
                (_, _, _) => Verdict::Either,
            }
        })
        .collect()
}

/// Every start that could, through sessions they have in common, take a session from this one.
fn connected(start: usize, all: &[usize], candidates: &[Vec<usize>]) -> Vec<usize> {
    let mut group = vec![start];
    let mut next = 0;
    while next < group.len() {
        let at = group[next];
        next += 1;
        for other in all {
            let shares = candidates[*other].iter().any(|session| candidates[at].contains(session));
            if shares && !group.contains(other) {
                group.push(*other);
            }
        }
    }
    group.sort_unstable();
    group
}

/// One way to give every start of the group a session of its own; `fixed` says which one a start must get.
fn hand_out(
    group: &[usize],
    candidates: &[Vec<usize>],
    fixed: Option<(usize, usize)>,
) -> Option<Vec<(usize, usize)>> {
    let mut taken: Vec<(usize, usize)> = fixed.into_iter().collect();
    for start in group.iter().filter(|start| fixed.is_none_or(|(at, _)| at != **start)) {
        let mut tried = fixed.map(|(_, session)| session).into_iter().collect();
        if !place(*start, candidates, &mut taken, &mut tried) {
            return None;
        }
    }
    Some(taken)
}

/// Gives a start a session, moving others if that helps.
fn place(
    start: usize,
    candidates: &[Vec<usize>],
    taken: &mut Vec<(usize, usize)>,
    tried: &mut Vec<usize>,
) -> bool {
    let free =
        |session: &&usize| !tried.contains(*session) && taken.iter().all(|(_, of)| of != *session);
    if let Some(session) = candidates[start].iter().find(free) {
        taken.push((start, *session));
        return true;
    }
    for session in &candidates[start] {
        if tried.contains(session) {
            continue;
        }
        tried.push(*session);
        let Some(holder) = taken.iter().position(|(_, of)| of == session) else { continue };
        let (holder, _) = taken.swap_remove(holder);
        if place(holder, candidates, taken, tried) {
            taken.push((start, *session));
            return true;
        }
        taken.push((holder, *session));
    }
    false
}

#[cfg(test)]
mod tests;
