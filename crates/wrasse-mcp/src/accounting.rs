//! What the trees use that somebody should know of: said once in the log, and in `ps` for as long as it lasts.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use wrasse_contain::TreeAccount;
use wrasse_lease::InstanceView;
use wrasse_scope::{TaskKind, clock};
use wrasse_types::{InstanceId, format_duration};

use crate::servers::Inner;

/// How often it is looked for.
const EVERY: Duration = Duration::from_secs(10);
/// Over less than this a start looks like burning.
const MEASURED_OVER_MIN: Duration = Duration::from_secs(5);
const BURNING_PERCENT: u32 = 50;
/// Fewer unreaped processes than this are no sign of anything.
const ZOMBIES_MIN: u32 = 8;

/// Something that somebody should look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Warning {
    /// Nobody holds it, and it uses the processor.
    Burns { percent: u32 },
    /// It does not reap its children, and they grow in number.
    Zombies { now: u32, before: u32, over: Duration },
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Burns { percent } => {
                write!(f, "nobody holds it and it uses {percent} % of a processor")
            }
            Self::Zombies { now, before, over } => write!(
                f,
                "it does not reap its children: {now} zombies, {} more within {}",
                now.saturating_sub(before),
                format_duration(Duration::from_secs(over.as_secs())),
            ),
        }
    }
}

/// What an account says of an instance.
pub(crate) fn warnings(view: &InstanceView, account: &TreeAccount) -> Vec<Warning> {
    let mut found = Vec::new();
    let TreeAccount { zombies, zombies_before, cpu_percent, measured_over, .. } = *account;
    let unused = view.leases.is_empty() && view.in_flight == 0;
    if unused && measured_over >= MEASURED_OVER_MIN && cpu_percent >= BURNING_PERCENT {
        found.push(Warning::Burns { percent: cpu_percent });
    }
    if zombies >= ZOMBIES_MIN && zombies > zombies_before {
        found.push(Warning::Zombies { now: zombies, before: zombies_before, over: measured_over });
    }
    found
}

impl Inner {
    pub(crate) fn account(&self, view: &InstanceView) -> Option<TreeAccount> {
        self.backend.containment.account(view.vitals?.guardian_pid)
    }
}

/// Looks now and then, until the servers are gone.
pub(crate) fn watch(servers: &Arc<Inner>) {
    let weak = Arc::downgrade(servers);
    servers.scope.spawn(TaskKind::Accounting, look(weak));
}

async fn look(servers: Weak<Inner>) {
    let mut said: HashSet<(InstanceId, std::mem::Discriminant<Warning>)> = HashSet::new();
    loop {
        clock::sleep(EVERY).await;
        let Some(servers) = servers.upgrade() else { return };
        let views = servers.leases.snapshot();
        said.retain(|(id, _)| views.iter().any(|view| view.id == *id));
        for view in &views {
            let Some(account) = servers.account(view) else { continue };
            for warning in warnings(view, &account) {
                if said.insert((view.id, std::mem::discriminant(&warning))) {
                    tracing::warn!(server = %view.server, instance = %view.id, "{warning}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use wrasse_types::wire::PsEnds;
    use wrasse_types::{Holder, LeaseId, ServerName, UnixMillis};

    use super::*;

    fn view() -> InstanceView {
        InstanceView {
            id: InstanceId::new(1),
            server: ServerName::new("s"),
            owner: String::new(),
            fingerprint: String::new(),
            state: "draining",
            vitals: None,
            leases: Vec::new(),
            calls: 0,
            in_flight: 0,
            started_at: UnixMillis::new(0),
            ready_at: None,
            last_call_at: None,
            ends: PsEnds { when: None, because: String::new() },
        }
    }

    #[test]
    fn burning_is_a_warning_only_where_nobody_asked_for_it() {
        let account = TreeAccount {
            started_at: UnixMillis::new(0),
            processes: 1,
            zombies: 7,
            zombies_before: 0,
            memory_bytes: 0,
            cpu: Duration::from_secs(9),
            cpu_percent: 97,
            measured_over: Duration::from_secs(10),
        };
        let said = |view: &InstanceView, account: &TreeAccount| {
            warnings(view, account).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(said(&view(), &account), ["nobody holds it and it uses 97 % of a processor"]);
        let held = wrasse_lease::LeaseView {
            id: LeaseId::new(1),
            since: UnixMillis::new(0),
            reason: String::new(),
            holder: Holder::operator("test"),
        };
        assert_eq!(said(&InstanceView { leases: vec![held], ..view() }, &account), [""; 0]);
        let young = TreeAccount { measured_over: Duration::from_secs(1), ..account };
        assert_eq!(said(&view(), &young), [""; 0]);
        let careless = TreeAccount { zombies: 20, zombies_before: 12, cpu_percent: 0, ..account };
        assert_eq!(
            said(&view(), &careless),
            ["it does not reap its children: 20 zombies, 8 more within 10s"]
        );
        assert_eq!(said(&view(), &TreeAccount { zombies_before: 20, ..careless }), [""; 0]);
    }
}
