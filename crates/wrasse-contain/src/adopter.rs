//! Ends what dead guardians leave behind.
//!
//! We are a subreaper and every child we start is registered, so a child that is not registered is an orphan
//! of a guardian that died. The adopter ends such trees and reaps them, by number, one by one; it is woken
//! by every unexpected death of a guardian, and looks around by itself now and then. Like the watcher it is a
//! thread, so that trees end while the runtime is busy, blocked or gone.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use wrasse_guard::walk::{Child, Claim, Ending, Owner};

use crate::guardian::Guardian;
use crate::process;
use crate::registry::Registry;
use crate::view::Standing;

/// How often it looks around without having been asked to.
const TICK: Duration = Duration::from_secs(10);
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// The queue of the adopter. Its bound is the number of guardians: each is put here once.
#[derive(Debug, Default)]
pub(crate) struct Adopter {
    lost: Mutex<Vec<Arc<Guardian>>>,
    asked: Condvar,
}

impl Adopter {
    /// Asks for the tree of a dead guardian to be ended. What becomes of it shows in the guardian's view.
    pub(crate) fn adopt(&self, guardian: Arc<Guardian>) {
        tracing::warn!(
            guardian = guardian.pid(),
            server = guardian.name,
            "a guardian died above a living tree: the tree is being ended"
        );
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).push(guardian);
        self.asked.notify_one();
    }

    fn wait(&self, patience: Duration) -> Vec<Arc<Guardian>> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut lost, _) = self
            .asked
            .wait_timeout_while(lost, patience, |lost| lost.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut lost)
    }
}

/// Runs for as long as the process.
pub(crate) fn run(registry: &Registry) {
    // Those of which somebody, moved there and no orphan of theirs, is still in the leaf.
    let mut held: Vec<Arc<Guardian>> = Vec::new();
    loop {
        let patience = if held.is_empty() { TICK } else { PAUSE_MAX };
        held.extend(registry.adopter.wait(patience));
        let processes = end_orphans(registry);
        held.retain(|guardian| {
            let cleared = guardian.leaf_is_cleared();
            if cleared {
                finish(guardian, processes);
            }
            !cleared
        });
    }
}

fn finish(guardian: &Guardian, processes: u32) {
    guardian.close_leaf();
    guardian.update(|view| view.standing = Standing::Adopted { processes });
    tracing::info!(
        guardian = guardian.pid(),
        server = guardian.name,
        processes,
        "the tree of a lost guardian is empty"
    );
}

/// Works until no orphan is left; returns how many processes it reaped.
fn end_orphans(registry: &Registry) -> u32 {
    let mut reaped = 0;
    let mut pause = PAUSE_MIN;
    let mut ending = None;
    loop {
        let mut orphans = registry.orphans(process::children);
        if orphans.is_empty() {
            // The kernel's list may skip a child while others end; asking everybody for their parent
            // does not.
            orphans = registry.orphans(process::children_by_scan);
        }
        if orphans.is_empty() {
            return reaped;
        }
        let before = reaped;
        if ending.is_none() {
            ending = Ending::new(std::process::id());
        }
        if let Some(ending) = &mut ending {
            let round = ending.round(&mut Claims(registry));
            if ending.rounds().is_multiple_of(50) {
                let left = round.found;
                tracing::error!(left, "processes of a lost guardian do not end; still trying");
            }
        } else {
            tracing::error!("/proc is missing or another namespace's: orphans are only reaped");
        }
        reaped += reap(registry);
        pause = if reaped > before { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
        std::thread::sleep(pause);
    }
}

fn reap(registry: &Registry) -> u32 {
    let orphans = registry.orphans(process::children);
    orphans.iter().map(|orphan| u32::from(registry.reap_orphan(orphan.pid))).sum()
}

/// Which of our children the kill algorithm may end.
struct Claims<'a>(&'a Registry);

impl Owner for Claims<'_> {
    fn claim(&mut self, child: Child) -> Claim {
        if self.0.is_orphan(child.pid, child.start_ticks) { Claim::Ours } else { Claim::Spared }
    }
}
