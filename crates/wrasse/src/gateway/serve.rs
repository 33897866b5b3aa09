//! `wrasse gateway run`.

use std::process::ExitCode;
use std::time::Duration;

use wrasse_api::{ServeError, Token};
use wrasse_contain::warden::{self, EXIT_RESTART, WardenLink};
use wrasse_gateway::{Gateway, ShutdownWhy};
use wrasse_scope::{TaskKind, clock};
use wrasse_store::Endpoint;

use crate::args::Common;
use crate::exit::{CommandResult, Exit, ExpectedError};
use crate::gateway::compose::{Composed, RunLines, compose};
use crate::gateway::signals::{Asked, Signals};
use crate::logging;

/// The launched process becomes the warden; the one the warden starts serves.
pub(crate) fn run(common: &Common, port: Option<u16>) -> CommandResult {
    let Some(link) = warden::link() else {
        if warden::died_first() {
            return Err(ExpectedError::new(
                Exit::Internal,
                "the warden died before the gateway ran",
            ));
        }
        return Err(super::become_warden(common));
    };
    logging::start(common.verbose);
    super::runtime()?.block_on(serve(common, port, &link))
}

async fn serve(common: &Common, port: Option<u16>, link: &WardenLink) -> CommandResult {
    let mut signals = Signals::listen()?;
    let composed = compose(common, "gateway run", link, RunLines::Stdout).await?;
    let opened = open_door(&composed, port, link).await;
    let port = match opened {
        Ok(port) => port,
        Err(error) => {
            close(&composed, ShutdownWhy::Stop, &mut signals, link).await;
            return Err(error);
        }
    };
    say_ready(&composed, port);
    composed.gateway.serve_jobs();
    let why = tokio::select! {
        asked = signals.next() => match asked {
            Asked::Stop | Asked::Interrupt => ShutdownWhy::Signal,
            Asked::Restart => ShutdownWhy::Restart,
        },
        why = asked_by_method(&composed.gateway) => why,
        () = link.lost() => ShutdownWhy::WardenLost,
    };
    tracing::info!("stopping: {}", why.end_reason().text());
    let left = close(&composed, why, &mut signals, link).await;
    Ok(match (left, why) {
        (Left::WardenLost, _) | (_, ShutdownWhy::WardenLost) => Exit::Internal.into(),
        (Left::Hurried, _) => ExitCode::from(143),
        (Left::Orderly, ShutdownWhy::Restart) => ExitCode::from(EXIT_RESTART),
        (Left::Orderly, ShutdownWhy::Stop | ShutdownWhy::Signal | ShutdownWhy::LocalEnded) => {
            ExitCode::SUCCESS
        }
    })
}

