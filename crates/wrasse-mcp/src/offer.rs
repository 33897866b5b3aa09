//! Which tools a run is offered.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use wrasse_config::{Server, Transport};
use wrasse_lease::BreakerPosition;
use wrasse_types::{ServerName, UnixMillis};

use crate::connection::ToolEntry;
use crate::leases::ServerLeases;
use crate::naming;
use crate::servers::{HTTP_UNSUPPORTED, Servers};
use crate::{Offer, OfferedTool, ServerFault, fault, glob};

/// A question about a name.
pub type NameTest<'a> = &'a (dyn Fn(&str) -> bool + Send + Sync);

/// A server that is not tried again for so long is not offered: the run would only learn of it by a refused call.
const WITHDRAWN_FROM_MS: i64 = 3_000;

/// What one offer needs to know.
#[derive(Clone, Copy)]
pub struct OfferRequest<'a> {
    /// The agent's workspace: the working directory of servers that name none.
    pub workspace: &'a Path,
    /// Whether policy lets this run use a tool, by offered name.
    pub allow: NameTest<'a>,
    /// Whether policy lets this run use any tool of a server, by prefix (`docs__`). A server of which none is
    /// allowed is never started. See [`glob::covers_prefix`] and [`glob::may_match_prefix`].
    pub allow_server: NameTest<'a>,
    /// Names that are taken by built-in tools.
    pub reserved: &'a [&'a str],
}

impl std::fmt::Debug for OfferRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfferRequest").field("workspace", &self.workspace).finish_non_exhaustive()
    }
}

impl<'a> OfferRequest<'a> {
    /// An offer in a workspace under a policy that is asked tool by tool.
    pub fn new(workspace: &'a Path, allow: NameTest<'a>) -> Self {
        Self { workspace, allow, allow_server: &|_| true, reserved: &[] }
    }
}

impl Servers {
    /// Says which tools a run may use: from the catalogue, and where a server has never come up, by starting
    /// it under the run's own lease, all of them side by side and each for all runs that wait for it. A server that fails is offered without tools
    /// and named once per run.
    pub async fn offer(
        &self,
        leases: &ServerLeases,
        request: OfferRequest<'_>,
        token: &CancellationToken,
    ) -> Offer {
        leases.set_workspace(request.workspace.to_owned());
        let asked =
            self.inner.config.mcp.servers.iter().filter(|server| self.may_offer(server, &request));
        let asking = asked.map(|server| async move {
            let tools = Box::pin(self.tools_of(leases, server, request.workspace, token)).await;
            (server, tools)
        });
        let mut found = Vec::new();
        let mut offer = Offer::default();
        for (server, tools) in join_all(asking).await {
            match tools {
                Ok(tools) => found.push((server, tools)),
                Err(fault) if token.is_cancelled() => {
                    tracing::debug!(server = %server.name, fault = fault.message, "offer cancelled");
                }
                Err(fault) => {
                    if leases.first_naming(&server.name) {
                        self.say(&fault, "is offered without tools");
                        offer.faults.push(fault);
                    }
                }
            }
        }
        offer.tools = self.name(&found, request.reserved);
        offer.tools.retain(|tool| (request.allow)(&tool.name));
        offer
    }

    /// Warns of a server that cannot be used, once until it has come up again.
    pub(crate) fn say(&self, fault: &ServerFault, how: &str) {
        let ServerFault { server, message, help } = fault;
        if self.inner.said().insert(server.clone()) {
            let help = help.as_deref().unwrap_or("wrasse mcp status has the details");
            tracing::warn!("server {server} {how}: {message} → {help}");
        } else {
            tracing::debug!(%server, "still {how}: {message}");
        }
    }

    /// The tools of the catalogue in the default agent's workspace, after each server's own filter and without
    /// those of disabled servers; starts nothing.
    pub async fn catalogue(&self, server: Option<&ServerName>) -> Vec<OfferedTool> {
        let mut found = Vec::new();
        for configured in &self.inner.config.mcp.servers {
            let is_asked = server.is_none_or(|server| *server == configured.name);
            if !configured.enabled || !is_asked {
                continue;
            }
            let Some(launch) = self.default_launch(configured) else { continue };
            if let Some(entry) = self.inner.catalogue.get(&launch.fingerprint).await {
                found.push((configured, entry.tools));
            }
        }
        self.name(&found, &[])
    }

