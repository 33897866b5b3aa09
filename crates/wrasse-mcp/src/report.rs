//! What people are shown: status, processes, reasons.

use serde_json::{Value, json};
use wrasse_config::{Server, Transport};
use wrasse_contain::ProcessInfo;
use wrasse_lease::{BreakerPosition, InstanceView};
use wrasse_types::wire::{PsEnded, PsInstance, PsLease, PsProcess};
use wrasse_types::{InstanceId, UnixMillis};

use crate::accounting;
use crate::launch::shown_transport;
use crate::servers::{Servers, session_of};
use crate::{ServerStatus, fault, glob, history};

/// How many ended instances a reason looks back on.
const RECENT: usize = 5;
/// How many records are searched for them.
const SEARCHED: u32 = 200;

impl Servers {
    /// Every configured server and how it is; starts nothing. Catalogue figures are those of the default
    /// agent's workspace.
    pub async fn status(&self) -> Vec<ServerStatus> {
        let instances = self.inner.leases.snapshot();
        let mut status = Vec::new();
        for server in &self.inner.config.mcp.servers {
            status.push(self.status_of(server, &instances).await);
        }
        status
    }

    async fn status_of(&self, server: &Server, instances: &[InstanceView]) -> ServerStatus {
        let entry = match self.default_launch(server) {
            Some(launch) => self.inner.catalogue.get(&launch.fingerprint).await,
            None => None,
        };
        let passes = |tool: &str| glob::passes(&server.include, &server.exclude, tool);
        let tools = entry.as_ref().map(|entry| {
            let count = entry.tools.iter().filter(|tool| passes(&tool.name)).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        });
        let own: Vec<&InstanceView> =
            instances.iter().filter(|instance| instance.server == server.name).collect();
        let breaker = self.inner.leases.breaker(&server.name);
        let installing = self
            .inner
            .backend
            .installs
            .under_way()
            .into_iter()
            .find(|installing| installing.server == server.name);
        let retry_at = match breaker.as_ref().map(|breaker| &breaker.position) {
            Some(BreakerPosition::Open { until }) => Some(*until),
            Some(BreakerPosition::Closed | BreakerPosition::Probing | BreakerPosition::Broken)
            | None => None,
        };
        let (transport, supported) = match &server.transport {
            Transport::Stdio { .. } => ("stdio", true),
            Transport::Http { .. } => ("http", false),
        };
        let state = if !server.enabled {
            "disabled"
        } else if !supported {
            "unsupported"
        } else if installing.is_some() {
            "installing"
        } else if let Some(instance) = own.iter().max_by_key(|instance| instance.state == "ready") {
            instance.state
        } else {
            match breaker.as_ref().map(|breaker| &breaker.position) {
                Some(BreakerPosition::Open { .. }) => "backoff",
                Some(BreakerPosition::Broken) => "broken",
                Some(BreakerPosition::Closed | BreakerPosition::Probing) | None => "absent",
            }
        };
        ServerStatus {
            name: server.name.clone(),
            transport: transport.to_owned(),
            launch: shown_transport(&server.transport),
            origin: server.origin.clone(),
            enabled: server.enabled,
            state: state.to_owned(),
            instances: u32::try_from(own.len()).unwrap_or(u32::MAX),
            tools,
            catalogue_at: entry.map(|entry| entry.fetched_at),
            fault: breaker.map(|breaker| fault::of_start(&server.name, &breaker.last)),
            retry_at,
            progress: installing.map(|installing| installing.words()),
        }
    }

    /// Every instance with its processes as of now, what belongs to nothing, and the totals of what has
    /// ended since the start.
    pub async fn ps(&self) -> (Vec<PsInstance>, Vec<PsProcess>, PsEnded) {
        let instances = self.inner.leases.snapshot().iter().map(|view| self.ps_of(view)).collect();
        let leftovers = self.inner.backend.containment.leftovers();
        let leftovers = leftovers.into_iter().map(ps_process).collect();
        (instances, leftovers, self.inner.leases.ended_totals())
    }

