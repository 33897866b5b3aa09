//! What a slot shows of itself.

use wrasse_scope::clock;
use wrasse_types::wire::PsEnds;
use wrasse_types::{LeaseId, format_duration};

use super::{Inner, Slot, Tenant};
use crate::backend::Backend;
use crate::claim::Retention;
use crate::state::State;
use crate::view::{InstanceView, LeaseView, unix_at};

impl<B: Backend> Slot<B> {
    /// The instance that lives here, once its row exists.
    pub(crate) fn view(&self) -> Option<InstanceView> {
        let inner = self.lock();
        let life = inner.life.as_ref()?;
        let waiting = inner.pending.values().filter_map(|p| Some((p.lease?, &p.tenant)));
        let mut leases: Vec<_> = inner
            .leases
            .iter()
            .map(|(id, tenant)| (*id, tenant))
            .chain(waiting)
            .map(|(id, tenant)| lease_view(id, tenant))
            .collect();
        leases.sort_by_key(|lease| lease.id);
        Some(InstanceView {
            id: life.instance?,
            server: self.key.server.clone(),
            owner: self.key.owner.clone(),
            fingerprint: self.key.fingerprint.clone(),
            state: inner.state.name(),
            vitals: life.vitals,
            leases,
            calls: life.calls,
            in_flight: inner.state.usage().map_or(0, |usage| u64::from(usage.calls)),
            started_at: life.started_at,
            ready_at: life.ready.map(|(at, _)| at),
            last_call_at: life.last_call_at,
            ends: ends(&inner, &self.key.owner),
        })
    }
}

/// When and why an instance will end, in words.
fn ends<B: Backend>(inner: &Inner<B>, owner: &str) -> PsEnds {
    let because = match &inner.state {
        State::Starting { .. } | State::Handshaking { .. } | State::Ready { .. } => {
            held_until(inner, owner)
        }
        State::Draining { until, usage } => match inner.retention {
            Retention::For(keep) => {
                let because = format!("idle for {}", format_duration(keep));
                if let Some(until) = until {
                    return PsEnds { when: Some(unix_at(*until, clock::now())), because };
                }
                format!("{because}, after {} calls in flight", usage.calls)
            }
            Retention::Run | Retention::UntilOwnerEnds => format!("with {owner}"),
        },
        State::Stopping { why, .. } => format!("stopping: {}", why.name()),
        State::Rundown { why, survivors: None, .. } => {
            format!("ending what is left: {}", why.name())
        }
        State::Rundown { survivors: Some(left), .. } => {
            format!("when {left} processes end that outlived SIGKILL")
        }
        State::Absent | State::Gone { .. } | State::Backoff { .. } | State::Broken { .. } => {
            String::from("gone")
        }
    };
    PsEnds { when: None, because }
}

/// What ends an instance that is held.
fn held_until<B: Backend>(inner: &Inner<B>, owner: &str) -> String {
    match inner.retention {
        Retention::Run => {
            let waiting = inner.pending.values().map(|pending| &pending.tenant);
            let mut holders: Vec<String> =
                inner.leases.values().chain(waiting).map(|t| t.holder.to_string()).collect();
            holders.sort();
            holders.dedup();
            match holders.as_slice() {
                [only] => format!("with {only}"),
                several => format!("with the last of {}", several.join(", ")),
            }
        }
        Retention::For(keep) => {
            format!("{} after its last call, once nobody holds it", format_duration(keep))
        }
        Retention::UntilOwnerEnds => format!("with {owner}"),
    }
}

fn lease_view(id: LeaseId, tenant: &Tenant) -> LeaseView {
    LeaseView {
        id,
        since: tenant.since,
        reason: tenant.reason.clone(),
        holder: tenant.holder.clone(),
    }
}
