//! First launches of packages: one at a time per package, with progress that people can see.
//!
//! Two installations of one package at once corrupt the package manager's cache (failure mode C7).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wrasse_lease::Progress;
use wrasse_scope::clock::{self, BootInstant};
use wrasse_store::Store;
use wrasse_types::{InstanceId, ServerName, format_duration};

use crate::gates::{Gates, Pass};
use crate::launch::Launch;
use crate::package_place::Place;
use crate::stderr::StderrTail;

/// The longest a first launch may take, the download included.
pub(crate) const FIRST_LAUNCH_LIMIT: Duration = Duration::from_secs(600);
/// How often progress is said.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// An installation under way.
#[derive(Debug, Clone)]
pub(crate) struct Installing {
    pub(crate) instance: InstanceId,
    pub(crate) server: ServerName,
    pub(crate) text: String,
    since: BootInstant,
}

impl Installing {
    /// In words, as "first launch of npx:pkg, 12s".
    pub(crate) fn words(&self) -> String {
        let seconds = Duration::from_secs(self.since.elapsed().as_secs());
        format!("{}, {}", self.text, format_duration(seconds))
    }
}

/// Every first launch.
pub(crate) struct Installs {
    store: Store,
    gates: Gates,
    turns: Gates,
    under_way: Mutex<Vec<Installing>>,
}

/// The right to install one package.
pub(crate) struct Turn<'a> {
    installs: &'a Installs,
    place: &'a Place,
    key: String,
    instance: InstanceId,
    _turn: Pass,
}

/// What a claim found at the gate; where it is an installation, others wait until this is dropped.
pub(crate) struct Gate {
    /// Somebody else may have installed, and learnt, meanwhile.
    pub(crate) waited: bool,
    _pass: Option<Pass>,
}

impl Installs {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            gates: Gates::default(),
            turns: Gates::default(),
            under_way: Mutex::default(),
        }
    }

    /// Waits before a claim is made, so that those who wait for a package to be installed do not take the
    /// places of other servers that want to start (failure mode C9). Keep the answer until the claim is
    /// granted.
    ///
    /// # Errors
    /// When the token is cancelled first.
    pub(crate) async fn gate(
        &self,
        launch: &Launch,
        token: &CancellationToken,
    ) -> Result<Gate, ()> {
        let Some((_, place)) = &launch.package else {
            return Ok(Gate { waited: false, _pass: None });
        };
        if self.is_done(place).await {
            return Ok(Gate { waited: false, _pass: None });
        }
        let pass = self.gates.wait(&place.lock, token).await.ok_or(())?;
        // Once it is installed, those who waited may start side by side.
        let pass = (!self.is_done(place).await).then_some(pass);
        Ok(Gate { waited: true, _pass: pass })
    }

    /// Waits for the turn of a package that has never come up from where it is kept now; `None` for any other
    /// server, and when the package came up while we waited.
    ///
    /// # Errors
    /// When the token is cancelled first.
    pub(crate) async fn turn<'a>(
        &'a self,
        launch: &'a Launch,
        instance: InstanceId,
        token: &CancellationToken,
    ) -> Result<Option<Turn<'a>>, ()> {
        let Some((package, place)) = &launch.package else { return Ok(None) };
        if self.is_done(place).await {
            return Ok(None);
        }
        let turn = self.turns.wait(&place.lock, token).await.ok_or(())?;
        if self.is_done(place).await {
            return Ok(None);
        }
        // Half an installation has its directory already, and must not pass for one that came up before.
        self.forget(place).await;
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).push(Installing {
            instance,
            server: launch.server.clone(),
            text: format!("first launch of {}", package.key),
            since: clock::now(),
        });
        Ok(Some(Turn { installs: self, place, key: package.key.clone(), instance, _turn: turn }))
    }

    /// Notes that a package did not come up in time: whatever it was before, the next launch may be an
    /// installation.
    pub(crate) async fn timed_out(&self, launch: &Launch) {
        let Some((_, place)) = &launch.package else { return };
        self.forget(place).await;
    }

    async fn forget(&self, place: &Place) {
        for mark in place.marks().await {
            if let Err(error) = self.store.forget_first_launch(&mark).await {
                tracing::warn!(%error, mark, "that a package was launched could not be forgotten");
            }
        }
    }

    /// What is being installed now.
    pub(crate) fn under_way(&self) -> Vec<Installing> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn is_done(&self, place: &Place) -> bool {
        // Not knowing is treated as done: the start is then merely held to the usual time limit.
        self.store.first_launch_done(&place.mark().await).await.unwrap_or(true)
    }
}

impl Turn<'_> {
    /// Notes that the package came up.
    pub(crate) async fn done(&self) {
        if let Err(error) =
            self.installs.store.set_first_launch_done(&self.place.mark().await).await
        {
            tracing::warn!(%error, package = self.key, "a first launch could not be noted");
        }
    }

    /// Says every few seconds how far it is. Never ends.
    pub(crate) async fn say(&self, server: &ServerName, tail: &StderrTail, progress: &Progress) {
        let since = clock::now();
        progress.note(&format!("first launch of {}", self.key));
        tracing::info!(%server, package = self.key, "installing: the first launch of a package may take minutes");
        loop {
            clock::sleep(SAY_EVERY).await;
            let seconds = since.elapsed().as_secs();
            let last = tail.last(1).pop().unwrap_or_default();
            tracing::info!(%server, package = self.key, seconds, last, "still installing");
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut under_way = self.installs.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.retain(|one| one.instance != self.instance);
    }
}
