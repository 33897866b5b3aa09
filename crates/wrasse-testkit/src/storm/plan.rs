//! What a round does, drawn from its seed and number alone, so that it can be repeated.

use std::time::Duration;

use serde::Serialize;

use super::cast::Cast;

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
}

/// One round.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Plan {
    pub(super) round: u64,
    pub(super) seed: u64,
    pub(super) kill: Kill,
    /// Which servers are used, as places in the cast, and the pause before each.
    pub(super) parts: Vec<(usize, Duration)>,
    pub(super) moment: Moment,
    /// Which of the candidates is hit.
    #[serde(skip)]
    pub(super) chance: Chance,
}

impl Plan {
    /// Draws a round for a cast. A random instant is one of the first `span_ms`.
    pub(super) fn draw(seed: u64, round: u64, cast: &Cast, only: &[Kill], span_ms: usize) -> Self {
        let mut chance = Chance::new(seed, round);
        let kills = if only.is_empty() { &Kill::ALL[..] } else { only };
        let (cast, trees) = (cast.actors.len(), &cast.trees);
        let kill = kills[chance.below(kills.len())];
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
        let parts = places.into_iter().map(|place| (place, chance.millis(12))).collect();
        let moment = if chance.below(2) == 0 {
            Moment::Busy(chance.millis(50))
        } else {
            Moment::After(chance.millis(span_ms))
        };
        Self { round, seed, kill, parts, moment, chance }
    }
}

/// A small generator (splitmix64): the same everywhere, for ever.
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64, round: u64) -> Self {
        let mut chance = Self(seed ^ round.wrapping_mul(0xd134_2543_de82_ef95));
        chance.next();
        chance
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which must not be 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let drawn = self.next() % u64::try_from(end).unwrap();
        usize::try_from(drawn).unwrap()
    }

    fn millis(&mut self, end: usize) -> Duration {
        Duration::from_millis(u64::try_from(self.below(end)).unwrap())
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
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
        let drawn: std::collections::BTreeSet<Kill> =
            (0..200).map(|round| draw(round).kill).collect();
        assert_eq!(drawn.len(), Kill::ALL.len());
        for plan in (0..200).map(draw).filter(|plan| plan.kill == Kill::Member) {
            assert!(plan.parts.iter().any(|(place, _)| cast.trees.contains(place)));
        }
    }
}
