//! Ending the tree, in rounds, until the kernel says that nothing is left.

use super::{Guardian, Heard, Leaf, Server};
use crate::{
    protocol::Event,
    sys::{self, Signal},
    walk::Ending,
};

/// How long the tree may take to end before that is reported.
const STUCK_AFTER_MS: u64 = 1_000;
/// How often it is reported again, unless the number changes.
const STUCK_AGAIN_MS: u64 = 10_000;
/// The longest pause between two rounds.
const PAUSE_MAX_MS: u64 = 250;
/// Rounds in a row that find nobody below a guardian that has children, until it gives the tree up.
const BLIND_ROUNDS: u32 = 10;
/// The exit code of one that did.
const BLIND: i32 = 71;

/// The tree is being ended.
pub(super) struct Ended {
    /// `None` where `/proc` cannot be walked any more: then only the group and the kernel help.
    walk: Option<Ending>,
    /// Rounds in a row that found nobody, although we have children.
    blind_rounds: u32,
    began_ms: u64,
    pub(super) next_round_ms: u64,
    pause_ms: u64,
    /// The guardian's count at the last round.
    reaped: u32,
    left: u32,
    /// Of these, members of the leaf that are not below us, when nobody else is left.
    beside: u32,
    reported: Option<(u64, u32)>,
}

impl Guardian {
    /// From here on the tree is being ended.
    pub(super) fn end(&mut self) {
        if let Some(pid) = self.unreaped() {
            drop(sys::signal_group(pid, Signal::KILL));
        } else if matches!(self.server, Server::Waiting(_)) {
            self.finish();
        }
        if self.ending.is_none() {
            let now = sys::now_ms();
            self.ending = Some(Ended {
                walk: Ending::new(sys::own_pid().unsigned_abs()),
                blind_rounds: 0,
                began_ms: now,
                next_round_ms: now,
                pause_ms: 1,
                reaped: self.reaped,
                left: 0,
                beside: 0,
                reported: None,
            });
        }
    }

    /// Makes a round of the ending when it is time for one.
    pub(super) fn round(&mut self) {
        let Some(ended) = &mut self.ending else { return };
        let now = sys::now_ms();
        if now < ended.next_round_ms {
            return;
        }
        if let Some(walk) = &mut ended.walk {
            let round = walk.round(&mut self.line);
            let blind = round.found == 0 && ended.beside == 0;
            ended.blind_rounds = if blind { ended.blind_rounds + 1 } else { 0 };
            ended.left = round.found.saturating_sub(round.ended).max(ended.beside);
            // Patience only with what does not end: a long chain ends in many short rounds.
            ended.pause_ms = if ended.reaped == self.reaped {
                (ended.pause_ms * 2).min(PAUSE_MAX_MS)
            } else {
                1
            };
            ended.reaped = self.reaped;
        } else {
            ended.blind_rounds += 1;
            ended.pause_ms = PAUSE_MAX_MS;
        }
        let blind = ended.blind_rounds >= BLIND_ROUNDS;
        let now = sys::now_ms();
        ended.next_round_ms = now + ended.pause_ms;
        let due = ended.reported.is_none_or(|(at, left)| {
            left != ended.left || now.saturating_sub(at) >= STUCK_AGAIN_MS
        });
        if due && now.saturating_sub(ended.began_ms) >= STUCK_AFTER_MS {
            ended.reported = Some((now, ended.left));
            self.line.tell(Event::Stuck { left: ended.left });
        }
        if blind && self.gateway_lives() {
            // Somebody took our descriptors or memory from us (a server may set limits on us). Our
            // death makes the tree the gateway's, which has its own and ends it.
            sys::exit(BLIND)
        }
    }

    /// Whether the gateway still is our parent.
    pub(super) fn gateway_lives(&self) -> bool {
        self.parent.is_some_and(|gateway| sys::parent_pid() == gateway)
    }

    /// We have no child left. The tree is empty once its leaf is, which its rounds see to from now on.
    pub(super) fn childless(&mut self) {
        let beside = self.leaf.as_ref().map_or(0, Leaf::clear);
        if beside == 0 {
            self.finish();
        }
        self.end();
        if let Some(ended) = &mut self.ending {
            ended.beside = beside;
        }
    }

    /// Nothing is left, or nothing was ever started.
    pub(super) fn finish(&mut self) -> ! {
        let heard = self.line.say(Event::Empty { reaped: self.reaped });
        let orphaned = !self.gateway_lives() || heard == Heard::No;
        // A living gateway removes it, after it has read what happened there.
        if let Some(leaf) = self.leaf.as_ref().filter(|_| orphaned) {
            leaf.remove();
        }
        if let Some(socket) = &self.line.socket {
            sys::hang_up(socket);
        }
        sys::exit(0)
    }
}
