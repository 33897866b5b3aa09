//! Remembers, for whoever claimed them, instances that were started and ended without ever having been usable:
//! no lease speaks for those.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use wrasse_types::InstanceId;

use crate::life::end_of;
use crate::view::Ended;

type End = watch::Receiver<Option<Ended>>;

/// The instances that were started for one holder and came to nothing. Clones are the same; see
/// [`Leases::acquire_noting`](crate::Leases::acquire_noting).
#[derive(Clone, Default)]
pub struct FalseStarts {
    ends: Arc<Mutex<Vec<(InstanceId, End)>>>,
}

impl FalseStarts {
    /// Takes what was noted and waits until all of it is gone. Of a start that never had a process nothing is said.
    pub async fn ended(&self) -> Vec<Ended> {
        let ends = std::mem::take(&mut *self.ends.lock().unwrap_or_else(PoisonError::into_inner));
        let mut ended = Vec::new();
        for (_, end) in ends {
            ended.extend(end_of(end).await.filter(|ended| ended.pid.is_some()));
        }
        ended
    }

    pub(crate) fn note(&self, instance: InstanceId, end: End) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if !ends.iter().any(|(noted, _)| *noted == instance) {
            ends.push((instance, end));
        }
    }
}

impl fmt::Debug for FalseStarts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FalseStarts").finish_non_exhaustive()
    }
}
