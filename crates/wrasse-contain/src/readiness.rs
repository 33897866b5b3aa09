//! Waits for a descriptor that somebody else owns.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the runtime watch a descriptor. Whether it blocks is not changed.
///
/// # Errors
/// When it cannot be watched: a file or `/dev/null`, which is always ready, gives `PermissionDenied`.
#[expect(unsafe_code, reason = "the runtime's registration of a descriptor is an unsafe function")]
pub fn watch_fd(own: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one valid descriptor for as long as it lives, and the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(own, interest) }?)
}

/// Waits until a descriptor is ready. Cancel-safe. It may return early, so the caller looks again.
pub(crate) async fn ready(fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
    let watched = watch_fd(fd.try_clone_to_owned()?, interest)?;
    let guard = watched.ready(interest).await?;
    drop(guard);
    Ok(())
}
