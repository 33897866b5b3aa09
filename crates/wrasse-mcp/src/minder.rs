//! What goes on beside the calls of an instance: noticing its end, and refreshing its tool list.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use wrasse_contain::{ExitWatch, LeaderExit};
use wrasse_lease::ExitNote;
use wrasse_scope::{Scope, TaskKind, clock};
use wrasse_types::GoneReason;

use crate::catalogue::Catalogue;
use crate::connection::Handle;
use crate::fault::exit_text;

/// How long after its output ended a server may take to exit.
const EXIT_GRACE: Duration = Duration::from_millis(300);
/// The longest a refresh may take.
const REFRESH_LIMIT: Duration = Duration::from_secs(30);

/// Watches an instance until it is gone.
pub(crate) fn watch(
    scope: &Scope,
    handle: Handle,
    exit: ExitWatch,
    gone: Arc<watch::Sender<Option<ExitNote>>>,
    catalogue: Arc<Catalogue>,
) {
    scope.spawn(TaskKind::Wire, refresh(Arc::clone(&handle), catalogue));
    scope.spawn(TaskKind::Wire, async move {
        let note = end(&handle, exit).await;
        tracing::debug!(server = %handle.server, text = note.text, "a server ended");
        gone.send_if_modified(|known| {
            let news = known.is_none();
            known.get_or_insert(note);
            news
        });
    });
}

/// The end of a server, whichever sign of it comes first. An output that closed under a living process is a
/// fault like an exit.
async fn end(handle: &Handle, exit: ExitWatch) -> ExitNote {
    let broken = |text: &str| ExitNote { reason: GoneReason::Broken, text: text.to_owned() };
    tokio::select! {
        biased;
        exit = exit.wait() => return exit_note(exit),
        () = handle.deaf.cancelled() => {
            return broken("was ended because it answered neither a call nor a ping");
        }
        () = handle.wire.ended.cancelled() => {}
    }
    match clock::timeout(EXIT_GRACE, exit.wait()).await {
        Ok(exit) => exit_note(exit),
        Err(_elapsed) => broken("closed its output while it was running"),
    }
}

fn exit_note(exit: LeaderExit) -> ExitNote {
    let reason = match exit {
        LeaderExit::Code(_) | LeaderExit::Signal(_) => GoneReason::Exited,
        LeaderExit::OverLimit(_) => GoneReason::Budget,
        LeaderExit::GuardianLost => GoneReason::GuardianLost,
    };
    ExitNote { reason, text: exit_text(exit) }
}

/// Lists the tools again whenever the server says that they changed (failure mode I1).
async fn refresh(handle: Handle, catalogue: Arc<Catalogue>) {
    let mut gone = handle.gone.clone();
    loop {
        tokio::select! {
            biased;
            _ = gone.wait_for(Option::is_some) => return,
            () = handle.signals.tools_changed.notified() => {}
        }
        let listed = tokio::select! {
            biased;
            _ = gone.wait_for(Option::is_some) => return,
            listed = handle.list_tools(REFRESH_LIMIT) => listed,
        };
        match listed {
            Ok(tools) => {
                let tools = Arc::new(tools);
                tracing::info!(server = %handle.server, tools = tools.len(), "the tool list changed");
                catalogue
                    .put(
                        &handle.server,
                        &handle.fingerprint,
                        &handle.introduction,
                        Arc::clone(&tools),
                    )
                    .await;
                handle.tools.send_replace(tools);
            }
            Err(error) => {
                // What is known may be wrong now; the next offer asks a fresh instance.
                tracing::warn!(server = %handle.server, %error, "a changed tool list could not be read");
                catalogue.forget(&handle.fingerprint).await;
            }
        }
    }
}
