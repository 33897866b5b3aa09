//! Waits for a descriptor that somebody else owns.

use std::io;
use std::os::fd::BorrowedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits until a descriptor is ready. Cancel-safe. It may return early, so the caller looks again.
#[expect(unsafe_code, reason = "the runtime's registration of a descriptor is an unsafe function")]
pub(crate) async fn ready(fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
    let own = fd.try_clone_to_owned()?;
    // SAFETY: an `OwnedFd` is one valid descriptor for as long as it lives, and the `AsyncFd` owns it.
    let watched = unsafe { AsyncFd::register_with_interest(own, interest) }?;
    let guard = watched.ready(interest).await?;
    drop(guard);
    Ok(())
}