/// Waits for `gateway.stop` or `gateway.restart`. Cancel-safe.
async fn asked_by_method(gateway: &Gateway) -> ShutdownWhy {
    let mut asked = gateway.shutdown_asked();
    match asked.wait_for(Option::is_some).await.map(|why| *why) {
        Ok(Some(why)) => why,
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

async fn open_door(
    composed: &Composed,
    port: Option<u16>,
    link: &WardenLink,
) -> Result<u16, ExpectedError> {
    let wanted = port.unwrap_or(composed.config.gateway.port);
    let served = wrasse_api::bind(wanted).await.map_err(|error| bind_fault(&error))?;
    let port = served.port();
    let token = match (&std::env::var("WRASSE_GATEWAY_TOKEN"), &composed.config.gateway.token) {
        (Ok(token), _) if !token.is_empty() => token.clone(),
        (_, Some(token)) => token.reveal().to_owned(),
        (_, None) => composed
            .state
            .token()
            .map_err(|error| ExpectedError::new(Exit::Failed, error.to_string()))?,
    };
    let endpoint = Endpoint {
        port,
        pid: std::process::id(),
        warden_pid: Some(link.pid()),
        pid_namespace: wrasse_store::own_pid_namespace(),
        started_at: composed.started_at,
    };
    composed
        .state
        .write_endpoint(&endpoint)
        .map_err(|error| ExpectedError::new(Exit::Failed, error.to_string()))?;
    let (gateway, scope) = (composed.gateway.clone(), composed.scope.child("door"));
    composed.scope.spawn(TaskKind::HttpServer, async move {
        if let Err(error) = wrasse_api::serve(served, gateway, Token::new(token), scope).await {
            tracing::error!("{error}");
        }
    });
    Ok(port)
}

fn bind_fault(error: &ServeError) -> ExpectedError {
    let holder = match error {
        ServeError::Bind { port, source } if source.kind() == std::io::ErrorKind::AddrInUse => {
            super::port::holder(*port)
        }
        ServeError::Bind { .. } | ServeError::Serve(_) => None,
    };
    // Whoever it is, it is not ours to end: what a dead gateway of this state directory left is gone by now.
    let said =
        holder.map_or_else(String::new, |holder| format!("; process {holder} listens there"));
    ExpectedError::new(Exit::Failed, format!("{error}{said}"))
        .help("wrasse gateway run --port N   or gateway.port in the configuration")
        .help("ss -ltnp                      says who listens there")
}

fn say_ready(composed: &Composed, port: u16) {
    let config = &composed.config;
    tracing::info!(
        "ready on 127.0.0.1:{port} · {} agents, {} servers, {} jobs in the configuration · state {}",
        config.agents.list.len(),
        config.mcp.servers.len(),
        config.cron.jobs.len(),
        composed.state.path().display()
    );
    tracing::info!(
        "look with: wrasse --state-dir {} status | ps | runs list | cron runs JOB",
        composed.state.path().display()
    );
}

/// Kept free of the shutdown deadline for the tasks and the store.
const FINISH: Duration = Duration::from_millis(600);

/// How the gateway came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Orderly,
    Hurried,
    WardenLost,
}

/// The ordered end: refuse new work, end runs, release leases, stop servers, flush the store. A second signal kills
/// every tree now; a third leaves, and the warden ends what is left.
pub(super) async fn close(
    composed: &Composed,
    why: ShutdownWhy,
    signals: &mut Signals,
    link: &WardenLink,
) -> Left {
    let until = clock::now() + composed.config.gateway.shutdown_deadline;
    let left = if why == ShutdownWhy::WardenLost {
        lose_warden(composed).await;
        Left::WardenLost
    } else {
        tokio::select! {
            report = composed.gateway.shutdown(why, until.remaining().saturating_sub(FINISH)) => {
                tracing::debug!(?report, "shut down");
                Left::Orderly
            }
            _ = signals.next() => {
                tracing::warn!("second signal: ending every tree now");
                tokio::select! {
                    _ = composed.containment.kill_all() => {}
                    _ = signals.next() => {}
                }
                Left::Hurried
            }
            () = link.lost() => {
                lose_warden(composed).await;
                Left::WardenLost
            }
        }
    };
    finish(composed, until.remaining().max(FINISH)).await;
    left
}

/// The warden died: nothing may outlive us now. Runs are told in the same instant as their trees are killed, and not
/// after: one whose server died under it would go on, and end as if nothing had been. Their records are waited for: what
/// is not on record by then is ended as lost by the next start, which does not know that it was the warden.
async fn lose_warden(composed: &Composed) {
    let records = composed.gateway.shutdown(ShutdownWhy::WardenLost, Duration::from_secs(3));
    tokio::join!(records, composed.containment.kill_all());
}

/// Ends the tasks and the store in what is left of the deadline. Nothing here is needed for a tree to end.
async fn finish(composed: &Composed, patience: Duration) {
    let until = clock::now() + patience;
    composed.scope.cancel();
    let report = composed.scope.join(patience / 2).await;
    tracing::debug!(?report, "tasks ended");
    if clock::timeout(until.remaining(), composed.store.close()).await.is_err() {
        tracing::warn!("the store did not close in time; the next start checks it");
    }
    if let Err(error) = composed.state.remove_endpoint() {
        tracing::warn!("{error}");
    }
}
