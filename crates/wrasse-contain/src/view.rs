//! What is known about one guardian and its tree: a pure account of the guardian's events.
//!
//! ```text
//! (spawned) → ready → started → exited → empty → gone: clean
//!                └→ failed → empty ──────────────┘
//! at any point: the guardian dies without "empty" → gone: lost → (adopter) → gone: adopted
//! ```

use wrasse_guard::protocol::{Degraded, Event, Stage};

use crate::Excess;

/// How the leader of a tree ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaderExit {
    /// It exited with this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// Its tree was ended because it used more than it was allowed to.
    OverLimit(Excess),
    /// Its guardian died, and it with it; how it ended itself is not known.
    GuardianLost,
}

impl LeaderExit {
    fn from_wait_status(status: i32) -> Self {
        match status & 0x7f {
            0 => Self::Code((status >> 8) & 0xff),
            signal => Self::Signal(signal),
        }
    }
}

impl std::fmt::Display for LeaderExit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
            Self::OverLimit(excess) => write!(f, "ended because it {excess}"),
            Self::GuardianLost => f.write_str("its guardian was lost"),
        }
    }
}

/// Where the guardian process itself stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Standing {
    /// It lives, as far as is known.
    #[default]
    Alive,
    /// It ended after it had proven its tree empty, or before it had one. It is reaped.
    Clean,
    /// It died above a living tree, which the adopter is ending. It is reaped.
    Lost,
    /// It died above a living tree, which the adopter has proven empty.
    Adopted {
        /// Processes that the adopter reaped meanwhile.
        processes: u32,
    },
}

/// Everything known about a guardian.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) ready: Option<Degraded>,
    pub(crate) refused: Degraded,
    pub(crate) started: Option<u32>,
    pub(crate) failed: Option<(Stage, i32)>,
    /// The version of a guardian that speaks another one than we do.
    pub(crate) unlike: Option<u8>,
    pub(crate) exited: Option<LeaderExit>,
    /// What its tree was ended for; known before the leader's exit is.
    pub(crate) excess: Option<Excess>,
    pub(crate) stuck: Option<u32>,
    pub(crate) empty: Option<u32>,
    pub(crate) standing: Standing,
}

impl View {
    /// Takes one event in.
    pub(crate) fn apply(&mut self, event: Event) {
        match event {
            Event::Ready { degraded, pid: _ } => self.ready = Some(degraded),
            Event::Refused { what } => self.refused.0 |= what.0,
            Event::Started { pid } => self.started = Some(pid),
            Event::Failed { stage, errno } => self.failed = Some((stage, errno)),
            Event::Exited { status } => {
                let exit = LeaderExit::from_wait_status(status);
                self.exited = Some(self.excess.map_or(exit, LeaderExit::OverLimit));
            }
            Event::Stuck { left } => self.stuck = Some(left),
            Event::Empty { reaped } => self.empty = Some(reaped),
            Event::Unlike { version } => self.unlike = Some(version),
            Event::Pong => {}
        }
    }

    /// The guardian process is gone and reaped; whether somebody has to end its tree.
    pub(crate) fn guardian_reaped(&mut self, told_to_go: bool) -> Standing {
        self.standing = if self.empty.is_some() || !told_to_go {
            Standing::Clean
        } else {
            // The leader dies with its guardian (PDEATHSIG), so it is over for whoever watches it.
            self.exited.get_or_insert(LeaderExit::GuardianLost);
            Standing::Lost
        };
        self.standing
    }

    /// Nothing of the tree is left, its guardian included.
    pub(crate) const fn over(&self) -> bool {
        match self.standing {
            Standing::Clean | Standing::Adopted { .. } => true,
            Standing::Alive | Standing::Lost => false,
        }
    }

    /// The guardian process is gone, whatever is left below it.
    pub(crate) const fn guardian_gone(&self) -> bool {
        match self.standing {
            Standing::Clean | Standing::Lost | Standing::Adopted { .. } => true,
            Standing::Alive => false,
        }
    }

    /// The leader has ended, in whatever way.
    pub(crate) const fn leader_over(&self) -> bool {
        self.exited.is_some() || self.guardian_gone()
    }

    /// Processes reaped in all.
    pub(crate) fn processes(&self) -> u32 {
        match self.standing {
            Standing::Adopted { processes } => processes,
            Standing::Alive | Standing::Clean | Standing::Lost => self.empty.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_ends_well() {
        let mut view = View::default();
        view.apply(Event::Ready { degraded: Degraded::default(), pid: 5 });
        view.apply(Event::Started { pid: 6 });
        assert!(!view.leader_over());
        view.apply(Event::Exited { status: 3 << 8 });
        assert_eq!(view.exited, Some(LeaderExit::Code(3)));
        view.apply(Event::Empty { reaped: 4 });
        assert!(!view.over(), "the guardian itself is still there");
        assert_eq!(view.guardian_reaped(true), Standing::Clean);
        assert!(view.over());
        assert_eq!(view.processes(), 4);
    }

    #[test]
    fn a_guardian_that_dies_above_its_tree() {
        let mut view = View::default();
        view.apply(Event::Started { pid: 6 });
        assert_eq!(view.guardian_reaped(true), Standing::Lost);
        assert_eq!(view.exited, Some(LeaderExit::GuardianLost));
        assert!(view.guardian_gone() && !view.over());
        view.standing = Standing::Adopted { processes: 2 };
        assert!(view.over());
        assert_eq!(view.processes(), 2);
    }

    #[test]
    fn a_guardian_that_never_had_a_tree() {
        let mut view = View::default();
        assert_eq!(view.guardian_reaped(false), Standing::Clean);
        assert!(view.over() && view.leader_over());
    }

    #[test]
    fn wait_statuses() {
        assert_eq!(LeaderExit::from_wait_status(0), LeaderExit::Code(0));
        assert_eq!(LeaderExit::from_wait_status(255 << 8), LeaderExit::Code(255));
        assert_eq!(LeaderExit::from_wait_status(9), LeaderExit::Signal(9));
        assert_eq!(LeaderExit::from_wait_status(0x80 | 11), LeaderExit::Signal(11));
    }
}
