//! One spawned future: contained, cancelled by policy, and counted until it has been dropped.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::kind::{OnPanic, TaskKind};
use crate::scope::Inner;

/// Why a task gave no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskLost {
    /// It panicked with this message.
    #[error("the task panicked: {0}")]
    Panicked(String),
    /// Its scope was cancelled, or a join aborted it at its deadline.
    #[error("the task was aborted")]
    Aborted,
}

/// Awaits the value of a task. Dropping it does not stop the task.
#[derive(Debug)]
#[must_use = "use `spawn` for a task whose value nobody awaits"]
pub struct TaskHandle<T> {
    pub(crate) value: oneshot::Receiver<Result<T, TaskLost>>,
}

impl<T> Future for TaskHandle<T> {
    type Output = Result<T, TaskLost>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.value)
            .poll(cx)
            .map(|received| received.unwrap_or(Err(TaskLost::Aborted)))
    }
}

/// The registration of a task; its drop is the proof of the end.
pub(crate) struct Registration {
    pub(crate) scope: Arc<Inner>,
    pub(crate) id: u64,
    pub(crate) kind: TaskKind,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.scope.deregister(self.id);
    }
}

/// The future that is handed to the runtime.
///
/// INVARIANT: `registration` is the last field, so it is dropped after the future, whatever ends the task.
pub(crate) struct Tracked<T> {
    future: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    cancelled: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    value: Option<oneshot::Sender<Result<T, TaskLost>>>,
    registration: Registration,
}

impl<T> Tracked<T> {
    pub(crate) fn new(
        future: Pin<Box<dyn Future<Output = T> + Send>>,
        cancelled: Option<WaitForCancellationFutureOwned>,
        value: Option<oneshot::Sender<Result<T, TaskLost>>>,
        registration: Registration,
    ) -> Self {
        Self { future: Some(future), cancelled: cancelled.map(Box::pin), value, registration }
    }

    fn finish(&mut self, outcome: Result<T, TaskLost>) {
        // The value's drop is the caller's code: nobody may still wait for it.
        let unsent = match self.value.take() {
            Some(sender) => sender.send(outcome).err(),
            None => Some(outcome),
        };
        if let Err(panic) = contained(|| drop(unsent)) {
            self.report_panic(&panic);
        }
    }

    /// Drops the future where a panic of its drop is contained too.
    fn drop_future(&mut self) {
        let future = self.future.take();
        if let Err(panic) = contained(|| drop(future)) {
            self.report_panic(&panic);
        }
    }

    fn report_panic(&self, message: &str) {
        let Registration { scope, kind, .. } = &self.registration;
        tracing::error!(task = kind.name(), scope = %scope.path, "task panicked: {message}");
        match kind.on_panic() {
            OnPanic::FailScope => scope.token.cancel(),
            OnPanic::Log => {}
        }
    }
}

impl<T> Future for Tracked<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(cancelled) = &mut self.cancelled
            && cancelled.as_mut().poll(cx).is_ready()
        {
            self.drop_future();
            self.finish(Err(TaskLost::Aborted));
            return Poll::Ready(());
        }
        let Some(future) = &mut self.future else {
            return Poll::Ready(());
        };
        match contained(|| future.as_mut().poll(cx)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => {
                self.drop_future();
                self.finish(Ok(value));
                Poll::Ready(())
            }
            Err(message) => {
                self.report_panic(&message);
                self.drop_future();
                self.finish(Err(TaskLost::Panicked(message)));
                Poll::Ready(())
            }
        }
    }
}

impl<T> Drop for Tracked<T> {
    fn drop(&mut self) {
        // Aborted by the runtime: the future is still here.
        self.drop_future();
    }
}

impl<T> Unpin for Tracked<T> {}

/// Runs `body`; a panic becomes its message.
fn contained<R>(body: impl FnOnce() -> R) -> Result<R, String> {
    // What a panic left half done is dropped and never looked at again.
    catch_unwind(AssertUnwindSafe(body)).map_err(|payload| panic_message(&*payload))
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&'static str>()
        .map(|text| String::from(*text))
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| String::from("a value that is not text"))
}
