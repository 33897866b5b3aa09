//! What a storm must find: deeds that Wrasse must not do, done on purpose.
//!
//! A judge that cannot fail proves nothing. A planted deed is put between the kill and the look at what followed.

use super::aim::Aim;
use super::stage::{Hears, Stage};
use super::table::Table;

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
const SIGSTOP: i32 = 19;

/// One deed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// A process that nobody ends is where a tree was.
    Survivor,
    /// A bystander is killed.
    BystanderKilled,
    /// Every process of the second Wrasse is stopped.
    SecondStopped,
    /// A child from before the warden is sent SIGTERM, which it does not even notice.
    ChildSignalled,
    /// An instance that was not hit loses its leader.
    SiblingEnded,
    /// The instance that lost a member loses its leader too.
    LeaderEnded,
}

impl Plant {
    /// Every deed.
    pub const ALL: [Self; 6] = [
        Self::Survivor,
        Self::BystanderKilled,
        Self::SecondStopped,
        Self::ChildSignalled,
        Self::SiblingEnded,
        Self::LeaderEnded,
    ];

    /// Does it.
    pub(super) fn put(self, stage: &mut Stage, aim: &mut Aim) -> Result<(), String> {
        match self {
            Self::Survivor => {
                let fixture = stage.station.program("wrasse-fixture").display().to_string();
                let pid = stage.station.spawn(&[fixture, "sleeper".to_owned()]);
                aim.hit.push(Table::read().id(pid).ok_or("the survivor is gone")?);
                Ok(())
            }
            Self::BystanderKilled => harm(stage, "bystander", Hears::Nothing, SIGKILL),
            Self::SecondStopped => harm(stage, "bystander", Hears::Signals, SIGSTOP),
            Self::ChildSignalled => harm(stage, "before the warden", Hears::Nothing, SIGTERM),
            Self::SiblingEnded => {
                let other = aim.others.first().ok_or("no sibling is in mid-call")?;
                let hit = stage.station.oracle.signal(&[other.id.pid], SIGKILL);
                done(hit == 1)
            }
            Self::LeaderEnded => {
                let leader = aim.target.as_ref().and_then(|target| target.leader);
                let leader = leader.ok_or("the instance has no leader")?;
                let hit = stage.station.oracle.signal(&[leader.pid], SIGKILL);
                done(hit == 1)
            }
        }
    }
}

fn harm(stage: &mut Stage, what: &str, hears: Hears, signal: i32) -> Result<(), String> {
    let suits = |hears_it: Hears, is: &str| hears_it == hears && is.contains(what);
    let stranger = stage.strangers().find(|one| suits(one.hears, &one.what)).cloned();
    let stranger = stranger.ok_or(format!("there is no {what}"))?;
    done(stage.harm(&stranger, signal))
}

fn done(done: bool) -> Result<(), String> {
    if done { Ok(()) } else { Err("the deed could not be done".to_owned()) }
}
