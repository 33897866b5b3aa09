//! What dead gateways of this installation left behind: found by mark and ledger, ended by the same rule at the
//! gateway's start and by `wrasse reap`.
//!
//! Whoever calls this holds the lock of the state directory, so that no gateway of it lives.

use std::collections::HashMap;

use wrasse_contain::sweep::{self, Effort, LeaseProof, Leftover, SweepError};
use wrasse_store::{InstanceRow, Ledger, StoreError};
use wrasse_types::InstanceId;

/// Instances that ended lately are asked about too: a record of an end is no proof of it.
const RECENT: u32 = 1000;

/// Why nobody looked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    /// The ledger did not say what was started.
    #[error("the ledger cannot be read")]
    Ledger(#[from] StoreError),
    /// The process table cannot be read, or a gateway lives.
    #[error("nothing was looked for")]
    Sweep(#[from] SweepError),
}

/// What the ledger knows about the instances that something may be left of.
#[derive(Debug)]
pub(crate) struct Known {
    installation: u16,
    rows: HashMap<u64, InstanceRow>,
    effort: Effort,
}

impl Known {
    /// Asks the ledger: what is open, what ended lately, and whatever else a living process carries the mark of.
    pub(crate) async fn read(installation: u16, ledger: &Ledger) -> Result<Self, LookError> {
        let mut rows = HashMap::new();
        let open = ledger.open_instances().await?;
        let effort = if open.is_empty() { Effort::Glance } else { Effort::Search };
        for row in ledger.recent_instances(RECENT).await?.into_iter().chain(open) {
            rows.insert(row.id.number(), row);
        }
        let marked = sweep::marked(installation).map_err(SweepError::Proc)?;
        for instance in marked {
            if !rows.contains_key(&instance)
                && let Some(row) = ledger.instance(InstanceId::new(instance)).await?
            {
                rows.insert(instance, row);
            }
        }
        Ok(Self { installation, rows, effort })
    }

    /// The record of an instance.
    pub(crate) fn row(&self, instance: u64) -> Option<&InstanceRow> {
        self.rows.get(&instance)
    }

    /// The processes that are proven to be left over.
    pub(crate) fn find(&self) -> Result<Vec<Leftover>, LookError> {
        Ok(sweep::find(self.installation, self.effort, |instance| self.proof(instance))?)
    }

    /// Kills and removes the cgroups that are left over; of these instances only, if any are named.
    pub(crate) async fn end_leaves(&self, only: Option<&[u64]>) {
        let wanted = |instance: &u64| only.is_none_or(|only| only.contains(instance));
        let instances = self.rows.keys().copied().filter(wanted);
        let proofs: HashMap<u64, LeaseProof> =
            instances.filter_map(|instance| Some((instance, self.proof(instance)?))).collect();
        let proof = move |instance| proofs.get(&instance).cloned();
        sweep::leaves(self.installation, proof).await;
    }

    fn proof(&self, instance: u64) -> Option<LeaseProof> {
        let guardian = self.rows.get(&instance)?.guardian.as_ref()?;
        Some(LeaseProof {
            guardian_start_ticks: guardian.start_ticks,
            boot_id: guardian.boot_id.clone(),
        })
    }
}