    fn may_offer(&self, server: &Server, request: &OfferRequest<'_>) -> bool {
        server.enabled
            && !glob::passes_nothing(&server.include, &server.exclude)
            && self.tool_prefix(&server.name).is_none_or(|prefix| (request.allow_server)(&prefix))
    }

    async fn tools_of(
        &self,
        leases: &ServerLeases,
        server: &Server,
        workspace: &Path,
        token: &CancellationToken,
    ) -> Result<Arc<Vec<ToolEntry>>, ServerFault> {
        let launch = match &server.transport {
            Transport::Stdio { .. } => self.launch(server, workspace),
            Transport::Http { .. } => None,
        };
        let Some(launch) = launch else {
            return Err(ServerFault {
                server: server.name.clone(),
                message: HTTP_UNSUPPORTED.to_owned(),
                help: Some(format!(
                    "set mcp.servers.{}.enabled to false ({})",
                    server.name, server.origin
                )),
            });
        };
        if let Some(entry) = self.inner.catalogue.get(&launch.fingerprint).await {
            return match self.held_back(server) {
                Some(fault) => Err(fault),
                None => Ok(entry.tools),
            };
        }
        let learnt = leases.learn(&launch, token).await;
        learnt.map_err(|error| fault::of_acquire(&server.name, &error))
    }

    /// Why the known tools of a server are not offered: it fails to start, nothing of it runs, and it is not tried again
    /// while a run would want it. (failure mode I2)
    fn held_back(&self, server: &Server) -> Option<ServerFault> {
        let breaker = self.inner.leases.breaker(&server.name)?;
        let again = match breaker.position {
            BreakerPosition::Closed | BreakerPosition::Probing => return None,
            BreakerPosition::Open { until } => {
                let wait = until.get() - UnixMillis::now().get();
                (wait >= WITHDRAWN_FROM_MS).then(|| format!("tried again in {} s", wait / 1000))?
            }
            BreakerPosition::Broken => "not tried again until it is restarted".to_owned(),
        };
        if self.inner.leases.snapshot().iter().any(|instance| instance.server == server.name) {
            return None;
        }
        let fault = fault::of_start(&server.name, &breaker.last);
        Some(ServerFault { message: format!("{}; {again}", fault.message), ..fault })
    }

    /// Filters by each server's own lists and gives names.
    fn name(
        &self,
        found: &[(&Server, Arc<Vec<ToolEntry>>)],
        reserved: &[&str],
    ) -> Vec<OfferedTool> {
        let mut passing: HashMap<(ServerName, String), &ToolEntry> = HashMap::new();
        for (server, tools) in found {
            for tool in tools.iter() {
                if glob::passes(&server.include, &server.exclude, &tool.name) {
                    passing.entry((server.name.clone(), tool.name.clone())).or_insert(tool);
                }
            }
        }
        let keys = passing.keys().cloned().collect();
        naming::offered(&self.inner.prefixes, keys, reserved)
            .into_iter()
            .filter_map(|(server, tool, name)| {
                let key = (server, tool);
                let entry = *passing.get(&key)?;
                let (server, tool) = key;
                Some(offered(entry, server, tool, name))
            })
            .collect()
    }
}

fn offered(entry: &ToolEntry, server: ServerName, tool: String, name: String) -> OfferedTool {
    let said = entry.description.as_ref().or(entry.title.as_ref());
    let said = said.filter(|text| !text.trim().is_empty()).cloned();
    OfferedTool {
        name,
        description: said.unwrap_or_else(|| format!("Tool \"{tool}\" of the server \"{server}\".")),
        schema: entry.schema.clone(),
        read_only: entry.read_only,
        idempotent: entry.idempotent,
        server,
        tool,
    }
}
