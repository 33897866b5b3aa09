//! Performs what the state machine of one key orders, and reports back what came of it.
//!
//! One task per key that has an instance; it ends when the slot is at rest. It owns the tree: nobody else can stop
//! it, and if this task is dropped, so is the tree.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, pending};
use tokio_util::sync::CancellationToken;
use wrasse_scope::clock::{self, BootInstant};
use wrasse_types::{GoneReason, StopRung};

use crate::backend::{Backend, ExitNote, Running, StopReport, StopTree};
use crate::driver::launch::{Launched, launch};
use crate::slot::{Failure, Order, Slot};
use crate::state::{Event, Followers, State};

mod launch;

/// Drives the instance of one key.
pub(crate) struct Driver<B: Backend> {
    slot: Arc<Slot<B>>,
    launch: Option<Launch<B>>,
    tree: Option<Box<dyn StopTree>>,
    exited: Option<BoxFuture<'static, ExitNote>>,
    stop: Option<BoxFuture<'static, StopReport>>,
    recount_at: Option<BootInstant>,
    asked_to_end: bool,
}

/// A start under way.
struct Launch<B: Backend> {
    outcome: BoxFuture<'static, Launched<B>>,
    token: CancellationToken,
    /// When a cancelled start is dropped.
    give_up_at: Option<BootInstant>,
}

/// What the driver waits for.
enum Happening<B: Backend> {
    Woken,
    Launched(Launched<B>),
    LaunchGivenUp,
    Exited(ExitNote),
    Stopped(StopReport),
    Recount,
    Tick,
    ScopeCancelled,
}

impl<B: Backend> Driver<B> {
    pub(crate) fn new(slot: Arc<Slot<B>>) -> Self {
        Self {
            slot,
            launch: None,
            tree: None,
            exited: None,
            stop: None,
            recount_at: None,
            asked_to_end: false,
        }
    }

    /// Runs until there is no instance and nobody waits for one.
    pub(crate) async fn run(mut self) {
        loop {
            for order in self.slot.take_orders() {
                self.perform(order);
            }
            if self.slot.shared().retire(&self.slot) {
                return;
            }
            let happening = self.next().await;
            self.handle(happening);
        }
    }

    fn perform(&mut self, order: Order) {
        match order {
            Order::Start => {
                let token = CancellationToken::new();
                let outcome = launch(Arc::clone(&self.slot), token.clone()).boxed();
                self.launch = Some(Launch { outcome, token, give_up_at: None });
            }
            Order::CancelStart => {
                let grace = self.slot.shared().options.cancel_grace;
                if let Some(launch) = &mut self.launch {
                    launch.token.cancel();
                    launch.give_up_at = Some(clock::now() + grace);
                }
            }
            Order::Stop(why) => {
                self.exited = None;
                self.stop = Some(match self.tree.take() {
                    Some(tree) => stop_contained(tree, why).boxed(),
                    None => {
                        // The state machine orders one stop per tree; a second is a fault of ours.
                        tracing::error!(key = ?self.slot.key(), "asked to stop a tree that is not held");
                        std::future::ready(UNKNOWN).boxed()
                    }
                });
            }
        }
    }

    /// Waits for the next thing to happen. Cancel-safe: whatever it waits for is kept in `self`.
    async fn next(&mut self) -> Happening<B> {
        let (deadline, recount) = {
            let inner = self.slot.lock();
            let recount = matches!(inner.state, State::Rundown { survivors: Some(_), .. });
            (inner.state.deadline(), recount)
        };
        let every = self.slot.shared().options.recount;
        self.recount_at =
            if recount { Some(self.recount_at.unwrap_or(clock::now() + every)) } else { None };
        let give_up_at = self.launch.as_ref().and_then(|launch| launch.give_up_at);
        let cancelled = self.slot.shared().scope.token();
        tokio::select! {
            outcome = until_ready(self.launch.as_mut().map(|launch| &mut launch.outcome)) => {
                Happening::Launched(outcome)
            }
            report = until_ready(self.stop.as_mut()) => Happening::Stopped(report),
            note = until_ready(self.exited.as_mut()) => Happening::Exited(note),
            () = self.slot.woken() => Happening::Woken,
            () = until(give_up_at) => Happening::LaunchGivenUp,
            () = until(self.recount_at) => Happening::Recount,
            () = until(deadline) => Happening::Tick,
            () = cancelled.cancelled(), if !self.asked_to_end => Happening::ScopeCancelled,
        }
    }

    fn handle(&mut self, happening: Happening<B>) {
        match happening {
            Happening::Woken => {}
            Happening::Launched(outcome) => {
                self.launch = None;
                match outcome {
                    Ok(Running { handle, vitals, exited, stop }) => {
                        self.tree = Some(stop);
                        self.exited = Some(exited);
                        self.slot.started(handle, vitals);
                    }
                    Err(failure) => self.slot.start_failed(failure),
                }
            }
            Happening::LaunchGivenUp => {
                tracing::error!(key = ?self.slot.key(), "a cancelled start did not end and was dropped");
                self.launch = None;
                self.slot.start_failed(Failure::Cancelled);
            }
            Happening::Exited(note) => {
                self.exited = None;
                self.slot.exited(note);
            }
            Happening::Stopped(report) => {
                self.stop = None;
                self.slot.stop_done(report);
            }
            Happening::Recount => {
                self.recount_at = None;
                let vitals = self.slot.lock().life.as_ref().and_then(|life| life.vitals);
                let backend = &self.slot.shared().backend;
                self.slot.recounted(vitals.map_or(0, |vitals| backend.survivors(vitals)));
            }
            Happening::Tick => self.slot.apply(self.slot.lock(), Event::Tick),
            Happening::ScopeCancelled => {
                self.asked_to_end = true;
                let why = GoneReason::GatewayStopped;
                let event = Event::StopAsked { why, followers: Followers::Refuse };
                self.slot.apply(self.slot.lock(), event);
            }
        }
    }
}

impl<B: Backend> Drop for Driver<B> {
    /// Only a driver that was aborted or panicked finds anything to do: the tree is dropped, and so killed, here.
    fn drop(&mut self) {
        self.tree = None;
        self.launch = None;
        self.stop = None;
        self.slot.shared().abandon(&self.slot);
    }
}

/// What is known of a stop that told nothing.
const UNKNOWN: StopReport = StopReport {
    rung: StopRung::Kill,
    took: Duration::ZERO,
    processes: 0,
    survivors: 0,
    proven_empty: false,
};

/// Stops a tree; a backend that panics while it does is taken at its contract, that what it drops is killed.
async fn stop_contained(tree: Box<dyn StopTree>, why: GoneReason) -> StopReport {
    let began = clock::now();
    match AssertUnwindSafe(async move { tree.stop(why).await }).catch_unwind().await {
        Ok(report) => report,
        Err(_panic) => {
            tracing::error!("the stop of a tree panicked; its tree was dropped");
            StopReport { took: began.elapsed(), ..UNKNOWN }
        }
    }
}

async fn until_ready<T>(future: Option<&mut BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn until(deadline: Option<BootInstant>) {
    match deadline {
        Some(deadline) => clock::sleep_until(deadline).await,
        None => pending().await,
    }
}