    fn ps_of(&self, view: &InstanceView) -> PsInstance {
        let containment = &self.inner.backend.containment;
        let processes: Vec<PsProcess> = view
            .vitals
            .map(|vitals| containment.processes(vitals.guardian_pid))
            .unwrap_or_default()
            .into_iter()
            .map(ps_process)
            .collect();
        let installing =
            self.inner.backend.installs.under_way().iter().any(|one| one.instance == view.id);
        let account = self.inner.account(view);
        PsInstance {
            id: view.id.to_string(),
            kind: "server".to_owned(),
            server: view.server.to_string(),
            scope: "session".to_owned(),
            session_key: session_of(&view.owner).map(|key| key.to_string()),
            state: if installing { "installing".to_owned() } else { view.state.to_owned() },
            guardian_pid: view.vitals.map(|vitals| vitals.guardian_pid),
            pid: view.vitals.map(|vitals| vitals.pid),
            memory_bytes: processes.iter().map(|process| process.memory_bytes).sum(),
            processes,
            started_at: view.started_at,
            last_call_at: view.last_call_at,
            calls: view.calls,
            in_flight: view.in_flight,
            leases: view.leases.iter().map(ps_lease).collect(),
            ends: view.ends.clone(),
            zombies: account.map_or(0, |account| account.zombies),
            cpu_ms: account
                .map_or(0, |account| u64::try_from(account.cpu.as_millis()).unwrap_or(u64::MAX)),
            cpu_percent: account.map_or(0, |account| account.cpu_percent),
            memory_max_bytes: self
                .server(view.server.as_str())
                .and_then(|server| server.lifecycle.limits.memory_max),
            pss_bytes: None,
            warnings: account
                .map(|account| accounting::warnings(view, &account))
                .unwrap_or_default()
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }

    /// Adds the memory with shared pages counted once, which takes a while to find out.
    pub async fn add_proportional_memory(&self, instances: &mut [PsInstance]) {
        for instance in instances {
            let Some(guardian) = instance.guardian_pid else { continue };
            let containment = self.inner.backend.containment.clone();
            let read = move || containment.proportional_memory(guardian);
            instance.pss_bytes = tokio::task::spawn_blocking(read).await.ok();
        }
    }

    /// Why a process (a number), an instance (`i-1041`), a server or a session's servers exist, who holds
    /// them and what ends them; for what has ended, why it did. `None` when nothing of that name is known.
    pub async fn why(&self, what: &str) -> Option<Value> {
        let (instances, leftovers, _) = self.ps().await;
        if let Ok(pid) = what.parse::<u32>() {
            return self.why_pid(pid, instances, &leftovers).await;
        }
        if let Ok(id) = InstanceId::parse(what) {
            return match instances.into_iter().find(|instance| instance.id == what) {
                Some(instance) => Some(self.why_instance(instance).await),
                None => self.why_ended(id).await,
            };
        }
        if let Some(server) = self.server(what) {
            let own: Vec<PsInstance> =
                instances.into_iter().filter(|instance| instance.server == what).collect();
            let status = self.status_of(server, &self.inner.leases.snapshot()).await;
            let recent = self.recent(what).await;
            return Some(
                json!({ "kind": "server", "server": status, "instances": own, "recent": recent }),
            );
        }
        let own: Vec<PsInstance> = instances
            .into_iter()
            .filter(|instance| instance.session_key.as_deref() == Some(what))
            .collect();
        (!own.is_empty())
            .then(|| json!({ "kind": "session", "sessionKey": what, "instances": own }))
    }

    async fn why_pid(
        &self,
        pid: u32,
        instances: Vec<PsInstance>,
        leftovers: &[PsProcess],
    ) -> Option<Value> {
        let found = instances.into_iter().find(|instance| {
            instance.guardian_pid == Some(pid)
                || instance.pid == Some(pid)
                || instance.processes.iter().any(|process| process.pid == pid)
        });
        if let Some(instance) = found {
            let role = if instance.guardian_pid == Some(pid) {
                "guardian"
            } else if instance.pid == Some(pid) {
                "leader"
            } else {
                "descendant"
            };
            let process = instance.processes.iter().find(|process| process.pid == pid).cloned();
            let mut answer = self.why_instance(instance).await;
            answer["pid"] = json!(pid);
            answer["role"] = json!(role);
            answer["process"] = json!(process);
            return Some(answer);
        }
        if let Some(process) = leftovers.iter().find(|process| process.pid == pid) {
            return Some(json!({ "kind": "leftover", "pid": pid, "process": process }));
        }
        let row = self.inner.store.ledger().instance_by_pid(pid).await.ok().flatten()?;
        Some(json!({ "kind": "ended", "pid": pid, "instance": history::json(&row) }))
    }

    async fn why_instance(&self, instance: PsInstance) -> Value {
        let server = self.server(&instance.server);
        let history = match InstanceId::parse(&instance.id) {
            Ok(id) => self.inner.store.ledger().instance(id).await.ok().flatten(),
            Err(_) => None,
        };
        json!({
            "kind": "instance",
            "launch": server.map(|server| shown_transport(&server.transport)),
            "origin": server.map(|server| server.origin.clone()),
            "requestTimeoutMs": server.map(|server| server.request_timeout.as_millis()),
            "stop": server.map(|server| json!({
                "eofMs": server.lifecycle.stop_eof.as_millis(),
                "termMs": server.lifecycle.stop_term.as_millis(),
            })),
            "instance": instance,
            "history": history.as_ref().map(history::json),
            "asOf": UnixMillis::now(),
        })
    }

    async fn why_ended(&self, id: InstanceId) -> Option<Value> {
        let row = self.inner.store.ledger().instance(id).await.ok().flatten()?;
        Some(json!({ "kind": "ended", "instance": history::json(&row) }))
    }

    async fn recent(&self, server: &str) -> Value {
        let rows = self.inner.store.ledger().recent_instances(SEARCHED).await.unwrap_or_default();
        let own: Vec<_> = rows
            .into_iter()
            .filter(|row| row.server.as_str() == server)
            .take(RECENT)
            .map(|row| history::json(&row))
            .collect();
        json!(own)
    }
}

fn ps_process(info: ProcessInfo) -> PsProcess {
    PsProcess {
        pid: info.pid,
        ppid: info.ppid,
        name: info.name,
        started_at: info.started_at,
        memory_bytes: info.memory_bytes,
        zombie: info.zombie,
    }
}

fn ps_lease(lease: &wrasse_lease::LeaseView) -> PsLease {
    PsLease {
        id: lease.id.to_string(),
        since: lease.since,
        reason: lease.reason.clone(),
        holder: lease.holder.clone(),
    }
}
