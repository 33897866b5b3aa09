//! What must go on beside a kill: other instances, and the calls that they hold.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::aim::{Aim, Instance, Other, instances};
use super::cast::{LET_GO, Reply};
use super::real::AGAIN;
use super::round::{Report, Run, ended, outcome, reset_breaker};
use super::stage::Stage;
use super::table::Table;
use crate::station::PATIENCE;

/// What may become of the call of the instance that is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    /// Its leader is gone, or may be: the call may fail.
    Lost,
    /// Its leader lives and serves: the call is answered like any other.
    Answered,
}

/// Everybody else's calls go on, and are answered when they are let go.
pub(super) fn siblings(stage: &Stage, aim: &Aim, runs: &mut [Run], own: Own, report: &mut Report) {
    let table = Table::read();
    let gone = aim.others.iter().filter(|other| !table.lives(other.id));
    report.broken.extend(gone.map(|other| format!("the sibling {} was ended", other.what)));
    runs.iter_mut().for_each(Run::let_go);
    for run in &*runs {
        let actor = &stage.cast.actors[run.actor];
        if actor.reply == Reply::Never {
            let cancelled = stage.rpc.call("runs.cancel", &json!({ "runId": run.id }), PATIENCE);
            report.broken.extend(cancelled.err());
            continue;
        }
        match outcome(stage, run, PATIENCE) {
            Ok(answer) if !ended(&answer) => {
                report.broken.push(format!("the run on {} does not end: {answer}", actor.name));
            }
            Ok(_) if may_fail(aim, run, &actor.name, own) => {}
            Ok(answer) => {
                let texts = matches!(actor.reply, Reply::Held | Reply::Kept);
                report.broken.extend(unsound(&answer, &actor.name, texts));
            }
            Err(error) => report.broken.push(error),
        }
    }
    let kept = |run: &&Run| stage.cast.actors[run.actor].reply == Reply::Kept;
    for run in runs.iter().filter(kept) {
        if let Some(other) = aim.others.iter().find(|other| other.session == run.session) {
            report.broken.extend(answers_again(stage, run, other).err());
        }
    }
    // Instances with a past end with their session.
    for run in runs.iter().filter(kept) {
        let params = json!({ "key": run.session });
        report.broken.extend(stage.rpc.call("sessions.delete", &params, PATIENCE).err());
    }
    // What died of a kill is a failed start or a crash to the gateway: the next round begins without it.
    if let Some(target) = &aim.target {
        report.broken.extend(reset_breaker(stage, &target.name).err());
    }
}

/// Whether this run may come to nothing: it used the instance that was hit, or the server's breaker kept it from an
/// instance of its own.
fn may_fail(aim: &Aim, run: &Run, server: &str, own: Own) -> bool {
    let Some(target) = &aim.target else { return false };
    if target.session == run.session {
        return own == Own::Lost;
    }
    target.name == server && !aim.sessions.contains(&run.session)
}

/// Says what is wrong with the end of a run that nothing was to happen to.
fn unsound(answer: &Value, server: &str, texts: bool) -> Option<String> {
    let text = answer["text"].as_str().unwrap_or_default();
    if answer["status"] == "ok" && (!texts || text.contains(LET_GO)) {
        return None;
    }
    let shown: String = answer.to_string().chars().take(600).collect();
    Some(format!("{server} did not answer: {shown}"))
}

/// An instance that is kept for its session serves the session's next run: the same one as before the kill.
fn answers_again(stage: &Stage, run: &Run, other: &Other) -> Result<(), String> {
    let stem = PathBuf::from(format!("{}{AGAIN}", run.stem.display()));
    std::fs::write(&stem, LET_GO).unwrap();
    std::fs::write(stem.with_extension("go"), "").unwrap();
    let again = Run::begin(stage, run.actor, &run.session, &stem)?;
    let answer = outcome(stage, &again, PATIENCE)?;
    if let Some(fault) = unsound(&answer, &other.what, true) {
        return Err(format!("after the kill {fault}"));
    }
    let of_session = |one: &&Instance| one.session == run.session;
    let leader = instances(stage)?.iter().find(of_session).and_then(|instance| instance.leader);
    if leader == Some(other.id.pid) && Table::read().lives(other.id) {
        Ok(())
    } else {
        Err(format!("the sibling {} was replaced by {leader:?}", other.what))
    }
}
