//! First launches of packages: one at a time per package, with progress that people can see.
//!
//! Two installations of one package at once corrupt the package manager's cache (failure mode C7).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;
use wrasse_lease::Progress;
use wrasse_scope::clock::{self, BootInstant};
use wrasse_store::Store;
use wrasse_types::{InstanceId, ServerName, format_duration};

use crate::launch::Launch;
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
    gates: Locks,
    turns: Locks,
    under_way: Mutex<Vec<Installing>>,
}

/// One lock per package.
type Locks = Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>;

/// Waits for the lock of a package; `None` when the token is cancelled first.
async fn wait(locks: &Locks, key: &str, token: &CancellationToken) -> Option<OwnedMutexGuard<()>> {
    let lock = {
        let mut locks = locks.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(key.to_owned()).or_default())
    };
    tokio::select! {
        biased;
        () = token.cancelled() => None,
        guard = lock.lock_owned() => Some(guard),
    }
}

/// The right to install one package.
pub(crate) struct Turn<'a> {
    installs: &'a Installs,
    key: String,
    instance: InstanceId,
    _turn: OwnedMutexGuard<()>,
}

impl Installs {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            gates: Mutex::default(),
            turns: Mutex::default(),
            under_way: Mutex::default(),
        }
    }

    /// Waits before a claim is made, so that those who wait for a package to be installed do not take the
    /// places of other servers that want to start (failure mode C9). Keep the guard until the claim is
    /// granted.
    ///
    /// # Errors
    /// When the token is cancelled first.
    pub(crate) async fn gate(
        &self,
        launch: &Launch,
        token: &CancellationToken,
    ) -> Result<Option<OwnedMutexGuard<()>>, ()> {
        let Some(package) = &launch.package else { return Ok(None) };
        if self.is_done(&package.key).await {
            return Ok(None);
        }
        wait(&self.gates, &package.key, token).await.map(Some).ok_or(())
    }

    /// Waits for the turn of a package that has never come up; `None` for any other server, and when the
    /// package came up while we waited.
    ///
    /// # Errors
    /// When the token is cancelled first.
    pub(crate) async fn turn(
        &self,
        launch: &Launch,
        instance: InstanceId,
        token: &CancellationToken,
    ) -> Result<Option<Turn<'_>>, ()> {
        let Some(package) = &launch.package else { return Ok(None) };
        if self.is_done(&package.key).await {
            return Ok(None);
        }
        let turn = wait(&self.turns, &package.key, token).await.ok_or(())?;
        if self.is_done(&package.key).await {
            return Ok(None);
        }
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).push(Installing {
            instance,
            server: launch.server.clone(),
            text: format!("first launch of {}", package.key),
            since: clock::now(),
        });
        Ok(Some(Turn { installs: self, key: package.key.clone(), instance, _turn: turn }))
    }

    /// What is being installed now.
    pub(crate) fn under_way(&self) -> Vec<Installing> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn is_done(&self, key: &str) -> bool {
        // Not knowing is treated as done: the start is then merely held to the usual time limit.
        self.store.first_launch_done(key).await.unwrap_or(true)
    }
}

impl Turn<'_> {
    /// Notes that the package came up.
    pub(crate) async fn done(&self) {
        if let Err(error) = self.installs.store.set_first_launch_done(&self.key).await {
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
