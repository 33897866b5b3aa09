//! What a gateway holds, and whether that is what it held before.

use std::fmt;

use serde::Serialize;

use crate::processes::{self, Process};

/// How far each figure may be from what it was: descriptors, threads and MiB.
const DRIFT_MAX: u64 = 2;
const MIB: u64 = 1 << 20;

/// What a gateway holds at rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Footprint {
    /// Open descriptors of the gateway.
    pub fds: u64,
    /// Its threads.
    pub threads: u64,
    /// Its anonymous and shared memory, in bytes.
    pub memory: u64,
    /// Zombies below the oracle, whosever.
    pub zombies: u64,
    /// Processes below the oracle that are neither the gateway nor above it.
    pub others: u64,
}

impl Footprint {
    /// Looks once; `None` when the gateway is gone.
    pub(super) fn look(gateway: u32, seen: &[Process]) -> Option<Self> {
        let own = processes::read(gateway)?;
        let count = |condition: &dyn Fn(&&Process) -> bool| {
            u64::try_from(seen.iter().filter(condition).count()).unwrap_or(u64::MAX)
        };
        Some(Self {
            fds: u64::try_from(own.fds?).ok()?,
            threads: u64::from(own.threads),
            memory: own.memory,
            zombies: count(&|process| process.state == 'Z'),
            others: count(&|process| process.state != 'Z' && !is_ours(process, gateway)),
        })
    }

    /// Whether this is what was before: no process and no zombie, everything else as near as it must be. Less than before
    /// is no leak.
    pub(super) fn is_back_at(self, before: Self) -> bool {
        let near = |now: u64, before: u64, unit: u64| now <= before + DRIFT_MAX * unit;
        self.zombies == 0
            && self.others == 0
            && near(self.fds, before.fds, 1)
            && near(self.threads, before.threads, 1)
            && near(self.memory, before.memory, MIB)
    }

    /// The smaller of each: what a gateway comes to rest at.
    pub(super) fn least(self, other: Self) -> Self {
        Self {
            fds: self.fds.min(other.fds),
            threads: self.threads.min(other.threads),
            memory: self.memory.min(other.memory),
            zombies: self.zombies.min(other.zombies),
            others: self.others.min(other.others),
        }
    }
}

/// The gateway, its warden, and what made the namespace they are in.
fn is_ours(process: &Process, gateway: u32) -> bool {
    process.pid == gateway || process.name.starts_with("wrasse-warden") || process.name == "unshare"
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fds, threads, memory, zombies, others } = self;
        #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
        let mib = *memory as f64 / MIB as f64;
        write!(f, "fds {fds}, threads {threads}, memory {mib:.1} MiB, zombies {zombies}")?;
        if *others > 0 { write!(f, ", processes left {others}") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Footprint, MIB};

    #[test]
    fn every_figure_can_fail() {
        let before = Footprint { fds: 20, threads: 5, memory: 14 * MIB, zombies: 0, others: 0 };
        let near = Footprint { fds: 22, threads: 7, memory: 16 * MIB, zombies: 0, others: 0 };
        assert!(before.is_back_at(before) && near.is_back_at(before));
        for worse in [
            Footprint { fds: 23, ..near },
            Footprint { threads: 8, ..near },
            Footprint { memory: 16 * MIB + 1, ..near },
            Footprint { zombies: 1, ..near },
            Footprint { others: 1, ..near },
        ] {
            assert!(!worse.is_back_at(before), "{worse}");
        }
    }
}
