//! Which server is shared, and what happens where it cannot be.

use std::path::PathBuf;
use std::time::Duration;

use crate::broker::{self, NotAttached};
use crate::catalogue::Catalogue;
use crate::identity;
use crate::link::{Boxed, Link};
use crate::options::WrapOptions;
use crate::place::Place;
use crate::server::{Launch, Launcher};

/// What a shim that shares needs to know.
#[derive(Debug)]
pub(super) struct Sharing {
    options: WrapOptions,
    cwd: PathBuf,
    key: Catalogue,
}

impl Sharing {
    pub(super) fn new(options: WrapOptions, place: Place, launch: &Launch) -> Self {
        let mut parts = identity::parts(launch);
        // Nothing to the catalogue, but it signs in another's name.
        let agent = launch.env.iter().find(|(name, _)| name == "SSH_AUTH_SOCK");
        parts.push(agent.map(|(_, path)| path.as_encoded_bytes().to_vec()).unwrap_or_default());
        Self { options, cwd: launch.cwd.clone(), key: Catalogue::new(place, parts) }
    }

    pub(super) fn idle(&self) -> Option<Duration> {
        self.options.idle
    }

    /// Attaches to the broker of this server as this host opens it; where that cannot be, starts one of its own.
    pub(super) fn start(&self, launcher: Launcher, opening: &str) -> Boxed<Result<Link, String>> {
        let (key, cwd, options) = (self.key.key(opening), self.cwd.clone(), self.options.clone());
        Box::pin(async move {
            match broker::attach(key, cwd, options).await {
                Ok(link) => Ok(link),
                Err(NotAttached::NoServer(fault)) => Err(fault),
                Err(NotAttached::CannotShare(why)) => {
                    let own = launcher.start().await?;
                    Ok(Link { note: Some(why), ..own })
                }
            }
        })
    }
}
