//! One instance, from the order to start it to the proof of its end.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wrasse_scope::clock::{self, BootInstant};
use wrasse_types::{GoneReason, InstanceId, UnixMillis};

use crate::backend::{StopReport, Vitals};
use crate::past::Past;
use crate::view::{Ended, Restart};

/// What is known of an instance besides its state.
pub(crate) struct Life<H> {
    /// The number of the start, which tells late messages of one life from the next.
    pub(crate) number: u64,
    /// The ledger's number; `None` until the row is committed.
    pub(crate) instance: Option<InstanceId>,
    pub(crate) handle: Option<H>,
    pub(crate) vitals: Option<Vitals>,
    pub(crate) started_at: UnixMillis,
    pub(crate) ready: Option<(UnixMillis, BootInstant)>,
    pub(crate) calls: u64,
    pub(crate) last_call_at: Option<UnixMillis>,
    pub(crate) lost: Arc<Lost>,
    pub(crate) ended: watch::Sender<Option<Ended>>,
    /// The one before it, if that had a past and nobody was told yet.
    pub(crate) before: Option<Past>,
    /// How its tree ended.
    pub(crate) report: Option<StopReport>,
    /// What a person should know about its end.
    pub(crate) detail: String,
}

impl<H> Life<H> {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            number,
            instance: None,
            handle: None,
            vitals: None,
            started_at: UnixMillis::now(),
            ready: None,
            calls: 0,
            last_call_at: None,
            lost: Arc::default(),
            ended: watch::Sender::new(None),
            before: None,
            report: None,
            detail: String::new(),
        }
    }

    /// Tells, once, that this instance replaced one with a past.
    pub(crate) fn take_restart(&mut self) -> Option<Restart> {
        let Past { why, ended_at, instance: previous } = self.before.take()?;
        Some(Restart { at: self.started_at, why, ended_at, previous })
    }

    /// How long it has been usable.
    pub(crate) fn ready_for(&self) -> Option<Duration> {
        self.ready.map(|(_, since)| clock::now().since(since))
    }
}

impl<H> fmt::Debug for Life<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Life").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// That an instance is not usable any more, as its leases learn it.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    pub(crate) token: CancellationToken,
    reason: OnceLock<GoneReason>,
}

impl Lost {
    /// Tells it; the first reason stays.
    pub(crate) fn tell(&self, why: GoneReason) {
        // A later reason is a consequence of the first.
        let _already_told = self.reason.set(why);
        self.token.cancel();
    }

    pub(crate) fn reason(&self) -> Option<GoneReason> {
        self.reason.get().copied()
    }
}

/// Waits until the end of an instance is known; `None` if it never came to exist.
pub(crate) async fn end_of(mut ended: watch::Receiver<Option<Ended>>) -> Option<Ended> {
    match ended.wait_for(Option::is_some).await {
        Ok(known) => known.clone(),
        Err(_never_began) => None,
    }
}
