//! One start: its turn, its row, the backend.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, Progress, Running, StartFault, StartRequest};
use crate::breaker::Verdict;
use crate::shared::refused_by;
use crate::slot::{Failure, Slot, StartEar, Turn};

/// How a start came out.
pub(crate) type Launched<B> = Result<Running<<B as Backend>::Handle>, Failure>;

/// Starts the instance that was ordered. Its token ends it early; dropping it drops the backend's future.
pub(crate) async fn launch<B: Backend>(
    slot: Arc<Slot<B>>,
    token: CancellationToken,
) -> Launched<B> {
    let Some((number, spec)) = slot.ordered() else { return Err(Failure::Cancelled) };
    let (shared, key) = (slot.shared(), slot.key());
    let _turn = tokio::select! {
        biased;
        () = token.cancelled() => return Err(Failure::Cancelled),
        turn = shared.starts.acquire() => turn,
    };
    // The server may have failed for others while this start waited for its turn (failure mode C3).
    match shared.breakers.admit(key, number) {
        Verdict::Start => {}
        Verdict::Busy => return Err(Failure::NotAdmitted(Turn::Again)),
        refused @ (Verdict::Wait { .. } | Verdict::Broken { .. }) => {
            return Err(Failure::NotAdmitted(Turn::Refused(refused_by(key, refused))));
        }
    }
    let row = shared.backend.describe(key, &spec);
    let instance = match shared.ledger.begin_instance(row).await {
        Ok(instance) => instance,
        Err(error) => return Err(Failure::Ledger(error.to_string())),
    };
    slot.began(number, instance);
    if token.is_cancelled() {
        return Err(Failure::Cancelled);
    }
    let progress = Progress::new(Arc::new(StartEar { slot: Arc::clone(&slot), number, instance }));
    let request = StartRequest { instance, key: key.clone(), spec, progress, token };
    // The call itself may panic, too, so it is made inside.
    let start = AssertUnwindSafe(async { shared.backend.start(request).await });
    match start.catch_unwind().await {
        Ok(outcome) => outcome.map_err(Failure::Fault),
        Err(panic) => {
            let message = format!("the start panicked: {}", panic_text(panic.as_ref()));
            tracing::error!(%instance, message, "a start panicked");
            Err(Failure::Fault(StartFault::ours(message)))
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
