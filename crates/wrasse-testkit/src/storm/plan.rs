//! What a round does, drawn from its seed and number alone, so that it can be repeated.

use std::time::Duration;

use serde::Serialize;

use super::cast::{Cast, Reply};
use super::plant::Plant;
use crate::chance::Chance;

/// Whom a round kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kill {
    /// The gateway.
    Gateway,
    /// The warden.
    Warden,
    /// One guardian.
    Guardian,
    /// One server's first process.
    Leader,
    /// Any other process of a tree.
    Member,
    /// The gateway and every guardian.
    GatewayGuardians,
    /// The gateway and the warden.
    GatewayWarden,
    /// Warden, gateway and every guardian.
    AllThree,
}

impl Kill {
    /// Every class.
    pub const ALL: [Self; 8] = [
        Self::Gateway,
        Self::Warden,
        Self::Guardian,
        Self::Leader,
        Self::Member,
        Self::GatewayGuardians,
        Self::GatewayWarden,
        Self::AllThree,
    ];

    /// Its name in records and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Warden => "warden",
            Self::Guardian => "guardian",
            Self::Leader => "leader",
            Self::Member => "member",
            Self::GatewayGuardians => "gateway-guardians",
            Self::GatewayWarden => "gateway-warden",
            Self::AllThree => "all-three",
        }
    }
}

/// When the kill comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Moment {
    /// So long after every server that can be is in mid-call.
    Busy(Duration),
    /// So long after the first run was begun, whatever is going on.
    After(Duration),
    /// So long after the last run was begun: some servers are only starting.
    Early(Duration),
}

/// How more than one is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Manner {
    /// One signal after another, in an order that is drawn: some have a moment to act on the death of others.
    OneByOne,
    /// All are stopped before the first is killed: none of them does anything more.
    StoppedFirst,
}

/// One round.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Plan {
    pub(super) round: u64,
    pub(super) seed: u64,
    pub(super) kill: Kill,
    /// Which servers are used, as places in the cast, and the pause before each. One may be used twice, by two sessions.
    pub(super) parts: Vec<(usize, Duration)>,
    pub(super) moment: Moment,
    pub(super) manner: Manner,
    /// What is done behind the judge's back, for it to find.
    #[serde(skip)]
    pub(super) plant: Option<Plant>,
    /// Which of the candidates is hit.
    #[serde(skip)]
    pub(super) chance: Chance,
}

impl Plan {
    /// Draws a round for a cast. A random instant is one of the first `span_ms`.
    pub(super) fn draw(seed: u64, round: u64, cast: &Cast, only: &[Kill], span_ms: usize) -> Self {
        let mut chance = Chance::new(seed, round);
        let kills = if only.is_empty() { &Kill::ALL[..] } else { only };
        let (actors, trees) = (&cast.actors, &cast.trees);
        let cast = actors.len();
        let kill = kills[turn(seed, round, kills.len())];
        let count = cast.min(3 + chance.below(4));
        let mut places: Vec<usize> = (0..cast).collect();
        chance.shuffle(&mut places);
        places.truncate(count);
        if kill == Kill::Member && !trees.is_empty() {
            let tree = trees[chance.below(trees.len())];
            if !places.contains(&tree) {
                places[0] = tree;
            }
        }
        if chance.below(2) == 0 && actors[places[0]].reply == Reply::Held {
            // Another session of the same server: the same command line below the same gateway.
            places.push(places[0]);
        }
        let parts = places.into_iter().map(|place| (place, chance.millis(12))).collect();
        let moment = match chance.below(4) {
            0 | 1 => Moment::Busy(chance.millis(50)),
            2 => Moment::After(chance.millis(span_ms)),
            _ => Moment::Early(chance.millis(12)),
        };
        let manner = if chance.below(2) == 0 { Manner::OneByOne } else { Manner::StoppedFirst };
        Self { round, seed, kill, parts, moment, manner, plant: None, chance }
    }
}

/// Which of the classes a round is of: each comes once in as many rounds, in an order that is drawn.
fn turn(seed: u64, round: u64, classes: usize) -> usize {
    let length = u64::try_from(classes).unwrap_or(1);
    let mut order: Vec<usize> = (0..classes).collect();
    // Beyond the numbers of rounds: what else is drawn has nothing to do with it.
    Chance::new(seed, u64::MAX - round / length).shuffle(&mut order);
    order[usize::try_from(round % length).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::{Cast, Kill, Plan};

    #[test]
    fn a_round_is_the_same_when_repeated_and_every_class_comes() {
        let cast = Cast::fixtures();
        let draw = |round| Plan::draw(7, round, &cast, &[], 400);
        for round in 0..50 {
            assert_eq!(format!("{:?}", draw(round)), format!("{:?}", draw(round)));
        }
        for block in 0..25 {
            let rounds = 8 * block..8 * (block + 1);
            let drawn: std::collections::BTreeSet<Kill> =
                rounds.map(|round| draw(round).kill).collect();
            assert_eq!(drawn.len(), Kill::ALL.len());
        }
        for plan in (0..200).map(draw).filter(|plan| plan.kill == Kill::Member) {
            assert!(plan.parts.iter().any(|(place, _)| cast.trees.contains(place)));
        }
    }
}
