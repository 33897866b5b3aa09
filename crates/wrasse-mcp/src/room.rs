//! The budget of processes of all servers together.
//!
//! Looked at before a start. What nobody holds makes room, whoever was used least lately first; only when everything is
//! held is a start refused, and then the holders are named. What a server starts later counts at the next start.

use std::collections::BTreeSet;

use wrasse_lease::{AcquireError, InstanceView, Retry, StartFault, Whose};
use wrasse_types::GoneReason;

use crate::Servers;
use crate::launch::LaunchSpec;

/// How many holders a refusal names.
const NAMED: usize = 5;

impl Servers {
    /// Makes room for a server, unless it runs already.
    pub(crate) async fn make_room(
        &self,
        launch: &LaunchSpec,
        owner: &str,
    ) -> Result<(), AcquireError> {
        let Some(allowed) = self.inner.config.mcp.processes else { return Ok(()) };
        // One at a time: two that look at once would both see the same room.
        let _looking = self.inner.room.lock().await;
        loop {
            let views = self.inner.leases.snapshot();
            let runs = |view: &InstanceView| {
                view.server == launch.server
                    && view.fingerprint == launch.fingerprint
                    && view.owner == owner
            };
            let used: u32 = views.iter().map(|view| self.processes_of(view)).sum();
            if used < allowed || views.iter().any(runs) {
                return Ok(());
            }
            let idle = views.iter().filter(|view| is_idle(view));
            let oldest = idle.min_by_key(|view| view.last_call_at.or(view.ready_at));
            let Some(oldest) = oldest else { return Err(full(used, allowed, &views)) };
            tracing::info!(
                "server {} of {} makes room for {}: {used} of {allowed} processes are used",
                oldest.server,
                oldest.owner,
                launch.server
            );
            // Gone, or about to be: either way the next look tells.
            drop(self.inner.leases.stop_instance(oldest.id, GoneReason::Budget).await);
        }
    }

    /// One that is only being started has a process soon.
    fn processes_of(&self, view: &InstanceView) -> u32 {
        let counted = view.vitals.map(|vitals| {
            let containment = &self.inner.backend.containment;
            u32::try_from(containment.processes(vitals.guardian_pid).len()).unwrap_or(u32::MAX)
        });
        counted.unwrap_or(1).max(1)
    }
}

fn is_idle(view: &InstanceView) -> bool {
    view.state == "draining" && view.leases.is_empty() && view.in_flight == 0
}

fn full(used: u32, allowed: u32, views: &[InstanceView]) -> AcquireError {
    let held = views.iter().flat_map(|view| {
        view.leases.iter().map(|lease| format!("{} by {}", view.server, lease.holder))
    });
    let held: BTreeSet<String> = held.collect();
    let more = held.len().saturating_sub(NAMED);
    let mut named = held.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
    if more > 0 {
        named.push_str(&format!(" and {more} more"));
    }
    AcquireError::StartFailed(StartFault {
        whose: Whose::Us,
        retry: Retry::MayHelp,
        message: format!(
            "the budget mcp.limits.processes is used up ({used} of {allowed}) by what is held: {named}"
        ),
        stderr_tail: Vec::new(),
        help: Some("raise mcp.limits.processes, or end a holder: wrasse ps".to_owned()),
    })
}
